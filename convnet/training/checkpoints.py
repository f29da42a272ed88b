"""Checkpoints: files from which a training that was killed goes on bit for bit.

A checkpoint is an archive (see `convnet.formats.archives`) of the kind ``checkpoint``. Its arrays are, by the names of
the model's parameters and of its state, ``model.*`` and, where they are others, ``best.*``, ``checked.*`` and
``last.*``: those of the best accuracy check, of the last one, and of the last iteration where the model has the best
ones; ``averages.*``, where there are moving averages; then ``optimizer.*``, the histories, the ``order``
of the epoch's examples, and what callbacks keep.
The JSON object has the counters, the states of the random generators, the name of the instruction set, and in ``run``
what the run is made of (see `convnet.training.run`), which has to be that of the run that goes on.

A user calls `Solver.save` and `Solver.resume`.
"""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from convnet import _kernels
from convnet.core.checks import as_count, as_flag, as_number
from convnet.formats.archives import Arrays, naming, read_archive, write_archive
from convnet.formats.files import PathLike, as_path
from convnet.models.sequential import Sequential
from convnet.training.optimizers import STEPS, Optimizer
from convnet.training.state import HISTORIES, Snapshot, TrainingState, model_arrays, restore

__all__ = ["Parts", "checkpoints_in", "resume", "save"]

KIND, VERSION = "checkpoint", 2
SNAPSHOTS = ("best", "checked", "last", "averages")
METRIC = "metric_history"


class Keeper(Protocol):
    """What a checkpoint needs of a callback."""

    def state(self) -> Arrays:
        """Return what the checkpoint has to hold."""

    def load_state(self, state: Arrays) -> None:
        """Take it over."""


class Parts(NamedTuple):
    """The objects that a checkpoint saves and restores.

    Attributes
    ----------
    state, model, optimizer
        Objects that `save` writes and `resume` changes.
    keepers : dict of str to callback
        The callbacks by name.
    run : dict
        What the run is made of; see `convnet.training.run`.
    iterations_per_epoch : int
    """

    state: TrainingState
    model: Sequential
    optimizer: Optimizer
    keepers: Mapping[str, Keeper]
    run: dict[str, Any]
    iterations_per_epoch: int

    @property
    def generators(self) -> dict[str, np.random.Generator]:
        """All random generators whose state determines the rest of the training."""
        return {"shuffling": self.state.shuffling, "augmenting": self.state.augmenting, "model": self.model.rng}


def checkpoints_in(folder: PathLike) -> list[Path]:
    """Return the checkpoints in a folder, the newest last."""
    return sorted(Path(folder).glob("checkpoint-*.npz"))


def save(parts: Parts, path: PathLike) -> None:
    """Write a checkpoint; see `Solver.save`."""
    state = parts.state
    if not state.is_between_iterations:
        raise RuntimeError(
            "expected a Solver between two iterations, got one with a step that runs or failed: its checkpoint would "
            "not lead to what an undisturbed training does; resume from an earlier checkpoint, or call reset"
        )
    state.check(parts.model)
    snapshots = {"model": model_arrays(parts.model), "best": state.best, "last": state.last, "averages": state.averages}
    if state.checked is not state.best:
        snapshots["checked"] = state.checked
    arrays = {f"{prefix}.{name}": array for prefix, kept in snapshots.items() for name, array in kept.items()}
    for name, kept in parts.optimizer.state.items():
        arrays |= {f"optimizer.{key}.{name}": array for key, array in kept.items()}
    histories = {name: np.array(getattr(state, name), np.float64) for name in HISTORIES}
    if not state.metric_history:  # few trainings have it
        del histories[METRIC]
    arrays |= histories
    arrays["order"] = state.order
    for name, keeper in parts.keepers.items():
        arrays |= {f"callbacks.{name}.{key}": array for key, array in keeper.state().items()}
    header = {
        "run": parts.run,
        "instruction_set": _kernels.instruction_set(),
        "iteration": state.iteration,
        "order_epoch": state.order_epoch,
        "checked_iteration": state.checked_iteration,
        "best_validation_accuracy": state.best_validation_accuracy,
        "best_check": state.best_check,
        "is_stopping": state.is_stopping,
        "optimizer_has_state": bool(parts.optimizer.state),
        "generators": {name: _plain(rng.bit_generator.state) for name, rng in parts.generators.items()},
    }
    write_archive(path, KIND, VERSION, header, arrays)


def resume(parts: Parts, path: PathLike) -> None:
    """Take over a checkpoint, or the newest in a folder that can be read; see `Solver.resume`."""
    place = as_path(path)
    paths = checkpoints_in(place) if place.is_dir() else [place]
    parts.state.check(parts.model)
    if not paths or not paths[0].exists():
        raise FileNotFoundError(f"{path}: expected a checkpoint or a folder of them, but there is none")
    for candidate in reversed(paths):
        try:
            header, arrays = read_archive(candidate, KIND, (VERSION,))
            break
        except (ValueError, OSError) as error:
            if candidate is paths[0]:
                raise
            warnings.warn(f"{error}; the one before is taken", stacklevel=3)
    with naming(candidate, KIND):
        differences = _differences(dict(header["run"]), parts.run)
    if differences:
        raise ValueError(
            f"{candidate}: it is a checkpoint of another run: {'; '.join(differences)}; make the model and the Solver "
            "as they were then, or use another folder"
        )
    with naming(candidate, KIND):
        _load(parts, header, arrays)
    if header.get("instruction_set") != _kernels.instruction_set():
        warnings.warn(
            f"{candidate} was written with the instruction set {header.get('instruction_set')!r:.40}, and "
            f"{_kernels.instruction_set()!r} is in use: results are equal within rounding alone; see CONVNET_SIMD",
            stacklevel=3,
        )


def _differences(run: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """Return one text per difference between a checkpoint's run and this one."""
    # What an earlier release did not write is None, the default of what came later.
    different = [name for name in {**own, **run} if run.get(name) != own.get(name)]

    def shown(kept: dict[str, Any], name: str, otherwise: str) -> str:
        return f"{kept[name]!r:.200}" if name in kept else otherwise

    texts = [
        f"{name:.40} {shown(run, name, 'is not in it')}, expected {shown(own, name, 'nothing')}"
        for name in different[:3]
    ]
    return texts + ([f"and {len(different) - 3} more"] if len(different) > 3 else [])


def _load(parts: Parts, header: dict[str, Any], arrays: Arrays) -> None:
    """Take over a checkpoint, after checking all of it."""
    own, params = model_arrays(parts.model), parts.model.params
    current = _like(arrays, "model", own)
    snapshots = {
        prefix: _like(arrays, prefix, own) if any(key.startswith(f"{prefix}.") for key in arrays) else {}
        for prefix in SNAPSHOTS
    }
    if not snapshots["checked"] and not snapshots["best"]:
        raise ValueError("the parameters of the last accuracy check are missing")
    values = _values(parts, header, arrays)
    if values["best_validation_accuracy"] >= 0 and not snapshots["best"]:
        raise ValueError("the best parameters are missing")
    if parts.state.averages and not snapshots["averages"]:
        raise ValueError("the moving averages are missing")
    optimizer_state: dict[str, Arrays] = {name: {} for name in params} if header["optimizer_has_state"] else {}
    for key in parts.optimizer.state_names if optimizer_state else ():
        prefix = f"optimizer.{key}"
        kept = {name: arrays[f"{prefix}.{name}"] for name in params} if key == STEPS else _like(arrays, prefix, params)
        for name, array in kept.items():
            optimizer_state[name][key] = array
    for name, rng in parts.generators.items():
        trial: Any = type(rng.bit_generator)()
        trial.state = header["generators"][name]  # fails if it does not fit
    # From here on things change: first those that check for themselves what they are given.
    with _given_back(parts):
        parts.optimizer.load_state(optimizer_state)
        for name, keeper in parts.keepers.items():
            prefix = f"callbacks.{name}."
            kept = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
            if kept:
                keeper.load_state(kept)
    for name, rng in parts.generators.items():
        rng.bit_generator.state = header["generators"][name]
    restore(parts.model, current)
    parts.state.take_over(values, snapshots)


@contextmanager
def _given_back(parts: Parts) -> Iterator[None]:
    """Give the optimizer and the callbacks what they had before, if the block raises an error."""
    attributes = [(thing, dict(vars(thing))) for thing in (parts.optimizer, *parts.keepers.values())]
    # A callback may change what its attributes hold, too: its state is a copy.
    states = [(keeper, copy.deepcopy(keeper.state())) for keeper in parts.keepers.values()]
    try:
        yield
    except BaseException:
        for thing, before in attributes:
            vars(thing).clear()
            vars(thing).update(before)
        for keeper, state in states:
            if state:
                keeper.load_state(state)
        raise


def _values(parts: Parts, header: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    """Return the counters, the histories and the order, after checking them."""
    values: dict[str, Any] = {
        "iteration": as_count(header["iteration"], "iteration", 0),
        "order_epoch": as_count(header["order_epoch"], "epoch", -1),
        "checked_iteration": as_count(header["checked_iteration"], "checked_iteration", -1),
        "best_validation_accuracy": as_number(
            header["best_validation_accuracy"], "best_validation_accuracy", at_least=-1
        ),
        "is_stopping": as_flag(header["is_stopping"], "is_stopping"),
        "order": arrays["order"],
    }
    order, own_order = arrays["order"], parts.state.order
    if order.dtype.kind != "i" or not np.array_equal(np.sort(order), np.sort(own_order)):
        raise ValueError(f"order: expected a permutation of {len(own_order)} examples")
    losses, train, *others = HISTORIES
    # Checkpoints had no losses of the validation at first.
    unknown = {"validation_loss_history": np.full(np.size(arrays[train]), np.nan), METRIC: np.empty(0)}
    for name in HISTORIES:
        history = {**unknown, **arrays}[name]
        if history.ndim != 1 or history.dtype != np.float64:
            raise ValueError(f"{name}: expected an axis of float64, got {history.dtype} of shape {history.shape}")
        values[name] = history.tolist()
    # The first check is when training begins, the others are after an epoch. `Solver.step` makes none.
    most = values["checked_iteration"] // parts.iterations_per_epoch + 1
    _check_length(values, losses, values["iteration"], values["iteration"])
    _check_length(values, train, min(most, 1), most)
    checks = len(values[train]) if "x_validation" in parts.run else 0
    for name in others:
        expected = checks if name != METRIC or callable(parts.state.best_by) else 0
        _check_length(values, name, expected, expected)
    # Checkpoints had no `best_check` when the first of equal accuracies was the best.
    first = int(np.argmax([-1.0, *values["validation_accuracy_history"]])) - 1
    values["best_check"] = as_count(header.get("best_check", first), "best_check", -1)
    if values["best_check"] >= checks:
        raise ValueError(f"best_check: expected one of {checks} checks, got {values['best_check']}")
    return values


def _check_length(values: Mapping[str, Any], name: str, least: int, most: int) -> None:
    """Raise a ValueError unless a history has that many entries."""
    if not least <= len(values[name]) <= most:
        expected = f"{least} to {most}" if least < most else f"{most}"
        raise ValueError(f"{name}: expected {expected} entries, got {len(values[name])}")


def _like(arrays: Arrays, prefix: str, own: Mapping[str, np.ndarray]) -> Snapshot:
    """Return the arrays of a prefix by their names; each has to be like the model's own."""
    found = {}
    for name, like in own.items():
        array = found[name] = arrays[f"{prefix}.{name}"]
        if array.shape != like.shape or array.dtype != like.dtype:
            raise ValueError(
                f"{prefix}.{name}: expected {like.dtype} of shape {like.shape}, got {array.dtype} of shape "
                f"{array.shape}"
            )
    return found


def _plain(value: Any) -> Any:
    """Return the state of a generator as JSON has it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
