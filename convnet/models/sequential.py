"""Sequential: a stack of layers with a loss.

This file is long because it is one class, whose methods are what a user calls, and most of it says how.
"""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from types import MappingProxyType
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, as_array, as_flag, as_generator, as_number, as_shape, listed, takes_keyword
from convnet.core.names import Named
from convnet.core.workspace import Workspace
from convnet.layers.base import Layer
from convnet.layers.labels import ClassLabels, labels_of
from convnet.layers.losses import Loss, softmax_loss, takes_weights
from convnet.layers.mixed_loss import Mixed, mixed_loss
from convnet.layers.stack import chain_shapes, name_layers
from convnet.layers.stage import Grads, Update
from convnet.models.contracts import (
    NOT_HERE,
    Preparation,
    Updater,
    as_class_names,
    as_statistics,
    check_loss,
)
from convnet.models.inputs import Predictions, as_inputs, check_examples, load_arrays, mirrored, warn_if_unprepared
from convnet.models.plan import Plan, Step
from convnet.models.summary import summary_table

__all__ = ["Sequential"]


# Images that are predicted at a time. Smaller batches are slower per image; larger ones are not faster.
PREDICTION_BATCH = 200


class Sequential(Named):
    """A stack of layers with a loss and L2 regularisation.

    Parameters
    ----------
    layers : sequence of Layer
        Applied first to last. Parameters are named by kind of layer and running number: ``conv1.weight``,
        ``affine2.bias``.
    input_shape : tuple of ints
        Shape of one example: (C, H, W) for images.
    loss : callable
        ``loss(scores, labels) -> (loss, dscores)``; the scores are read-only. To be trained with weights of examples it
        takes ``weights=``, too. Other labels than one class an example are declared with `takes_labels`.
    l2 : float
        Regularisation strength: the loss includes ``0.5 * l2 * sum(weight ** 2)`` over the parameters that the layers
        say are `regularised`: weights, not biases.
    rng : numpy.random.Generator, optional
        Handed to the layers' `forward`, for those with randomness, such as Dropout; ``default_rng(0)`` by default.
    fuse : bool
        Whether layers in a row, such as a convolution, a ReLU and a max pooling, may be computed in one pass, where
        they have the sizes for it; the results are equal within rounding.
    winograd : bool
        Whether 3x3 convolutions of stride 1 in float32 may be computed by Winograd's algorithm, where that is faster:
        with as few as a quarter of the multiplications, and an error a few times as large; see
        `functional.conv2d_forward`. False rules it out in all layers but those of a user's own, whose methods decide
        for themselves.

    Attributes
    ----------
    layers : dict of str to Layer
        Read-only, in order.
    params, state : mapping of str to ndarray
        What is trained, and what else belongs to the model, such as running statistics. Read-only, in order; the arrays
        are the layers' own.
    input_shape, output_shapes
        Shape of one example, and that of each layer's output by the layer's name.
    num_classes : int
        Length K of the last layer's output.
    statistics : Statistics or None
        Preprocessing of the images, saved with the model. `predict_images` applies it, and so does every method that
        takes prepared inputs, if it is given raw images instead, uint8 of shape (N, C, H, W). Of other raw images, and
        of raw ones without statistics, a `ConvnetWarning` tells.
    class_names : sequence of str or None
        Names of the K classes; saved with the model. They are checked when they are set, as are `statistics`, `l2`,
        `rng`, `fuse` and `winograd`.

    Raises
    ------
    ValueError
        If there are no layers, one occurs twice, shapes do not fit together (the message names the layer and shows
        the arithmetic), the last output is not a vector of scores, or the parameters differ in dtype.
    TypeError
        If a layer is not a `Layer`, the loss does not give a number and a gradient, or `rng` is not a Generator.

    Notes
    -----
    L2 regularisation: A. Krogh, J. A. Hertz, "A simple weight decay can improve generalization", 1992.
    """

    _arguments_elsewhere = NOT_HERE
    _checked_attributes = MappingProxyType(
        {
            "l2": lambda _, l2: as_number(l2, "l2", at_least=0),
            "rng": lambda self, rng: as_generator(rng, f"{type(self).__name__}: rng"),
            "fuse": lambda self, flag: as_flag(flag, f"{type(self).__name__}: fuse"),
            "winograd": lambda self, flag: as_flag(flag, f"{type(self).__name__}: winograd"),
            "statistics": lambda self, found: as_statistics(found, self.input_shape, type(self).__name__),
            "class_names": lambda self, names: (
                None if names is None else as_class_names(names, self.num_classes, type(self).__name__)
            ),
        }
    )

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: Sequence[int],
        *,
        loss: Loss = softmax_loss,
        l2: float = 0.0,
        rng: np.random.Generator | None = None,
        fuse: bool = True,
        winograd: bool = True,
    ) -> None:
        self.layers = MappingProxyType(name_layers(layers))
        self.input_shape = as_shape(input_shape, "input_shape")
        self.output_shapes = chain_shapes(self.layers, self.input_shape)
        self.loss_function = loss
        self.l2 = l2
        self.rng = np.random.default_rng(0) if rng is None else rng
        self.fuse, self.winograd = fuse, winograd
        self.statistics: Preparation | None = None
        self.class_names: Sequence[str] | None = None
        self._plan: Plan | None = None
        # The forward passes of a subclass's own `loss` while `train_step` calls it.
        self._steps: list[Step] | None = None
        if both := self.params.keys() & self.state.keys():
            raise ValueError(f"{type(self).__name__}: state and parameters share the names {sorted(both)}")
        dtypes = {param.dtype for param in self.params.values()}
        if len(dtypes) > 1:
            raise ValueError(
                f"{type(self).__name__}: expected parameters of one dtype, got {sorted(str(d) for d in dtypes)}"
            )
        *_, last = self.output_shapes.values()
        if len(last) != 1:
            raise ValueError(
                f"{type(self).__name__}: expected the last layer to give a score for each class, got shape {last}"
            )
        self.num_classes = last[0]
        check_loss(loss, self.num_classes, f"{type(self).__name__}: loss")

    @classmethod
    def from_layers(cls, layers: Sequence[Layer], input_shape: Sequence[int], **options: Any) -> Self:
        """Return a model of this class from its layers, whatever arguments its own constructor takes.

        Parameters
        ----------
        layers, input_shape, **options
            As for `Sequential`.
        """
        model = cls.__new__(cls)
        Sequential.__init__(model, layers, input_shape, **options)
        return model

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"layers": dict(self.layers), "_plan": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, layers=MappingProxyType(state["layers"]))

    def __repr__(self) -> str:
        lines = [f"  {name}: {layer!r} -> {self.output_shapes[name]}" for name, layer in self.layers.items()]
        return "\n".join([f"{type(self).__name__}, input {self.input_shape}, l2 {self.l2:g}", *lines])

    def summary(self) -> str:
        """Return a table: each layer's output shape, parameters, and multiply-adds for one example.

        The layers that a layer holds stand below it, indented, and are counted in it.
        """
        return str(summary_table(self.layers, self.input_shape))

    def _repr_html_(self) -> str:
        title = f"{type(self).__name__}, input {self.input_shape}, l2 {self.l2:g}"
        note = f"classes: {listed(self.class_names)}" if self.class_names else ""
        return summary_table(self.layers, self.input_shape, title, note)._repr_html_()

    @property
    def params(self) -> Mapping[str, FloatArray]:
        """Parameters by name, in order; update the arrays in place."""
        return MappingProxyType(
            {f"{name}.{key}": array for name, layer in self.layers.items() for key, array in layer.params.items()}
        )

    @property
    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """What belongs to the model and is not trained, by name, in order."""
        return MappingProxyType(
            {f"{name}.{key}": array for name, layer in self.layers.items() for key, array in layer.state.items()}
        )

    def load_params(self, params: Mapping[str, npt.ArrayLike]) -> None:
        """Copy the given values into the parameters.

        Parameters
        ----------
        params : mapping of str to array_like
            The names and shapes of `params`.

        Raises
        ------
        ValueError
            If names or shapes differ; nothing is changed then.
        TypeError
            If a value does not hold real numbers; nothing is changed then.
        """
        load_arrays(self.params, params, "the parameters")

    def load_state(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Copy the given values into the state.

        Parameters
        ----------
        state : mapping of str to array_like
            The names and shapes of `state`.

        Raises
        ------
        ValueError
            If names or shapes differ; nothing is changed then.
        TypeError
            If a value's dtype does not fit that of the state; nothing is changed then.
        """
        load_arrays(self.state, state, "the state")

    def plan(self) -> Plan:
        """Return how the model is computed: ``print(model.plan())`` shows one line per stage.

        It is made at the first call, and anew when the instruction set or a parameter's array is another one.
        """
        return self._plan_for(self._dtype or np.dtype(np.float32))

    # ------------------------------------------------------------------------------------------ training

    def loss(
        self,
        x: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        weights: npt.ArrayLike | None = None,
        mixed: Mixed | None = None,
    ) -> tuple[float, dict[str, FloatArray]]:
        """Return the loss of a minibatch and its gradients.

        Parameters
        ----------
        x : array_like, shape (N, *input_shape)
            N at least 1.
        labels : array_like of int, shape (N,)
            In [0, K); of shape (N, K) for a `binary_loss`, and what else a loss of other labels takes.
        weights : array_like, shape (N,), optional
            Weights of the examples, at least 0, for a loss function that takes them.
        mixed : (partners, factor), optional
            With which examples of the minibatch those of x are mixed, integers of shape (N,), and the part of their
            own, in [0, 1], as in a `Mixture`. The loss is then ``factor`` times that for the labels plus ``1 - factor``
            times that for the labels, and with the weights, of the partners.

        Returns
        -------
        loss : float
            The loss function's value plus ``0.5 * l2 * sum(weight ** 2)``.
        grads : dict of str to ndarray
            Gradients by the names of `params`, fresh arrays. The layers' state is not changed.

        Raises
        ------
        ValueError
            If a shape is wrong, N is 0, a label lies outside [0, K), or the loss function takes no weights.
        TypeError
            If x does not hold real numbers or `labels` integers.
        """
        loss, dy, step = self._forward(x, labels, Workspace(), weights, mixed)
        loss, grads = self._backward(loss, dy, step)
        return loss, {name: grads[name] for name in self.params}

    def train_step(
        self,
        x: npt.ArrayLike,
        labels: npt.ArrayLike,
        optimizer: Updater,
        workspace: Workspace | None = None,
        *,
        weights: npt.ArrayLike | None = None,
        mixed: Mixed | None = None,
    ) -> float:
        """Update the parameters once, as `loss` followed by ``optimizer.update`` does, within rounding.

        With an optimizer of the library that does not clip gradients, the weights of Affine layers are updated while
        their gradients are computed.

        Parameters
        ----------
        x : array_like, shape (N, *input_shape)
            N at least 1.
        labels : array_like
            As for `loss`.
        optimizer : Optimizer
        workspace : Workspace, optional
            Memory that each step uses again; without one it is allocated anew.
        weights, mixed
            As for `loss`.

        Returns
        -------
        float
            The loss before the update. If the loss without the L2 term is not finite, nothing is updated.

        Raises
        ------
        ValueError, TypeError
            As for `loss`.
        """
        plan = self.plan()
        if isinstance(optimizer, type) or not callable(getattr(optimizer, "begin", None)):
            raise TypeError(
                f"{type(self).__name__}: expected optimizer to be an object such as SGD(0.02), got {optimizer!r:.60}"
            )
        optimizer.regularised = plan.regularised
        updates = optimizer.begin(plan.params, self.l2)
        if type(self).loss is not Sequential.loss:  # a subclass with a loss of its own
            self._steps = []
            try:
                given = {"weights": weights, "mixed": mixed}
                options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
                if mixed is not None and not takes_keyword(self.loss, "mixed"):
                    raise ValueError(
                        f"{type(self).__name__}: expected examples that are not mixed, because the class's own loss "
                        "takes no argument `mixed`"
                    )
                loss, grads = self.loss(x, labels, **options)
                steps = self._steps
            finally:
                self._steps = None
            if isfinite(loss):
                for step in steps:
                    step.plan.update_state(step)
                optimizer.update(self.params, grads)
            return loss
        loss, dy, step = self._forward(x, labels, Workspace() if workspace is None else workspace, weights, mixed)
        if not isfinite(loss):
            return loss
        loss, grads = self._backward(loss, dy, step, updates)
        step.plan.update_state(step)
        optimizer.update({name: step.plan.params[name] for name in grads}, grads)
        return loss

    def loss_of_scores(
        self,
        scores: FloatArray,
        labels: npt.ArrayLike,
        *,
        weights: npt.ArrayLike | None = None,
        mixed: Mixed | None = None,
    ) -> tuple[float, FloatArray]:
        """Return the loss of a minibatch without L2, and its gradient with respect to the scores.

        Parameters
        ----------
        scores : ndarray, shape (N, K)
            Not changed.
        labels, weights, mixed
            As for `loss`.

        Returns
        -------
        loss : float
        dscores : ndarray, shape (N, K)

        Raises
        ------
        ValueError, TypeError
            As for `loss`.
        """
        what, loss_function = type(self).__name__, cast(Callable[..., tuple[float, FloatArray]], self.loss_function)
        if mixed is not None:
            loss_function = mixed_loss(loss_function, mixed, what)
        if weights is not None:
            if not takes_weights(self.loss_function):
                raise ValueError(
                    f"{what}: expected no weights, because the loss takes none, {self.loss_function!r:.60}"
                )
            loss_function = partial(loss_function, weights=weights)
        kind = labels_of(self.loss_function)
        if not isinstance(
            kind, ClassLabels
        ):  # of a user's loss: labels (N,) would not fit scores (N, 1), but broadcast
            labels = kind.check(labels, what, len(scores), self.num_classes)
        given = scores.view()
        given.flags.writeable = False  # the backward pass reads them
        loss, dscores = loss_function(given, labels)
        try:
            return float(loss), dscores
        except TypeError:
            found = f"{type(loss).__name__} of shape {np.shape(loss)}"
            raise TypeError(f"{what}: expected the loss to be a number, got {found}") from None

    def _forward(
        self,
        x: npt.ArrayLike,
        labels: npt.ArrayLike,
        workspace: Workspace,
        weights: npt.ArrayLike | None,
        mixed: Mixed | None,
    ) -> tuple[float, FloatArray, Step]:
        """Return the loss without L2, its gradient with respect to the scores, and what `_backward` needs."""
        if getattr(x, "dtype", None) == np.uint8:
            warn_if_unprepared(np.asarray(x), type(self).__name__, self.input_shape, self.statistics)
        x = self._check_input(x)
        step = self._plan_for(x.dtype).forward(x, workspace, self.rng)
        if self._steps is not None:
            self._steps.append(step)
        return *self.loss_of_scores(step.y, labels, weights=weights, mixed=mixed), step

    def _backward(
        self, loss: float, dscores: FloatArray, step: Step, updates: Callable[[str], Update] | None = None
    ) -> tuple[float, Grads]:
        """Return the loss with L2, and the gradients: those of weights that were not updated at once."""
        all_grads: Grads = {}
        for grads, penalty in step.plan.backward(dscores, step, updates):
            loss += penalty + step.plan.add_l2(self.l2, grads)
            all_grads |= grads
        return loss, all_grads

    def first_non_finite(self, x: npt.ArrayLike, *, training: bool = True) -> str | None:
        """Run x through the layers and say where the first number that is not finite appears.

        Parameters
        ----------
        x : array_like, shape (N, *input_shape)
        training : bool
            Whether the layers compute as for training, or as for prediction.

        Returns
        -------
        str or None
            Such as ``"the output of conv1"`` or ``"the parameter affine2.weight"``; None if all is finite.
        """
        y = self._check_input(x)
        rng = copy.deepcopy(self.rng)
        if not np.isfinite(y).all():
            return "the input"
        for name, layer in self.layers.items():
            for what, arrays in (("parameter", layer.params), ("state", layer.state)):
                for key, array in arrays.items():
                    if not np.isfinite(array).all():
                        return f"the {what} {name}.{key}"
            y = layer.forward(y, rng)[0] if training else layer(y)
            if not np.isfinite(y).all():
                return f"the output of {name}"
        return None

    # ---------------------------------------------------------------------------------------- predicting

    def scores(self, x: npt.ArrayLike, workspace: Workspace | None = None, *, flips: bool = False) -> FloatArray:
        """Return the class scores of prepared inputs, computed some images at a time.

        Parameters
        ----------
        x : array_like, shape (N, *input_shape)
        workspace : Workspace, optional
            Memory that each call uses again. Without it, a small prediction reuses the model's spare memory; a large
            one allocates new memory.
        flips : bool
            Return the mean of the scores of each image and of its mirror image, left to right. That is often a little
            better for photographs, in twice the time, but not for digits or text. Probabilities and labels are then
            those of the mean scores. `Statistics` of the model prepare the mirror image as they prepare any image: an
            `Augmentation` that mirrors raw images gives the same in training. Without them the prepared image is
            mirrored.

        Returns
        -------
        ndarray, shape (N, K)
            A fresh array.

        Raises
        ------
        ValueError
            If the shape is wrong, or examples are no images to flip.
        TypeError
            If x does not hold real numbers.

        Warns
        -----
        ConvnetWarning
            If x seems to hold raw images as floats, by what `statistics` give, or uint8 without statistics. They are
            taken as they are: it is no error, because such numbers may be meant, as those of images with much noise.
        """
        if as_flag(flips, "flips") and len(self.input_shape) != 3:
            raise ValueError(f"flips: expected a model of images (C, H, W), got examples of shape {self.input_shape}")
        images = as_array(x, f"{type(self).__name__}: x")
        if workspace is None:  # a Solver, which gives one, looks at its data itself
            warn_if_unprepared(images, type(self).__name__, self.input_shape, self.statistics)
        may_be_raw = images.dtype == np.uint8  # then it is prepared in parts, which take less memory
        if may_be_raw:
            check_examples(images, type(self).__name__, self.input_shape)
            plan = self._plan_for(self._dtype or np.dtype(np.float32))
        else:
            images = self._check_input(images)
            plan = self._plan_for(images.dtype)
        own = plan.borrow_workspace() if workspace is None else workspace
        parts = []
        for start in range(0, max(len(images), 1), PREDICTION_BATCH):
            part = images[start : start + PREDICTION_BATCH]
            part = self._check_input(part) if may_be_raw else part
            parts.append(plan.predict(part, own).copy())
            if flips:
                parts[-1] += plan.predict(mirrored(part, self.statistics), own)
                parts[-1] /= 2
        if workspace is None:
            plan.return_workspace(own)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def probabilities(self, x: npt.ArrayLike, *, flips: bool = False) -> FloatArray:
        """Return the probabilities (N, K) of prepared inputs x.

        With one class an example they are the softmax of the scores, which estimates probabilities only where the
        model was trained with the softmax loss; with `BinaryLabels` they are the sigmoid of the scores.

        `flips` is that of `scores`.

        Raises
        ------
        ValueError
            If the shape is wrong, or the labels of the loss have no probabilities.
        TypeError
            If x does not hold real numbers.

        Warns
        -----
        ConvnetWarning
            As `scores`.
        """
        scores = self.scores(x, **_flips_of(flips))
        return labels_of(self.loss_function).probabilities(scores)

    def predict(self, x: npt.ArrayLike, *, flips: bool = False) -> npt.NDArray[Any]:
        """Return the label (N,) with the highest score for each prepared input of x (N, *input_shape).

        With a loss of other labels: 0 or 1 for every class (N, K) with `BinaryLabels`, where K is 1 too; the scores
        (N, K) with `RealLabels`. `flips` is that of `scores`.

        Raises
        ------
        ValueError
            If the shape is wrong, or a score is NaN, so that none is the highest.
        TypeError
            If x does not hold real numbers.

        Warns
        -----
        ConvnetWarning
            As `scores`.
        """
        scores = self.scores(x, **_flips_of(flips))
        unknown = np.isnan(scores)
        if unknown.any():
            n = int(unknown.any(axis=1).argmax())
            where = self.first_non_finite(np.asarray(x)[n : n + 1], training=False)
            found = "" if where is None else f": {where} is the first that is not finite"
            raise ValueError(f"predict: expected scores, got NaN for x[{n}]{found}")
        return labels_of(self.loss_function).predict(scores)

    def predict_images(self, images: Any, *, flips: bool = False) -> npt.NDArray[Any]:
        """Predict the labels of raw images, which `statistics` preprocesses first.

        Parameters
        ----------
        images : array_like of uint8, shape (N, H, W) or (N, H, W, C), or images of any kind
            As `classify` takes them.
        flips : bool
            As for `scores`.

        Returns
        -------
        ndarray of int, shape (N,)
            Or as `predict` returns it with a loss of other labels.

        Raises
        ------
        ValueError
            If the model has no statistics, or the images' shape is not the model's.
        TypeError
            If the images are not uint8.
        """
        return self.predict(self._prepared(images, "predict_images"), **_flips_of(flips))

    def classify(self, images: Any, *, flips: bool = False) -> Predictions:
        """Return the names of the classes of images of any kind, and the probabilities.

        Parameters
        ----------
        images : path, bytes, file, PIL.Image.Image or array_like, a list or an iterator of these, or ImageData
            As `Statistics.apply` takes them: with a model whose training images came from `load_folder`, of any size.
        flips : bool
            As for `scores`.

        Returns
        -------
        Predictions
            Names of N images, those of `class_names` or else the labels as texts, and probabilities (N, K).

        Raises
        ------
        ValueError
            If the model has no statistics, its labels are not one class an example, an image is broken, or its size is
            not the model's and `statistics` have no reader.
        TypeError, OSError, ImportError
            As of `Statistics.apply`.
        """
        kind = labels_of(self.loss_function)
        if not isinstance(kind, ClassLabels):
            raise ValueError(
                f"classify: expected a model of one class an example, got one of {kind!r}; see predict_images"
            )
        probabilities = self.probabilities(self._prepared(images, "classify"), **_flips_of(flips))
        names = self.class_names or [str(label) for label in range(self.num_classes)]
        return Predictions([names[label] for label in probabilities.argmax(axis=1)], probabilities)

    def _prepared(self, images: Any, what: str) -> FloatArray:
        if self.statistics is None:
            raise ValueError(
                f"{what}: the model has no statistics; set model.statistics to those that preprocess returned"
            )
        return self.statistics.apply(images)

    @property
    def _dtype(self) -> np.dtype | None:
        """The dtype of the parameters, None without any."""
        return next((param.dtype for layer in self.layers.values() for param in layer.params.values()), None)

    def _plan_for(self, dtype: np.dtype) -> Plan:
        plan = self._plan
        loss, fuse, winograd = options = self.loss_function, self.fuse, self.winograd
        is_current = plan is not None and (plan.dtype, plan.options) == (dtype, options)
        if plan is None or not is_current or not plan.is_current(self.layers):
            plan = Plan(self.layers, self.input_shape, dtype, loss=loss, fuse=fuse, winograd=winograd)
            self._plan = plan
        return plan

    def _check_input(self, x: npt.ArrayLike) -> FloatArray:
        return as_inputs(x, type(self).__name__, self.input_shape, self._dtype, self.statistics)


def _flips_of(flips: bool) -> dict[str, Any]:
    """Return the keyword argument for a method that a user's subclass may have without `flips`."""
    return {"flips": True} if as_flag(flips, "flips") else {}
