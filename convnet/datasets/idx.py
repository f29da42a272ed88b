"""IDX files, the format of MNIST's four files."""

import gzip
import os
import zlib
from math import prod
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from convnet.formats.files import PathLike, open_file

__all__ = ["read_idx"]

# The third byte of an IDX file and the big-endian type that it stands for.
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Deflate cannot shrink data by more than this factor (zlib's documentation, "Maximum compression factor").
DEFLATE_LIMIT = 1032
CHUNK = 1 << 20
# The most that every NumPy can hold. Messages give the shape, and would be thousands of characters long with 255.
MOST_DIMENSIONS = 32


def read_idx(path: PathLike) -> npt.NDArray[Any]:
    """Read an IDX file, gzipped or not, of any element type and rank.

    Parameters
    ----------
    path : path
        The file; whether it is gzipped is told by its first two bytes.

    Returns
    -------
    ndarray
        In native byte order: uint8, int8, int16, int32, float32 or float64, as the file says. A gzipped file may unpack
        to 1,032 times its size; it is refused at once where its header claims more.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not an IDX file, or is shorter or longer than its header says, or broken gzip.

    Notes
    -----
    The format is two zero bytes, a byte for the element type, a byte for the rank, each dimension as a big-endian
    32-bit unsigned integer, then the elements, big-endian, the last dimension fastest (Y. LeCun, C. Cortes,
    C. J. C. Burges, "The MNIST database of handwritten digits").
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not zipped:
                return _parse_idx(file, size, path)
            with gzip.open(file) as content:
                return _parse_idx(content, size * DEFLATE_LIMIT, path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected an IDX file, but there is no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: expected a whole gzip file, but it is broken: {error}") from None


def _parse_idx(file: IO[bytes] | gzip.GzipFile, limit: int, path: PathLike) -> npt.NDArray[Any]:
    """Read the header and elements of an IDX file whose content is at most `limit` bytes long."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_TYPES:
        raise ValueError(
            f"{path}: expected an IDX file, which begins with the bytes 00 00, a type out of "
            f"{', '.join(f'{code:02x}' for code in IDX_TYPES)} and a rank, got {magic.hex(' ') or 'an empty file'}"
        )
    dtype, rank = np.dtype(IDX_TYPES[magic[2]]), magic[3]
    if rank > MOST_DIMENSIONS:
        raise ValueError(f"{path}: expected an IDX file of at most {MOST_DIMENSIONS} dimensions, got {rank}")
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        raise ValueError(f"{path}: expected {rank} dimensions of 4 bytes after the magic, got {len(header)} bytes")
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, 4 * rank, 4))
    expected = prod(shape) * dtype.itemsize
    claim = f"{path}: expected {expected} bytes of elements, as the header says (shape {shape} of {dtype.name})"
    if expected > limit:
        raise ValueError(f"{claim}, but the file is too small to hold them")
    # In pieces, so that memory grows with what the file holds and not with what its header claims.
    content = bytearray()
    while len(content) <= expected and (piece := file.read(min(CHUNK, expected + 1 - len(content)))):
        content += piece
    if len(content) < expected:
        raise ValueError(f"{claim}, got {len(content)}")
    if len(content) > expected:
        raise ValueError(f"{claim}, but the file goes on after them")
    try:
        array = np.frombuffer(content, dtype).reshape(shape)
    except ValueError:
        raise ValueError(f"{path}: expected sizes that NumPy can hold, got shape {shape}") from None
    return array.astype(dtype.newbyteorder("="), copy=False)
