"""From an image of any kind to the name of its class, by a model that remembers how its images were read."""

import io
import pathlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convnet
from convnet import ConvNet1, ImageData, ImageReader, Statistics, load_folder, preprocess_parts, split

Image = pytest.importorskip("PIL.Image")


def photo(rng, height=30, width=40, channels=3):
    """Return a smooth image, which JPEG hardly changes."""
    pixels = rng.integers(0, 256, (3, 4, channels), dtype=np.uint8)
    small = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    return small.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind="PNG", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def folder_of(path, rng, kind="png"):
    """Write photographs of different sizes and modes, and return the files in the order in which they are loaded."""
    files = []
    for number in range(12):
        file = path / ("left", "right", "up")[number // 4] / f"{number:02d}.{kind}"
        file.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        options = {"exif": exif.tobytes()}
        scale = 8 if kind == "jpg" else 1  # so large that the decoder leaves pixels out
        photo(rng, scale * (20 + 7 * (number % 5)), scale * (30 + 3 * (number % 4))).save(file, **options)
        files.append(file)
    return files


def model_of(parts, **options):
    data, statistics = preprocess_parts(parts, **options)
    model = ConvNet1(data["x_train"].shape[1:], num_filters=2, kernel_size=3, padding=1, hidden_size=5, num_classes=3)
    model.statistics, model.class_names = statistics, parts["train"].class_names
    return model, data


class OfAnotherLibrary:
    """An array as PyTorch's tensors and pandas' columns are: NumPy can make one of its own of it."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize("options", [{"size": 16}, {"size": (12, 20), "crop": False, "background": (1, 200, 9)}])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_prediction_reads_images_as_training_did(tmp_path, rng, options, channels, kind):
    files = folder_of(tmp_path / "images", rng, kind)
    parts = load_folder(tmp_path / "images", channels=channels, **options)
    model, data = model_of(parts)
    convnet.save_model(model, tmp_path / "model.npz")
    loaded = convnet.load_model(tmp_path / "model.npz")
    expected = loaded.probabilities(data["x_train"])
    for images in (
        files,
        [str(file) for file in files],
        [file.read_bytes() for file in files],
        [io.BytesIO(file.read_bytes()) for file in files],
        [files[0], *(file.read_bytes() for file in files[1:5]), *map(io.BytesIO, (f.read_bytes() for f in files[5:]))],
        iter(files),
        (file for file in map(str, files)),
        np.array([str(file) for file in files]),
        np.array([*files, None], object)[:-1],
        parts["train"].images,
        list(parts["train"].images),
        OfAnotherLibrary(parts["train"].images),
        [OfAnotherLibrary(image) for image in parts["train"].images],
    ):
        names, probabilities = loaded.classify(images)
        np.testing.assert_array_equal(probabilities, expected)
        assert names == [("left", "right", "up")[label] for label in expected.argmax(axis=1)]
    pictures = [Image.open(file) for file in files]
    probabilities = loaded.classify(pictures).probabilities
    if kind == "png":
        np.testing.assert_array_equal(probabilities, expected)
    else:  # of an image that is open already all pixels are decoded
        np.testing.assert_allclose(probabilities, expected, atol=0.02)
    for picture in pictures:
        picture.close()
    with open(files[3], "rb") as file:
        alone = loaded.classify(file).probabilities  # in a batch, products may be added in another order
    np.testing.assert_allclose(alone, expected[3:4], rtol=1e-5)
    np.testing.assert_array_equal(loaded.classify(files[3]).probabilities, alone)
    np.testing.assert_array_equal(loaded.predict_images(files), expected.argmax(axis=1))


def test_split_hands_the_reader_on(tmp_path, rng):
    folder_of(tmp_path, rng)
    parts = split(*load_folder(tmp_path, size=8)["train"], validation=3)
    assert parts["validation"].reader == parts["train"].reader == ImageReader(size=(8, 8), channels=3)
    assert preprocess_parts(parts)[1].reader == parts["train"].reader
    other = {"test": parts["validation"]._replace(reader=ImageReader(size=(8, 8), crop=False))}
    with pytest.raises(ValueError, match=r"expected parts that were read alike, got ImageReader.* of test"):
        preprocess_parts(parts | other)
    with pytest.raises(TypeError, match="split: reader: expected an ImageReader, got 'crop'"):
        split(*parts["train"][:3], "crop")


def test_every_kind_of_array_is_an_image(rng):
    statistics = Statistics((3, 6, 9), False, None, None, ImageReader(size=(6, 9)))
    colours, opacity = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8), np.full((6, 9, 1), 255, np.uint8)
    np.testing.assert_array_equal(statistics.apply(colours)[0], colours.transpose(2, 0, 1))
    np.testing.assert_array_equal(statistics.apply(np.dstack([colours, opacity]))[0], colours.transpose(2, 0, 1))
    np.testing.assert_array_equal(statistics.apply([colours, colours])[1], colours.transpose(2, 0, 1))
    grey = colours[..., 0]
    deep = grey.astype(np.uint16) * 257
    for image in (grey, grey[..., None], np.dstack([grey, opacity]), deep, deep.astype(">u2")):
        np.testing.assert_array_equal(statistics.apply([image])[0], np.stack(3 * [grey]))
    np.testing.assert_array_equal(statistics.apply([grey > 100])[0, 0], np.where(grey > 100, 255, 0))
    np.testing.assert_array_equal(statistics.apply([grey[:, ::-1]])[0, 0], grey[:, ::-1])
    assert statistics.apply([]).shape == (0, 3, 6, 9)
    # A batch of another size is scaled image by image.
    twice = np.repeat(np.repeat(np.stack([colours, colours[::-1]]), 2, axis=1), 2, axis=2)
    scaled = [np.asarray(Image.fromarray(image).resize((9, 6), Image.Resampling.BILINEAR)) for image in twice]
    np.testing.assert_array_equal(statistics.apply(twice), np.transpose(scaled, (0, 3, 1, 2)))
    assert statistics.apply(twice[0, :5]).shape == (1, 3, 6, 9)


def test_without_a_reader_images_have_to_fit(tmp_path, rng):
    statistics = Statistics((1, 6, 9), False, None, None)
    image = photo(rng, 6, 9, 1)
    image.save(tmp_path / "fits.png")
    photo(rng, 20, 20).save(tmp_path / "large.jpg")
    np.testing.assert_array_equal(statistics.apply(tmp_path / "fits.png")[0, 0], np.asarray(image))
    message = r"large\.jpg: expected an image of 6x9 pixels, .* got 20x20; .*reader=ImageReader\(size=\(6, 9\)\)\)"
    with pytest.raises(ValueError, match=message):
        statistics.apply([tmp_path / "fits.png", tmp_path / "large.jpg"])
    with pytest.raises(ValueError, match=r"expected images of shape \(N, 6, 9\), got \(2, 9, 6\)"):
        statistics.apply(np.zeros((2, 9, 6), np.uint8))
    scaling = replace(statistics, reader=ImageReader(size=(6, 9)))
    assert scaling.apply([tmp_path / "fits.png", tmp_path / "large.jpg"]).shape == (2, 1, 6, 9)
    with pytest.raises(ValueError, match=r"looks like one image in colours: give it in a list, \[image\]"):
        scaling.apply(np.zeros((20, 20, 3), np.uint8))
    assert scaling.apply([np.zeros((20, 20, 3), np.uint8)]).shape == (1, 1, 6, 9)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (b"no image", ValueError, "image 0: expected an image file, got one of no format"),
        (io.StringIO("text"), TypeError, r'expected a file opened for bytes, open\(path, "rb"\), got one opened for t'),
        (np.zeros((2, 4, 4), bool), TypeError, r"truth values become bytes by images \* numpy.uint8\(255\)"),
        ([np.zeros((3, 9, 8), np.uint8)], ValueError, r"got shape \(3, 9, 8\); image.transpose\(1, 2, 0\) puts"),
        (np.full((4, 4), 200.0), TypeError, r"levels from 0 to 255 become bytes by image.round\(\).astype\(numpy"),
        (
            np.full((4, 4), -1.5),
            TypeError,
            "values from -1.5 to -1.5 are no levels of bytes, .* predict and prob",
        ),
        (
            np.full((1, 4, 4, 3), 300),
            TypeError,
            "values from 300 to 300 are no levels of bytes, .* to 255$",
        ),
        (3.5, TypeError, "image 0: expected a path, bytes, .* got float"),
        (None, TypeError, "got NoneType"),
        ({}, TypeError, "got dict"),
        ([b"\x89PNG\r\n\x1a\n"], ValueError, "image 0: expected an image file"),
        (
            [np.zeros((4, 4))],
            TypeError,
            "image 0: expected an image of uint8, uint16, bool, got float64; levels",
        ),
        ([np.zeros((4, 4, 5), np.uint8)], ValueError, r"image 0: .* C from 1 to 4, got shape \(4, 4, 5\)"),
        ([np.zeros((0, 4), np.uint8)], ValueError, r"got shape \(0, 4\)"),
        ([np.zeros(4, np.uint8)], ValueError, r"got shape \(4,\)"),
        (np.zeros((2, 4, 4)), TypeError, "expected images of dtype uint8, got float64"),
        ([[1, 2], [3]], ValueError, "lists of different lengths"),
        ("absent.png", FileNotFoundError, "absent.png: expected an image file, but there is no such file"),
        (iter([3.5]), TypeError, "image 0: expected a path, bytes, .* got float"),
        (iter([None]), TypeError, "image 0: expected a path, bytes, .* got NoneType"),
    ],
)
def test_what_is_no_image_is_named(image, error, message):
    with pytest.raises(error, match=message):
        Statistics((1, 4, 4), False, None, None, ImageReader(size=4)).apply(image)


def test_broken_files_are_named(tmp_path, rng):
    (tmp_path / "cut.jpg").write_bytes(encoded(photo(rng, 300, 400), "JPEG")[:800])
    statistics = Statistics((1, 4, 4), False, None, None, ImageReader(size=4))
    with pytest.raises(ValueError, match=r"cut\.jpg: expected an image file, got one that cannot be read"):
        statistics.apply(tmp_path / "cut.jpg")
    with pytest.raises(ValueError, match=r"image 1: expected an image file, got one that cannot be read"):
        statistics.apply([encoded(photo(rng)), (tmp_path / "cut.jpg").read_bytes()])
    with pytest.raises(IsADirectoryError):
        statistics.apply(pathlib.Path(tmp_path))


def test_an_image_of_a_program_is_not_changed(rng):
    image = photo(rng, 300, 400)
    jpeg = Image.open(io.BytesIO(encoded(image, "JPEG")))
    Statistics((1, 4, 4), False, None, None, ImageReader(size=4)).apply([jpeg, image])
    assert (jpeg.size, image.size, jpeg.mode) == ((400, 300), (400, 300), "RGB")


def test_a_server_may_classify_from_many_threads(rng):
    """The filters of warnings belong to the whole process: of one image nothing touches them."""
    statistics = Statistics((3, 8, 8), False, None, None, ImageReader(size=8))
    files = [encoded(photo(rng)) for _ in range(40)]
    expected, before = statistics.apply(files), list(warnings.filters)
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(statistics.apply, files))
    np.testing.assert_array_equal(np.concatenate(found), expected)
    assert warnings.filters == before


def test_an_image_data_is_its_images(rng):
    labels = np.arange(12) % 3
    data, statistics = preprocess_parts(
        parts := split(rng.integers(0, 256, (12, 6, 8, 3), np.uint8), labels, validation=3)
    )
    model = ConvNet1((3, 6, 8), num_filters=2, hidden_size=3, num_classes=3)
    model.statistics = statistics
    names, probabilities = model.classify(parts["validation"])
    np.testing.assert_array_equal(probabilities, model.probabilities(data["x_validation"]))
    assert names == [str(label) for label in probabilities.argmax(axis=1)]


def test_an_image_data_that_was_read_in_another_way_is_refused(rng):
    images, reader = rng.integers(0, 256, (6, 6, 8, 3), np.uint8), ImageReader(size=(6, 8))
    data = ImageData(images, np.zeros(6, np.int64), ("a",), reader)
    _, statistics = preprocess_parts({"train": data})
    same = data._replace(reader=replace(reader, channels=3))  # which is what the model needs anyway
    np.testing.assert_array_equal(statistics.apply(same), statistics.apply(images))
    for changes in ({"crop": False}, {"background": 0}, {"size": (12, 16)}):
        with pytest.raises(ValueError, match=r"read as those of training, by ImageReader\(.*, got some by ImageReader"):
            statistics.apply(data._replace(reader=replace(reader, **changes)))


def test_names_are_those_of_the_model(rng):
    model = ConvNet1((1, 8, 8), num_filters=2, kernel_size=3, padding=1, hidden_size=5, num_classes=3)
    images = rng.integers(0, 256, (5, 8, 8), dtype=np.uint8)
    with pytest.raises(ValueError, match="classify: the model has no statistics"):
        model.classify(images)
    model.statistics = Statistics((1, 8, 8), True, None, None)
    names, probabilities = model.classify(images)
    labels = model.predict_images(images)
    assert names == [str(label) for label in labels]
    np.testing.assert_array_equal(probabilities, model.probabilities(images[:, None] / np.float32(255)))
    model.class_names = ["a", "b", "c"]
    assert model.classify(images).names == ["abc"[label] for label in labels]
    flipped = model.classify(images, flips=True)
    assert flipped.names == ["abc"[label] for label in model.predict_images(images, flips=True)]
    binary = ConvNet1((1, 8, 8), num_filters=2, hidden_size=5, num_classes=3, loss=convnet.binary_loss)
    binary.statistics = model.statistics
    with pytest.raises(ValueError, match="classify: expected a model of one class an example, got one of BinaryLabels"):
        binary.classify(images)


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        ({"size": [8, 8]}, "expected a reader of images with size, crop and background"),
        (5, "expected a reader of images"),
        ({"size": [8, 9], "crop": True, "background": [1, 2, 3]}, r"reader of images of \(8, 8\), got one of \(8, 9\)"),
        ({"size": 8.5, "crop": True, "background": [1, 2, 3]}, "size"),
        ({"size": None, "crop": 1, "background": [1, 2, 3]}, "crop"),
        ({"size": None, "crop": True, "background": [1, 2, 300]}, "background"),
        ({"size": None, "crop": True, "background": "white"}, "background"),
    ],
)
def test_what_a_file_says_of_the_reader_is_checked(reader, message):
    values = Statistics((1, 8, 8), True, None, None).to_dict()
    assert "reader" not in values
    for good in (ImageReader(), ImageReader(8, False, 1, (1, 2, 3))):
        known = Statistics.from_dict(values | {"reader": good.to_dict()}).reader
        assert known == replace(good, channels=None)
    with pytest.raises(ValueError, match=message):
        Statistics.from_dict(values | {"reader": reader})


def test_prepared_data_keep_the_reader(tmp_path, rng):
    folder_of(tmp_path / "images", rng)
    parts = split(*load_folder(tmp_path / "images", size=8)["train"], validation=3, test=3)
    data, statistics = preprocess_parts(parts, keep_uint8=True)
    convnet.save_prepared(tmp_path / "data.pickle", data, statistics)
    known = convnet.load_prepared(tmp_path / "data.pickle")[1]
    np.testing.assert_array_equal(known.apply(photo(rng)).shape, (1, 3, 8, 8))
    assert known.reader == ImageReader(size=(8, 8))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([np.uint8, np.uint16, bool, np.float32, np.int64, "U1", object, ">u2"]),
    st.lists(st.integers(0, 9), max_size=5),
    st.sampled_from([(1, 4, 4), (3, 4, 5), (2, 4, 4)]),
    st.sampled_from(
        [None, ImageReader(), ImageReader(size=(4, 4)), ImageReader(size=(4, 5), crop=False, background=0)]
    ),
    st.booleans(),
)
def test_any_array_gives_inputs_or_a_message_of_ours(dtype, shape, image_shape, reader, in_a_list):
    statistics = Statistics(image_shape, True, None, None, reader)
    array = np.zeros(shape, dtype)
    try:
        inputs = statistics.apply([array] if in_a_list else array)
    except (TypeError, ValueError) as error:
        assert "expected" in str(error)  # noqa: PT017
    else:
        assert inputs.shape[1:] == image_shape
        assert not inputs.any() or shape[-1] in (2, 4)  # with opacity 0, it shows the background
