"""Pickles that cannot run anything."""

import importlib
import os
import pickle
import struct
import subprocess
import time
import tracemalloc

import numpy as np
import pytest

from convnet.formats.pickles import load_pickle


def test_numbers_strings_and_arrays_come_back(tmp_path):
    arrays = {
        "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
        "int64": np.arange(4),
        "big-endian": np.arange(5, dtype=">i2"),
        "no axis": np.array(2.5),
        "empty": np.zeros((0, 3), np.float32),
        "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "not contiguous": np.arange(10.0)[::2].copy(),
    }
    content = {"arrays": arrays, "others": {"a": 1, "b": 2.5, "c": "text", "d": None, "e": True, "f": [1, (2, 3)]}}
    path = tmp_path / "good.pickle"
    path.write_bytes(pickle.dumps(content, protocol=5))
    loaded = load_pickle(path, "things")
    assert loaded["others"] == content["others"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded["arrays"][name], array)
        assert loaded["arrays"][name].dtype == array.dtype


class Calls:
    """Pickles to a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Plain:
    pass


def hostile(marker):
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, f"touch {marker}"),
        "eval": Calls(eval, touch),
        "exec": Calls(exec, touch),
        "popen": Calls(subprocess.Popen, ["touch", str(marker)]),
        "getattr": Calls(getattr, "x", "upper"),
        "import": Calls(__import__, "this"),
        "numpy.load": Calls(np.load, str(marker)),
        "ndarray": Calls(np.ndarray, (3,)),
        "memmap": Calls(np.memmap, str(marker), "u1", "w+", 0, (1,)),
        "set": Calls(set, [1]),
        "instance": Plain(),
        "class": Plain,
        "function": len,
        "complex": 1j,
        "objects": np.array([Plain(), None]),
        "texts": np.array(["a", "b"]),
        "records": np.zeros(2, [("a", "f4")]),
        "void": np.zeros(2, "V8"),
        "date": np.zeros(2, "M8[s]"),
        "truth": np.zeros(2, bool),
        "complex numbers": np.zeros(2, complex),
        "object dtype": np.dtype("O"),
    }


NAMES = sorted(hostile("x"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", NAMES)
def test_everything_else_is_refused_before_it_runs(tmp_path, name, protocol):
    marker, path = tmp_path / "marker", tmp_path / "bad.pickle"
    path.write_bytes(pickle.dumps({"data": hostile(marker)[name]}, protocol=protocol))
    with pytest.raises(ValueError, match=r"bad\.pickle: expected a pickle of data: "):
        load_pickle(path, "data")
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"not a pickle",
        b"cos\nsystem\n(S'true'\ntR.",  # protocol 0 by hand
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",  # the function itself by STACK_GLOBAL
        b"\x80\x02cnumpy\ndtype\nU\x02f4\x85R}b.",  # a dtype whose state is an empty dictionary
        b"\x80\x02cnumpy._core.numeric\n_frombuffer\n(U\x04aaaacnumpy\ndtype\nU\x02f4\x85RK\x02\x85U\x01CtR.",  # short
        b"\x80\x02cnumpy._core.numeric\n_frombuffer\n(U\x04aaaaU\x02f4K\x01\x85U\x01CtR.",  # a dtype that is none
        b"\x80\x02P1\n.",  # a persistent id
        b"\x82\x01.",  # an extension code
    ],
)
def test_malformed_pickles_are_one_clear_error(tmp_path, content):
    path = tmp_path / "bad.pickle"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.pickle: expected a pickle of data: "):
        load_pickle(path, "data")


def test_a_missing_pickle_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: expected a pickle of data, but there is no such file"):
        load_pickle(tmp_path / "absent", "data")


class CallsForFunction(Calls):
    """Stands where a pickle expects a function, and pickles to the call that returns it."""

    def __call__(self):
        raise AssertionError("called while pickling")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["os.system", "eval", "exec", "popen", "getattr chain"])
def test_payloads_that_work_in_a_plain_unpickler_are_not_run(tmp_path, name, protocol):
    marker, path = tmp_path / "marker", tmp_path / "bad.pickle"
    module = Calls(importlib.import_module, "os")
    payload = hostile(marker).get(name) or Calls(CallsForFunction(getattr, module, "system"), f"touch {marker}")
    content = pickle.dumps(payload, protocol=protocol)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.pickle: .* which is not allowed"):
        load_pickle(path, "data")
    assert not marker.exists()
    result = pickle.loads(content)
    if isinstance(result, subprocess.Popen):
        result.wait()
    assert marker.exists()


# NumPy's own functions that arrays are pickled with: names that differ between its releases.
FROM_BUFFER = np.zeros(1).__reduce_ex__(5)[0]

RECONSTRUCT = np.zeros(1).__reduce__()[0]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "payload",
    [
        *[Calls(FROM_BUFFER, bytes(16), np.dtype(code), (1,), "C") for code in ("O", "V8", "U4", "S4", "M8[s]", "c8")],
        Calls(FROM_BUFFER, bytes(16), np.dtype([("a", "O")]), (1,), "C"),
        Calls(RECONSTRUCT, np.ndarray, (0,), b"b"),
        np.array([None, 1], object),
        np.array([], object),
        {1, 2},
        frozenset({1, 2}),
        FROM_BUFFER,
    ],
    ids=[
        "O",
        "V8",
        "U4",
        "S4",
        "M8",
        "c8",
        "record",
        "reconstruct",
        "objects",
        "no objects",
        "set",
        "frozenset",
        "name",
    ],
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path, payload, protocol):
    path = tmp_path / "bad.pickle"
    path.write_bytes(pickle.dumps(payload, protocol=protocol))
    with pytest.raises(ValueError, match=r"bad\.pickle: expected a pickle of data"):
        load_pickle(path, "data")


def test_a_pickle_cannot_change_the_functions_that_read_it(tmp_path):
    path = tmp_path / "bad.pickle"
    name = f"{FROM_BUFFER.__module__}\n{FROM_BUFFER.__name__}\n".encode()
    # The function, then BUILD with a state that sets one of its attributes, then None in its place.
    path.write_bytes(b"c" + name + b"(N}S'changed'\nS'by a file'\nstb0N.")
    with pytest.raises(ValueError, match=r"bad\.pickle: expected a pickle of data"):
        load_pickle(path, "data")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_dictionaries_without_arrays_come_back_at_every_protocol(tmp_path, protocol):
    content = {
        "a": {"b": {"c": -1, "d": 2**70}, "e": -0.0},
        "f": float("inf"),
        "\N{GREEK SMALL LETTER PI}": "",
        3: None,
    }
    content |= {"true": True, "false": False}
    path = tmp_path / "good.pickle"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    assert repr(load_pickle(str(path), "things")) == repr(content)


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8", "i1", "u1", ">i2", "u4", "i8"])
@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 3), (3, 0, 2), (2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_in_type_shape_and_order(tmp_path, dtype, shape, order):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype).copy(order)
    path = tmp_path / "good.pickle"
    path.write_bytes(pickle.dumps([array], protocol=5))
    (loaded,) = load_pickle(path, "things")
    assert loaded.dtype == array.dtype
    assert loaded.shape == array.shape
    assert loaded.flags.f_contiguous == array.flags.f_contiguous
    assert loaded.tolist() == array.tolist()


def nested(depth, start):
    for _ in range(depth):
        start = (start, start)
    return start


BOMBS = {
    "a terabyte": (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.", "cut off, damaged"),
    "a large place in the memo": (b"\x80\x04Nr" + struct.pack("<I", 2**32 - 1) + b"0.", "the instruction POP"),
    "a key that takes an age to hash": (
        b"\x80\x04}K\x01" + b"".join(b"\x94h" + bytes([i]) + b"\x86" for i in range(60)) + b"Ns.",
        "a dictionary with a tuple for a key",
    ),
    "an age to compare": (pickle.dumps([nested(60, 1.5), nested(60, 1.5)]), "more than 4,000,000 elements"),
    "an age to print": (pickle.dumps(nested(60, 1.5))[:-1] + b"N\x93.", "it asks for tuple.NoneType"),
    "itself": (b"\x80\x04]\x94h\x00a.", "something that holds itself"),
    "a long integer": (pickle.dumps([10**4000]), "an integer of 13288 bits, more than 128"),
    "many instructions": (b"\x80\x04" + b"]" * 1_000_002 + b".", "more than 1,000,000 instructions"),
    "a deep list": (b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".", "deeper than 100"),
    "a large shape": (
        pickle.dumps(np.zeros(0), 4).replace(b"K\x00\x85\x94", b"J\xff\xff\xff\x7f\x85\x94"),
        "cut off, damaged",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_take_no_more_time_and_memory_than_their_size(tmp_path, name):
    content, message = BOMBS[name]
    (tmp_path / "bomb").write_bytes(content)
    tracemalloc.start()
    try:
        if message is None:
            load_pickle(tmp_path / "bomb", "data")
        else:
            with pytest.raises(ValueError, match=rf"bomb: expected a pickle of data: .*{message}"):
                load_pickle(tmp_path / "bomb", "data")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1e6 + 300 * len(content)


def good_pickle():
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.arange(2)}
    return pickle.dumps({"arrays": arrays, "name": "text", "number": 2.5, "none": None}, protocol=5)


def test_every_truncation_is_one_clear_error(tmp_path):
    path, whole = tmp_path / "cut.pickle", good_pickle()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.pickle: expected a pickle of data"):
            load_pickle(path, "data")


def test_flipped_bytes_give_a_value_or_a_clear_error(tmp_path):
    path, whole, rng = tmp_path / "flipped.pickle", good_pickle(), np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        broken = bytearray(whole)
        broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            load_pickle(path, "data")
        except ValueError as error:
            assert "flipped.pickle: expected a pickle of data" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 50


def repeated(times):
    """Return a pickle of a list of an array, and of others that are made of the same bytes."""
    dtype = b"cnumpy\ndtype\n(X\x02\x00\x00\x00u1I00\nI01\ntR"
    arguments = b"(C\xc8" + bytes(200) + dtype + b"K\xc8\x85X\x01\x00\x00\x00Ct"
    first = b"cnumpy.core.numeric\n_frombuffer\nq\x01" + arguments + b"q\x02R"
    return b"\x80\x04](" + first + b"h\x01h\x02R" * times + b"e."


def test_bytes_of_a_pickle_are_made_into_arrays_once(tmp_path):
    path = tmp_path / "a.pickle"
    path.write_bytes(repeated(0))
    (array,) = load_pickle(path, "arrays")
    np.testing.assert_array_equal(array, np.zeros(200, np.uint8))
    path.write_bytes(repeated(2000))
    with pytest.raises(ValueError, match="builds arrays of more than twice its size"):
        load_pickle(path, "arrays")
    for protocol in (2, 3, 4, 5):  # the second spells bytes as a text
        for byte in (0, 200):
            path.write_bytes(pickle.dumps([np.full(1000, byte, np.uint8)] * 3, protocol))
            assert [array.sum() for array in load_pickle(path, "arrays")] == [1000 * byte] * 3


def test_time_to_read_a_pickle_is_proportional_to_it(tmp_path):
    dtype = b"cnumpy\ndtype\n(X\x02\x00\x00\x00u1I00\nI01\ntR\x94"
    state = b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    build = dtype + state + b"b"
    path = tmp_path / "a.pickle"
    path.write_bytes(b"\x80\x04](" + build * 20_000 + b"e.")
    start = time.process_time()
    with pytest.raises(ValueError, match="not allowed"):
        load_pickle(path, "arrays")
    assert time.process_time() - start < 20
