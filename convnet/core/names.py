"""Names of attributes and arguments: a near-miss is refused with the name that was meant."""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, ClassVar, Self

__all__ = ["Named", "meant_by"]

# How alike two names have to be, as difflib measures it, for one to be a slip of the other.
ALIKE = 0.85
# An attribute with a smaller part of another one's letters is one of its own: `best` is not `best_state`.
SHORTENED = 0.45


def meant_by(name: str, known: Iterable[str], shortened: float = 0.0) -> str | None:
    """Return which of the known names is meant by another one, None if none seems to be.

    It is one that differs in case, underscores or a letter or two (``classnames``, ``momentun``); that the name begins
    (``pad`` of ``padding``) or shortens by leaving letters out (``stats`` of ``statistics``); or of whose words it has
    the initials (``lr`` of ``learning_rate``). What is shortened keeps more than the part `shortened` of the letters.

    Examples
    --------
    >>> [meant_by(name, ["learning_rate", "statistics", "class_names"]) for name in ("lr", "stats", "classes", "note")]
    ['learning_rate', 'statistics', 'class_names', None]
    """
    plain = _plain(name)
    for other in known:
        whole = _plain(other)
        initials = "".join(word[:1] for word in other.split("_")) if "_" in other else None
        if plain in (whole, initials) or SequenceMatcher(None, plain, whole).ratio() >= ALIKE:
            return other
        if len(plain) < 3 or len(plain) <= shortened * len(whole):
            continue
        letters = iter(whole)
        if whole.startswith(plain) or (plain[:4] == whole[:4] and all(letter in letters for letter in plain)):
            return other
    return None


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


class Named:
    """Base of classes whose attributes and arguments are easily called by a wrong name.

    An unknown argument of the constructor is a TypeError anyway; here it names the argument that was meant, and says
    how a missing one is given. Setting an attribute that does not exist is an AttributeError if its name is nearly one
    that does, but not on objects of a user's own subclass, and not for the package itself: they may have attributes of
    any name. Attributes of `_checked_attributes` are checked when they are set.
    """

    # The check of an attribute, which returns what is set.
    _checked_attributes: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = {}
    # How an argument without a default is given.
    _required_arguments: ClassVar[Mapping[str, str]] = {}
    # Where an argument belongs that is looked for here.
    _arguments_elsewhere: ClassVar[Mapping[str, str]] = {}

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        """Return a new object, after checking the names of the constructor's arguments."""
        if arguments or named:
            _check_arguments(cls, named)
        return super().__new__(cls)

    if not TYPE_CHECKING:  # a type checker would allow attributes of any name

        def __setattr__(self, name: str, value: Any) -> None:
            if check := type(self)._checked_attributes.get(name):
                value = check(self, value)
            elif name not in self.__dict__:
                _check_attribute(self, name)
            object.__setattr__(self, name, value)


def _check_arguments(cls: type[Named], named: Mapping[str, Any]) -> None:
    """Raise a TypeError for an argument of a wrong name, or a missing one of which a class says how it is given."""
    try:
        parameters = inspect.signature(cls.__init__).parameters
    except (TypeError, ValueError):  # of a class made in C
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    names = [name for name, parameter in parameters.items() if parameter.kind is not parameter.POSITIONAL_ONLY][1:]
    for name in named:
        if name in names:
            continue
        if meant := meant_by(name, [other for other in names if other not in named]):
            raise TypeError(f"{cls.__name__}: unexpected argument {name!r}; did you mean {meant!r}?")
        if place := meant_by(name, cls._arguments_elsewhere):
            raise TypeError(f"{cls.__name__}: unexpected argument {name!r}; {cls._arguments_elsewhere[place]}")
    for name, how in cls._required_arguments.items():
        wanted = parameters.get(name)
        if wanted and wanted.kind is wanted.KEYWORD_ONLY and wanted.default is wanted.empty and name not in named:
            raise TypeError(f"{cls.__name__}: missing argument {name!r}: {how}")


def _can_be_set(member: Any) -> bool:
    """Return whether what a class has by a name is no method and no read-only property."""
    return not callable(member) and not (isinstance(member, property) and member.fset is None)


def _check_attribute(thing: Named, name: str) -> None:
    """Raise an AttributeError if a user sets an attribute of nearly the name of another one."""
    cls = type(thing)
    if name.startswith("_") or hasattr(cls, name) or cls.__module__.partition(".")[0] != "convnet":
        return
    frame = sys._getframe(1)
    while frame.f_code.co_name == "__setattr__" and frame.f_back is not None:
        frame = frame.f_back
    if frame.f_globals.get("__name__", "").partition(".")[0] == "convnet":
        return
    names = (*vars(thing), *dir(cls))
    known = [other for other in names if not other.startswith("_") and _can_be_set(getattr(cls, other, None))]
    if meant := meant_by(name, known, SHORTENED):
        raise AttributeError(
            f"{cls.__name__}: it has no attribute {name!r}; did you mean {meant!r}? An attribute of your own needs a "
            "name that is less like it"
        )
