"""Files that are written whole or not at all, and pickles that are read without running anything."""

import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt

__all__ = ["PathLike", "load_pickle", "replace_file"]

PathLike = str | os.PathLike[str]


@contextmanager
def replace_file(path: PathLike) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes the place of `path` only when everything is written and on the disk.

    Parameters
    ----------
    path : path
        Its folder has to exist.

    Yields
    ------
    file
        A temporary file in the same folder, open for writing bytes; removed if the block raises.

    Raises
    ------
    OSError
        If the folder is missing, `path` is a folder, or writing fails; what `path` held before is still there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: expected a folder {path.parent} to write to, but there is none")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file to write, but this is a folder")
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_pickle(path: PathLike, what: str) -> Any:
    """Load a pickle of contiguous NumPy arrays, dictionaries, strings and numbers.

    Parameters
    ----------
    path : path
    what : str
        What the file should hold, for the error.

    Returns
    -------
    object

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no whole pickle, or asks for anything else; nothing of what it asks for is run.
    """
    try:
        with open(path, "rb") as file:
            content = _ArrayUnpickler(file).load()
            _check_plain(content)
            return content
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected a pickle of {what}, but there is no such file") from None
    except OSError:
        raise
    except Exception as error:  # a malformed pickle can raise nearly anything
        raise ValueError(f"{path}: expected a pickle of {what}: {error}") from None


class _TypeCode:
    """Stands in for numpy.dtype while unpickling, so that no state from the file reaches a real one."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype:
        if not (isinstance(self.code, str) and self.code[:1] in "iuf" and self.code[1:].isdigit()):
            raise pickle.UnpicklingError(f"expected arrays of numbers, got the type {self.code!r:.40}")
        return np.dtype((">" if self.order == ">" else "<") + self.code)


class _ArrayFromBuffer:
    """Stands in for NumPy's _frombuffer; a class with a state of its own, so that no file can set its attributes."""

    def __new__(cls, buffer: Any, code: Any, shape: Any, order: Any) -> npt.NDArray[Any]:  # type: ignore[misc]
        if not isinstance(code, _TypeCode) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("expected an array's buffer, type and shape")
        return np.frombuffer(buffer, code.dtype()).reshape(shape, order="F" if order == "F" else "C")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("expected no state")


def _check_plain(content: Any) -> None:
    """Raise an error unless `content` is made of arrays, dictionaries, lists, tuples, strings and numbers alone."""
    seen: dict[int, Any] = {}
    todo = [content]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, dict):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple)):
            todo += value
        elif value is not None and not isinstance(value, (str, int, float, np.ndarray)):
            raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, which is not allowed")


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler of contiguous NumPy arrays, dictionaries, strings and numbers; it refuses every other name."""

    NAMES: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "dtype"): _TypeCode,
        ("numpy.core.numeric", "_frombuffer"): _ArrayFromBuffer,
        ("numpy._core.numeric", "_frombuffer"): _ArrayFromBuffer,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return this module's own stand-in for the few names that arrays are made of."""
        try:
            return self.NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed") from None
