"""Checkpoints: files from which a training that was killed goes on bit for bit.

A checkpoint is an archive (see `convnet.archives`) of the kind ``checkpoint``. Its arrays are, by the names of the
model's parameters, ``params.*`` and, where they are others, ``best.*``, ``checked.*`` and ``last.*``: those of the best
validation accuracy, of the last accuracy check, and of the last iteration where the model has the best ones; then
``optimizer.*``, the histories, the ``order`` of the epoch's examples, and what callbacks keep. The JSON object has the
counters, the states of the random generators, and in ``run`` what the run is made of, with which `resume` compares.

The functions here are the part of a `Solver` that reads and writes its state; a user calls `Solver.save` and
`Solver.resume`, whose docstrings tell what they do.
"""

from __future__ import annotations  # the Solver is above this module

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from convnet.archives import Arrays, naming, read_archive, write_archive
from convnet.checks import FloatArray, as_count, as_flag, as_number
from convnet.datasets import fingerprint
from convnet.files import PathLike
from convnet.optimizers import STEPS
from convnet.threads import LEVEL

if TYPE_CHECKING:
    from convnet.solver import Callback, Solver

__all__ = ["checkpoints_in", "data_sums", "resume", "save"]

KIND, VERSION = "checkpoint", 1
HISTORIES = ("loss_history", "train_accuracy_history", "validation_accuracy_history")


def checkpoints_in(folder: PathLike) -> list[Path]:
    """Return the checkpoints in a folder, the newest last."""
    return sorted(Path(folder).glob("checkpoint-*.npz"))


def save(solver: Solver, path: PathLike) -> None:
    """Write a checkpoint; see `Solver.save`."""
    if not solver.is_between_iterations:
        raise RuntimeError("expected a Solver between two iterations, got one whose last step was broken off")
    arrays: Arrays = {f"params.{name}": param for name, param in solver.model.params.items()}
    kept_params = {"best": solver._best_params, "last": solver._last_params}
    if solver._finite_params is not solver._best_params:
        kept_params["checked"] = solver._finite_params
    for prefix, params in kept_params.items():
        arrays |= {f"{prefix}.{name}": param for name, param in params.items()}
    for name, kept in solver.optimizer.state.items():
        arrays |= {f"optimizer.{key}.{name}": array for key, array in kept.items()}
    arrays |= {name: np.array(getattr(solver, name), np.float64) for name in HISTORIES}
    arrays["order"] = solver._order
    for name, callback in _named_callbacks(solver):
        arrays |= {f"callbacks.{name}.{key}": array for key, array in callback.state().items()}
    header = {
        "run": _run(solver),
        "instruction_set": LEVEL,
        "iteration": solver.iteration,
        "order_epoch": solver._order_epoch,
        "checked_iteration": solver._checked_iteration,
        "best_validation_accuracy": solver.best_validation_accuracy,
        "is_stopping": solver._stopping,
        "optimizer_has_state": bool(solver.optimizer.state),
        "generators": {name: _state(rng) for name, rng in _generators(solver).items()},
    }
    write_archive(path, KIND, VERSION, header, arrays)


def resume(solver: Solver, path: PathLike) -> None:
    """Take over a checkpoint, or the newest in a folder that can be read; see `Solver.resume`."""
    paths = checkpoints_in(path) if Path(path).is_dir() else [Path(path)]
    if not paths or not paths[0].exists():
        raise FileNotFoundError(f"{path}: expected a checkpoint or a folder of them, but there is none")
    for candidate in reversed(paths):
        try:
            header, arrays = read_archive(candidate, KIND, VERSION)
            break
        except (ValueError, OSError) as error:
            if candidate is paths[0]:
                raise
            warnings.warn(f"{error}; the one before is taken", stacklevel=3)
    with naming(candidate, KIND):
        differences = _differences(dict(header["run"]), _run(solver))
    if differences:
        raise ValueError(f"{candidate}: it is a checkpoint of another run: {'; '.join(differences)}")
    with naming(candidate, KIND):
        _load(solver, header, arrays)
    if header.get("instruction_set") != LEVEL:
        warnings.warn(
            f"{candidate} was written with another instruction set: results are equal within rounding alone; see "
            "CONVNET_SIMD",
            stacklevel=3,
        )


def _differences(run: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """Return what differs between a checkpoint's run and this one, a text each."""
    different = [name for name in {**own, **run} if run.get(name) != own.get(name)]
    texts = [f"{name:.40} {run.get(name)!r:.200}, expected {own.get(name)!r:.200}" for name in different[:3]]
    return texts + ([f"and {len(different) - 3} more"] if len(different) > 3 else [])


def _load(solver: Solver, header: dict[str, Any], arrays: Arrays) -> None:
    """Take over a checkpoint, after checking all of it."""
    own = solver.model.params
    params = _like(arrays, "params", own)
    best, last, checked = (
        _like(arrays, prefix, own) if any(key.startswith(f"{prefix}.") for key in arrays) else {}
        for prefix in ("best", "last", "checked")
    )
    if not checked and not best:
        raise ValueError("the parameters of the last accuracy check are missing")
    iteration, epoch = as_count(header["iteration"], "iteration", 0), as_count(header["order_epoch"], "epoch", -1)
    checked_iteration = as_count(header["checked_iteration"], "checked_iteration", -1)
    best_accuracy = as_number(header["best_validation_accuracy"], "best_validation_accuracy", at_least=-1)
    if best_accuracy >= 0 and not best:
        raise ValueError("the best parameters are missing")
    is_stopping = as_flag(header["is_stopping"], "is_stopping")
    order = arrays["order"]
    if order.dtype.kind != "i" or not np.array_equal(np.sort(order), np.sort(solver._order)):
        raise ValueError(f"order: expected a permutation of {len(solver._order)} examples")
    histories = {name: arrays[name] for name in HISTORIES}
    for name, history in histories.items():
        if history.ndim != 1 or history.dtype != np.float64:
            raise ValueError(f"{name}: expected an axis of float64, got {history.dtype} of shape {history.shape}")
    checks = checked_iteration // solver.iterations_per_epoch + 1  # the first is before the first iteration
    for name, length in zip(HISTORIES, (iteration, checks, checks), strict=True):
        if len(histories[name]) != length:
            raise ValueError(f"{name}: expected {length} entries, got {len(histories[name])}")
    state: dict[str, Arrays] = {name: {} for name in own} if header["optimizer_has_state"] else {}
    for key in solver.optimizer.state_names if state else ():
        prefix = f"optimizer.{key}"
        kept = {name: arrays[f"{prefix}.{name}"] for name in own} if key == STEPS else _like(arrays, prefix, own)
        for name, array in kept.items():
            state[name][key] = array
    generators = _generators(solver)
    for name, rng in generators.items():
        trial: Any = type(rng.bit_generator)()
        trial.state = header["generators"][name]  # fails if it does not fit
    # From here on things change: first those that check for themselves what they are given.
    for name, callback in _named_callbacks(solver):
        prefix = f"callbacks.{name}."
        kept = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        if kept:
            callback.load_state(kept)
    solver.optimizer.load_state(state)
    for name, rng in generators.items():
        rng.bit_generator.state = header["generators"][name]
    solver.model.load_params(params)
    solver.iteration, solver._order_epoch, solver._checked_iteration = iteration, epoch, checked_iteration
    solver._order[...] = order
    for name, history in histories.items():
        setattr(solver, name, history.tolist())
    solver.best_validation_accuracy, solver._stopping = best_accuracy, is_stopping
    solver.is_between_iterations = True
    solver._best_params, solver._last_params = _copied_into(solver._kept_params[0], best), last
    solver._finite_params = _copied_into(solver._kept_params[1], checked) if checked else solver._best_params


def _like(arrays: Arrays, prefix: str, own: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the arrays of a prefix by the parameters' names; each has to be like the parameter."""
    found = {}
    for name, param in own.items():
        array = found[name] = arrays[f"{prefix}.{name}"]
        if array.shape != param.shape or array.dtype != param.dtype:
            raise ValueError(
                f"{prefix}.{name}: expected {param.dtype} of shape {param.shape}, got {array.dtype} of shape "
                f"{array.shape}"
            )
    return found


def _copied_into(kept: dict[str, FloatArray], params: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return `kept` with the values of the parameters, or an empty dictionary where there are none."""
    for name, param in params.items():
        kept[name][...] = param
    return kept if params else {}


def _run(solver: Solver) -> dict[str, Any]:
    """Return what the run is made of, as JSON has it; the number of epochs and the callbacks may change."""
    model = solver.model
    return {
        "model": type(model).__name__,
        "input_shape": list(model.input_shape),
        "l2": model.l2,
        **{f"layer {name}": repr(layer) for name, layer in model.layers.items()},
        "dtype": sorted({str(param.dtype) for param in model.params.values()}),
        "fuse": model.fuse,
        "loss": _described(model.loss_function),
        "optimizer": repr(solver.optimizer),
        "schedule": _described(solver.schedule),
        "augmentation": _described(solver.augmentation),
        "batch_size": solver.batch_size,
        "seed": solver.seed,
        "restore_best": solver.restore_best,
        "num_train_check": solver.num_train_check,
        **solver.data_sums,
    }


def data_sums(data: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> dict[str, str]:
    """Return shape, dtype and checksum of each array of a Solver's data."""
    return {
        f"{name}_{part}": fingerprint(array)
        for part, pair in data.items()
        for name, array in zip("xy", pair, strict=True)
    }


def _described(thing: Any) -> str | None:
    """Return a text that tells functions and objects apart, and is the same in another process."""
    if thing is None:
        return None
    if isinstance(thing, partial):
        return f"{_described(thing.func)} with {thing.args!r} {thing.keywords!r}"
    if hasattr(thing, "__qualname__"):
        return f"{thing.__module__}.{thing.__qualname__}"
    has_repr = any("__repr__" in vars(cls) for cls in type(thing).__mro__[:-1])  # another than object's
    return repr(thing) if has_repr else type(thing).__qualname__


def _generators(solver: Solver) -> dict[str, np.random.Generator]:
    return {"shuffling": solver._shuffling, "augmenting": solver._augmenting, "model": solver.model.rng}


def _state(rng: np.random.Generator) -> Any:
    """Return the state of a generator as JSON has it."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value

    return plain(rng.bit_generator.state)


def _named_callbacks(solver: Solver) -> list[tuple[str, Callback]]:
    """Return the callbacks by class and running number."""
    counts: dict[str, int] = {}
    named = []
    for callback in solver.callbacks:
        kind = type(callback).__name__
        counts[kind] = counts.get(kind, 0) + 1
        named.append((f"{kind}{counts[kind]}", callback))
    return named
