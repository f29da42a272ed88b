"""Files that are written whole or not at all."""

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["PathLike", "as_path", "open_file", "read_file", "replace_file"]

PathLike = str | os.PathLike[str]

# What messages expect of a path.
FILE = "the path of a file"


def as_path(path: PathLike, expected: str = "a path", begin: str = "") -> Path:
    """Return a path, after checking that it is one: `open` would take a number for an open file, and close it.

    Parameters
    ----------
    path : path
    expected : str
        What it is a path of, for messages.
    begin : str
        Begins an error.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If it is an empty text, which `Path` would take for the folder that the program was started in, or has a null
        byte.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{begin}expected {expected}, got {path!r:.60}")
    if path == "" or "\0" in str(path):
        raise ValueError(f"{begin}expected {expected}, got {'a text with a null byte' if path else 'an empty text'}")
    return Path(path)


def read_file(path: PathLike) -> bytes:
    """Return a file's content, which is no longer than the file was when it was opened.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is a pipe or a device, which may never end.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)
    if len(content) > size:
        raise ValueError(f"{path}: expected a file, got a pipe, a device, or a file that grows")
    return content


def open_file(path: PathLike) -> io.BufferedReader:
    """Open a file to read its bytes; a folder is an error that says so."""
    try:
        return open(as_path(path, FILE), "rb")
    except (IsADirectoryError, PermissionError):  # Windows says the latter of a folder
        if os.path.isdir(path):
            raise IsADirectoryError(f"{path}: expected a file, but this is a folder") from None
        raise


@contextmanager
def replace_file(path: PathLike) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes the place of `path` only when everything is written and on the disk.

    Parameters
    ----------
    path : path
        Its folder has to exist. A file there keeps its permissions, and a symbolic link leads to the new file.

    Yields
    ------
    file
        A temporary file in the same folder, open for writing bytes; removed if the block raises.

    Raises
    ------
    OSError
        If the folder is missing, `path` is a folder, or writing fails; what `path` held before is still there.
    """
    target = Path(os.path.realpath(as_path(path, FILE)))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: expected a folder {Path(path).parent} to write to, but there is none")
    if target.is_dir():
        raise IsADirectoryError(f"{path}: expected a file to write, but this is a folder")
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            if target.exists():
                temporary.chmod(target.stat().st_mode & 0o777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _flush_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Have the system write a folder's names to the disk, where it can."""
    if os.name == "posix":
        # Some file systems cannot, and some folders may be written to but not read.
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
