"""ConvNetClassifier: a network as scikit-learn's pipelines and searches want a classifier."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import copy
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from math import prod
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from convnet.core.checks import FloatArray, as_count, as_flag, as_number, as_shape
from convnet.core.surprises import ConvnetWarning, warn
from convnet.core.workspace import Workspace
from convnet.datasets.augmentation import Augmentation
from convnet.datasets.splitting import divide
from convnet.estimator.examples import Examples, class_weights_of, distinct, written
from convnet.estimator.inputs import Inputs, Scales, axes_of, flattened
from convnet.layers.base import Layer
from convnet.layers.labels import softmax
from convnet.models.default_layers import default_layers
from convnet.models.sequential import PREDICTION_BATCH, Sequential
from convnet.training.callbacks import EarlyStopping
from convnet.training.optimizers import Adam, Optimizer
from convnet.training.schedules import OneCycle, PlateauDecay, Schedule
from convnet.training.solver import Callback, Solver

__all__ = ["ConvNetClassifier"]

WHAT = "ConvNetClassifier"
# Fewer examples than this are computed by other loops, which sum in another order. A prediction is of at least as many,
# so that the answer for an example does not depend on how many there are beside it.
LEAST_PREDICTED = 16
# Training examples that the Solver looks at, for its warnings alone.
LOOKED_AT = 200
# Of the default optimizer, and of the rate when early stopping waits.
WEIGHT_DECAY, RATE_DECAY = 0.1, 0.3
# Random seeds are below this.
SEEDS = 2**31 - 1

Network = Sequence[Layer] | Callable[[tuple[int, ...], int, np.random.Generator], Sequence[Layer]]


class Report(Callback):
    """A line for each epoch."""

    def on_epoch_end(self, solver: Solver) -> None:
        """Write it."""
        loss = np.mean(solver.loss_history[-solver.iterations_per_epoch :])
        checked = f", validation accuracy {solver.validation_accuracy_history[-1]:.2%}" if solver.has_validation else ""
        print(f"epoch {solver.epoch}/{solver.epochs}: loss {loss:.4f}{checked}", flush=True)


class ConvNetClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A convolutional network for images, or a plain one for features, with the interface of scikit-learn.

    Rows become images by `image_shape`: nothing is guessed from the number of features, and without it a row is a
    vector of features. Each channel of images, and each feature of vectors, is scaled to mean 0 and standard deviation
    1 by the training examples, so that pixels may be from 0 to 255, 0 to 16 or 0 to 1.

    Parameters
    ----------
    network : sequence of Layer or callable, optional
        The layers, or a function ``(input_shape, num_classes, rng) -> layers`` that makes them, of which the last
        gives a score for each class. Layers are copied: every `fit` begins with the weights that they have. A function
        draws its weights from ``rng``, by `random_state`. By default it is
        `convnet.models.default_layers.default_layers`, which suits the size of the images; for vectors of features it
        computes in float64.
    image_shape : tuple of ints, optional
        Shape of the image that a row is: (H, W), or (H, W, C) or (C, H, W) with at most 4 channels. X of three or four
        axes tells its shape itself.
    axes : str, optional
        The axes of the images, such as ``"NHWC"`` or ``"NCHW"``, where the shape does not tell: where both or none of
        the axes could be that of the channels. See `make_parts`.
    epochs : int
        How often the training goes through all examples; with `early_stopping` at most so often.
    batch_size : int
        Examples of a minibatch.
    learning_rate : float
        Of the optimizer; 0.01 suits the default networks, and many others want less. Without `early_stopping` it is
        the peak of `OneCycle`; with it, the first rate of `PlateauDecay`.
    l2 : float
        Strength of the L2 regularisation, see `Sequential`.
    optimizer : callable, optional
        ``optimizer(learning_rate) -> Optimizer``: a class such as `Momentum`, or a ``functools.partial`` of one.
        By default `Adam` with a weight decay of 0.1.
    augmentation : callable, optional
        Changes the scaled training images anew each time, such as ``Augmentation(shift=2)``; see `Solver`.
    class_weight : mapping or "balanced", optional
        Weights by class, 1 for those that are missing. ``"balanced"`` gives all classes the same weight together. They
        are multiplied with `sample_weight`.
    early_stopping : bool
        Whether a part of the examples is held back, the training ends when the accuracy on it has not risen for some
        epochs, and the best network is kept.
    validation_fraction : float
        In (0, 1): the part that is held back, with the same share of every class. Of use with `early_stopping` alone.
    n_iter_no_change : int
        Epochs in a row without a better validation accuracy that end the training; after a third of them the learning
        rate is lowered.
    warm_start : bool
        Whether `fit` goes on with the network of the last one, for `epochs` more epochs, with the same classes and the
        same scales. `network`, `image_shape` and `axes` have to be the same, too. With `early_stopping` the same
        examples are held back each time, if X and y are the same.
    random_state : int, RandomState or None
        Draws the initial weights, the order of the examples, dropout, augmentation and the part that is held back. The
        same int gives the same bits, for any number of threads.
    verbose : bool
        Whether a line is printed for each epoch.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
        The labels, sorted.
    n_features_in_ : int
        Numbers of an example; of an image, its height times its width times its channels.
    feature_names_in_ : ndarray of str
        One for each column, of X with names of columns alone.
    n_iter_ : int
        Epochs trained, of all fits that went on with the network.
    loss_curve_ : list of float
        The mean loss of each of them.
    validation_scores_ : list of float or None
        The validation accuracies after the epochs of the last fit, with `early_stopping`.
    best_validation_score_ : float or None
        The accuracy of the network that was kept, with `early_stopping`.
    best_epoch_ : int or None
        The number of epochs of the last fit that it has seen; 0 if none was better than at the beginning.
    mean_, scale_ : ndarray, shape (C,)
        What is subtracted from each channel or feature, and what it is divided by then.
    model_ : Sequential
        The network. For images it has ``class_names`` and ``statistics``, in the unit of X: `save_model` writes a file
        that predicts without scikit-learn.

    Raises
    ------
    ValueError, TypeError
        By `fit`, if a parameter is out of range, or X, y and weights do not fit together.

    Warns
    -----
    ConvnetWarning
        By `fit`, what a `Solver` warns of; and with `early_stopping` of weights, and of a training that goes on and has
        held nothing back before.

    See Also
    --------
    convnet.set_num_threads : Limits the threads, as ``threadpoolctl.threadpool_limits`` does.

    Notes
    -----
    Sample weights: each minibatch's loss is divided by the sum of its weights, and an example of weight 0 is as if it
    was not there. With several minibatches an epoch an example of weight 2 is not quite the same as two of them, which
    may be in different minibatches.

    The accuracy of early stopping counts every example once, whatever its weight.

    A prediction is the same whatever other examples there are beside it, but for rounding in large layers.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from convnet.estimator import ConvNetClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = ConvNetClassifier(image_shape=(8, 8), epochs=5, random_state=0).fit(X[:1500], y[:1500])
    >>> classifier.score(X[1500:], y[1500:]) > 0.9
    True
    """

    # What `fit` sets, and methods read.
    classes_: npt.NDArray[Any]
    n_features_in_: int
    n_iter_: int
    loss_curve_: list[float]
    mean_: npt.NDArray[np.float64]
    scale_: npt.NDArray[np.float64]
    model_: Sequential
    _inputs: Inputs
    _network: Network | None
    _generator: np.random.Generator
    _division_seed: int | None
    _optimizer_state: tuple[type[Optimizer], Any] | None

    def __init__(
        self,
        network: Network | None = None,
        *,
        image_shape: Sequence[int] | None = None,
        axes: str | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 0.01,
        l2: float = 0.0,
        optimizer: Callable[[float], Optimizer] | None = None,
        augmentation: Callable[..., Any] | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.network = network
        self.image_shape = image_shape
        self.axes = axes
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.l2 = l2
        self.optimizer = optimizer
        self.augmentation = augmentation
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    # ------------------------------------------------------------------------------------------ training

    def fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> Self:  # noqa: N803
        """Train the network.

        Parameters
        ----------
        X : array_like, shape (N, D), (N, H, W), (N, H, W, C) or (N, C, H, W)
        y : array_like, shape (N,)
            Labels of any kind: integers, texts, truth values.
        sample_weight : array_like, shape (N,), optional
            Weights of the examples, at least 0.

        Returns
        -------
        ConvNetClassifier
            Itself.
        """
        goes_on = as_flag(self.warm_start, f"{WHAT}: warm_start") and hasattr(self, "model_")
        if not goes_on and hasattr(self, "model_"):
            del self.model_
        rows, labels = self._validated(X, y, reset=not goes_on)
        classes = np.unique(labels)
        if goes_on and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"{WHAT}: expected with warm_start the classes of the last fit, {written(self.classes_)}, got "
                f"{written(classes)}"
            )
        examples = Examples.counting(rows, labels, classes, sample_weight, WHAT)
        present = np.unique(examples.classes)
        if len(present) < 2:
            raise ValueError(
                f"{WHAT}: expected examples of at least two classes, got one class, {written(classes[present])}"
            )
        validation = None
        if as_flag(self.early_stopping, f"{WHAT}: early_stopping"):
            fraction = as_number(self.validation_fraction, f"{WHAT}: validation_fraction", above=0, below=1)
            size = max(1, int(fraction * len(examples.rows) + 0.5))
            if size == len(examples.rows):
                raise ValueError(f"{WHAT}: expected examples left to train with, got {size} for validation alone")
        if not goes_on:
            self._begin(classes)
        if self.early_stopping:
            if self._division_seed is None:  # one for all fits that go on: nothing held back was trained with before
                self._division_seed = self._seed()
                if goes_on:
                    warn(
                        f"{WHAT}: early_stopping holds examples back now, but did not in the training that goes on: if "
                        "that had them, too, their accuracy is too high; begin anew with warm_start=False"
                    )
            parts = divide(examples.classes, len(classes), {"validation": size}, self._division_seed)
            examples, validation = examples.of(parts["train"]), examples.of(parts["validation"])
        return self._train(examples, validation, as_count(self.epochs, f"{WHAT}: epochs"))

    def partial_fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        classes: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Train the network for one epoch more with a part of the data, at the constant learning rate.

        The first part decides how features are scaled.

        Parameters
        ----------
        X, y, sample_weight
            As of `fit`. A part may lack classes.
        classes : array_like, shape (K,)
            All labels there are; needed in the first call.

        Returns
        -------
        ConvNetClassifier
            Itself.
        """
        if self.early_stopping:
            raise ValueError(f"{WHAT}: partial_fit holds no examples back: expected early_stopping=False")
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"{WHAT}: partial_fit sees a part of the data alone: expected class_weight to be a dictionary of "
                f"weights, got {self.class_weight!r}"
            )
        goes_on = hasattr(self, "model_")
        known = None if classes is None else distinct(classes, WHAT)
        if known is None and not goes_on:
            raise ValueError(f"{WHAT}: expected the argument classes, all labels there are, in the first partial_fit")
        if goes_on and known is not None and not np.array_equal(known, self.classes_):
            raise ValueError(
                f"{WHAT}: expected the classes of the first partial_fit, {written(self.classes_)}, got {written(known)}"
            )
        known = self.classes_ if known is None else known
        if len(known) < 2:
            raise ValueError(f"{WHAT}: expected at least two classes, got one class, {written(known)}")
        rows, labels = self._validated(X, y, reset=not goes_on)
        examples = Examples.counting(rows, labels, known, sample_weight, WHAT)
        if not goes_on:
            self._begin(known)
        return self._train(examples, None, None)

    def _validated(self, X: Any, y: Any, *, reset: bool) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:  # noqa: N803
        """Return rows (N, D) and labels (N,), after scikit-learn's checks, and note the shape of an example."""
        flat, shape = flattened(X, WHAT)
        if reset:
            given = self.image_shape
            if given is not None:
                given = as_shape(given, f"{WHAT}: image_shape")
                if shape not in (None, given):
                    raise ValueError(f"{WHAT}: expected images of image_shape, {given}, got {shape}")
            image_shape = shape if given is None else given
            axes = None if image_shape is None else axes_of(image_shape, self.axes, WHAT)
            if image_shape is None and self.axes is not None:
                raise ValueError(f"{WHAT}: expected image_shape beside axes={self.axes!r}, got rows of features")
            inputs = Inputs(image_shape, axes)
        else:
            inputs = self._inputs
            self._check_unchanged()
            self._check_shape(shape)
        rows, labels = validate_data(self, flat, y, reset=reset)
        check_classification_targets(labels)
        if inputs.image_shape is not None and rows.shape[1] != prod(inputs.image_shape):
            raise ValueError(
                f"{WHAT}: image_shape: expected X of shape (N, {prod(inputs.image_shape)}) for images of shape "
                f"{inputs.image_shape}, got {rows.shape}"
            )
        inputs.arranged(rows[:1], WHAT)  # what is wrong with the shapes is said before anything is changed
        self._inputs = inputs
        return rows, labels

    def _check_unchanged(self) -> None:
        """Raise a ValueError if the network that a training goes on with is not that of the parameters any more."""
        shape, axes = self._inputs.image_shape, self._inputs.axes
        given = None if self.image_shape is None else as_shape(self.image_shape, f"{WHAT}: image_shape")
        for name, is_same, first in (
            ("network", self.network is self._network, self._network),
            ("image_shape", given in (None, shape), shape),
            ("axes", self.axes in (None, axes), axes),
        ):
            if not is_same:
                raise ValueError(
                    f"{WHAT}: {name}: expected what the training began with, {first!r:.60}, got "
                    f"{getattr(self, name)!r:.60}; fit with warm_start=False begins anew"
                )

    def _check_shape(self, shape: tuple[int, ...] | None) -> None:
        """Raise a ValueError if images are of another shape than those of `fit`."""
        if shape not in (None, self._inputs.image_shape):
            raise ValueError(
                f"{WHAT}: expected examples of shape {self._inputs.image_shape or (self.n_features_in_,)}, as in fit, "
                f"got {shape}"
            )

    def _begin(self, classes: npt.NDArray[Any]) -> None:
        """Begin a training anew."""
        self._generator = np.random.default_rng(check_random_state(self.random_state).randint(SEEDS))
        self.classes_, self._network = classes, self.network
        self.n_iter_, self.loss_curve_ = 0, []
        self._division_seed = self._optimizer_state = None

    def _seed(self) -> int:
        return int(self._generator.integers(SEEDS))

    def _train(self, examples: Examples, validation: Examples | None, epochs: int | None) -> Self:
        """Train for some epochs; for a part of the data, where `epochs` is None, for one at a constant rate."""
        if validation is None:
            self._division_seed = None
        x = self._inputs.arranged(examples.rows, WHAT)
        if hasattr(self, "model_"):
            model = self.model_
            model.l2 = as_number(self.l2, f"{WHAT}: l2", at_least=0)
        else:
            scales = Scales.of(x, examples.weights, WHAT)
            model = self._make_model(x.shape[1:], scales)
            self.mean_, self.scale_ = scales.mean, scales.scale
        x = self._scaled(x, model)
        if x.ndim == 2 and isinstance(self.augmentation, Augmentation):
            raise ValueError(
                f"{WHAT}: augmentation: expected images for Augmentation, got vectors of {x.shape[1]} features; "
                "image_shape says what image a row is"
            )
        factors = class_weights_of(self.class_weight, self.classes_, examples, WHAT)
        weights = examples.weights * factors[examples.classes]
        if not weights.any():
            raise ValueError(f"{WHAT}: class_weight: expected a weight above zero for a class with examples, got none")
        counting = np.unique(examples.classes[weights > 0])
        if epochs is not None and len(counting) < 2 <= len(np.unique(examples.classes)):
            raise ValueError(
                f"{WHAT}: class_weight: expected weights above zero for at least two classes, got one class, "
                f"{written(self.classes_[counting])}"
            )
        data = {"x_train": x, "y_train": examples.classes}
        if validation is not None:
            data["x_validation"] = self._scaled(self._inputs.arranged(validation.rows, WHAT), model)
            data["y_validation"] = validation.classes
        if (weights != weights[0]).any():
            data["weights_train"] = weights
            if validation is not None:
                warn(
                    f"{WHAT}: early_stopping keeps the network of the best plain accuracy, for which examples count "
                    "alike, whatever their weights; with early_stopping=False the weights alone decide"
                )
        solver = self._make_solver(model, data, epochs)
        solver.train()
        self.model_ = model
        losses, count = solver.loss_history, solver.iterations_per_epoch
        self.loss_curve_ += [float(np.mean(losses[n : n + count])) for n in range(0, len(losses), count)]
        self.n_iter_ += solver.epoch
        self.validation_scores_ = None if validation is None else solver.validation_accuracy_history[1:]
        self.best_validation_score_ = None if validation is None else solver.best_validation_accuracy
        self.best_epoch_ = None if validation is None else solver.state.best_check
        # Of use only if the training goes on.
        optimizer = solver.optimizer
        self._optimizer_state = (type(optimizer), optimizer.state) if self.warm_start or epochs is None else None
        return self

    def _make_solver(self, model: Sequential, data: Mapping[str, npt.NDArray[Any]], epochs: int | None) -> Solver:
        """Return the Solver of the parameters, whose optimizer goes on from the state of one of its class."""
        callbacks: list[Callback] = [Report()] if self.verbose else []
        schedule: Schedule | None = None if epochs is None else OneCycle(epochs)
        if "x_validation" in data:
            patience = as_count(self.n_iter_no_change, f"{WHAT}: n_iter_no_change")
            callbacks.append(EarlyStopping(patience))
            schedule = PlateauDecay(RATE_DECAY, patience=max(1, patience // 3))
        optimizer = self._make_optimizer()
        with warnings.catch_warnings() if epochs is None else nullcontext():
            if epochs is None:  # a part of the data may lack classes
                warnings.filterwarnings("ignore", "Solver: y_.* lacks", ConvnetWarning)
            solver = Solver(
                model,
                data,
                optimizer,
                schedule=schedule,
                batch_size=as_count(self.batch_size, f"{WHAT}: batch_size"),
                epochs=epochs or 1,
                seed=self._seed(),
                callbacks=callbacks,
                augmentation=self.augmentation,
                num_train_check=LOOKED_AT,
            )
        if self._optimizer_state is not None:
            kind, state = self._optimizer_state
            if kind is type(optimizer):  # another one begins anew
                optimizer.load_state(state)
        return solver

    def _make_model(self, input_shape: tuple[int, ...], scales: Scales) -> Sequential:
        """Return the untrained network."""
        rng, number = np.random.default_rng(self._seed()), len(self.classes_)
        if self.network is None:
            # Few features cost little, and scikit-learn's checks want more digits than float32 has.
            dtype = np.float64 if len(input_shape) == 1 else np.float32
            layers: Any = default_layers(input_shape, number, rng, dtype=dtype)
        elif _is_called_with(self.network, input_shape, number, rng):
            layers = self.network(input_shape, number, rng)  # type: ignore[operator]
        else:
            layers = copy.deepcopy(self.network)
        if not isinstance(layers, Sequence) or not all(isinstance(layer, Layer) for layer in layers):
            raise TypeError(
                f"{WHAT}: network: expected a list of layers, or a function (input_shape, num_classes, rng) that "
                f"returns one, got {layers!r:.60}"
            )
        model = Sequential(layers, input_shape, l2=as_number(self.l2, f"{WHAT}: l2", at_least=0), rng=rng)
        if model.num_classes != number:
            raise ValueError(
                f"{WHAT}: network: expected {number} scores from the last layer, one for each class, got "
                f"{model.num_classes}"
            )
        model.class_names = [str(label) for label in self.classes_.tolist()]
        if len(input_shape) == 3:
            model.statistics = scales.statistics((input_shape[0], input_shape[1], input_shape[2]))
        return model

    def _make_optimizer(self) -> Optimizer:
        make = partial(Adam, weight_decay=WEIGHT_DECAY) if self.optimizer is None else self.optimizer
        rate = as_number(self.learning_rate, f"{WHAT}: learning_rate", above=0)
        optimizer = make(rate) if callable(make) else make
        if not isinstance(optimizer, Optimizer) or not callable(make):
            raise TypeError(
                f"{WHAT}: expected optimizer to be a class such as Momentum, or a function that makes an optimizer of "
                f"a learning rate, got {make!r:.60}"
            )
        return optimizer

    # ---------------------------------------------------------------------------------------- predicting

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return the scores of the classes (N, K), whose softmax are the probabilities.

        With two classes, (N,): the score of the second class minus that of the first, whose sigmoid is the probability
        of the second.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return the probabilities (N, K) of the classes, in the order of `classes_`."""
        return np.asarray(softmax(self._scores(X)), np.float64)

    def predict_log_proba(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return the logarithms of the probabilities (N, K)."""
        scores = self._scores(X)
        scores -= scores.max(axis=1, keepdims=True)
        logarithms: npt.NDArray[np.float64] = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return logarithms

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: N803
        """Return the label (N,) with the highest score for each example."""
        best = self._scores(X).argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[best]
        return labels

    def _scores(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return the scores (N, K) in float64."""
        check_is_fitted(self)
        flat, shape = flattened(X, WHAT)
        self._check_shape(shape)
        x = self._scaled(self._inputs.arranged(validate_data(self, flat, reset=False), WHAT), self.model_)
        count = len(x)
        missing = LEAST_PREDICTED - count % PREDICTION_BATCH
        if 0 < missing < LEAST_PREDICTED:
            x = np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)])
        # In memory of its own, because several threads may ask one model.
        scores = np.asarray(self.model_.scores(x, Workspace())[:count], np.float64)
        if not np.isfinite(scores).all():
            n = int((~np.isfinite(scores)).any(axis=1).argmax())
            raise ValueError(f"{WHAT}: expected finite scores, got {scores[n]} for X[{n}], of too large numbers")
        return scores

    def _scaled(self, x: npt.NDArray[Any], model: Sequential) -> FloatArray:
        """Return the inputs of a model, in the dtype of its parameters."""
        dtype = next((param.dtype for param in model.params.values()), np.dtype(np.float32))
        return Scales(self.mean_, self.scale_).apply(x, dtype)


def _is_called_with(function: Any, *arguments: Any) -> bool:
    """Return whether something is a function of so many arguments; a class, such as ConvNet1, is none."""
    if not callable(function) or isinstance(function, type):
        return False
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a function without a signature, such as one of C
        return True
    return True
