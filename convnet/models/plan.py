"""Plan: a model compiled into stages, once for a shape of the examples, a dtype and an instruction set.

A user writes layers; the plan computes them. A stage computes one layer, or several in a row in one pass, in the way
that suits its sizes best (`convnet.layers.stage`). Shapes are checked when the plan is made; a step does not check them
again.
"""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from operator import is_
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, as_number, as_real, check_shape
from convnet.core.tables import Table
from convnet.core.threads import get_num_threads, in_parts
from convnet.core.workspace import Layout, Memory, Workspace
from convnet.layers.base import Layer
from convnet.layers.fused_convolution import FoldedConvolutionStage
from convnet.layers.losses import Loss
from convnet.layers.stack import walk
from convnet.layers.stage import Grads, LayerStage, Options, Shape, Update
from convnet.models.compiler import GROUPS, PREDICTION_GROUPS, Compiler
from convnet.models.profile import Profile, StageTime, measured_peak, median_times

__all__ = ["Plan", "Step"]

# Layouts that a plan remembers, one for each number of examples and of threads.
MOST_LAYOUTS = 64
# A plan keeps at most MOST_SPARE workspaces, of at most SPARE_SIZE bytes each, for the next predictions.
SPARE_SIZE, MOST_SPARE = 1 << 23, 4


class Step(NamedTuple):
    """What the forward pass of a training step hands to the backward pass."""

    plan: Plan
    y: FloatArray
    caches: list[Any]
    memories: list[Memory]


class Plan:
    """Stages that compute a model.

    Parameters
    ----------
    layers : mapping of str to Layer
        In order, by name.
    input_shape : tuple of ints
        Shape of one example.
    dtype : float32 or float64
        Dtype of all arrays.
    loss : callable, optional
        The model's, for `profile`.
    fuse : bool
        Whether layers in a row may be computed in one pass.
    winograd : bool
        Whether stages may use Winograd's algorithm.
    reference : bool
        Whether every layer is computed by its own `forward` and `backward`, as a user's layers are. Such a plan is what
        all others are tested against.

    Attributes
    ----------
    stages : list of Stage
        What computes a training step.
    prediction_stages : list of Stage
        What computes a prediction: the same, unless prediction can do with fewer.
    instruction_set : str
        The instruction set that the plan was made for.

    Raises
    ------
    ValueError
        If shapes do not fit together.
    """

    def __init__(
        self,
        layers: Mapping[str, Layer],
        input_shape: Shape,
        dtype: np.dtype,
        *,
        loss: Loss | None = None,
        fuse: bool = True,
        winograd: bool = True,
        reference: bool = False,
    ) -> None:
        everything = dict(walk(layers))
        self.layers, self.input_shape, self.dtype = everything, input_shape, dtype
        self.loss, self.options = loss, (loss, fuse, winograd)
        self.instruction_set = _kernels.instruction_set()
        self.params = {f"{name}.{key}": param for name, layer in layers.items() for key, param in layer.params.items()}
        self.regularised = frozenset(f"{name}.{key}" for name, layer in layers.items() for key in layer.regularised)
        # A weight that several layers share may not change before all of its gradients are computed.
        pairs = combinations(self.params.values(), 2)
        self.may_update = not any(np.may_share_memory(first, second) for first, second in pairs)
        fuse = fuse and not reference
        compiler = Compiler(dtype, Options(winograd=winograd), GROUPS if fuse else (), reference)
        self.stages = compiler.stages(layers, input_shape)
        fewer = compiler._replace(groups=PREDICTION_GROUPS if fuse else ()).stages(layers, input_shape)
        self.prediction_stages = fewer if len(fewer) < len(self.stages) else self.stages
        # Stages of the library copy what they need of a layer; a layer stage asks the layer each time.
        own = {name for stage in self.stages if not isinstance(stage, LayerStage) for name in stage.names}
        self._made_of = [(layer, layer._changes) for name, layer in everything.items() if name in own]
        # The mapping is read-only, and so are the branches of its layers: while it is the same, so are the layers.
        self._given = layers
        with_params = [bool(any(everything[name].params for name in stage.names)) for stage in self.stages]
        # What lies before the first parameters has no use for a gradient.
        self.first = with_params.index(True) if any(with_params) else len(self.stages)
        for position, stage in enumerate(self.stages):
            stage.need_dx = position > self.first
        self._layouts: dict[tuple[int, int, bool], Layout] = {}
        self._spare: list[Workspace] = []

    def is_current(self, layers: Mapping[str, Layer]) -> bool:
        """Return whether the plan is of the instruction set in use, and of these layers and arrays as they are."""
        if layers is not self._given or self.instruction_set != _kernels.instruction_set():
            return False
        for layer, changes in self._made_of:
            if layer._changes != changes:
                return False
        arrays = [param for layer in layers.values() for param in layer.params.values()]
        return len(arrays) == len(self.params) and all(map(is_, arrays, self.params.values()))

    # ------------------------------------------------------------------------------------------ running

    def predict(self, x: FloatArray, workspace: Workspace) -> FloatArray:
        """Return the output for x (N, *input_shape), in C order and of `dtype`, as for prediction.

        It may lie in the workspace, where the next call overwrites it.
        """
        memories = workspace.memories(self.layout(len(x), False))
        values = [x]
        for stage, memory in zip(self.prediction_stages, memories, strict=True):
            stage.predict_last(values, memory)
        return values[0]

    def forward(self, x: FloatArray, workspace: Workspace, rng: np.random.Generator) -> Step:
        """Return the output for x (N, *input_shape), as for training, and what `backward` needs."""
        memories, values = workspace.memories(self.layout(len(x), True)), [x]
        caches = [stage.forward_last(values, memory, rng) for stage, memory in zip(self.stages, memories, strict=True)]
        return Step(self, values[0], caches, memories)

    def backward(
        self, dy: FloatArray, step: Step, updates: Callable[[str], Update] | None = None
    ) -> Iterator[tuple[Grads, float]]:
        """Yield the gradients of each stage's parameters, last to first, down to the first stage that has some.

        Parameters
        ----------
        dy : array_like, of the shape of the output
            Gradient of the loss with respect to the output.
        step : Step
            From `forward`; its arrays have to be as they were.
        updates : callable, optional
            ``updates(name)`` says how a weight is updated. With it, a stage that can update its weight does so, and
            leaves out the weight's gradient.

        Yields
        ------
        grads : dict of str to ndarray
            By the parameters' full names; valid until the workspace is used again.
        penalty : float
            ``0.5 * l2 * sum(weight ** 2)`` of a weight that was updated, before that; else 0.
        """
        dscores = as_real(dy, "dscores", self.dtype)
        if dscores.shape != step.y.shape:
            raise ValueError(f"the loss: expected dscores of shape {step.y.shape}, got {dscores.shape}")
        values: list[Any] = [dscores]
        for position in reversed(range(self.first, len(self.stages))):
            stage, penalty = self.stages[position], 0.0
            cache, memory = step.caches[position], step.memories[position]
            if updates is not None and self.may_update and stage.updated is not None:
                values[-1], grads, penalty = stage.update(values[-1], cache, memory, updates(stage.updated))
            else:
                grads = stage.backward_last(values, cache, memory)
            yield grads, penalty

    def add_l2(self, l2: float, grads: Grads) -> float:
        """Add ``l2 * weight`` to the gradient of each regularised weight; return ``0.5 * l2 * sum(weight ** 2)``."""
        weights = self.regularised & grads.keys() if l2 else ()
        return sum((_add_l2(l2, self.params[name], grads[name]) for name in grads if name in weights), 0.0)

    def borrow_workspace(self) -> Workspace:
        """Return a workspace for a prediction: the spare one of an earlier prediction, or a new one."""
        try:
            return self._spare.pop()  # in one step, so that two threads never get the same
        except IndexError:
            return Workspace()

    def return_workspace(self, workspace: Workspace) -> None:
        """Keep the memory of a prediction for the next one, if it is little."""
        if workspace.size <= SPARE_SIZE and len(self._spare) < MOST_SPARE:
            self._spare.append(workspace)

    def update_state(self, step: Step) -> None:
        """Let every layer update its state, after the forward pass of a training step."""
        for stage, cache in zip(self.stages, step.caches, strict=True):
            stage.update_state(cache)

    def layout(self, n: int, training: bool) -> Layout:
        """Return where the arrays for n examples lie in a workspace."""
        threads = get_num_threads()
        key = n, threads, training
        found = self._layouts.get(key)
        if found is None:
            if len(self._layouts) >= MOST_LAYOUTS:
                self._layouts.clear()
            stages = self.stages if training else self.prediction_stages
            found = Layout([stage.arrays(n, threads, training) for stage in stages], threads)
            self._layouts[key] = found
        return found

    # ------------------------------------------------------------------------------------------ showing

    def table(self, batch_size: int = 50) -> str:
        """Return a table with one line per stage, and the memory that its arrays take in a training step.

        Parameters
        ----------
        batch_size : int
            Examples of the step.
        """
        return str(self._table(batch_size))

    def _table(self, batch_size: int = 50) -> Table:
        layout = self.layout(batch_size, True)
        rows = [("stage", "algorithm", "layout", "fused", "output shape", "memory")]
        for stage, size in zip(self.stages, layout.stage_sizes, strict=True):
            shape = str(stage.output_shape)
            fused = ", ".join(stage.fused) or "-"
            order = " to ".join(dict.fromkeys((stage.input_layout, stage.output_layout)))
            rows.append((stage.label, stage.algorithm, order, fused, shape, _readable(size)))
        rows.append(("total", "", "", "", "", _readable(layout.size)))
        title = (
            f"Plan for examples of shape {self.input_shape} in {self.dtype}, instruction set {self.instruction_set}; "
            f"memory of a training step of {batch_size} examples on {layout.threads} threads"
        )
        folded = [
            " + ".join(stage.names) for stage in self.prediction_stages if isinstance(stage, FoldedConvolutionStage)
        ]
        note = f"In prediction these are one convolution each: {', '.join(folded)}" if folded else ""
        return Table(rows, "<<<<<>", title, note)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()

    def profile(self, x: npt.ArrayLike, labels: npt.ArrayLike | None = None, *, seconds: float = 0.5) -> Profile:
        """Run the stages again and again, and return how long each takes.

        Nothing of the model is changed: no parameter, no state, and no random generator.

        Parameters
        ----------
        x : array_like, shape (N, *input_shape)
            Prepared inputs, as many as are of interest at a time.
        labels : array_like of int, shape (N,), optional
            With them a training step is measured, forward and backward, without the optimizer's update; without
            them, a prediction.
        seconds : float
            How long to measure, about.

        Returns
        -------
        Profile
            ``print(model.plan().profile(x))`` shows it; `plotting.plot_profile` draws it.

        Raises
        ------
        ValueError
            If a shape is wrong, N is 0, or a label lies outside [0, K).
        TypeError
            If x does not hold real numbers or `labels` integers.
        """
        x, seconds = as_real(x, "profile: x", self.dtype), as_number(seconds, "profile: seconds", at_least=0)
        check_shape(x.shape, ("N", *self.input_shape), "profile: x")
        if not len(x):
            raise ValueError("profile: expected at least one example, got none")
        training, workspace = labels is not None, Workspace()
        loss, targets = self.loss if training else None, () if labels is None else labels
        if training and loss is None:
            raise ValueError("profile: expected no labels, because the plan has no loss; take that of model.plan()")

        stages = self.stages if training else self.prediction_stages

        def run() -> list[float]:
            memories, rng = workspace.memories(self.layout(len(x), training)), np.random.default_rng(0)
            values, caches, times = [x], list[Any](), list[float]()
            start = perf_counter()
            for stage, memory in zip(stages, memories, strict=True):
                if training:
                    caches.append(stage.forward_last(values, memory, rng))
                else:
                    stage.predict_last(values, memory)
                start, before = perf_counter(), start
                times.append(start - before)
            if loss is None:
                return times
            _, dscores = loss(values[0], targets)
            gradients = self.backward(dscores, Step(self, values[0], caches, memories))
            backward = [0.0] * len(stages)
            for position in reversed(range(self.first, len(stages))):
                start = perf_counter()
                next(gradients)
                backward[position] = perf_counter() - start
            return times + backward

        times = median_times(run, seconds)
        rows = []
        for position, stage in enumerate(stages):
            first = self.layers[stage.names[0]] if stage.names else None
            flop = 0 if first is None else 2 * len(x) * first.multiply_adds(stage.input_shape)
            backward = times[len(stages) + position] if training else 0.0
            # As many operations for the gradient of the weight, and for that of the input.
            times_of = (1 + stage.need_dx) if backward else 0
            row = (times[position], backward, flop, flop * times_of)
            rows.append(StageTime(stage.label, stage.algorithm, *row))
        threads = get_num_threads()
        peak = measured_peak(threads) if self.dtype == np.float32 else 0.0
        what = "training step" if training else "prediction"
        return Profile(
            rows, len(x), threads, peak, f"{what} of {len(x)} examples, instruction set {self.instruction_set}"
        )


def _add_l2(l2: float, param: FloatArray, grad: FloatArray) -> float:
    """Add the gradient of the regularisation to that of a weight, and return the weight's part of the loss."""
    flat_param, flat_grad = np.ascontiguousarray(param).reshape(-1), grad.reshape(-1)
    sums: dict[int, float] = {}

    def task(part: slice, _: int) -> None:
        sums[part.start] = _kernels.add_l2(l2, flat_param[part], flat_grad[part])

    in_parts(task, param.size, param.size)
    return sum(sums[start] for start in sorted(sums))


def _readable(size: int) -> str:
    """Return a number of bytes in KiB or MiB."""
    return f"{size / 2**10:,.1f} KiB" if size < 2**20 else f"{size / 2**20:,.1f} MiB"
