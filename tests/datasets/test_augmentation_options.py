"""Augmentation: flips, what comes in from outside, contrast, brightness, cutout, raw images, threads."""

import numpy as np
import pytest
from guarded import on

from convnet import Augmentation, Statistics, preprocess
from convnet.core import threads

OFF = {"shift": 0, "rotation": 0}


def padded_by_two(x, options):
    """Return images with two pixels around them, as NumPy pads them."""
    if options.get("reflect"):
        kind = {"mode": "reflect"}
    elif "ground" in options:
        kind = {"mode": "constant", "constant_values": options["ground"]}
    else:
        kind = {"mode": "edge"}
    return np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), **kind)


@pytest.mark.parametrize("outside", [{}, {"reflect": True}, {"ground": 0}, {"ground": 7.5}], ids=repr)
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_crops_and_flips_are_of_every_kind_and_are_what_numpy_pads(rng, kind, flips, outside):
    x = rng.integers(0, 256, (600, 2, 7, 8)).astype(kind)
    y = Augmentation(shift=2, rotation=0, flip=flips[0], flip_vertically=flips[1], **outside)(x, rng)
    assert y.dtype == (np.float64 if kind == np.float64 else np.float32)
    seen = {}
    ways = [(i, j, v, h) for i in range(5) for j in range(5) for v in (1, -1) for h in (1, -1)]
    found = np.zeros(len(x), int)
    for i, j, v, h in ways:
        padded = padded_by_two(x[:, :, ::v, ::h].astype(float), outside)
        fits = (padded[:, :, i : i + 7, j : j + 8] == y).all(axis=(1, 2, 3))
        found += fits
        seen[i, j, v, h] = fits.sum()
    assert (found == 1).all()
    allowed = {way for way in ways if (way[2] == 1 or flips[1]) and (way[3] == 1 or flips[0])}
    assert {way for way, count in seen.items() if count} <= allowed
    for axis, is_flipped in ((3, flips[0]), (2, flips[1])):
        share = sum(count for way, count in seen.items() if way[axis] == -1) / len(x)
        assert abs(share - 0.5 * is_flipped) < 0.1  # five standard deviations
    assert len({way[:2] for way, count in seen.items() if count}) == 25


def test_a_flip_and_a_full_turn_are_exact_with_rotation_too(rng):
    x = rng.standard_normal((50, 2, 6, 5))
    tiny = Augmentation(shift=0, rotation=1e-9, flip=True, flip_vertically=True)(x, rng)
    candidates = np.stack([x[:, :, ::v, ::h] for v in (1, -1) for h in (1, -1)])
    errors = np.abs(candidates - tiny).max(axis=(2, 3, 4))
    assert errors.min(axis=0).max() < 1e-6
    assert set(errors.argmin(axis=0)) == {0, 1, 2, 3}


@pytest.mark.parametrize("outside", [{}, {"reflect": True}, {"ground": 3.0}], ids=repr)
def test_turned_images_show_what_a_larger_image_would(rng, outside):
    x = rng.uniform(0, 1, (9, 1, 12, 12))
    larger = np.pad(
        x, ((0, 0), (0, 0), (8, 8), (8, 8)),
        **({"mode": "reflect"} if "reflect" in outside else {"mode": "constant", "constant_values": 3.0}
           if outside else {"mode": "edge"}),
    )  # fmt: skip
    turned = Augmentation(shift=0, rotation=40, **outside)(x, np.random.default_rng(2))
    expected = Augmentation(shift=0, rotation=40)(larger, np.random.default_rng(2))
    np.testing.assert_allclose(turned, expected[:, :, 8:-8, 8:-8], rtol=0, atol=1e-9)


def test_brightness_is_added_and_contrast_is_about_the_mean(rng, dtype):
    x = rng.uniform(0, 1, (500, 3, 4, 5)).astype(dtype)
    added = Augmentation(**OFF, brightness=0.3)(x, rng) - x
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1, :1], x.shape), atol=1e-6)
    amounts = added[:, 0, 0, 0]
    assert 0.25 < amounts.max() < 0.3001
    assert -0.3001 < amounts.min() < -0.25

    y, mean = Augmentation(**OFF, contrast=0.4)(x, rng), x.mean(axis=(1, 2, 3), keepdims=True)
    factors = ((y - mean) * (x - mean)).sum(axis=(1, 2, 3)) / ((x - mean) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(y, mean + factors[:, None, None, None] * (x - mean), atol=1e-5)
    assert 1.35 < factors.max() < 1.4001
    assert 0.5999 < factors.min() < 0.65


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_cutout_is_a_square_of_zeros_about_any_pixel(rng, side):
    x = np.ones((4000, 2, 6, 5), np.float32)
    y = Augmentation(**OFF, cutout=side)(x, rng)
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    seen = {image.tobytes() for image in y[:, 0]}
    expected = set()
    for row, column in np.ndindex(6, 5):
        image = np.ones((6, 5), np.float32)
        for h, w in np.ndindex(6, 5):
            if 0 <= h - row + side // 2 < side and 0 <= w - column + side // 2 < side:
                image[h, w] = 0
        expected.add(image.tobytes())
    assert seen == expected


def raw_data(rng, shape, **options):
    images, labels = rng.integers(0, 256, shape, dtype=np.uint8), np.arange(shape[0]) % 3
    data, statistics = preprocess(images, labels, images, labels, num_validation=0, num_test=None, **options)
    x = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return x, data["x_train"], statistics


KINDS = {
    "crop": {"shift": 2, "rotation": 0},
    "default": {},
    "black": {"shift": 3, "rotation": 0, "flip": True, "ground": 0},
    "grey, turned": {"rotation": 20, "ground": 128, "flip": True},
    "reflected": {"shift": 3, "rotation": 0, "reflect": True, "flip_vertically": True},
    "all": {"rotation": 0, "flip": True, "ground": 9, "contrast": 0.4, "brightness": 0.2, "cutout": 3},
}
PREPARATIONS = [{}, {"per_pixel_std": True}, {"divide_by_255": False}, {"subtract_mean": False, "divide_by_std": False}]


@pytest.mark.parametrize("preparation", PREPARATIONS, ids=repr)
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("shape", [(30, 9, 8), (20, 7, 9, 3)], ids=["grey", "colour"])
def test_raw_and_prepared_images_become_the_same(rng, shape, options, preparation):
    raw, prepared, statistics = raw_data(rng, shape, **preparation)
    augmentation = Augmentation(**options, statistics=statistics)
    from_raw = augmentation(raw, np.random.default_rng(4))
    assert from_raw.dtype == np.float32
    scale = np.abs(from_raw).max()
    np.testing.assert_allclose(augmentation(prepared, np.random.default_rng(4)), from_raw, rtol=0, atol=1e-5 * scale)
    wide = augmentation(prepared.astype(np.float64), np.random.default_rng(4))
    np.testing.assert_allclose(wide, from_raw, rtol=0, atol=1e-5 * scale)
    # Raw images that are changed without statistics, and prepared after that.
    without = Augmentation(**{**options, "cutout": 0})
    plain = without(raw, np.random.default_rng(4)) / statistics.unit
    expected = (plain - (0 if statistics.mean is None else statistics.mean)) / (
        1 if statistics.std is None else statistics.std
    )
    kept = np.full(raw.shape, True) if not options.get("cutout") else from_raw != 0
    np.testing.assert_allclose(from_raw[kept], expected[kept], rtol=0, atol=1e-5 * scale)
    # Statistics of the call take the place of those of the object.
    np.testing.assert_array_equal(
        Augmentation(**options)(raw, np.random.default_rng(4), statistics=statistics), from_raw
    )


def test_raw_images_that_stay_as_they_are_have_the_bits_of_prepared_ones(rng):
    for shape in [(30, 9, 8), (20, 7, 9, 3)]:
        for preparation in PREPARATIONS:
            raw, prepared, statistics = raw_data(rng, shape, **preparation)
            assert Augmentation(**OFF, statistics=statistics)(raw, rng).tobytes() == prepared.tobytes()


def test_what_comes_in_is_the_raw_ground_and_what_is_cut_out_is_the_mean(rng):
    raw, _, statistics = raw_data(rng, (400, 6, 7, 3))
    y = Augmentation(shift=2, rotation=0, ground=0, statistics=statistics)(raw, rng)
    black = statistics.apply(np.zeros((1, 6, 7, 3), np.uint8))[0]
    corner_was_outside = (y[:, :, 0, 0] == black[:, 0, 0]).all(axis=1)
    assert 0.4 < corner_was_outside.mean() < 0.85  # expected 16 / 25


@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_the_bits_are_the_same_for_any_number_of_threads(monkeypatch, rng, options, statistics):
    monkeypatch.setattr(threads, "PART", 1000)
    raw, prepared, own = raw_data(rng, (37, 9, 8, 3))
    augmentation = Augmentation(**options, statistics=own if statistics else None)
    for x in (raw, prepared, prepared.astype(np.float64)):
        results = set()
        for number in (1, 2, 3, 4, 5):
            with on(number):
                results.add(augmentation(x, np.random.default_rng(1)).tobytes())
                results.add(augmentation(x, np.random.default_rng(1), out=np.empty_like(augmentation(x, rng))).tobytes()
                            if x.dtype == np.uint8 else augmentation(x.copy(), np.random.default_rng(1),
                                                                     out=np.empty_like(x)).tobytes())  # fmt: skip
        assert len(results) == 1


@pytest.mark.parametrize("make", [lambda x: x[::-1, :, ::2, 1:], lambda x: x.astype(">f4"), lambda x: x.tolist()])
def test_any_layout_is_taken_and_nothing_given_is_changed(rng, make):
    base = rng.integers(0, 256, (6, 2, 8, 9)).astype(np.uint8)
    for x in (make(base), make(base.astype(np.float32))):
        before = np.array(x)
        if isinstance(x, np.ndarray):
            x.flags.writeable = False
        plain = np.ascontiguousarray(np.array(x), np.array(x).dtype.newbyteorder("="))
        augmentation = Augmentation(flip=True, ground=1)
        y = augmentation(x, np.random.default_rng(0))
        np.testing.assert_array_equal(y, augmentation(plain, np.random.default_rng(0)))
        np.testing.assert_array_equal(x, before)


def test_statistics_are_undone_in_a_copy_where_the_images_cannot_be_scratch_memory(rng):
    _, prepared, statistics = raw_data(rng, (5, 6, 7))
    augmentation, out = Augmentation(statistics=statistics), np.empty_like(prepared)
    expected = augmentation(prepared, np.random.default_rng(0))
    prepared.flags.writeable = False
    augmentation(prepared, np.random.default_rng(0), out=out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_few_and_small_images(options):
    rng = np.random.default_rng(0)
    for shape in [(0, 3, 4, 5), (1, 0, 4, 5), (2, 3, 4, 4), (1, 1, 1, 1), (2, 3, 1, 7), (1, 2, 6, 1)]:
        limits = {"shift": 0, "cutout": 0} if 1 in shape[2:] else {}  # they are smaller than the images
        augmentation = Augmentation(**options | limits)
        for kind in (np.uint8, np.float32, np.float64):
            y = augmentation(np.ones(shape, kind), rng)
            assert y.shape == shape
            assert np.isfinite(y).all()


def test_an_option_that_is_off_draws_nothing(rng):
    x = rng.standard_normal((5, 1, 8, 8))
    plain, all_on = np.random.default_rng(1), np.random.default_rng(1)
    Augmentation()(x, plain)
    Augmentation(ground=1, cutout=0, contrast=0, brightness=0, flip=False)(x, all_on)
    assert plain.random() == all_on.random()


def test_repr_shows_what_is_not_the_default():
    given = {"flip": True, "flip_vertically": True, "ground": 0.0, "contrast": 0.5, "brightness": 0.25, "cutout": 8}
    text = ", ".join(f"{name}={value}" for name, value in given.items())
    assert repr(Augmentation(**given)) == f"Augmentation(shift=2, rotation=10.0, {text})"
    assert repr(Augmentation(reflect=True)) == "Augmentation(shift=2, rotation=10.0, reflect=True)"


STATISTICS = Statistics((1, 5, 5), True, None, None)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"flip": 1}, TypeError, "Augmentation: flip: expected True or False, got 1"),
        ({"flip_vertically": "yes"}, TypeError, "Augmentation: flip_vertically: expected True or False, got 'yes'"),
        ({"ground": "black"}, TypeError, "Augmentation: ground: expected a real number, got 'black'"),
        ({"ground": np.nan}, ValueError, "Augmentation: ground: expected a finite number, got nan"),
        ({"reflect": 2}, TypeError, "Augmentation: reflect: expected True or False, got 2"),
        ({"reflect": True, "ground": 0}, ValueError, "Augmentation: expected ground or reflect, got both, ground=0"),
        ({"contrast": 1.5}, ValueError, "Augmentation: contrast: expected .* at most 1, got 1.5"),
        ({"contrast": -0.1}, ValueError, "Augmentation: contrast: expected .* at least 0"),
        ({"brightness": -1}, ValueError, "Augmentation: brightness: expected .* at least 0, got -1"),
        ({"cutout": -1}, ValueError, "Augmentation: cutout: expected at least 0, got -1"),
        ({"cutout": 1.0}, TypeError, "Augmentation: cutout: expected an integer, got 1.0"),
    ],
)
def test_wrong_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        Augmentation(**options)


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (np.zeros((3, 5, 5), np.uint8), {}, ValueError, r"expected x of shape \(N, C, H, W\), got \(3, 5, 5\)"),
        (np.zeros((3, 2, 5, 5), np.uint8), {"statistics": STATISTICS}, ValueError, r"shape \(N, 1, 5, 5\), got \(3, 2"),
        (np.zeros((3, 2, 0, 5)), {}, ValueError, r"expected images of at least one pixel, got shape \(3, 2, 0, 5\)"),
        (np.zeros((3, 1, 5, 5)), {"statistics": 1}, TypeError, "expected the statistics of preprocess, got 1"),
        ([["a"]], {}, TypeError, "Augmentation: x: expected real numbers, got dtype <U1"),
        (
            np.zeros((3, 1, 5, 5), complex),
            {},
            TypeError,
            "Augmentation: x: expected real numbers, got dtype complex128",
        ),
        (
            np.zeros((3, 1, 5, 5), np.uint8),
            {"out": np.zeros((3, 1, 5, 5), np.uint8)},
            ValueError,
            r"expected out to be another array of float32 of shape \(3, 1, 5, 5\)",
        ),
        (
            np.zeros((3, 1, 5, 5)),
            {"out": np.zeros((3, 1, 5, 5), np.float32)},
            ValueError,
            r"expected out to be another array of float64 of shape \(3, 1, 5, 5\)",
        ),
    ],
)
def test_wrong_images_are_named(x, options, error, message):
    with pytest.raises(error, match=message):
        Augmentation()(x, np.random.default_rng(0), **options)
