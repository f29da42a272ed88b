"""Folders of images: layouts, kinds of files, sizes, and what is wrong with them."""

import io
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest

import convnet
from convnet import ImageData, load_folder
from convnet.datasets.folders import image_sizes

Image = pytest.importorskip("PIL.Image")
features = pytest.importorskip("PIL.features")


def picture(rng, height=6, width=9, channels=3):
    return rng.integers(0, 256, (height, width, channels)[: 2 if channels == 1 else 3], dtype=np.uint8)


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(path, **options)


def load(path, **options):
    """Load a folder of one part."""
    (part,) = load_folder(path, **options).values()
    return part


def load_one(path, array, name="x.png", options=None, **arguments):
    """Return an image written to a file of a class of its own, as it is loaded."""
    write(path / "class" / name, array, **(options or {}))
    (image,) = load(path, **arguments).images
    return image


def test_classes_and_files_come_in_the_order_of_people(tmp_path, rng):
    arrays = {}
    for name in ("class10", "class2", "Class1"):
        for file in ("10.png", "9.PNG", "a.bmp"):
            arrays[name, file] = picture(rng)
            write(tmp_path / name / file, arrays[name, file])
    parts = load_folder(tmp_path)
    assert list(parts) == ["train"]
    assert isinstance(parts["train"], ImageData)
    images, labels, names, _, files = parts["train"]
    assert names == ("Class1", "class2", "class10")
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    expected = [arrays[name, file] for name in names for file in ("9.PNG", "10.png", "a.bmp")]
    np.testing.assert_array_equal(images, expected)
    assert images.flags.writeable
    assert files == [tmp_path / name / file for name in names for file in ("9.PNG", "10.png", "a.bmp")]


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_parts_have_the_same_classes(tmp_path, rng, name):
    write(tmp_path / "test" / "b" / "0.png", picture(rng))
    for label in "ab":
        write(tmp_path / "train" / label / "0.png", picture(rng))
        write(tmp_path / name / label / "0.png", picture(rng))
    with pytest.warns(UserWarning, match="the test part has no image of the class a"):
        parts = load_folder(tmp_path)
    assert {part: data.labels.tolist() for part, data in parts.items()} == {
        "train": [0, 1],
        "validation": [0, 1],
        "test": [1],
    }
    assert list(parts) == ["train", "validation", "test"]
    assert {data.class_names for data in parts.values()} == {("a", "b")}


def test_a_class_may_have_the_name_of_a_part(tmp_path, rng):
    for name in ("train", "bus"):
        write(tmp_path / name / "0.png", picture(rng))
    assert load(tmp_path).class_names == ("bus", "train")


def test_given_class_names_are_the_order(tmp_path, rng):
    for name in ("a", "b"):
        write(tmp_path / name / "0.png", picture(rng))
    assert load(tmp_path, class_names=["b", "a"]).labels.tolist() == [0, 1]
    with pytest.warns(UserWarning, match="no image of the class c"):
        assert load(tmp_path, class_names=["b", "c", "a"]).labels.tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"expected folders of the classes b, c, as class_names says, got a$"):
        load(tmp_path, class_names=["b", "c"])


def test_hidden_and_other_files_are_ignored(tmp_path, rng):
    write(tmp_path / "a" / "0.png", picture(rng))
    for name in (".hidden.png", "notes.txt", "Thumbs.db"):
        (tmp_path / "a" / name).write_text("nothing")
    (tmp_path / "readme.png").write_text("nothing")
    write(tmp_path / ".cache" / "0.png", picture(rng))
    write(tmp_path / "__MACOSX" / "a" / "0.png", picture(rng))
    assert len(load(tmp_path).images) == 1
    assert load(tmp_path).class_names == ("a",)


def grey_of(colour):
    red, green, blue = np.moveaxis(colour.astype(float), -1, 0)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_files_are_grey_only_if_all_are(tmp_path, rng):
    grey, colour = picture(rng, channels=1), picture(rng)
    write(tmp_path / "a" / "0.png", grey)
    assert load(tmp_path).images.shape == (1, 6, 9)
    np.testing.assert_array_equal(load(tmp_path, channels=3).images[0], np.stack(3 * [grey], axis=-1))
    write(tmp_path / "a" / "1.png", colour)
    write(tmp_path / "a" / "2.png", grey)
    images = load(tmp_path).images
    np.testing.assert_array_equal(images, [np.stack(3 * [grey], -1), colour, np.stack(3 * [grey], -1)])
    images = load(tmp_path, channels=1).images
    np.testing.assert_array_equal(images[[0, 2]], [grey, grey])
    np.testing.assert_allclose(images[1], grey_of(colour), atol=1)


def test_black_and_white_is_grey(tmp_path, rng):
    bits = rng.integers(0, 2, (6, 9)).astype(bool)
    np.testing.assert_array_equal(load_one(tmp_path, bits), np.where(bits, 255, 0))


def test_a_palette_is_its_colours(tmp_path, rng):
    colours, index = picture(rng, 1, 7)[0], rng.integers(0, 7, (6, 9))
    image = Image.fromarray(index.astype(np.uint8), "L").convert("L")
    image.putpalette(colours.tobytes())
    np.testing.assert_array_equal(load_one(tmp_path, image), colours[index])


def test_a_palette_may_have_a_transparent_colour(tmp_path, rng):
    colours, index = picture(rng, 1, 7)[0], rng.integers(0, 7, (6, 9))
    image = Image.fromarray(index.astype(np.uint8), "L")
    image.putpalette(colours.tobytes())
    expected = np.where((index == 2)[..., None], [1, 2, 3], colours[index])
    loaded = load_one(tmp_path, image, options={"transparency": 2}, background=(1, 2, 3))
    np.testing.assert_array_equal(loaded, expected)


@pytest.mark.parametrize("background", [255, 0, 77])
def test_what_is_transparent_shows_the_background(tmp_path, rng, background):
    rgba = picture(rng, channels=4)
    rgba[:, :3, 3], rgba[:, 6:, 3] = 0, 255
    share = rgba[..., 3:] / 255
    loaded = load_one(tmp_path, rgba, background=background)
    np.testing.assert_allclose(loaded, share * rgba[..., :3] + (1 - share) * background, atol=1.01)
    loaded = load_one(tmp_path / "grey", rgba[..., [0, 3]], background=background)
    np.testing.assert_allclose(loaded, (share * rgba[..., :1] + (1 - share) * background)[..., 0], atol=1.01)


def test_a_coloured_background_makes_images_coloured(tmp_path, rng):
    clear = np.zeros((6, 9, 2), np.uint8)
    loaded = load_one(tmp_path, clear, background=(10, 20, 30))
    np.testing.assert_array_equal(loaded, np.broadcast_to([10, 20, 30], (6, 9, 3)))


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_16_bits_become_8(tmp_path, rng, name):
    levels = rng.integers(0, 65536, (6, 9), dtype=np.uint16)
    levels[0, :4] = [0, 65535, 257, 128 * 257]
    loaded = load_one(tmp_path, levels, name)
    np.testing.assert_array_equal(loaded, np.floor(levels / 257 + 0.5))
    assert loaded[0, :4].tolist() == [0, 255, 1, 128]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_32_bits_are_refused(tmp_path, dtype):
    with pytest.raises(ValueError, match=r"x.tif: expected an image file, .*its pixels have 32 bits"):
        load_one(tmp_path, np.ones((6, 9), dtype), "x.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_data_turn_an_image(tmp_path, rng, orientation):
    array = picture(rng)
    exif = Image.Exif()
    exif[0x0112] = orientation
    # EXIF 2.3, 4.6.4: where row 0 and column 0 of the file are to be seen.
    upright = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.swapaxes(0, 1),
        6: array.swapaxes(0, 1)[:, ::-1],
        7: array.swapaxes(0, 1)[::-1, ::-1],
        8: array.swapaxes(0, 1)[::-1],
    }[orientation]
    loaded = load_one(tmp_path, array, options={"exif": exif.tobytes()})
    np.testing.assert_array_equal(loaded, upright)


def test_cmyk_is_colour(tmp_path):
    loaded = load_one(tmp_path, Image.new("CMYK", (9, 6), (0, 255, 255, 0)), "x.jpg", {"quality": 95})
    assert np.abs(loaded.astype(int) - [255, 0, 0]).max() < 12


def test_images_of_other_sizes_are_an_error_that_counts_them(tmp_path, rng):
    for index, shape in enumerate([(6, 9), (6, 9), (9, 6), (5, 5)]):
        write(tmp_path / "a" / f"{index}.png", picture(rng, *shape))
    message = r"one size, got 3 sizes, height x width \(files\): 6x9 \(2\), 9x6 \(1\), 5x5 \(1\); size=\(H, W\)"
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path)
    assert load(tmp_path, size=8).images.shape == (4, 8, 8, 3)
    assert load(tmp_path, size=(4, 7), channels=1).images.shape == (4, 4, 7)


def test_cropping_keeps_the_middle(tmp_path):
    array = np.zeros((4, 12), np.uint8)
    array[:, 4:8] = 200
    np.testing.assert_array_equal(load_one(tmp_path, array, size=4), np.full((4, 4), 200))
    np.testing.assert_array_equal(load_one(tmp_path / "down", array.T, size=(4, 4)), np.full((4, 4), 200))


def test_without_cropping_the_rest_is_background(tmp_path):
    array = np.full((4, 12, 3), 200, np.uint8)
    loaded = load_one(tmp_path, array, size=(6, 6), crop=False, background=(9, 8, 7))
    np.testing.assert_array_equal(loaded[2:4], np.full((2, 6, 3), 200))
    np.testing.assert_array_equal(loaded[[0, 1, 4, 5]], np.broadcast_to([9, 8, 7], (4, 6, 3)))
    loaded = load_one(tmp_path / "grey", array[..., 0], size=(6, 6), crop=False, background=9)
    assert loaded.shape == (6, 6)
    assert loaded[0].tolist() == 6 * [9]


def test_scaling_down_averages(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 200
    loaded = load_one(tmp_path, stripes, size=8)
    assert np.abs(loaded[1:-1, 1:-1].astype(int) - 100).max() <= 3


def test_a_large_jpeg_scales_as_its_pixels_do(tmp_path, rng):
    ramp = np.linspace(0, 255, 800)
    array = np.stack(3 * [np.broadcast_to(ramp, (600, 800)).astype(np.uint8)], -1)
    loaded = load_one(tmp_path, array, "x.jpg", {"quality": 95}, size=(6, 8))
    expected = np.broadcast_to(ramp.reshape(8, 100).mean(1)[:, None], (6, 8, 3))
    np.testing.assert_allclose(loaded, expected, atol=4)


def damage(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_a_broken_file_is_named_or_skipped(tmp_path, rng):
    arrays = [picture(rng, 40, 40) for _ in range(4)]
    for index, array in enumerate(arrays):
        write(tmp_path / "ab"[index // 2] / f"{index}.png", array)
    damage(tmp_path / "a" / "1.png")
    (tmp_path / "b" / "4.jpg").write_bytes(b"no image")
    with pytest.raises(
        ValueError, match=r"1\.png: expected an image file, got one that cannot be .*; skip_broken=True leaves"
    ):
        load_folder(tmp_path)
    with pytest.warns(UserWarning, match=r"2 files of 5 could not be read and left out: .*1\.png.*4\.jpg") as caught:
        images, labels, *_ = load(tmp_path, skip_broken=True)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(images, np.array(arrays)[[0, 2, 3]])
    assert labels.tolist() == [0, 1, 1]


def test_a_class_of_broken_files_is_an_error(tmp_path, rng):
    for name in "ab":
        write(tmp_path / name / "0.png", picture(rng, 40, 40))
    damage(tmp_path / "b" / "0.png")
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(ValueError, match="got only broken files of b in the train part"),
    ):
        load_folder(tmp_path, skip_broken=True)
    damage(tmp_path / "a" / "0.png")
    with pytest.raises(ValueError, match="no file of 2 could be read"):
        load_folder(tmp_path, skip_broken=True)


def test_a_file_of_too_many_pixels_is_refused(tmp_path, rng):
    with pytest.raises(ValueError, match=r"x\.png: expected an image of at most 53 pixels"):
        load_one(tmp_path, picture(rng), max_pixels=53)
    assert load(tmp_path, max_pixels=54).images.shape == (1, 6, 9, 3)
    # Rows of zeros: a small file that unpacks to 400 million pixels.
    content = io.BytesIO()
    Image.new("1", (100, 100)).save(content, "PNG")
    bomb = bytearray(content.getvalue())
    bomb[16:24] = (20000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    (tmp_path / "class" / "x.png").write_bytes(bomb)
    for limit in (100_000_000, 2**31 - 1):
        with pytest.raises(ValueError, match=r"x\.png: expected an image of at most"):
            load_folder(tmp_path, max_pixels=limit)


WEBP = {
    b"VP8 ": {"lossless": False},
    b"VP8L": {"lossless": True},
    b"VP8X": {"lossless": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
}


@pytest.mark.skipif(not features.check("webp"), reason="this Pillow does not write WebP")
@pytest.mark.parametrize("kind", WEBP)
def test_a_webp_file_of_too_many_pixels_is_refused_before_pillow_takes_their_memory(tmp_path, rng, monkeypatch, kind):
    path = tmp_path / "class" / "x.webp"
    write(path, picture(rng), **WEBP[kind])
    assert path.read_bytes()[12:16] == kind
    assert load(tmp_path, max_pixels=54).images.shape == (1, 6, 9, 3)
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(ValueError, match=r"x\.webp: expected an image of at most 53 pixels, got more"):
        load(tmp_path, max_pixels=53)


def make_empty(folder, rng):
    (folder / "a").mkdir()


def make_without_images(folder, rng):
    write(folder / "b" / "0.png", picture(rng))
    (folder / "a").mkdir()
    (folder / "a" / "x.txt").write_text("nothing")


def make_nested(folder, rng):
    write(folder / "a" / "0.png", picture(rng))
    write(folder / "a" / "deeper" / "0.png", picture(rng))


def make_mixed(folder, rng):
    write(folder / "train" / "a" / "0.png", picture(rng))
    write(folder / "more" / "0.png", picture(rng))


def make_twice(folder, rng):
    for name in ("val", "validation"):
        write(folder / name / "a" / "0.png", picture(rng))


def make_flat(folder, rng):
    write(folder / "0.png", picture(rng))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_empty, "a: expected at least one image of the class a, got no file that ends in .png, .*, or remove it"),
        (make_without_images, "a: expected at least one image of the class a"),
        (make_nested, "got the folder deeper among them; move its images up"),
        (make_mixed, "got more beside train; .*train alone can be loaded, too"),
        (make_twice, "expected one folder for the validation part"),
        (
            make_flat,
            "expected a folder of images for each class, got images and no folder in it; if they are one",
        ),
    ],
)
def test_other_layouts_are_errors_that_name_the_folder(tmp_path, rng, make, message):
    make(tmp_path, rng)
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path)


def test_what_is_no_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing: expected a folder"):
        load_folder(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file: expected a folder .* got a file"):
        load_folder(tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 0}, ValueError, "size"),
        ({"size": (1, 2, 3)}, ValueError, "size"),
        ({"size": 1.5}, TypeError, "size"),
        ({"size": 10_001}, ValueError, "size: expected at most 100,000,000 pixels in all, got 10001x10001"),
        ({"channels": 2}, ValueError, "channels: expected 1, 3 or None, got 2"),
        ({"channels": True}, ValueError, "channels"),
        ({"background": 256}, ValueError, "background: expected levels from 0 to 255"),
        ({"background": (1, 2)}, ValueError, "background"),
        ({"background": "white"}, ValueError, "background"),
        ({"crop": 1}, TypeError, "crop"),
        ({"skip_broken": None}, TypeError, "skip_broken"),
        ({"progress": 1}, TypeError, "progress"),
        ({"max_pixels": 0}, ValueError, "max_pixels"),
        ({"class_names": "ab"}, TypeError, "class_names"),
        ({"class_names": ["a", "a"]}, ValueError, "class_names"),
    ],
)
def test_wrong_options_are_named(tmp_path, rng, options, error, message):
    write(tmp_path / "a" / "0.png", picture(rng))
    with pytest.raises(error, match=message):
        load_folder(tmp_path, **options)


def test_the_number_of_threads_changes_nothing(tmp_path, rng):
    for index in range(300):
        write(tmp_path / f"class{index % 3}" / f"{index}.png", picture(rng, 3, 4))
    before = convnet.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            convnet.set_num_threads(threads)
            found.append(load(tmp_path, progress=True))
    finally:
        convnet.set_num_threads(before)
    assert found[0].images.tobytes() == found[1].images.tobytes()
    assert found[0].labels.tolist() == 100 * [0] + 100 * [1] + 100 * [2]


def test_filters_of_warnings_are_as_before(tmp_path, rng):
    write(tmp_path / "a" / "0.png", picture(rng))
    before = list(warnings.filters)
    load_folder(tmp_path)
    (tmp_path / "a" / "1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1\.png"):
        load_folder(tmp_path)
    assert warnings.filters == before


def test_files_are_those_of_the_images_where_some_are_broken(tmp_path, rng):
    for part, name in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")):
        for number in range(4):
            write(tmp_path / part / name / f"{number}.png", np.full((3, 4), 10 * number, np.uint8))
    for place in ("train/a/1.png", "train/b/0.png", "test/a/3.png"):
        (tmp_path / place).write_bytes(b"")
    with pytest.warns(UserWarning, match="3 files of 16 could not be read"):
        parts = load_folder(tmp_path, skip_broken=True)
    for part, data in parts.items():
        assert len(data.files) == len(data.images)
        for file, label, image in zip(data.files, data.labels, data.images, strict=True):
            assert file == tmp_path / part / "ab"[label] / f"{image[0, 0] // 10}.png"


def test_sizes_are_counted_without_loading(tmp_path, rng):
    for number, (height, width) in enumerate([(3, 4), (3, 4), (5, 2), (7, 7)]):
        write(tmp_path / "train" / "ab"[number % 2] / f"{number}.png", picture(rng, height, width))
    turned = Image.fromarray(picture(rng, 3, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    write(tmp_path / "test" / "a" / "turned.png", turned, exif=exif)
    (tmp_path / "train" / "a" / "broken.png").write_bytes(b"")
    assert image_sizes(tmp_path) == {(3, 4): 2, (5, 2): 1, (7, 7): 1, (4, 3): 1}
    (tmp_path / "table.csv").write_text("0,x\n1,y\n3,x\n")
    for number in (0, 1, 3):
        write(tmp_path / "flat" / f"{number}.png", picture(rng, number + 1, 2))
    assert image_sizes(tmp_path / "flat", labels=tmp_path / "table.csv") == {(1, 2): 1, (2, 2): 1, (4, 2): 1}
    with pytest.raises(FileNotFoundError, match="expected a folder with a folder of images for each class"):
        image_sizes(tmp_path / "none")


def test_some_of_many_sizes_are_counted(tmp_path, rng):
    for number in range(1100):
        write(tmp_path / "ab"[number // 600] / f"{number}.png", np.zeros((1 + number // 600, 1), np.uint8))
    counts = image_sizes(tmp_path)
    assert sum(counts.values()) <= 500
    assert counts[1, 1] / counts[2, 1] == pytest.approx(6 / 5, rel=0.02)


def test_a_file_whose_headers_claim_gigabytes_takes_no_memory_for_them(tmp_path):
    path = tmp_path / "class" / "image.png"
    path.parent.mkdir()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    length = content.index(b"IDAT") - 4
    content[length : length + 4] = (2**31 - 1).to_bytes(4, "big")
    path.write_bytes(content)
    tracemalloc.start()
    try:
        images = load(tmp_path).images
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(images, np.zeros((1, 9, 9)))
