"""What all figures share: how one is made without a screen, and how images are checked and shown."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_images", "new_figure", "show_image"]


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


def check_images(images: npt.NDArray[Any], labels: npt.NDArray[Any], what: str) -> None:
    """Raise a ValueError unless these are images with finite pixels, and a label for each."""
    if (
        images.ndim not in (3, 4)
        or images.shape[3:] not in ((), (3,))
        or labels.shape != images.shape[:1]
        or not len(labels)
    ):
        remedy = "; images.transpose(0, 2, 3, 1) puts channels last" if images.shape[1:2] == (3,) else ""
        raise ValueError(
            f"{what}: expected images (N, H, W) or (N, H, W, 3) and labels (N,), got {images.shape} and "
            f"{labels.shape}{remedy}"
        )
    if images.dtype.kind not in "iuf" or not np.isfinite(images).all():
        raise ValueError(f"{what}: expected finite pixels from 0 to 255, got {images.dtype}")


def show_image(axes: Any, image: npt.NDArray[Any]) -> None:
    """Draw an image with pixels from 0 to 255."""
    axes.imshow(np.clip(image, 0, 255).astype(np.uint8), cmap="gray", vmin=0, vmax=255)
