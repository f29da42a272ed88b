"""Ctrl-C that waits for a good moment."""

import signal
import threading
from types import TracebackType
from typing import Any

__all__ = ["HeldInterrupts"]


class HeldInterrupts:
    """A block in which Ctrl-C waits until `release` or the end of the block; a second one does not wait.

    It does nothing in another thread than the main one, within another such block, and where the program handles
    Ctrl-C itself.

    Attributes
    ----------
    pending : bool
        Whether one waits.
    """

    def __init__(self) -> None:
        self.pending = False
        self._is_active = False

    def __enter__(self) -> "HeldInterrupts":
        is_main = threading.current_thread() is threading.main_thread()
        self._is_active = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._is_active:
            signal.signal(signal.SIGINT, self._hold_back)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_active:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.release()  # an error of the block becomes its context

    def release(self) -> None:
        """Raise KeyboardInterrupt if one waits."""
        if self.pending:
            self.pending = False
            raise KeyboardInterrupt

    def _hold_back(self, number: int, frame: Any) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True
