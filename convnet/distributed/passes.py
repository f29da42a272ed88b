"""The forward and backward pass of the leaves of a process, which end in sums over all leaves."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, as_real, check_shape
from convnet.core.workspace import Workspace
from convnet.distributed.sums import LeafSums
from convnet.layers.normalization import BatchNormStage
from convnet.models.plan import Step
from convnet.models.sequential import Sequential

__all__ = ["Passes"]

# Gradients of a stage: the name of the parameter, the gradient, and the leaf among those of this process.
Found = list[tuple[str, FloatArray, int]]


class Passes:
    """The passes of one minibatch.

    Parameters
    ----------
    model : Sequential
    leaves : list of slice
        All parts of the minibatch.
    sums : LeafSums
    synchronised : bool
        Whether a batch normalization takes mean and variance of the whole minibatch. The leaves then go through the
        network stage by stage; otherwise one after the other.

    Attributes
    ----------
    numbers : range
        Which leaves are those of this process.
    own : list of slice
        These leaves.
    steps : list of Step
        One of each leaf, after `forward`.
    """

    def __init__(self, model: Sequential, leaves: list[slice], sums: LeafSums, synchronised: bool) -> None:
        self._model, self._plan, self._sums, self._n = model, model.plan(), sums, leaves[-1].stop
        self.numbers = sums.begin(leaves)
        self.own = [leaves[number] for number in self.numbers]
        self.steps: list[Step] = []
        self._tags = {name: tag for tag, name in enumerate((*self._plan.params, *model.state))}
        # Sums of a normalization's channels have a number for each stage, behind those of parameters and state.
        stages = enumerate(self._plan.stages, len(self._tags))
        self._normalizing = {stage: tag for tag, stage in stages if synchronised and isinstance(stage, BatchNormStage)}

    def _total(self, stage: BatchNormStage, parts: Sequence[FloatArray], size: int) -> FloatArray:
        """Return the sum over all leaves of `size` numbers about the channels of a stage, in float64."""
        tag = self._normalizing[stage]
        for position, part in enumerate(parts):
            self._sums.add(tag, part.astype(np.float64), position, len(parts))
        if not parts:
            self._sums.receive(tag, (size,), np.dtype(np.float64))
        return self._sums.wait(tag).copy()

    def _shares(self) -> list[float]:
        """Return the part of the minibatch that each leaf of this process is."""
        return [(leaf.stop - leaf.start) / self._n for leaf in self.own]

    # ------------------------------------------------------------------------------------------- forward

    def forward(
        self, parts: Sequence[FloatArray], workspaces: Sequence[Workspace], generators: Sequence[np.random.Generator]
    ) -> list[FloatArray]:
        """Return the scores of each leaf of this process."""
        if self._normalizing:
            self.steps = self._forward_together(parts, workspaces, generators)
        else:
            self.steps = list(map(self._plan.forward, parts, workspaces, generators))
        return [step.y for step in self.steps]

    def _forward_together(
        self, parts: Sequence[FloatArray], workspaces: Sequence[Workspace], generators: Sequence[np.random.Generator]
    ) -> list[Step]:
        values, caches = [[x] for x in parts], [list[Any]() for _ in parts]
        layouts = [self._plan.layout(len(x), True) for x in parts]
        memories = [workspace.memories(layout) for workspace, layout in zip(workspaces, layouts, strict=True)]
        leaves = list(zip(values, caches, memories, generators, strict=True))
        for position, stage in enumerate(self._plan.stages):
            if stage in self._normalizing and isinstance(stage, BatchNormStage):
                mean, variance = self._moments(stage, [stage.moments(x[-1], m[position]) for x, _, m, _ in leaves])
                for x, cache, memory, _ in leaves:
                    cache.append((x[-1], mean, variance))
                    x[-1] = stage.normalise(x[-1], (mean, variance), memory[position])
            else:
                for x, cache, memory, rng in leaves:
                    cache.append(stage.forward_last(x, memory[position], rng))
        return [Step(self._plan, x[0], cache, memory) for x, cache, memory, _ in leaves]

    def _moments(
        self, stage: BatchNormStage, found: Sequence[tuple[FloatArray, FloatArray]]
    ) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance of the minibatch, from those of the leaves: the mean, then what lies around it."""
        channels, leaves = stage.input_shape[0], list(zip(self._shares(), found, strict=True))
        mean = self._total(stage, [share * own.astype(np.float64) for share, (own, _) in leaves], channels)
        around = [share * (variance + (own - mean) ** 2) for share, (own, variance) in leaves]
        variance = self._total(stage, around, channels)
        return mean.astype(self._plan.dtype), variance.astype(self._plan.dtype)

    def update_state(self) -> None:
        """Give the model the mean of the states that its leaves would leave, by their numbers of examples.

        What is no floating-point number becomes that of the first leaf.
        """
        before = {name: array.copy() for name, array in self._model.state.items()}
        firsts: dict[str, npt.NDArray[Any]] = {}
        for position, (step, share) in enumerate(zip(self.steps, self._shares(), strict=True)):
            for name, array in self._model.state.items():
                array[...] = before[name]
            self._plan.update_state(self._of_all(step))
            for name, array in self._model.state.items():  # a user's layer may have put other arrays there
                if array.dtype.kind == "f":
                    self._sums.add(self._tags[name], array.astype(np.float64) * share, position, len(self.steps))
                elif not position:
                    firsts[name] = array.copy()
        for name, array in self._model.state.items():
            if array.dtype.kind != "f":
                array[...] = self._sums.of_first(firsts.get(name, array))
                continue
            if not self.steps:
                self._sums.receive(self._tags[name], array.shape, np.dtype(np.float64))
            array[...] = self._sums.wait(self._tags[name])

    def _of_all(self, step: Step) -> Step:
        """Return a step whose normalizations count the elements of the whole minibatch, if they are of all."""
        caches = list(step.caches)
        for position, stage in enumerate(self._plan.stages):
            if stage in self._normalizing:
                of_all = np.broadcast_to(np.float32(0), (self._n, *stage.input_shape))  # takes no memory
                caches[position] = (of_all, *caches[position][1:])
        return step._replace(caches=caches)

    # ------------------------------------------------------------------------------------------ backward

    def gradients(self, dscores: FloatArray) -> dict[str, FloatArray]:
        """Return the gradients of the whole minibatch; each is sent while those of earlier layers are computed."""
        params = self._plan.params
        dscores = as_real(dscores, "dscores", self._plan.dtype)
        check_shape(dscores.shape, (self._n, self._model.num_classes), "the loss: dscores")
        parts = [dscores[leaf] for leaf in self.own]
        for found in self._together(parts) if self._normalizing else self._one_by_one(parts):
            for name, grad, position in found:
                self._sums.add(self._tags[name], grad, position, len(parts))
            self._sums.advance()
        if not parts:
            for name, param in params.items():
                self._sums.receive(self._tags[name], param.shape, param.dtype)
        return {name: self._sums.wait(self._tags[name]) for name in params}

    def _one_by_one(self, parts: Sequence[FloatArray]) -> Iterator[Found]:
        """Yield the gradients of each stage, leaf by leaf."""
        for position, (step, dy) in enumerate(zip(self.steps, parts, strict=True)):
            for grads, _ in self._plan.backward(dy, step):
                yield [(name, grad, position) for name, grad in grads.items()]

    def _together(self, parts: Sequence[FloatArray]) -> Iterator[Found]:
        """Yield the gradients of all leaves, stage by stage."""
        values = [list[Any]([dy]) for dy in parts]
        for position in reversed(range(self._plan.first, len(self._plan.stages))):
            stage = self._plan.stages[position]
            leaves = [
                (dy, step.caches[position], step.memories[position])
                for dy, step in zip(values, self.steps, strict=True)
            ]
            if stage in self._normalizing and isinstance(stage, BatchNormStage):
                sums = [stage.sums(dy[-1], cache, memory) for dy, cache, memory in leaves]
                size, count = 2 * stage.input_shape[0], self._n * prod(stage.input_shape[1:])
                both = self._total(stage, [np.concatenate(pair) for pair in sums], size).astype(self._plan.dtype)
                total = both[: size // 2], both[size // 2 :]
                for dy, cache, memory in leaves:
                    dy[-1] = stage.input_gradient(dy[-1], cache, total, count, memory)
                grads = [stage.grads(pair) for pair in sums]
            else:
                grads = [stage.backward_last(dy, cache, memory) for dy, cache, memory in leaves]
            yield [(name, grad, leaf) for leaf, found in enumerate(grads) for name, grad in found.items()]
