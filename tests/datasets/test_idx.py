"""IDX files."""

import gzip
import itertools
import struct
import tracemalloc
from math import prod

import numpy as np
import pytest
from cases import idx_bytes

from convnet import read_idx

# The type byte, struct's letter for it, the dtype in native order, and values that the type can hold.
IDX_TYPES = {
    "uint8": (0x08, "B", [0, 255, 7, 128]),
    "int8": (0x09, "b", [-128, 127, -1, 0, 5]),
    "int16": (0x0B, "h", [-32768, 32767, 256, 1, -2]),
    "int32": (0x0C, "i", [-(2**31), 2**31 - 1, 65536, 1, -2]),
    "float32": (0x0D, "f", [-1.5, 0.0, 2.0**-126, 2.0**100, 0.1875]),
    "float64": (0x0E, "d", [-1.5, 1e300, 1e-300, 0.1, 3.0]),
}

SHAPES = [(), (5,), (3, 4), (2, 3, 5), (2, 1, 3, 2), (2, 3, 1, 2, 2)]


@pytest.fixture(params=[bytes, gzip.compress], ids=["plain", "gzipped"])
def packing(request):
    return request.param


@pytest.mark.parametrize("shape", SHAPES, ids=[f"rank {len(shape)}" for shape in SHAPES])
@pytest.mark.parametrize("name", IDX_TYPES)
def test_read_idx_gives_every_type_and_rank(tmp_path, packing, name, shape):
    code, letter, some = IDX_TYPES[name]
    values = list(itertools.islice(itertools.cycle(some), prod(shape)))
    path = tmp_path / "file"
    path.write_bytes(packing(idx_bytes(code, letter, shape, values)))
    array = read_idx(path)
    assert array.shape == shape
    assert array.dtype == np.dtype(name)
    assert array.dtype.isnative
    for index, value in zip(itertools.product(*map(range, shape)), values, strict=True):
        assert array[index] == value
    np.testing.assert_array_equal(read_idx(str(path)), array)


@pytest.mark.parametrize("shape", [(0,), (0, 28, 28), (3, 0, 2)])
def test_read_idx_gives_arrays_without_elements(tmp_path, packing, shape):
    path = tmp_path / "file"
    path.write_bytes(packing(idx_bytes(0x0D, "f", shape, [])))
    array = read_idx(path)
    assert array.shape == shape
    assert array.dtype == np.float32


MALFORMED = {
    "empty": (b"", ["expected an IDX file", "empty file"]),
    "cut in the magic": (b"\0\0\x08", ["expected an IDX file", "got 00 00 08"]),
    "other first bytes": (b"\x01\0\x08\x01\0\0\0\x01a", ["expected an IDX file", "got 01 00 08 01"]),
    "a text": (b"hello, world", ["expected an IDX file", "got 68 65 6c 6c"]),
    "unknown type": (b"\0\0\x0a\x01\0\0\0\x01a", ["08, 09, 0b, 0c, 0d, 0e", "got 00 00 0a 01"]),
    "cut in the header": (b"\0\0\x08\x03" + 10 * b"\0", ["expected 3 dimensions", "got 10 bytes"]),
    "one byte too short": (
        idx_bytes(0x0B, "h", (2, 3), range(6))[:-1],
        ["expected 12 bytes", "(2, 3) of int16", "got 11"],
    ),
    "no content": (idx_bytes(0x08, "B", (3,), []), ["expected 3 bytes", "got 0"]),
    "one byte too long": (idx_bytes(0x08, "B", (2, 3), range(6)) + b"\0", ["expected 6 bytes", "goes on"]),
    "content after no elements": (idx_bytes(0x08, "B", (0, 28, 28), []) + b"\0", ["expected 0 bytes", "goes on"]),
    "above NumPy's ranks": (idx_bytes(0x08, "B", (1,) * 33, [7]), ["at most 32 dimensions", "got 33"]),
    "as many dimensions as a byte can say": (
        idx_bytes(0x08, "B", (0xFFFFFFFF,) * 255, [7]),
        ["at most 32 dimensions", "got 255"],
    ),
    "above NumPy's sizes": (idx_bytes(0x08, "B", (0,) + (2**32 - 1,) * 3, []), ["sizes", "(0, 4294967295, "]),
}


@pytest.mark.parametrize(("content", "fragments"), MALFORMED.values(), ids=MALFORMED.keys())
def test_read_idx_refuses_malformed_files(tmp_path, packing, content, fragments):
    path = tmp_path / "odd-file"
    path.write_bytes(packing(content))
    with pytest.raises(ValueError, match="odd-file: expected") as caught:
        read_idx(path)
    assert all(fragment in str(caught.value) for fragment in fragments), caught.value
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("shape", "content"),
    [
        ((0xFFFFFFFF,) * 3, b"abc"),
        ((0xFFFFFFFF,) * 32, b"abc"),
        # A gzip file of this size could hold as much, so its content has to be looked at.
        ((30, 1000, 1000), np.random.default_rng(0).bytes(30_000)),
    ],
    ids=["2**96 bytes", "2**1024 bytes", "30 MB"],
)
def test_read_idx_allocates_nothing_for_what_a_header_only_claims(tmp_path, packing, shape, content):
    path = tmp_path / "bomb"
    path.write_bytes(packing(struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + content))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"bomb: expected {prod(shape)} bytes"):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6


@pytest.mark.parametrize("kept", [2, 3, 9, 10, 15, -20, -9, -8, -1])
def test_read_idx_refuses_truncated_gzip(tmp_path, kept):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(idx_bytes(0x08, "B", (300,), [i * i % 251 for i in range(300)]))[:kept])
    with pytest.raises(ValueError, match=r"cut\.gz: expected a whole gzip file"):
        read_idx(path)


@pytest.mark.parametrize("values", [[i % 5 for i in range(200)], list(np.random.default_rng(0).bytes(200))])
def test_read_idx_refuses_corrupted_gzip(tmp_path, values):
    good = gzip.compress(idx_bytes(0x08, "B", (200,), values), mtime=0)
    path = tmp_path / "corrupted.gz"
    refused = []
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :])
        try:
            array = read_idx(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: expected ")  # noqa: PT017
            refused.append(position)
        else:
            assert array.tolist() == values
    # The first ten bytes hold a time and other things that may change without harm.
    assert set(range(10, len(good))) <= set(refused)


def test_read_idx_refuses_what_follows_the_gzip_content(tmp_path):
    path = tmp_path / "trailing.gz"
    path.write_bytes(gzip.compress(idx_bytes(0x08, "B", (4,), range(4))) + b"garbage")
    with pytest.raises(ValueError, match=r"trailing\.gz: expected a whole gzip file"):
        read_idx(path)


def test_read_idx_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_idx(tmp_path / "absent")
