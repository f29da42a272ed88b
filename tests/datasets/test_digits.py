"""The preparation of photographed digits."""

import io
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from cases import STROKES
from PIL import Image, ImageDraw, ImageFont

import convnet
from convnet import Affine, Conv2D, MaxPool2D, ReLU, prepare_digit


def bar(height=50, width=5, ground=230, ink=40, shape=(90, 60), corner=(20, 28)):
    """Return a sheet with an upright bar."""
    sheet = np.full(shape, ground, np.uint8)
    sheet[corner[0] : corner[0] + height, corner[1] : corner[1] + width] = ink
    return sheet


def corner():
    """Return a sheet with an L, whose centre of mass does not lie midway between pixels."""
    sheet = bar(60, 6, shape=(100, 100))
    sheet[70:80, 28:88] = 40
    return sheet


def test_fits_the_box_centred_by_mass():
    image = prepare_digit(bar())
    assert image.dtype == np.uint8
    assert image.shape == (28, 28)
    expected = np.zeros((28, 28), np.uint8)
    expected[4:24, 13:15] = 255
    np.testing.assert_array_equal(image, expected)


def test_centre_of_mass_not_of_the_box():
    image = prepare_digit(corner()).astype(float)
    rows, columns = np.nonzero(image > 127)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 20)
    for axis in (0, 1):
        centre = image.sum(axis=1 - axis) @ np.arange(28) / image.sum()
        assert abs(centre - 14) <= 0.51


@pytest.mark.parametrize(
    "change",
    [
        lambda image: 255 - image,
        lambda image: image.astype(np.float64) / 255,
        lambda image: image.astype(np.uint16) * 257,
        lambda image: image.astype(">i4") - 1000,
        lambda image: image > 128,
        lambda image: np.pad(image, ((40, 3), (0, 70)), constant_values=230),
        lambda image: np.repeat(image[:, :, np.newaxis], 3, axis=2),
        lambda image: np.dstack([image, image, image, np.full_like(image, 255)]),
        lambda image: np.dstack([0 * image] * 3 + [np.where(image < 128, 255, 0).astype(np.uint8)]),
        lambda image: np.dstack([0 * image + 255] * 3 + [np.where(image < 128, 255, 0).astype(np.uint8)]),
        lambda image: np.asfortranarray(image)[:, :],
        lambda image: image.tolist(),
    ],
    ids=[
        "inverted",
        "floats",
        "uint16",
        "big-endian",
        "bool",
        "padded",
        "colour",
        "opaque",
        "black",
        "white",
        "F",
        "lists",
    ],
)
def test_the_same_digit_in_other_clothes(change):
    np.testing.assert_array_equal(prepare_digit(change(bar())), prepare_digit(bar()))


def test_colours_count_as_grey_levels_of_their_brightness():
    sheet = np.zeros((60, 90, 3), np.uint8)
    for channel in range(3):
        sheet[10:50, 10 + 25 * channel : 30 + 25 * channel, channel] = 255
    grey = np.asarray(Image.fromarray(sheet).convert("L"))
    np.testing.assert_allclose(prepare_digit(sheet).astype(int), prepare_digit(grey), atol=2)


def test_read_only_images_stay_as_they_are():
    sheet = bar()
    sheet.setflags(write=False)
    before = sheet.copy()
    prepare_digit(sheet)
    np.testing.assert_array_equal(sheet, before)


def test_anti_aliasing_keeps_the_mass():
    # 100 x 100 pixels become 20 x 20: each is the mean of what it covers, so that ink is lost or won at no edge.
    rng = np.random.default_rng(0)
    sheet = np.zeros((140, 140))
    sheet[20:120, 20:120] = np.kron(rng.random((20, 20)) < 0.5, np.ones((5, 5)))
    sheet[[20, 119], 20:120] = sheet[20:120, [20, 119]] = 1
    small = prepare_digit(sheet)[4:24].astype(float) / 255
    assert small.sum() * 25 == pytest.approx(sheet.sum(), rel=0.02)
    assert np.mean((small > 0.1) & (small < 0.9)) > 0.2


def test_light_from_one_side_and_noise_do_not_count():
    rng = np.random.default_rng(0)
    sheet = bar().astype(float)
    y, x = np.indices(sheet.shape)
    photograph = sheet * (1 - 0.004 * y) + 0.6 * x + rng.normal(0, 2, sheet.shape)
    rows, columns = np.nonzero(prepare_digit(photograph))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 2)
    assert len(rows) == 40


def test_mnist_digits_stay_nearly_what_they_are(mnist):
    images = mnist[2][:300]
    prepared = np.stack([prepare_digit(image) for image in images]).astype(float)
    off = np.abs(prepared - images).mean(axis=(1, 2))
    assert np.median(off) < 5


def test_an_axis_of_one_channel_is_grey():
    np.testing.assert_array_equal(prepare_digit(bar()[:, :, np.newaxis]), prepare_digit(bar()))


@pytest.mark.parametrize("size", [(28, 28), (7, 7), (8, 30), (64, 32)])
def test_other_sizes(size):
    image = prepare_digit(bar(), size)
    assert image.shape == size
    assert np.count_nonzero(image.max(axis=1)) == round(20 / 28 * min(size))


@pytest.mark.parametrize("shape", [(2, 2), (1, 9), (9, 1), (3, 400), (700, 500)])
def test_odd_shapes(shape):
    sheet = np.zeros(shape)
    sheet[shape[0] // 2, shape[1] // 2 :] = 1
    assert prepare_digit(sheet).max() == 255


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.full((9, 9), 7), ValueError, "whose pixels are all 7"),
        (np.arange(81.0).reshape(9, 9), ValueError, "even ground"),
        (np.zeros((0, 9)), ValueError, r"got \(0, 9\)"),
        (np.zeros((9, 9, 2)), ValueError, r"got \(9, 9, 2\)"),
        (np.zeros(9), ValueError, r"got \(9,\)"),
        (np.full((9, 9), np.nan), ValueError, "expected finite grey levels, got NaN or infinity"),
        (np.full((9, 9), np.inf), ValueError, "infinity"),
        (np.zeros((9, 9), complex), TypeError, "complex"),
        (np.full((9, 9), "a"), TypeError, "<U1"),
        (None, TypeError, "or the path of one, got NoneType"),
        ([[1, 2], [3]], ValueError, "^prepare_digit: .*lists of different lengths"),
        (np.stack([np.full((9, 9), value) for value in (np.inf, -np.inf, 0)], 2), ValueError, "infinity"),
        (np.stack([np.full((9, 9), value) for value in (np.inf, 0, 0, 0)], 2), ValueError, "infinity"),
        ([[1e308, -1e308], [0, 0]], ValueError, "expected grey levels up to 1e[+]100 in size, got 1e[+]308"),
    ],
)
def test_says_what_is_wrong(image, error, message):
    with pytest.raises(error, match=message):
        prepare_digit(image)


@pytest.mark.parametrize("shape", [(300, 300), (257, 257), (480, 640), (600, 800), (1000, 1000)])
@pytest.mark.parametrize("level", [255, 200, 128, 0.1, 0])
def test_a_blank_sheet_of_any_size_is_refused(shape, level):
    with pytest.raises(ValueError, match=f"whose pixels are all {level}"):
        prepare_digit(np.full(shape, level))


@pytest.mark.parametrize("size", [28, (28,), (28, 10**9), (28, 6), (28, 28, 1), (28.0, 28)])
def test_wrong_sizes(size):
    with pytest.raises((ValueError, TypeError), match="size"):
        prepare_digit(bar(), size)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.gif", "a.webp", "a.tif"])
def test_image_files(tmp_path, name):
    Image.fromarray(corner()).save(tmp_path / name)
    expected = prepare_digit(corner()).astype(int)
    assert abs(prepare_digit(tmp_path / name) - expected).max() <= (40 if name in ("a.jpg", "a.webp") else 1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I", "F", "I;16"])
def test_modes_of_image_files(tmp_path, mode):
    picture = Image.fromarray(bar()).convert(mode, **({"dither": 0} if mode == "1" else {}))
    picture.save(tmp_path / "a.tif")
    assert abs(prepare_digit(str(tmp_path / "a.tif")).astype(int) - prepare_digit(bar())).max() <= 2


@pytest.mark.parametrize("side", [20, 60, 256, 700])
def test_nothing_but_noise_or_shade_is_no_digit(rng, side):
    y, x = np.indices((side, side + 9)) / side
    noise = rng.standard_normal(x.shape)
    for sheet in (noise, rng.random(x.shape), 240 - 90 * (x + 2 * y) + noise):
        with pytest.raises(ValueError, match="got nothing that stands out from noise or shade"):
            prepare_digit(sheet)
    sheet = bar() + 4.0 * rng.standard_normal(bar().shape)
    rows, columns = np.nonzero(prepare_digit(sheet) > 60)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 2)


@pytest.mark.parametrize("corner_of", [(0, 0), (1200, 1700), (2300, 1960)])
def test_a_small_digit_on_a_large_sheet_is_looked_at_in_full(mnist, rng, corner_of):
    for digit in mnist[2][:3]:
        sheet = 230 + 3 * rng.standard_normal((2400, 2060))
        top, left = corner_of[0] + 11, corner_of[1] + 7
        sheet[top : top + 56, left : left + 56] -= 0.8 * digit.repeat(2, axis=0).repeat(2, axis=1)
        assert np.abs(prepare_digit(sheet).astype(float) - prepare_digit(digit)).mean() < 6


def test_sixteen_bits_in_either_byte_order(tmp_path):
    levels = (corner().astype(np.uint16) + 1) * 200
    for order in ("<", ">"):
        content = levels.astype(f"{order}u2").tobytes()
        mode = "I;16" if order == "<" else "I;16B"
        Image.frombytes(mode, levels.shape[::-1], content).save(tmp_path / "a.tif")
        np.testing.assert_array_equal(prepare_digit(tmp_path / "a.tif"), prepare_digit(levels))


def with_opacity(grey, opacity):
    return np.stack([grey, grey, grey, opacity], axis=2).astype(np.uint8)


def test_transparent_places_show_a_sheet_that_the_ink_stands_out_from():
    dark, all_there = bar(), np.full(bar().shape, 255)
    strokes = np.where(dark < 128, 255, 0)  # opaque where the ink is
    np.testing.assert_array_equal(prepare_digit(with_opacity(dark, strokes)), prepare_digit(dark))
    np.testing.assert_array_equal(prepare_digit(with_opacity(255 - dark, strokes)), prepare_digit(dark))
    card = all_there.copy()
    card[:8, :8] = card[-8:, -8:] = 0  # a light sheet with cut corners
    np.testing.assert_array_equal(prepare_digit(with_opacity(dark, card)), prepare_digit(dark))
    for other in (with_opacity(dark, card).tolist(), with_opacity(dark, card) / 255, with_opacity(dark, card) * 1.0):
        np.testing.assert_array_equal(prepare_digit(other), prepare_digit(dark))


def test_absurd_sides_are_refused():
    with pytest.raises(ValueError, match="expected at most 32,768 pixels per side"):
        prepare_digit(np.zeros((1, 10**6), np.uint8))


def test_photographs_of_many_pixels(tmp_path):
    photograph = np.kron(corner(), np.ones((31, 31), np.uint8))
    for mode in ("L", "RGB"):
        Image.fromarray(photograph).convert(mode).save(tmp_path / "a.png")
        assert abs(prepare_digit(tmp_path / "a.png").astype(int) - prepare_digit(corner())).max() <= 45


def test_turned_as_the_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(bar())).convert("RGB").save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(prepare_digit(tmp_path / "a.png"), prepare_digit(bar()))


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text.png: expected an image file, got one of no format that Pillow reads$"):
        prepare_digit(tmp_path / "text.png")
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 60), np.uint8)).save(content, "png")
    for length in (20, 60, 2000):
        (tmp_path / "cut.png").write_bytes(content.getvalue()[:length])
        with pytest.raises(ValueError, match=r"cut.png: expected"):
            prepare_digit(tmp_path / "cut.png")
    for side in (60_000, 11_000):  # Pillow itself refuses the first
        (tmp_path / "large.pgm").write_bytes(f"P5 {side} {side} 255\n".encode() + bytes(1000))
        with pytest.raises(ValueError, match=r"large.pgm: expected an image of at most 89,478,485 pixels, got more"):
            prepare_digit(tmp_path / "large.pgm")
    with pytest.raises(FileNotFoundError, match=r"none.png"):
        prepare_digit(tmp_path / "none.png")
    with pytest.raises(IsADirectoryError):
        prepare_digit(tmp_path)


def test_needs_pillow_for_files_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert prepare_digit(bar()).max() == 255
    with pytest.raises(ImportError, match="Pillow"):
        prepare_digit(tmp_path / "a.png")


@pytest.fixture(scope="module")
def readers(mnist):
    """Return models trained as examples/fast_recipe.py trains them, for random seeds 0 to 2."""
    data, statistics = convnet.preprocess(*mnist)
    return [trained(seed, data, statistics) for seed in range(3)]


def trained(seed, data, statistics):
    rng = np.random.default_rng(seed)
    model = convnet.Sequential(
        [
            Conv2D(1, 16, 5, padding=2, rng=rng),
            ReLU(),
            MaxPool2D(2),
            Conv2D(16, 32, 3, padding=1, rng=rng),
            ReLU(),
            MaxPool2D(2),
            Affine(32 * 7 * 7, 128, rng=rng),
            ReLU(),
            Affine(128, 10, rng=rng),
        ],
        (1, 28, 28),
        l2=1e-4,
        rng=rng,
    )
    model.statistics = statistics
    convnet.Solver(
        model,
        data,
        convnet.Momentum(0.05, nesterov=True),
        schedule=convnet.OneCycle(2),
        batch_size=100,
        epochs=2,
        seed=seed,
        augmentation=convnet.Augmentation(shift=1, rotation=0, statistics=statistics),
        restore_best=False,
    ).train()
    return model


def accuracy(model, images, labels):
    return np.mean(model.predict_images(np.stack(images)) == labels)


@pytest.mark.slow
def test_reads_the_digits_of_scikit_learn(readers):
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    prepared = [prepare_digit(image) for image in bunch.images]
    plain = [
        np.asarray(Image.fromarray((image * 255 / 16).astype(np.uint8)).resize((28, 28), Image.Resampling.BILINEAR))
        for image in bunch.images
    ]
    # They are unlike MNIST's, so that what a model reads of them depends on its random seed.
    prepared, plain = (
        sorted(accuracy(reader, images, bunch.target) for reader in readers) for images in (prepared, plain)
    )
    for name, rates in (("prepared", prepared), ("enlarged", plain)):
        print(f"scikit-learn's digits, {name}: {', '.join(f'{rate:.1%}' for rate in rates)}")
    assert prepared[1] >= 0.88
    assert prepared[1] >= plain[1] + 0.15


FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "cmr10")

SHEET = 240


def written(digit, style, light, scale, rng):
    """Return a sheet with a digit in a font or in jittered strokes, anywhere on it."""
    ground, ink = (int(level) for level in ((rng.integers(190, 256), rng.integers(0, 70))[:: 1 if light else -1]))
    sheet = Image.new("L", (SHEET, SHEET), ground)
    pencil = ImageDraw.Draw(sheet)
    size = 80 * scale
    if style is None:
        height, width = size, 0.75 * size
        x, y = rng.uniform(20, SHEET - width - 20), rng.uniform(20, SHEET - height - 20)
        thick = max(2, size * rng.uniform(0.07, 0.14))
        for line in STROKES[digit]:
            points = [(x + width * (a + rng.normal(0, 0.03)), y + height * (b + rng.normal(0, 0.03))) for a, b in line]
            pencil.line(points, ink, round(thick), joint="curve")
            for a, b in points:
                pencil.ellipse([a - thick / 2, b - thick / 2, a + thick / 2, b + thick / 2], ink)
        return np.asarray(sheet)
    font = ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{style}.ttf"), size)
    left, top, right, bottom = pencil.textbbox((0, 0), str(digit), font)
    x, y = (rng.uniform(10, SHEET - side - 10) for side in (right - left, bottom - top))
    pencil.text((x - left, y - top), str(digit), ink, font)
    return np.asarray(sheet)


@pytest.mark.slow
def test_reads_rendered_digits(readers):
    rng = np.random.default_rng(0)
    styles = [*FONTS, *[None] * 5]
    cases = [
        (digit, style, light, rng.uniform(0.5, 2)) for digit in range(10) for style in styles for light in (True, False)
    ]
    images = [prepare_digit(written(*case, rng)) for case in cases]
    rate = accuracy(readers[0], images, [digit for digit, *_ in cases])
    print(f"{len(cases)} rendered digits: {rate:.2%}")
    assert len(cases) == 200
    assert rate >= 0.9
