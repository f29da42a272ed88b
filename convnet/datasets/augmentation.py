"""Augmentation: training images changed a little, at random, every time they are used."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import (
    FloatArray,
    IntArray,
    as_array,
    as_count,
    as_flag,
    as_generator,
    as_number,
    as_plain,
    as_real,
    check_out,
    join_sizes,
)
from convnet.core.threads import in_parts
from convnet.datasets.preprocessing import Statistics

__all__ = ["Augment", "Augmentation", "Mixture"]


class Mixture(NamedTuple):
    """Inputs that are mixtures of two examples of a minibatch each.

    Attributes
    ----------
    x : ndarray, shape (N, ...)
        The mixed inputs, ``factor * x[n] + (1 - factor) * x[partners[n]]`` of the examples.
    partners : ndarray of int, shape (N,)
        Numbers of examples of the minibatch.
    factor : float
        In [0, 1]. The loss is ``factor`` times that for an example's own label, and ``1 - factor`` times that for the
        label of its partner.
    """

    x: FloatArray
    partners: IntArray
    factor: float


class Augment(Protocol):
    """What a Solver's `augmentation` has to be able to do."""

    def __call__(self, x: FloatArray, rng: np.random.Generator, /) -> FloatArray | Mixture:
        """Return inputs of the shape of x, which may be changed: it is the minibatch's own copy.

        What mixes inputs returns a `Mixture` of them, so that the labels are mixed, too.
        """


class Amounts(NamedTuple):
    """What is done to the images of a minibatch.

    Attributes
    ----------
    moves : ndarray of int, shape (N, 4)
        Shifts along the height and the width, and whether an image is flipped along them.
    maps : ndarray, shape (N, 2, 3), or None
        Where the moves turn the images, too: from the rows and columns of the result to those of the given images.
    tones : ndarray, shape (N, 2)
        The factor of the contrast, and what is added.
    cuts : ndarray of int, shape (N, 4)
        The rows and the columns that are cut out: the first, and the one after the last.
    """

    moves: npt.NDArray[np.intp]
    maps: npt.NDArray[np.float64] | None
    tones: npt.NDArray[np.float64]
    cuts: npt.NDArray[np.intp]

    def of(self, part: slice) -> Amounts:
        """Return the amounts of a part of the images."""
        maps = None if self.maps is None else self.maps[part]
        return Amounts(self.moves[part], maps, self.tones[part], self.cuts[part])


# The options that are not always shown, and what they are by default.
DEFAULTS: dict[str, Any] = {
    "statistics": None,
    "flip": False,
    "flip_vertically": False,
    "ground": None,
    "reflect": False,
    "contrast": 0,
    "brightness": 0,
    "cutout": 0,
}


class Augmentation:
    """Move, flip and change each image, by amounts drawn anew for each image.

    An image is flipped, turned counterclockwise about its middle, and shifted by whole pixels: with (h, w) counted
    from the middle, for the shift (i, j) and the angle a,
    ``y[h, w] = x[cos(a) * (h - i) + sin(a) * (w - j), cos(a) * (w - j) - sin(a) * (h - i)]``. Where it is turned,
    pixels are interpolated bilinearly. Then its contrast and its brightness are changed, and at last a square is cut
    out. Given to a `Solver`, it is applied to every minibatch.

    By default it shifts and turns a little, which suits digits. For small photographs, such as those of CIFAR, the
    usual choice is ``Augmentation(shift=4, rotation=0, flip=True, ground=0)``: a random crop of the size of the image,
    from the image with 4 black pixels around it, half of the crops mirrored.

    Parameters
    ----------
    shift : int
        Pixels, fewer than the height and the width: the shifts along both are drawn from ``-shift, ..., shift``.
    rotation : float
        Degrees, at most 180: the angle is drawn uniformly from ``-rotation`` to ``rotation``. 0 is much faster than any
        other, because then no pixel is interpolated.
    statistics : Statistics, optional
        Statistics of the preprocessing. The preparation of prepared images is undone before the moves and done again
        after them; otherwise the subtracted mean image would move along and show in the result. Raw images, of uint8,
        are prepared after the moves. By default the images are moved as they are.
    flip, flip_vertically : bool
        Whether images are mirrored, left to right or top to bottom, half of them each.
    ground : float, optional
        The value of pixels that come in from outside, such as 0 for black: from 0 to 255 for raw images and with
        `statistics`, otherwise in the unit of the images. By default they get the value of the image's nearest pixel,
        so that it does not matter whether the ground is dark or light.
    reflect : bool
        Whether the image is continued outside by its mirror image.
    contrast : float
        At most 1: each image's distance from its own mean is multiplied by a factor, which is drawn uniformly from
        ``1 - contrast`` to ``1 + contrast``.
    brightness : float
        What is added to an image is drawn uniformly from ``-brightness`` to ``brightness``, as a part of the way from
        black to white: of 255 for raw images and with `statistics`, otherwise in the unit of the images. Nothing is
        clipped.
    cutout : int
        Pixels, fewer than the height and the width: the side of a square that is 0 in the result, the training set's
        mean where `statistics` subtract it. Its middle is drawn from all pixels, so that a part of it may lie outside.

    Raises
    ------
    ValueError, TypeError
        If a number is out of range, `ground` and `reflect` are both given, or `statistics` is not that of `preprocess`.

    Notes
    -----
    P. Y. Simard, D. Steinkraus, J. C. Platt, "Best practices for convolutional neural networks applied to visual
    document analysis", 2003, section 2; crops and flips: A. Krizhevsky, I. Sutskever, G. E. Hinton, "ImageNet
    classification with deep convolutional neural networks", 2012, section 4.1; cutout: T. DeVries, G. W. Taylor,
    "Improved regularization of convolutional neural networks with cutout", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> Augmentation(shift=1, rotation=0)(np.zeros((2, 1, 28, 28)), np.random.default_rng(0)).shape
    (2, 1, 28, 28)
    """

    def __init__(
        self,
        *,
        shift: int = 2,
        rotation: float = 10.0,
        statistics: Statistics | None = None,
        flip: bool = False,
        flip_vertically: bool = False,
        ground: float | None = None,
        reflect: bool = False,
        contrast: float = 0.0,
        brightness: float = 0.0,
        cutout: int = 0,
    ) -> None:
        self.shift = as_count(shift, "Augmentation: shift", 0)
        self.rotation = as_number(rotation, "Augmentation: rotation", at_least=0, at_most=180)
        _check_statistics(statistics)
        self.statistics = statistics
        self.flip = as_flag(flip, "Augmentation: flip")
        self.flip_vertically = as_flag(flip_vertically, "Augmentation: flip_vertically")
        self.ground = None if ground is None else as_number(ground, "Augmentation: ground")
        self.reflect = as_flag(reflect, "Augmentation: reflect")
        if self.reflect and ground is not None:
            raise ValueError(f"Augmentation: expected ground or reflect, got both, ground={ground!r:.60}")
        self.contrast = as_number(contrast, "Augmentation: contrast", at_least=0, at_most=1)
        self.brightness = as_number(brightness, "Augmentation: brightness", at_least=0)
        self.cutout = as_count(cutout, "Augmentation: cutout", 0)

    def __call__(
        self,
        x: npt.ArrayLike,
        rng: np.random.Generator,
        *,
        statistics: Statistics | None = None,
        out: FloatArray | None = None,
        among: tuple[int, int] | None = None,
    ) -> FloatArray:
        """Return changed copies of the images.

        A `Solver` gives `out`, and for raw images the model's `statistics`: `__call__` of a subclass has to take both.

        Parameters
        ----------
        x : array_like, shape (N, C, H, W)
            Prepared images, or raw ones of uint8.
        rng : numpy.random.Generator
            Draws the amounts.
        statistics : Statistics, optional
            Used instead of the Augmentation's own.
        out : ndarray of the shape of x, optional
            Where the result is written; by default a new array. It has the dtype of x, or float32 where x is raw. With
            both `out` and statistics, prepared images are overwritten: x is used as scratch memory.
        among : (first, count), optional
            The images are a part of `count` images, from number `first` on, and are changed as in a call with all of
            them: the amounts are drawn for all.

        Returns
        -------
        ndarray, shape (N, C, H, W)
            Raw images without statistics stay in their unit, 0 to 255.

        Raises
        ------
        ValueError
            If x is not of four axes, or not of the statistics' shape, a shift or a cutout is as large as the images, or
            `out` does not fit.
        TypeError
            If x does not hold real numbers, `rng` is no Generator, or `statistics` is not that of `preprocess`.
        """
        as_generator(rng, "Augmentation: rng")
        _check_statistics(statistics)
        statistics = self.statistics if statistics is None else statistics
        given = as_array(x, "Augmentation: x")
        is_raw = given.dtype == np.uint8
        images: npt.NDArray[Any] = as_plain(given, np.uint8) if is_raw else as_real(given, "Augmentation: x")
        if images.ndim != 4 or (statistics is not None and images.shape[1:] != statistics.image_shape):
            expected = "C, H, W" if statistics is None else join_sizes(statistics.image_shape)
            raise ValueError(f"Augmentation: expected x of shape (N, {expected}), got {images.shape}")
        if statistics is None and images.shape[3] <= 4 < images.shape[1]:
            raise ValueError(
                f"Augmentation: expected x of shape (N, C, H, W), got {images.shape}, which looks like channels last: "
                "x.transpose(0, 3, 1, 2) puts them first"
            )
        if 0 in images.shape[2:]:
            raise ValueError(f"Augmentation: expected images of at least one pixel, got shape {images.shape}")
        self.check_size(*images.shape[2:])
        dtype = np.dtype(np.float32) if is_raw else images.dtype
        y: FloatArray = np.empty(images.shape, dtype) if out is None else out
        check_out(y, images, "Augmentation", dtype)
        first, count = (0, len(images)) if among is None else among
        if not 0 <= first <= count - len(images):
            raise ValueError(
                f"Augmentation: expected among=(first, count) with {len(images)} images from first on, got {among!r}"
            )
        amounts = self._draw(count, images.shape[2:], rng).of(slice(first, first + len(images)))
        if y.size:
            plain: FloatArray | None = None
            if statistics is not None and not is_raw:
                plain = images if out is not None and images.flags.writeable else np.empty_like(images)
            self._compute(images, amounts, statistics, plain, y)
        return y

    def check_size(self, height: int, width: int) -> None:
        """Raise a ValueError if images of this size could lose all that is on them."""
        for name, pixels in (("shift", self.shift), ("cutout", self.cutout)):
            if pixels and pixels >= min(height, width):
                raise ValueError(
                    f"Augmentation: expected a {name} smaller than the images, {height}x{width} pixels, got {pixels}"
                )

    def _draw(self, count: int, size: tuple[int, ...], rng: np.random.Generator) -> Amounts:
        """Draw the amounts for so many images of a height and a width; what is off draws nothing."""
        moves, tones, cuts = np.zeros((count, 4), np.intp), np.zeros((count, 2)), np.zeros((count, 4), np.intp)
        moves[:, :2] = rng.integers(-self.shift, self.shift, (count, 2), endpoint=True)
        degrees = rng.uniform(-self.rotation, self.rotation, count)
        for axis, is_wanted in enumerate((self.flip_vertically, self.flip)):
            if is_wanted:
                moves[:, 2 + axis] = rng.integers(0, 2, count)
        tones[:, 0] = rng.uniform(1 - self.contrast, 1 + self.contrast, count) if self.contrast else 1
        if self.brightness:
            tones[:, 1] = rng.uniform(-self.brightness, self.brightness, count)
        if self.cutout:
            middle = rng.integers(0, size, (count, 2))
            first = middle - self.cutout // 2
            cuts[:, ::2] = np.clip(first, 0, size)
            cuts[:, 1::2] = np.clip(first + self.cutout, 0, size)
        return Amounts(moves, _maps(moves, np.deg2rad(degrees), size) if self.rotation else None, tones, cuts)

    def _compute(
        self,
        x: npt.NDArray[Any],
        amounts: Amounts,
        statistics: Statistics | None,
        plain: FloatArray | None,
        y: FloatArray,
    ) -> None:
        """Write the changed images to y; in `plain` the preparation is undone first, and it may be x itself."""
        is_raw, moves, maps, tones, cuts = x.dtype == np.uint8, *amounts
        # How far it is from black to white.
        white = 255.0 if is_raw else 1.0
        ground = 0.0 if self.ground is None else self.ground
        mean, std = np.zeros(1, y.dtype), np.ones(1, y.dtype)
        unit = 1.0
        if statistics is not None:
            mean, std = statistics.flat(y.dtype)
            unit = statistics.unit
            white = 255 / unit
            ground /= unit
        tones[:, 1] *= white

        def task(part: slice, _: int) -> None:
            source = x[part]
            if plain is not None and statistics is not None:
                source = np.multiply(source, 1 if statistics.std is None else statistics.std, out=plain[part])
                source += 0 if statistics.mean is None else statistics.mean
            _kernels.augment(
                source,
                moves[part],
                None if maps is None else maps[part],
                self.reflect,
                self.ground is not None,
                ground,
                tones[part],
                cuts[part],
                unit,
                mean,
                std,
                y[part],
            )

        in_parts(task, len(x), (8 if maps is None else 64) * x.size)

    def __repr__(self) -> str:
        # An option at its default is left out, so that checkpoints from before the option still fit.
        changed = {name: getattr(self, name) for name, default in DEFAULTS.items() if getattr(self, name) != default}
        options = "".join(f", {name}={value!r}" for name, value in changed.items())
        return f"Augmentation(shift={self.shift!r}, rotation={self.rotation!r}{options})"


def _maps(
    moves: npt.NDArray[np.intp], angle: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Return (N, 2, 3): from the rows and columns of the moved images to those of the given ones."""
    size = np.array(shape)
    middle = (size - 1) / 2
    maps = np.empty((len(moves), 2, 3))
    maps[:, 0, 0] = maps[:, 1, 1] = np.cos(angle)
    maps[:, 0, 1] = np.sin(angle)
    maps[:, 1, 0] = -maps[:, 0, 1]
    maps[:, :, 2] = middle - (maps[:, :, :2] @ (middle + moves[:, :2])[:, :, None])[:, :, 0]
    is_flipped = moves[:, 2:] != 0  # row r of the flipped image is row H - 1 - r of the given one
    maps[is_flipped] *= -1
    maps[:, :, 2] += is_flipped * (size - 1)
    return maps


def _check_statistics(statistics: Statistics | None) -> None:
    """Raise a TypeError if it is something else."""
    if statistics is not None and not isinstance(statistics, Statistics):
        raise TypeError(f"Augmentation: expected the statistics of preprocess, got {statistics!r:.60}")
