"""A photograph or a drawing of a digit, made to look like MNIST's.

The page that `convnet.webpage` writes does the same in JavaScript (``webpage/digit.js``), in the same steps. The names
there are the same, without the leading underscores.
"""

import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_array, as_shape
from convnet.datasets.image_reader import is_file, opened

__all__ = ["prepare_digit"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# Most pixels of an image file: Pillow's own limit.
MOST_PIXELS = 89_478_485
# Beyond it sums of squares are infinite.
LARGEST_LEVEL = 1e100
# Relative difference below which grey levels count as equal: rescaling rounds them differently.
EVEN = 1e-9
# Weights of red, green and blue in a grey level; ITU-R BT.601.
LUMA = np.array([0.299, 0.587, 0.114])
# Least pixels per side of the result: in fewer there is no room for a digit within its margin.
LEAST_SIDE = 7
# Most pixels per side of the image and of the result.
MOST_SIDE = 1 << 15
# Longer side in pixels after downscaling. A larger photograph is scaled down to it, which evens out its noise.
LARGEST_SIDE = 256
# What differs from the ground by less than this many times the ground's own spread is taken for ground. Drawings on
# an even ground have no spread, and keep their soft edges.
NOISE = 4
# Real ink differs from the ground by at least CLEAR times the spread; noise and shading differ by less.
CLEAR = 6
# A row or column belongs to the digit if its strongest ink reaches this part of the full ink.
EDGE = 0.3
# If a downscaled digit's longer side is below this, the image is cropped around it and searched at full resolution.
SMALL = 64


def prepare_digit(image: Any, size: Sequence[int] = (28, 28)) -> npt.NDArray[np.uint8]:
    """Return the image of a digit as MNIST's makers would have prepared it: light on black, scaled and centred.

    Ink is what differs from the ground, be it darker or lighter; the ground is what most of the image's border shows,
    evenly lit or lighter towards one side. The ink is cropped, scaled with its proportions kept and anti-aliasing to
    fit the middle 20x20 of 28x28 pixels, and moved so that its centre of mass is the field's centre. The grey levels'
    unit does not matter: the ground becomes 0 and the strongest ink 255.

    Parameters
    ----------
    image : array_like, shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or path, bytes or file
        Grey levels, red-green-blue, or red-green-blue with opacity, of any real dtype or bool. With opacity, the value
        for white or opaque is the dtype's maximum for 8- and 16-bit integers. For other dtypes it is 255 if any value
        exceeds 1, else 1. Or an image file of any kind that Pillow reads (``pip install "convnet-cpu[images]"``), of at
        most 89 million pixels: its path, its bytes, or the file opened for bytes.
    size : pair of ints
        Height and width of the result, at least 7. The digit's box is 20/28 of the shorter.

    Returns
    -------
    ndarray of uint8, shape `size`

    Raises
    ------
    TypeError
        If the image does not hold real numbers.
    ValueError
        If its shape is another, it holds NaN or infinity, nothing in it stands out from the ground, or the file is no
        image.
    OSError
        If the file cannot be read.
    ImportError
        If a path is given and Pillow is not installed.

    Notes
    -----
    Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", describe how they scaled and
    centred; the threshold between ink and ground is that of N. Otsu, "A threshold selection method from gray-level
    histograms", 1979.

    Examples
    --------
    >>> import numpy as np
    >>> paper = np.full((90, 60), 230)
    >>> paper[20:70, 28:33] = 40
    >>> prepare_digit(paper)[[3, 4, 23, 24], 13]
    array([  0, 255, 255,   0], dtype=uint8)
    """
    height, width = as_shape(size, "prepare_digit: size", axes=2, minimum=LEAST_SIDE)
    if max(height, width) > MOST_SIDE:
        raise ValueError(f"prepare_digit: size: expected at most {MOST_SIDE:,} pixels per side, got {(height, width)}")
    what = str(image) if isinstance(image, (str, PathLike)) else "prepare_digit"
    pixels = _read(image, what) if is_file(image) else as_array(image, what)
    if pixels.dtype.kind not in "biuf":
        kind = type(image).__name__ if pixels.dtype == object else f"dtype {pixels.dtype}"
        raise TypeError(f"{what}: expected an image of real numbers, or the path of one, got {kind}")
    grey = _grey(pixels, what)
    box = _rounded(20 * min(height, width), 28)
    return _centre(_fit(_cropped(grey, what), box), height, width)


def _read(image: Any, name: str) -> npt.NDArray[Any]:
    """Return the pixels of an image, turned as it says."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Image size")  # Pillow's warning of what is refused, from the header
        return _opened_pixels(image, name)


def _opened_pixels(image: Any, name: str) -> npt.NDArray[Any]:
    with opened(image, name, MOST_PIXELS) as picture:
        from PIL import ImageOps

        picture = ImageOps.exif_transpose(picture)
        if picture.mode not in ("L", "I", "F") and not picture.mode.startswith("I;16"):
            picture = picture.convert("RGBA")
        factor = max(picture.size) // (4 * LARGEST_SIDE)
        if factor > 1 and picture.mode in ("L", "RGBA"):  # so that a large photograph takes less memory
            picture = picture.reduce(factor)
        return np.asarray(picture)


def _grey(image: npt.NDArray[Any], what: str) -> Floats:
    """Return an image's grey levels (H, W)."""
    fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if not fits or 0 in image.shape:
        raise ValueError(f"{what}: expected shape (H, W) or (H, W, 1, 3 or 4), without a 0, got {image.shape}")
    if max(image.shape[:2]) > MOST_SIDE:
        raise ValueError(f"{what}: expected at most {MOST_SIDE:,} pixels per side, got {image.shape}")
    with np.errstate(over="ignore"):
        levels = image.astype(np.float64)
    if not np.isfinite(levels).all():
        raise ValueError(f"{what}: expected finite grey levels, got NaN or infinity")
    if (largest := np.abs(levels).max()) > LARGEST_LEVEL:
        raise ValueError(f"{what}: expected grey levels up to {LARGEST_LEVEL:g} in size, got {largest:g}")
    if image.ndim == 2 or image.shape[2] == 1:
        return levels.reshape(image.shape[:2])
    grey: Floats = levels[:, :, :3] @ LUMA
    if image.shape[2] == 4:
        if image.dtype.kind in "iu" and image.dtype.itemsize <= 2:
            white = float(np.iinfo(image.dtype).max)
        else:
            white = 255.0 if levels.max() > 1 else 1.0
        opacity = np.clip(levels[:, :, 3] / white, 0, 1)
        # What is transparent shows a sheet of paper: white, but black where all that is to be seen is light.
        dark = opacity[grey <= white / 2].sum()
        grey = grey * opacity + (0 if dark < 0.001 * opacity.sum() else white) * (1 - opacity)
    return grey


def resample(image: Floats, height: int, width: int) -> Floats:
    """Return an image in another size, each pixel the average of what it covers, or interpolated between two."""
    scaled: Floats = _weights(image.shape[0], height) @ image @ _weights(image.shape[1], width).T
    return scaled


def _weights(old: int, new: int) -> Floats:
    """Return the weights (new, old) of a triangle filter, which is as wide as it has to be against aliasing."""
    step = old / new
    centre = (np.arange(new)[:, np.newaxis] + 0.5) * step
    weights = np.maximum(1 - np.abs(np.arange(old) + 0.5 - centre) / max(step, 1), 0)
    scaled: Floats = weights / weights.sum(axis=1, keepdims=True)
    return scaled


def _cropped(grey: Floats, what: str) -> Floats:
    """Return the digit's box: how much ink there is at each of its pixels.

    A large image is scaled down first. If the digit is then small, the part around it is cropped from the full image
    and searched again.
    """
    sizes = grey.shape
    largest = max(sizes)
    if largest > LARGEST_SIDE:
        sizes = tuple(max(1, _rounded(side * LARGEST_SIDE, largest)) for side in sizes)
    ink = _find_ink(grey if sizes == grey.shape else resample(grey, *sizes), what)
    strong = ink >= EDGE
    box = [(int(found[0]), int(found[-1]) + 1) for found in (np.flatnonzero(strong.any(axis)) for axis in (1, 0))]
    longest = max(end - start for start, end in box)
    if sizes != grey.shape and longest < SMALL:
        (top, bottom), (left, right) = (
            (max(start - longest, 0) * side // size, -(-min(end + longest, size) * side // size))
            for (start, end), side, size in zip(box, grey.shape, sizes, strict=True)
        )
        return _cropped(grey[top:bottom, left:right], what)
    (top, bottom), (left, right) = box
    return ink[top:bottom, left:right]


def _find_ink(grey: Floats, what: str) -> Floats:
    """Return how much ink there is at each pixel, from 0, the ground, to 1."""
    span = np.ptp(grey)
    if span <= EVEN * np.abs(grey).max():
        raise ValueError(f"{what}: expected ink on a ground, got an image whose pixels are all {grey.flat[0]:g}")
    grey = (grey - grey.min()) / span
    grey = _level(grey, _ink_mask(grey))
    if np.ptp(grey) < 1e-6:
        raise ValueError(f"{what}: expected ink on a ground, got an even ground")
    mask = _ink_mask(grey)
    sign = -1 if grey[mask].mean() < grey[~mask].mean() else 1
    ground, full = np.median(grey[~mask]), np.quantile(grey[mask], 0.1 if sign < 0 else 0.9)
    spread = 1.4826 * np.median(np.abs(grey[~mask] - ground))  # of noise: its standard deviation
    if sign * (full - ground) < CLEAR * spread:
        raise ValueError(f"{what}: expected ink on a ground, got nothing that stands out from noise or shade")
    floor = min(NOISE * spread, sign * (full - ground) / 2)
    ink: Floats = np.clip((sign * (grey - ground) - floor) / (sign * (full - ground) - floor), 0, 1)
    return ink


def _ink_mask(grey: Floats) -> Bools:
    """Return which pixels are ink: of the two sides of Otsu's threshold that which has less of the border."""
    level = np.floor((grey - grey.min()) / np.ptp(grey) * 255 + 0.5).astype(np.intp)
    light: Bools = level > _otsu_threshold(np.bincount(level.reshape(-1), minlength=256))
    border = np.concatenate([light[0], light[-1], light[1:-1, 0], light[1:-1, -1]])
    return ~light if 2 * border.sum() > border.size else light


def _otsu_threshold(counts: npt.NDArray[np.intp]) -> int:
    """Return the level at which the two parts of a histogram differ most: ``n0 * n1 * (mean0 - mean1)**2``."""
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * np.arange(256))
    above, rest = counts.sum() - below, sums[-1] - sums[:-1]
    between = (rest * below - sums[:-1] * above) ** 2.0 / np.maximum(below * above, 1.0)
    return int(between.argmax())


def _level(grey: Floats, mask: Bools) -> Floats:
    """Return the image less the plane that fits its ground best: light that falls from one side is evened out."""
    y, x = np.meshgrid(*(np.arange(float(side)) for side in grey.shape), indexing="ij")
    y, x = y - y[~mask].mean(), x - x[~mask].mean()

    def total(values: Floats) -> float:
        return float(values[~mask].sum())

    yy, xx, xy, yg, xg = total(y * y), total(x * x), total(x * y), total(y * grey), total(x * grey)
    determinant = yy * xx - xy * xy
    if determinant <= 1e-9 * yy * xx:  # the ground is a line
        return grey
    plane: Floats = ((xx * yg - xy * xg) * y + (yy * xg - xy * yg) * x) / determinant
    return grey - plane


def _fit(ink: Floats, box: int) -> Floats:
    """Return the ink scaled to fit a box of so many pixels, its strongest part 1."""
    longest = max(ink.shape)
    scaled = resample(ink, *(max(1, _rounded(side * box, longest)) for side in ink.shape))
    fitted: Floats = scaled / scaled.max()
    return fitted


def _centre(ink: Floats, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return ink in a field of its own, its centre of mass at the field's centre, to a pixel."""
    field = np.zeros((height, width))
    corner = []
    for axis, size in ((0, height), (1, width)):
        side = ink.shape[axis]
        mass = ink.sum(axis=1 - axis)
        centre = (mass @ np.arange(side)) / mass.sum()
        # To pixel size / 2, where the digits of MNIST have it on average. A digit that is its own mirror image often
        # lies between two pixels; a millionth decides for all of them.
        corner.append(min(max(int(np.floor(size / 2 - centre + 0.5 - 1e-6)), 0), size - side))
    field[corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return np.floor(255 * field + 0.5).astype(np.uint8)


def _rounded(numerator: int, denominator: int) -> int:
    """Return a quotient rounded to an integer, halves upward."""
    return (2 * numerator + denominator) // (2 * denominator)
