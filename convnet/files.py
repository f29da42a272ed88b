"""Files that are written whole or not at all."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["PathLike", "replace_file"]

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
        _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Have the system write a folder's names to the disk, where it can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError:  # some file systems cannot
            pass
        finally:
            os.close(handle)
