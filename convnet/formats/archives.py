"""Archives: files of named arrays and a JSON object, as model files and checkpoints are.

An archive is an uncompressed zip of ``.npy`` arrays, as ``numpy.savez`` writes it. ``header`` is an array of uint8, a
JSON object in UTF-8 with ``format``, what kind of file it is, and ``version``.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.formats.files import PathLike, read_file, replace_file

__all__ = ["Arrays", "array_of", "naming", "read_archive", "write_archive"]

Arrays = dict[str, npt.NDArray[Any]]

# Most bytes of a header. Parsed, they can take many times as much memory. A model of a thousand layers needs far fewer.
MOST_HEADER = 1 << 22


def write_archive(
    path: PathLike, kind: str, version: int, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Write an archive, whole or not at all.

    Parameters
    ----------
    path : path
        An existing file is replaced when the new one is complete.
    kind, version
        Values for the header's ``format`` and ``version``.
    header : mapping
        Values that JSON can hold.
    arrays : mapping of str to ndarray
        Arrays of numbers or truth values.

    Raises
    ------
    OSError
        If the file cannot be written; what was there before is still there.
    ValueError
        If the header is longer than `read_archive` accepts.
    """
    encoded = np.frombuffer(json.dumps({"format": f"convnet {kind}", "version": version, **header}).encode(), np.uint8)
    if encoded.size > MOST_HEADER:
        raise ValueError(f"{path}: expected a header of at most {MOST_HEADER:,} bytes, got {encoded.size:,}")
    with replace_file(path) as file:
        np.savez(file, header=encoded, **arrays)  # type: ignore[arg-type]


def read_archive(path: PathLike, kind: str, versions: Sequence[int]) -> tuple[dict[str, Any], Arrays]:
    """Read an archive.

    Parameters
    ----------
    path : path
    kind : str
        Such as "model": the ``format`` that the header has to state is "convnet model".
    versions : sequence of int
        The versions that the caller can read.

    Returns
    -------
    header : dict
    arrays : dict of str to ndarray
        All but the header, writeable. They take no more memory than the file has bytes. The header may take more,
        but its length is limited.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a whole archive of this format, or is of another version.
    """
    try:
        content = read_file(path)  # whole, so that an OSError below comes from the content
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected a {kind} file, but there is no such file") from None
    with naming(path, kind):
        arrays = _arrays(content)
        encoded = arrays.pop("header").tobytes()
        if len(encoded) > MOST_HEADER:
            raise ValueError(f"its header has {len(encoded):,} bytes, more than {MOST_HEADER:,}")
        header = json.loads(encoded)
        if header["format"] != f"convnet {kind}":
            raise ValueError(f"its format is {header['format']!r:.40}")
        if (found := header["version"]) not in versions:
            read = " and ".join(map(str, versions))
            raise ValueError(
                f"it is of version {found!r:.40}, and this release of convnet reads version {read}: use it with the "
                "release that wrote it, or a newer one"
            )
        return header, arrays


@contextmanager
def naming(path: PathLike, kind: str) -> Iterator[None]:
    """Turn whatever is found wrong with a file's content in the block into a ValueError that names the file."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path}: expected a {kind} file of convnet: {error} is missing or unknown") from None
    except Exception as error:  # malformed content can raise nearly anything
        raise ValueError(f"{path}: expected a {kind} file of convnet: {str(error)[:300]}") from None


def _arrays(content: bytes) -> Arrays:
    """Return the arrays of an archive by name."""
    import zipfile  # here, because importing it takes milliseconds

    if not content.startswith(b"PK"):
        raise ValueError("it is not an .npz archive")
    arrays: Arrays = {}
    try:
        opened = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile:
        raise ValueError("it is cut off or damaged") from None
    with opened as archive:
        members = archive.infolist()
        # What an archive claims to hold may be more than it has bytes for.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is compressed, which no file of convnet is")
        if sum(member.file_size for member in members) > len(content):
            raise ValueError("it claims to hold more than it has bytes for")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"it holds {name} twice")
            arrays[name] = array_of(archive.read(member), name)
    return arrays


def array_of(content: bytes, name: str, kinds: str = "iufb") -> npt.NDArray[Any]:
    """Return the array of a .npy file, of a dtype of one of NumPy's kinds.

    It takes no more memory than the content, whatever the header claims.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.kind not in kinds:
        raise ValueError(f"{name}: expected real numbers{' or texts' if 'U' in kinds else ''}, got {dtype}")
    data = bytearray(content[file.tell() :])
    if len(data) != prod(shape) * dtype.itemsize:
        raise ValueError(
            f"{name}: expected {prod(shape) * dtype.itemsize} bytes for the shape {shape}, got {len(data)}"
        )
    return np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")
