"""What all figures share: how one is made without a screen, and how images are checked and shown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_images", "check_names", "new_figure", "show_image"]

# Pixels may lie beyond black and white by so much of their range, such as by the rounding of a resized image.
ROUNDING = 1e-3


def new_figure(width: float, height: float, gap: float = 0.02) -> "Figure":
    """Return an empty figure of the given size in inches, with a gap between its panels as a fraction of theirs."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError(
            'figures need matplotlib: pip install "convnet-cpu[examples]", in a clone pip install ".[examples]"'
        ) from None
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=gap, hspace=gap))


def check_images(images: npt.NDArray[Any], labels: npt.NDArray[Any], what: str) -> float:
    """Return what one is in the unit of 0 to 255 that images are drawn in, after checking them and their labels.

    Integers, and floats up to 255, are in that unit. Floats are in 0..1 if all of all images are. Other numbers, such
    as those of prepared inputs, are an error: nobody knows which is black.

    Raises
    ------
    ValueError
        If these are no images with a label for each, or their pixels are neither in 0..255 nor in 0..1.
    """
    if (
        images.ndim not in (3, 4)
        or images.shape[3:] not in ((), (3,))
        or labels.shape != images.shape[:1]
        or not images.size
    ):
        remedy = "; images.transpose(0, 2, 3, 1) puts channels last" if images.shape[1:2] == (3,) else ""
        if images.ndim == 4 and 1 in (images.shape[1], images.shape[3]):
            remedy = (
                f"; images{'[:, 0]' if images.shape[1] == 1 else '[..., 0]'} leaves out the axis of the one channel"
            )
        raise ValueError(
            f"{what}: expected images (N, H, W) or (N, H, W, 3) and labels (N,), got {images.shape} and "
            f"{labels.shape}{remedy}"
        )
    if images.dtype.kind not in "biuf" or not np.isfinite(images).all():
        raise ValueError(f"{what}: expected finite pixels from 0 to 255, or floats in 0..1, got {images.dtype}")
    low, high = (float(value) for value in (images.min(initial=255), images.max(initial=0)))
    is_fraction = images.dtype.kind in "bf" and high <= 1 + ROUNDING
    unit = 255.0 if is_fraction else 1.0
    if low < -ROUNDING * 255 / unit or high > 255 / unit * (1 + ROUNDING):
        raise ValueError(
            f"{what}: expected pixels from 0 to 255, or floats in 0..1, got {images.dtype} from {low:g} to {high:g}; "
            "give the images from before they were prepared, or scale them: "
            "(images - images.min()) / (images.max() - images.min())"
        )
    return unit


def check_names(class_names: Sequence[str] | None, what: str) -> None:
    """Raise a TypeError unless class names are None or texts in a list or the like."""
    if class_names is None:
        return
    names = class_names.tolist() if isinstance(class_names, np.ndarray) else class_names
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    if not is_list or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{what}: class_names: expected a list of texts, got {class_names!r:.60}")


def show_image(axes: Any, image: npt.NDArray[Any], unit: float) -> None:
    """Draw an image whose pixels, times the unit that `check_images` returned, are from 0 to 255."""
    pixels = np.clip(np.rint(image * unit), 0, 255).astype(np.uint8)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
