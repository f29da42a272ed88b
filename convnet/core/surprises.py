"""Warnings of what is allowed, but would surprise."""

import sys
import warnings

__all__ = ["ConvnetWarning", "warn"]


class ConvnetWarning(UserWarning):
    """Something is allowed, but probably not meant, such as pixels that nobody scaled or a network that learnt nothing.

    The message says what was seen and what to do. To have no such warnings, or errors instead:
    ``warnings.simplefilter("ignore", convnet.ConvnetWarning)``, or ``"error"``.
    """


def warn(message: str) -> None:
    """Warn of something at the line of the user's program from which the package was called."""
    depth, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "convnet":
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, ConvnetWarning, stacklevel=depth)
