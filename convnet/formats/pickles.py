"""Pickles that are read without running anything.

A pickle is a program for a small machine with a stack and a memo. Python's own machine imports what the program names
and calls it, and can be made to take endless time or memory before that. The machine in this module accepts only the
instructions that build arrays, dictionaries, lists, tuples, strings and numbers. It knows the names in `NAMES` and has
its own code for each. It refuses everything else. Its arrays have at most twice the bytes of the file.

Pickles of Python 2, such as CIFAR's, spell bytes and texts alike. They are read as texts, a character for each byte.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from convnet.formats.files import PathLike, read_file

__all__ = ["load_pickle"]

# Most instructions of a pickle: some seconds of work. A dictionary of a few arrays has far fewer.
MOST_INSTRUCTIONS = 1_000_000
# Most bits of an integer. Longer ones take long to print.
MOST_BITS = 128
# Most elements and characters of all containers, as printed, and most levels of nesting.
MOST_ELEMENTS, MOST_DEPTH = 4_000_000, 100


def load_pickle(path: PathLike, what: str) -> Any:
    """Load a pickle of NumPy arrays of numbers, dictionaries, lists, tuples, strings and numbers.

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
        content = read_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected a pickle of {what}, but there is no such file") from None
    try:
        return _Machine().run(content)
    except RefusedError as error:
        raise ValueError(f"{path}: expected a pickle of {what}: {str(error)[:300]}") from None
    except Exception:  # from an instruction that does not fit what lies on the stack, in words about these two
        raise ValueError(f"{path}: expected a pickle of {what}: it is cut off, damaged, or no pickle") from None


class RefusedError(Exception):
    """What a pickle asks for is not allowed."""


class _Name:
    """A name that a pickle may use, with what is done where it is called."""

    def __init__(self, call: Callable[..., Any] | None = None) -> None:
        self.call = call


class _Type:
    """A NumPy dtype under construction: created from a code such as f4; `build` supplies the byte order."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if not (isinstance(code, str) and code[:1] in "iuf" and code[1:] in ("1", "2", "4", "8")):
            named = repr(code) if isinstance(code, str) else type(code).__name__
            raise RefusedError(f"it holds an array of the type {named}, which is not allowed")
        self.code, self.order = code, "<"

    def build(self, state: Any) -> "_Type":
        if not isinstance(state, tuple) or state[1] not in ("<", ">", "|"):
            raise RefusedError("it gives an array's type a state that is not allowed")
        self.order = state[1]
        return self

    def dtype(self) -> npt.DTypeLike:
        return np.dtype((">" if self.order == ">" else "<") + self.code)


class _Array:
    """A NumPy array under construction: created empty; `build` supplies shape, dtype and data."""

    def __init__(self, kind: Any, shape: Any, code: Any) -> None:
        if kind is not NDARRAY:
            raise RefusedError("it makes an array of a class that is not allowed")
        self.built: npt.NDArray[Any] | None = None

    def build(self, state: Any) -> npt.NDArray[Any]:
        if not isinstance(state, tuple) or len(state) != 5:
            raise RefusedError("it gives an array a state that is not allowed")
        _, shape, code, is_fortran, content = state
        self.built = _from_buffer(content, code, shape, "F" if is_fortran else "C")
        return self.built


def _from_buffer(content: Any, code: Any, shape: Any, order: Any) -> npt.NDArray[Any]:
    """Return a writeable array made from a copy of the bytes, or of what a pickle of Python 2 has for bytes."""
    if isinstance(content, str):
        content = _encode(content, "latin1")
    if not (isinstance(content, (bytes, bytearray)) and isinstance(code, _Type) and isinstance(shape, tuple)):
        raise RefusedError("it makes an array of something else than bytes, a type and a shape")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise RefusedError("it makes an array of a shape that is not one of sizes")
    return np.frombuffer(bytearray(content), code.dtype()).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: Any, encoding: Any) -> bytes:
    """Return bytes, which pickles of protocols before 3 spell as a text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedError("it encodes something else than a text in latin1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


NDARRAY = _Name()
TYPE, FROM_BUFFER, RECONSTRUCT = _Name(_Type), _Name(_from_buffer), _Name(_Array)

# NumPy 1 and 2 have one module under two names.
NAMES: dict[tuple[str, str], _Name] = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): TYPE,
    ("numpy.core.numeric", "_frombuffer"): FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): FROM_BUFFER,
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("_codecs", "encode"): _Name(_encode),
    ("__builtin__", "bytes"): _Name(_no_bytes),
}
MARK = object()
Step = Callable[["_Machine", Any], None]


class _Machine:
    """Carries out the instructions of one pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.allowance = 0

    def run(self, content: bytes) -> Any:
        """Return what a pickle builds."""
        import pickletools  # here, because importing it takes milliseconds

        # Limit the total size of built arrays to twice the file. A text that spells bytes counts twice: as bytes and as
        # an array. Without the limit, a few bytes of the file could build the same large array again and again.
        self.allowance = 2 * len(content)

        try:
            for count, (instruction, argument, _) in enumerate(pickletools.genops(content)):
                if count > MOST_INSTRUCTIONS:
                    raise RefusedError(f"it has more than {MOST_INSTRUCTIONS:,} instructions")
                if instruction.name not in self.STEPS:
                    raise RefusedError(f"it has the instruction {instruction.name}, which is not allowed")
                self.STEPS[instruction.name](self, argument)
        except IndexError:
            raise RefusedError("it takes more from its stack than it put there") from None
        (result,) = self.stack
        _check_plain(result)
        return result

    def push(self, value: Any) -> None:
        if type(value) is int and value.bit_length() > MOST_BITS:
            raise RefusedError(f"it holds an integer of {value.bit_length()} bits, more than {MOST_BITS}")
        self.stack.append(value)

    def pop_to_mark(self) -> list[Any]:
        """Return what lies above the last mark, which is taken away with it."""
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is MARK:
                above = self.stack[position + 1 :]
                del self.stack[position:]
                return above
        raise IndexError

    def pop(self, count: int) -> list[Any]:
        """Return the values on top, which are taken away."""
        if len(self.stack) < count or any(value is MARK for value in self.stack[-count:]):
            raise IndexError
        above = self.stack[-count:]
        del self.stack[-count:]
        return above

    def keep(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise RefusedError("it refers to something that it never made")
        value = self.memo[key]
        self.stack.append(value.built if isinstance(value, _Array) and value.built is not None else value)

    def name(self, module: Any, name: Any) -> None:
        known = NAMES.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if known is None:
            texts = (text if isinstance(text, str) else type(text).__name__ for text in (module, name))
            raise RefusedError(f"it asks for {'.'.join(texts)}, which is not allowed")
        self.stack.append(known)

    def call(self) -> None:
        function, arguments = self.pop(2)
        if not isinstance(function, _Name) or function.call is None or not isinstance(arguments, tuple):
            raise RefusedError(f"it calls a {type(function).__name__}, which is not allowed")
        self.append_made(function.call(*arguments))

    def append_made(self, made: Any) -> None:
        """Put what a call has made on the stack, if everything made so far stays within the allowance."""
        self.allowance -= made.nbytes if isinstance(made, np.ndarray) else len(made) if isinstance(made, bytes) else 0
        if self.allowance < 0:
            raise RefusedError("it builds arrays of more than twice its size")
        self.stack.append(made)

    def build(self) -> None:
        thing, state = self.pop(2)
        if not isinstance(thing, (_Type, _Array)):
            raise RefusedError(f"it gives a {type(thing).__name__} a state, which is not allowed")
        self.append_made(thing.build(state))

    def extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise RefusedError("it appends to something else than a list")
        self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or len(values) % 2:
            raise RefusedError("it sets the items of something else than a dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if key is not None and not isinstance(key, (str, int, float)):
                raise RefusedError(f"it has a dictionary with a {type(key).__name__} for a key, which is not allowed")
            self.stack[-1][key] = value

    def new_dictionary(self) -> None:
        values = self.pop_to_mark()
        self.stack.append({})
        self.update(values)

    STEPS: ClassVar[dict[str, Step]] = {
        **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, argument: None),
        **dict.fromkeys(
            (
                *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
                *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
                *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
                *("STRING", "SHORT_BINSTRING", "BINSTRING"),
            ),
            lambda machine, argument: machine.push(argument),
        ),
        "NONE": lambda machine, argument: machine.push(None),
        "NEWTRUE": lambda machine, argument: machine.push(True),
        "NEWFALSE": lambda machine, argument: machine.push(False),
        "MARK": lambda machine, argument: machine.stack.append(MARK),
        "EMPTY_TUPLE": lambda machine, argument: machine.push(()),
        "TUPLE": lambda machine, argument: machine.push(tuple(machine.pop_to_mark())),
        "TUPLE1": lambda machine, argument: machine.push(tuple(machine.pop(1))),
        "TUPLE2": lambda machine, argument: machine.push(tuple(machine.pop(2))),
        "TUPLE3": lambda machine, argument: machine.push(tuple(machine.pop(3))),
        "EMPTY_LIST": lambda machine, argument: machine.push([]),
        "LIST": lambda machine, argument: machine.push(machine.pop_to_mark()),
        "APPEND": lambda machine, argument: machine.extend(machine.pop(1)),
        "APPENDS": lambda machine, argument: machine.extend(machine.pop_to_mark()),
        "EMPTY_DICT": lambda machine, argument: machine.push({}),
        "DICT": lambda machine, argument: machine.new_dictionary(),
        "SETITEM": lambda machine, argument: machine.update(machine.pop(2)),
        "SETITEMS": lambda machine, argument: machine.update(machine.pop_to_mark()),
        "MEMOIZE": lambda machine, argument: machine.keep(len(machine.memo)),
        **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, argument: machine.keep(argument)),
        **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, argument: machine.recall(argument)),
        "GLOBAL": lambda machine, argument: machine.name(*argument.split(" ", 1)),
        "STACK_GLOBAL": lambda machine, argument: machine.name(*machine.pop(2)),
        "REDUCE": lambda machine, argument: machine.call(),
        "BUILD": lambda machine, argument: machine.build(),
    }


def _check_plain(content: Any) -> None:
    """Raise an error unless `content` is made of arrays, dictionaries, lists, tuples, strings and numbers alone.

    A few bytes can build a container that holds itself. They can also build containers that hold the next one twice,
    level after level, so that the whole is endless when printed. To print or compare such a thing would take forever.
    """
    extents: dict[int, tuple[int, int]] = {}  # by id: elements, counted as often as they occur, and depth
    inside: set[int] = set()
    todo = [(content, False)]
    while todo:
        value, is_done = todo.pop()
        key = id(value)
        if isinstance(value, (dict, list, tuple)):
            parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            if is_done:
                inside.discard(key)
                size = 1 + sum(extents[id(part)][0] for part in parts)
                depth = 1 + max((extents[id(part)][1] for part in parts), default=0)
                if size > MOST_ELEMENTS or depth > MOST_DEPTH:
                    raise RefusedError(f"it holds more than {MOST_ELEMENTS:,} elements, or deeper than {MOST_DEPTH}")
                extents[key] = size, depth
            elif key in inside:
                raise RefusedError("it holds something that holds itself")
            elif key not in extents:
                inside.add(key)
                todo.append((value, True))
                todo += [(part, False) for part in parts]
        elif value is None or isinstance(value, (str, int, float, np.ndarray)):
            extents[key] = len(value) + 1 if isinstance(value, str) else 1, 0
        else:
            raise RefusedError(f"it holds a {type(value).__name__.strip('_').lower()}, which is not allowed")
