"""Solver: trains a model with minibatches, keeps the histories and the best parameters.

This file is long because it is one class, whose methods are what a user calls, and much of it says how.
"""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, all_finite, as_array, as_count, as_flag, as_number, takes_keyword
from convnet.core.names import Named
from convnet.core.workspace import Workspace
from convnet.datasets.augmentation import Augment
from convnet.formats.archives import Arrays
from convnet.formats.files import PathLike
from convnet.layers.labels import labels_of
from convnet.models.inputs import warn_if_unprepared
from convnet.models.sequential import Sequential
from convnet.training import checkpoints
from convnet.training.accuracy import Accuracy, accuracy_of, check_scores
from convnet.training.best_by import BestBy, as_best_by, called
from convnet.training.history import history_table
from convnet.training.interrupts import HeldInterrupts
from convnet.training.minibatches import Minibatches
from convnet.training.optimizers import Optimizer
from convnet.training.parallel import Decisions, OneProcess, Parallel
from convnet.training.progress import Progress
from convnet.training.run import (
    NOT_HERE,
    check_arguments,
    data_sums,
    described,
    described_model,
    example_weights,
    labelled_parts,
)
from convnet.training.schedules import Schedule
from convnet.training.state import TrainingState, model_arrays, restore
from convnet.training.surprises import Surprises

__all__ = ["Callback", "Solver"]


class Callback:
    """Base of the callbacks; override what you need. Every method of an event gets the Solver, whose state it may read.

    Attributes
    ----------
    runs_last : bool
        If True, the callback is called after all callbacks for which this is False.
    """

    runs_last: ClassVar[bool] = False

    def on_train_start(self, solver: Solver) -> None:
        """Handle the start of `Solver.train`; called after the first accuracy check."""

    def on_iteration_end(self, solver: Solver) -> None:
        """Handle the end of an iteration; called after each minibatch's update."""

    def on_epoch_end(self, solver: Solver) -> None:
        """Handle the end of an epoch; called after its accuracy check."""

    def on_train_end(self, solver: Solver) -> None:
        """Handle the end of `Solver.train`; called after an error too."""

    def state(self) -> Arrays:
        """Return what a checkpoint has to hold of this callback, arrays of numbers by name."""
        return {}

    def load_state(self, state: Arrays) -> None:
        """Take over what `state` returned when the checkpoint was written."""


class Solver(Progress, Named):
    """Train a model, and predict with it.

    An epoch goes through the training set once, in a new random order: ``ceil(N / batch_size)`` minibatches without
    replacement, of which the last may be smaller. The accuracy is checked when `train` begins and after every epoch.
    The parameters and the state of the model at the best check are kept, and by default restored when training ends.
    The best check is the one with the highest validation accuracy; `best_by` chooses otherwise. Of equal checks the one
    with the lowest validation loss is the best, and of equal losses the last one. The model's loss determines what the
    labels and the accuracy are; see `takes_labels`.

    Parameters
    ----------
    model : Sequential
        Trained in place.
    data : mapping of str to ndarray
        ``x_train``, ``y_train``, ``x_validation``, ``y_validation`` as `preprocess` returns them. ``weights_train``
        (N,), if there are such, are weights of the training examples. They go to the loss as ``weights=``, which
        divides a minibatch's loss by the sum of its weights; accuracies do not use them. Other keys are ignored; one
        that looks like a misspelt validation part, such as ``x_val``, is an error.
        Inputs may be raw images, uint8 of shape (N, C, H, W), in memory or mapped from a file: ``model.statistics``
        then prepare each minibatch when it is used. The results are those of images that were prepared before.
        Without a validation part, or with an empty one, only the training accuracy is checked. There is no best check
        then, and the model ends with the last parameters.
    optimizer : Optimizer
        The update rule, used by this Solver alone and without the state of earlier training. To continue from a saved
        optimizer state, create the Solver first, then call ``optimizer.load_state``.
    schedule : callable, optional
        ``schedule(epoch) -> factor``, by which the learning rate is multiplied. It is called before each minibatch,
        with the fractional epoch. If it takes ``accuracies=``, as `PlateauDecay` does, it gets
        `validation_accuracy_history`, too.
    batch_size : int
        Examples of a minibatch.
    epochs : int
        How many epochs `train` goes to.
    seed : int
        Random seed of the order of the minibatches, the augmentation, and the sample for the training accuracy;
        dropout draws from the model's generator.
    callbacks : sequence of Callback
        Called in order, those with `runs_last` after the others.
    augmentation : callable, optional
        ``augmentation(x, rng) -> x`` for the prepared inputs of each minibatch, such as an `Augmentation`, or `Mixup`,
        which mixes labels too. An `Augmentation` takes raw images as they are, and prepares them itself.
    best_by : {"accuracy", "loss"} or callable
        What decides which accuracy check is the best: the highest validation accuracy; the lowest validation loss; or
        the highest value of a function, ``best_by(labels, predictions) -> float`` of the validation part, such as
        `balanced_accuracy`. If the second argument is called ``scores`` or ``probabilities``, as that of
        `top_k_accuracy`, the function gets these, (N, K). Of a measure that is the better the lower, give the negative.
        NaN is the worst value.
    restore_best : bool
        If True, the model ends with the parameters of the best accuracy check; otherwise with the last ones.
        Choose False with a schedule that lowers the learning rate to 0, such as `CosineDecay` or `OneCycle`: the last
        ones are then usually better, and the best of many accuracies is partly luck. Keep True with a constant
        learning rate, with `EarlyStopping`, and where a training may get worse at the end.
    average : float, optional
        The decay, in (0, 1) and such as 0.999, of an exponential moving average of the parameters and the state. The
        accuracy checks use the average, it is kept as the best, and the model ends with it. It is the mean of about the
        last ``1 / (1 - average)`` iterations, and at first of the last tenth of them; the initial parameters have no
        part in it. While the training runs, and after an error or an interrupt, the model has the parameters that are
        trained. `convnet.training.averaging.share_of` has the formula.
    num_train_check : int or None
        The number of training examples, drawn once, on which the training accuracy is checked; None for all of them.
    distributed : DataParallel, optional
        `convnet.distributed.DataParallel` divides each minibatch among several processes.

    Attributes
    ----------
    state : TrainingState
        How far the training has come: counters, histories, random generators, copies of the model. The Solver has
        most of it as attributes of its own, such as ``solver.iteration``.
    has_validation : bool
        Whether the data have a validation part.
    iteration, epoch : int
        Minibatches and whole epochs done.
    iterations_per_epoch, num_iterations : int
        ``ceil(N / batch_size)``, and that times `epochs`.
    loss_history : list of float
        The loss of every iteration.
    train_accuracy_history, validation_accuracy_history : list of float
        As fractions, one of each check: when `train` began, and after every epoch. With labels of another kind than one
        class an example it is what `Labels.accuracy` of that kind returns.
    validation_loss_history : list of float
        The mean loss of the validation examples at each check, without L2.
    best_by_history : list of float
        What `best_by` chooses by, at each check: one of the last two lists, or the function's values.
    is_between_iterations : bool
        False while a step runs, and after a step that failed, until `reset` or `resume`. A checkpoint can be written
        only while it is True.
    weights : ndarray of float64, shape (N,), or None
        Weights of the training examples.
    best_validation_accuracy : float
        That of the best accuracy check.
    best_params, best_state : dict of str to ndarray
        Copies of the parameters of the best accuracy check, and of the model's state with them.

    Raises
    ------
    ValueError
        If a data array is missing or empty; if shapes, labels or weights do not fit the model; if there are raw images
        and no ``model.statistics``; if there are weights and the loss takes none; if a number is out of range; if the
        optimizer has a state; or if the schedule or `best_by` needs a validation part and there is none.
    TypeError
        If an argument is of the wrong type.

    Warns
    -----
    ConvnetWarning
        If a part has no example of a class, inputs seem not to be prepared, or the two parts seem to be prepared in
        different ways.
    """

    _arguments_elsewhere = NOT_HERE

    def __init__(
        self,
        model: Sequential,
        data: Mapping[str, npt.NDArray[Any]],
        optimizer: Optimizer,
        *,
        schedule: Schedule | None = None,
        batch_size: int = 50,
        epochs: int = 10,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        augmentation: Augment | None = None,
        best_by: BestBy = "accuracy",
        restore_best: bool = True,
        num_train_check: int | None = 1000,
        average: float | None = None,
        distributed: Parallel | None = None,
    ) -> None:
        check_arguments(model, data, optimizer, schedule, augmentation, distributed)
        if not isinstance(callbacks, Sequence) or not all(isinstance(callback, Callback) for callback in callbacks):
            raise TypeError(f"Solver: expected callbacks to be a sequence of Callback objects, got {callbacks!r:.60}")
        self.model = model
        self.data = labelled_parts(model, data)
        self.weights = example_weights(model, data, len(self.data["train"][0]))
        self.optimizer = optimizer
        self.schedule = schedule
        self.batch_size = as_count(batch_size, "batch_size")
        self.epochs = as_count(epochs, "epochs")
        self.seed = as_count(seed, "seed", 0)
        self.callbacks = sorted(callbacks, key=lambda callback: callback.runs_last)
        self.augmentation = augmentation
        self.restore_best = as_flag(restore_best, "restore_best")
        self.num_train_check = None if num_train_check is None else as_count(num_train_check, "num_train_check")
        average = None if average is None else as_number(average, "average", above=0, below=1)
        count = len(self.data["train"][0])
        self.iterations_per_epoch = -(-count // self.batch_size)
        self.state = TrainingState(model, count, self.seed, average, as_best_by(best_by))
        if self.best_by != "accuracy" and not self.has_validation:
            raise ValueError(
                f"Solver: best_by: expected data with a validation part for {called(self.best_by)}, got none"
            )
        self._workspace = Workspace()
        self._minibatches = Minibatches(model, *self.data["train"], self.weights, self.batch_size)
        self._parallel: Parallel = OneProcess() if distributed is None else distributed
        run = self._run() | {"epochs": self.epochs} | data_sums({}, self.weights, None)
        self._parallel.begin(model, self.data, min(self.batch_size, count), run)
        self._surprises = Surprises(self._parallel.is_first)
        self._interrupts = HeldInterrupts()
        self._surprises.look_at_data(model, self.data)
        self._begin()

    def __str__(self) -> str:
        return str(history_table(self))

    def _repr_html_(self) -> str:
        return history_table(self)._repr_html_()

    def reset(self) -> None:
        """Forget what was trained: counters, histories, random streams, best parameters, the optimizer's state.

        The model is left as it is, its parameters and the generator that its dropout draws from.
        """
        self.state.reset(self.model, self.seed)
        self._begin()

    def _begin(self) -> None:
        """Clear the optimizer, and draw the examples that the training accuracy is checked on."""
        self._is_constant = False  # the predictions at the last accuracy check
        self.optimizer.state.clear()
        self.optimizer.rate_factor = 1.0
        self._train_check = x, labels = self.data["train"]
        if self.num_train_check is not None and self.num_train_check < len(x):
            chosen = np.sort(self.state.sampling.choice(len(x), self.num_train_check, replace=False))
            self._train_check = x[chosen], labels[chosen]

    @property
    def schedule(self) -> Schedule | None:
        """The schedule; another one may be set between two iterations."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule | None) -> None:
        takes_accuracies = schedule is not None and takes_keyword(schedule, "accuracies")
        if takes_accuracies and not self.has_validation:
            raise ValueError(
                f"Solver: schedule: expected data with a validation part for {schedule!r:.60}, which takes its "
                "accuracies, got none"
            )
        self._schedule, self._takes_accuracies = schedule, takes_accuracies

    @functools.cached_property
    def data_sums(self) -> dict[str, str]:
        """Shape, dtype and checksum of each array of the data, and the statistics that prepare raw images."""
        return data_sums(self.data, self.weights, self.model.statistics)

    # ------------------------------------------------------------------------------------------ training

    def train(self) -> None:
        """Train until `epochs` epochs are done, and restore the best parameters if `restore_best` is True.

        The training goes on from the last iteration, as after an interrupt or `stop`. If the best parameters were
        restored, the last ones are put back first. When all epochs are done, another call does nothing until `epochs`
        is raised or `reset` called.

        Raises
        ------
        FloatingPointError
            If the loss or a parameter is no longer finite. The model then has the parameters of the last accuracy check
            at which all was finite; these may be the initial ones.
        ValueError
            If an array of the model has another name, shape or dtype than when the Solver was made.

        Warns
        -----
        UserWarning
            Once after a step that failed: the training goes on, but not with the bits of an undisturbed one.
        ConvnetWarning
            Once each: if the loss grows far above that of the untrained model, if the model predicts one class alone at
            the end, if the units of a layer are dead, or if the initial parameters are the best ones.
        """
        self.state.check(self.model)
        self.state.warn_if_broken()
        # `_call` releases interrupts, so that no callback misses what another one saw.
        with self._interrupts, self._parallel.training():
            self._train()

    def _train(self) -> None:
        self.state.take_back_last(self.model)
        begun = self.iteration
        was_due = self._check_if_due()
        try:
            self._call("on_train_start")
            if was_due and self.iteration and not self.iteration % self.iterations_per_epoch:
                self._call("on_epoch_end")
            while self.iteration < self.num_iterations and not self.state.is_stopping:
                self.step()
                self._call("on_iteration_end")
                if self._check_if_due():
                    self._surprises.look_at_loss(self.model, self.data, self.state, self.optimizer.learning_rate)
                    self._call("on_epoch_end")
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)
        restores = self.restore_best and self.has_validation
        try:  # a warning may be an error
            if self.iteration > begun:
                known = self.model, self.data, self.state, self.optimizer.learning_rate
                is_constant = self._is_constant and self.state.checked_iteration > begun
                self._surprises.look_at_end(*known, is_constant=is_constant, restores=restores)
        finally:
            if restores or self.state.averages:
                self.state.keep_last(self.model)
                restore(self.model, self.state.best if restores else self.state.averages)

    def _end(self, first: BaseException | None) -> None:
        """Tell the callbacks that training ends; their errors do not replace the one that it ends by."""
        self.optimizer.rate_factor = 1.0
        self.state.is_stopping = False
        self._call("on_train_end", first)

    def stop(self) -> None:
        """Let `train` end after the current iteration, as a callback may wish."""
        self.state.is_stopping = True

    def step(self) -> float:
        """Make a single gradient update on the next minibatch, without callbacks and accuracy checks.

        Returns
        -------
        float
            The minibatch's loss before the update.

        Raises
        ------
        FloatingPointError
            If the loss is not finite, see `train`.
        ValueError
            If the augmentation changes the shape, or an array of the model has another name, shape or dtype than when
            the Solver was made.

        Warns
        -----
        UserWarning
            As `train`.
        """
        with HeldInterrupts():
            self.state.check(self.model)
            self.state.warn_if_broken()
            is_whole, self.state.is_between_iterations = self.is_between_iterations, False
            loss = self._step()
            self.state.move_averages(self.model, self.iteration + 1, self.iterations_per_epoch)
            self.loss_history.append(loss)
            self.state.iteration += 1
            self.state.is_between_iterations = is_whole
        return loss

    def _step(self) -> float:
        position = self.iteration % self.iterations_per_epoch
        self.state.shuffle(self.epoch)
        chosen = self.state.order[position * self.batch_size : (position + 1) * self.batch_size]
        part = self._parallel.part(len(chosen))
        minibatch = self._minibatches.take(chosen, self.augmentation, self.state.augmenting, part)
        epoch = self.iteration / self.iterations_per_epoch
        seen = {"accuracies": self.validation_accuracy_history} if self._takes_accuracies else {}
        factor = 1.0 if self.schedule is None else self.schedule(epoch, **seen)
        self.optimizer.rate_factor = as_number(factor, "the schedule's factor", at_least=0)
        # What overflows is found by the loss, and reported below in one sentence instead of in NumPy's many.
        with np.errstate(over="ignore", invalid="ignore"):
            loss = self._parallel.train_step(self.model, minibatch, self.optimizer, self._workspace)
            if not np.isfinite(loss):
                x, everything = minibatch.x, slice(0, len(chosen))
                where = self.model.first_non_finite(x) if len(x) else None
                if where is None and part != everything:  # what is not finite belongs to another process
                    x = self._minibatches.take(chosen, None, self.state.augmenting, everything).x
                self._diverged(x, f"the loss of iteration {self.iteration + 1} is {loss}", where)
        return loss

    def _check_if_due(self) -> bool:
        """Check the accuracies if that is due, once at the start and after each epoch, and return whether it was due.

        The accuracies are appended to the histories, and the parameters are kept if they are the best. A check that was
        interrupted is still due. After calls of `step` the start may lie within an epoch.
        """
        checked = self.state.checked_iteration
        if checked == self.iteration or (checked >= 0 and self.iteration % self.iterations_per_epoch):
            return False
        self.state.check(self.model)
        if not self.iteration:
            self.state.move_averages(self.model, 0, self.iterations_per_epoch)
        x, labels = self._train_check
        validation = None
        with np.errstate(over="ignore", invalid="ignore"):
            is_finite = all(map(all_finite, (*model_arrays(self.model).values(), *self.state.averages.values())))
            with self.state.averaged(self.model):
                found = train = self._accuracy(x, labels)
                if self.has_validation:
                    found = validation = self._accuracy(*self.data["validation"], with_loss=True)
                is_finite = is_finite and train.is_finite and found.is_finite
                suspects = (self.data["validation"][0] if validation and train.is_finite else x)[: self.batch_size]
                where = None if is_finite else self.model.first_non_finite(suspects)
                if is_finite:
                    self.state.keep(self.model)
            if not is_finite:
                self._diverged(suspects, f"not all is finite after iteration {self.iteration}", where)
        self._is_constant = found.is_constant
        self.state.train_accuracy_history.append(train.accuracy)
        if validation:
            self.state.record(validation.accuracy, validation.loss, validation.metric)
        self.state.checked_iteration = self.iteration
        return True

    def _diverged(self, x: FloatArray, what: str, where: str | None = None) -> None:
        """Restore the last finite parameters, and raise an error that says where the first other number appears."""
        where = where or self.model.first_non_finite(x)
        advice = "look at the data" if where == "the input" else "try a smaller learning rate"
        self.state.go_back(self.model)
        if self.iteration:  # the iterations since that check are lost
            self.state.is_between_iterations = False
        rate = self.optimizer.learning_rate * self.optimizer.rate_factor
        raise FloatingPointError(
            f"{what}, at learning rate {rate:g}: {where or 'only the loss'} is the first that is not finite; the "
            f"model has the parameters of the last accuracy check again; {advice}"
        )

    def _call(self, event: str, first: BaseException | None = None) -> None:
        """Tell every callback of an event, and only then raise the first of their errors, or an interrupt that waits.

        Further errors become notes of the first one. With a `first` error from before, which the caller raises, all of
        them become notes.
        """
        errors = [] if first is None else [first]
        for callback in self.callbacks if self._parallel.is_first else ():
            try:
                getattr(callback, event)(self)
            except Exception as error:
                errors.append(error)
        for another in errors[1:]:
            errors[0].add_note(f"{event} of a callback raised another error: {another!r:.300}")
        if first is None:
            if errors:
                raise errors[0]
            self._agree()

    def _agree(self) -> None:
        """Let all processes go on as the callbacks of the first one have decided."""
        state, interrupts = self.state, self._interrupts
        rate, checked = self.optimizer.learning_rate, self.iteration == state.checked_iteration
        own = Decisions(self.iteration, state.is_stopping, rate, self.epochs, interrupts.pending)
        agreed = self._parallel.agree(own, self.model if checked else None)
        state.is_stopping, self.epochs = agreed.is_stopping, agreed.epochs
        self.optimizer.learning_rate = agreed.learning_rate
        if agreed.is_interrupted or not self._parallel.is_first:
            interrupts.pending = agreed.is_interrupted  # one that came to the first process since waits
            interrupts.release()

    # --------------------------------------------------------------------------------------- checkpoints

    def save(self, path: PathLike) -> None:
        """Write a checkpoint: everything that determines the rest of the training.

        Parameters
        ----------
        path : path
            Usually ``*.npz``; an existing file is replaced when the new one is complete.

        Raises
        ------
        RuntimeError
            If a step failed since the Solver was made, reset or resumed, or one runs.
        ValueError
            If an array of the model has another name, shape or dtype than when the Solver was made.
        OSError
            If the file cannot be written; what was there before is still there.
        """
        checkpoints.save(self._parts(), path)

    def resume(self, path: PathLike) -> None:
        """Go on from a checkpoint: `train` then ends with the same bits as if the first training had not ended.

        The Solver is made as for the first training: the same model, data, optimizer and options. The number of epochs
        and the callbacks may differ.

        Parameters
        ----------
        path : path
            A checkpoint, or a folder of them, of which the newest that can be read is taken.

        Raises
        ------
        FileNotFoundError
            If there is no such file, or no checkpoint in the folder.
        ValueError
            If the file is no checkpoint, or one of another run; the message names the difference. Nothing is changed
            then.

        Warns
        -----
        UserWarning
            If a newer checkpoint could not be read, or the instruction set is another, with which the results are equal
            within rounding alone.
        """
        checkpoints.resume(self._parts(), path)

    def _run(self) -> dict[str, Any]:
        """Describe what determines a run, but for the data, as JSON types."""
        return {
            **described_model(self.model),
            "optimizer": repr(self.optimizer),
            "schedule": described(self.schedule),
            "augmentation": described(self.augmentation),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "best_by": None if self.best_by == "accuracy" else described(self.best_by),
            "restore_best": self.restore_best,
            "num_train_check": self.num_train_check,
            "average": self.average,
            "distributed": self._parallel.description,
        }

    def _parts(self) -> checkpoints.Parts:
        """Return the objects that a checkpoint saves and restores; the epochs and callbacks of a run may change."""
        run = self._run() | self.data_sums
        keepers: dict[str, Callback] = {}
        counts: dict[str, int] = {}
        for callback in self.callbacks:
            kind = type(callback).__name__
            counts[kind] = counts.get(kind, 0) + 1
            keepers[f"{kind}{counts[kind]}"] = callback
        return checkpoints.Parts(self.state, self.model, self.optimizer, keepers, run, self.iterations_per_epoch)

    # ---------------------------------------------------------------------------------------- predicting

    def check_accuracy(
        self, x: npt.ArrayLike, labels: npt.ArrayLike, num_samples: int | None = None, batch_size: int = 100
    ) -> float:
        """Return the accuracy of the model's predictions: with one class an example, the fraction of right ones.

        Parameters
        ----------
        x : array_like, shape (N, ...)
            Prepared inputs, N at least 1.
        labels : array_like of int, shape (N,)
            Or labels of another kind, if the model's loss takes these.
        num_samples : int, optional
            Check on a random sample of this many examples, drawn with the Solver's random seed and the same each time.
            By default, and if there are not so many, all are taken.
        batch_size : int
            Examples that are predicted at a time.

        Returns
        -------
        float
            In [0, 1], or what `Labels.accuracy` returns for labels of another kind.

        Raises
        ------
        ValueError
            If N is 0, shapes do not fit together, a label lies outside [0, K), or a score is NaN, so that none is the
            highest.
        """
        x = as_array(x, "check_accuracy: x")
        if not x.ndim:
            raise ValueError(f"check_accuracy: expected inputs of shape (N, ...), got {x!r}")
        labels = labels_of(self.model.loss_function).check(labels, "check_accuracy", len(x), self.model.num_classes)
        if not len(x):
            raise ValueError("check_accuracy: expected at least one example, got none")
        chosen = None
        if num_samples is not None and as_count(num_samples, "num_samples") < len(x):
            chosen = np.random.default_rng(self.seed).choice(len(x), num_samples, replace=False)
            x, labels = x[chosen], labels[chosen]
        warn_if_unprepared(x, "check_accuracy", self.model.input_shape, self.model.statistics)
        found = self._accuracy(x, labels, as_count(batch_size, "batch_size"))
        if not found.is_finite:
            check_scores(self.model, x, chosen)
        return found.accuracy

    def _accuracy(
        self, x: npt.NDArray[Any], labels: npt.NDArray[Any], batch_size: int = 100, *, with_loss: bool = False
    ) -> Accuracy:
        """Return the accuracy of the predictions, and what else the scores tell."""
        # Within a step, where a user's loss may ask for it, the step's own arrays lie in the Solver's memory.
        workspace = self._workspace if self.is_between_iterations else Workspace()
        metric = self.best_by if with_loss and callable(self.best_by) else None
        return accuracy_of(self.model, x, labels, batch_size, workspace, with_loss=with_loss, metric=metric)

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the model's label (N,) for each prepared input of x (N, ...); see `Sequential.predict`."""
        return self.model.predict(x)
