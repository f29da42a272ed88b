"""What a command prints: its result on standard output, and all else on standard error."""

import json
import sys
from typing import Any, TextIO

__all__ = ["Output", "in_one_line"]

# Errors whose message is for the user; of others the kind is told, too.
USER_ERRORS = (OSError, ValueError, TypeError, ImportError, FloatingPointError)


class Output:
    """Where a command's result, its course and its errors go.

    Parameters
    ----------
    as_json : bool
        Whether the result is one JSON object instead of a text.
    quiet : bool
        Whether the course is left out.

    Attributes
    ----------
    has_failed : bool
        Whether an error was told, so that the command ends with exit code 1.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet, self.has_failed = as_json, quiet, False

    def result(self, content: dict[str, Any], text: str) -> None:
        """Print the result, as JSON or as a text."""
        _print(json.dumps(content, allow_nan=False) if self.as_json else text, sys.stdout)

    def line(self, text: str) -> None:
        """Print a line of a result that comes line by line; with JSON, `result` has all of it."""
        if not self.as_json:
            _print(text, sys.stdout)

    def note(self, text: str) -> None:
        """Tell how the work goes."""
        if not self.quiet:
            _print(text, sys.stderr)

    def error(self, error: Exception) -> None:
        """Tell of an error after which the command goes on."""
        self.has_failed = True
        _print(f"convnet: error: {in_one_line(error)}", sys.stderr)


def in_one_line(error: BaseException) -> str:
    """Return an error in one line."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    elif isinstance(error, USER_ERRORS) and str(error):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "there is not enough memory"
    else:
        text = f"{type(error).__name__}: {error}; this should not happen, and --debug shows where it did"
    return " ".join(text.split())


def _print(text: str, stream: TextIO) -> None:
    """Print a text; what the stream's encoding lacks, such as letters in names of files, is spelt by its code."""
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
