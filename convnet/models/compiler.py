"""Compiling a model: which stage computes which layers, and in which layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from convnet.core.checks import as_real
from convnet.layers import LAYERS
from convnet.layers.activations import LeakyReLU, ReLU, slope_of
from convnet.layers.affine import Affine, AffineStage
from convnet.layers.base import Layer
from convnet.layers.fused_convolution import FOLDED, FUSED, FoldedConvolutionStage, FusedConvolutionStage
from convnet.layers.normalization import BatchNorm2D, BatchNormStage
from convnet.layers.residual import ForkStage, Residual, SumStage, SwapStage
from convnet.layers.stage import Options, Shape, Stage

__all__ = ["GROUPS", "PREDICTION_GROUPS", "Compiler"]

# Layers in a row that one stage computes, and that stage; the first that fits is taken.
Group = tuple[tuple[type[Layer], ...], Any]
GROUPS: tuple[Group, ...] = (
    *((classes, FusedConvolutionStage) for classes in FUSED),
    ((Affine, ReLU), AffineStage),
    ((BatchNorm2D, ReLU), BatchNormStage),
    ((BatchNorm2D, LeakyReLU), BatchNormStage),
)
# What a prediction can do besides.
PREDICTION_GROUPS = (*((classes, FoldedConvolutionStage) for classes in FOLDED), *GROUPS)


class Compiler(NamedTuple):
    """Makes the stages of a model.

    Attributes
    ----------
    dtype : float32 or float64
    options : Options
    groups : sequence of Group
        `GROUPS` or `PREDICTION_GROUPS`; none if layers may not be computed in one pass.
    reference : bool
        Whether every layer of the model is computed by its own `forward` and `backward`.
    """

    dtype: np.dtype
    options: Options
    groups: Sequence[Group]
    reference: bool

    def stages(self, layers: Mapping[str, Layer], input_shape: Shape) -> list[Stage]:
        """Return the stages of a model's layers, in the layouts that suit them."""
        stages = self._row(layers, input_shape)
        _choose_layouts(stages)
        return stages

    def _row(self, layers: Mapping[str, Layer], shape: Shape) -> list[Stage]:
        """Return the stages of layers in a row: a group where one fits, else a layer's own."""
        stages: list[Stage] = []
        left = list(layers.items())
        while left:
            name, layer = left[0]
            if isinstance(layer, Residual) and _is_of_library(layer) and not self.reference:
                made, count = self._residual(left, shape)
            else:
                made = [self._group(left, shape) or self._single(name, layer, shape)]
                count = len(made[0].names)
            stages += made
            shape, left = stages[-1].output_shape, left[count:]
        return stages

    def _group(self, left: Sequence[tuple[str, Layer]], shape: Shape) -> Stage | None:
        """Return a stage that computes the first of the layers together with what follows, if there is one."""
        for classes, stage_class in self.groups:
            names, layers = zip(*left[: len(classes)], strict=True)
            is_match = tuple(type(layer) for layer in layers) == classes and all(map(self._is_known, layers))
            if is_match and stage_class.fits(layers, shape):
                stage: Stage = stage_class(names, layers, shape, self.dtype, self.options)
                return stage
        return None

    def _single(self, name: str, layer: Layer, shape: Shape) -> Stage:
        """Return a library layer's own stage, else a layer stage."""
        arguments = name, shape, self.dtype, self.options
        if not self._is_known(layer) or self.reference:
            return Layer.stage(layer, *arguments)
        stage = layer.stage(*arguments)
        if layer.state and type(stage).update_state is Stage.update_state:  # an inherited stage without state
            return Layer.stage(layer, *arguments)
        return stage

    def _residual(self, left: Sequence[tuple[str, Layer]], shape: Shape) -> tuple[list[Stage], int]:
        """Return the stages of the first layer, a `Residual`, and how many layers they compute."""
        name, layer = left[0]
        output_shape = layer.output_shape(shape)
        rows = {
            branch: self._row({f"{name}.{branch}.{key}": inner for key, inner in row.items()}, shape)
            for branch, row in layer.branches.items()
        }
        # Between fork and sum images are channels last, if all stages there take and give them so.
        inside = [stage for row in rows.values() for stage in row]
        is_free = all(stage.layouts != "NCHW" and len(stage.output_shape) == 3 for stage in inside) and len(shape) == 3
        fork, swap, total = (
            ForkStage(name, shape, shape, self.dtype),
            SwapStage(name, output_shape, shape, self.dtype),
            SumStage(name, output_shape, output_shape, self.dtype),
        )
        fork.layouts = total.layouts = "any" if is_free else "NCHW"
        swap.layouts = "same" if is_free else "NCHW"
        count = 1
        if self.groups and len(left) > 1 and _is_rectifier(left[1][1]):
            total.fuse(*left[1])
            count = 2
        stages = [fork, *rows["layers"], *([swap, *rows["shortcut"]] if "shortcut" in rows else []), total]
        return stages, count

    def _is_known(self, layer: Layer) -> bool:
        """Return whether a stage can compute the layer by the library's kernels."""
        return _is_of_library(layer) and _is_plain(layer, self.dtype)


def _is_rectifier(layer: Layer) -> bool:
    """Return whether a layer is a ReLU or LeakyReLU that keeps the order of numbers."""
    return type(layer) in (ReLU, LeakyReLU) and _is_of_library(layer) and slope_of(layer) >= 0


def _choose_layouts(stages: list[Stage]) -> None:
    """Keep images channels last between stages that take them so; the first input and the last output are NCHW."""
    takes = [False]  # whether each stage takes channels last, from behind the last stage to the first
    for stage in reversed(stages):
        takes.append(stage.layouts in ("any", "any input") or (stage.layouts == "same" and takes[-1]))
    layout = "NCHW"
    for stage, is_taken in zip(stages, takes[-2::-1], strict=True):
        gives = stage.layouts == "any" or (stage.layouts != "NCHW" and layout == "NHWC")
        before, layout = layout, "NHWC" if gives and is_taken else "NCHW"
        stage.set_layouts(before, layout)


def _is_of_library(layer: Layer) -> bool:
    """Return whether a layer computes what its class in the table LAYERS does: no method of it was replaced."""
    own = type(layer)
    replaced = any(callable(value) and hasattr(own, name) for name, value in vars(layer).items())
    return LAYERS.get(own.__name__) is own and not replaced


def _is_plain(layer: Layer, dtype: np.dtype) -> bool:
    """Return whether the kernels can read the layer's parameters where they lie in memory."""
    return all(param.dtype == dtype and as_real(param, "") is param for param in layer.params.values())
