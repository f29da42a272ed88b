"""Optimizers: rules that update parameters from their gradients, in place."""

from collections.abc import Callable, Mapping, Set
from functools import partial
from math import inf, sqrt
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import NATIVE, FloatArray, as_flag, as_number
from convnet.core.names import Named
from convnet.core.threads import elementwise
from convnet.layers.stage import Update
from convnet.training.clipping import total_norm

__all__ = ["SGD", "Adadelta", "Adam", "Momentum", "Optimizer", "RMSProp"]

# The one entry of a state that is not an array like the parameter: how often it was updated.
STEPS = "steps"

# The least epsilon: a smaller one may be 0 in float32.
SMALLEST = float(np.finfo(np.float32).tiny)

State = dict[str, npt.NDArray[Any]]


class Optimizer(Named):
    """Base of the optimizers: checks what comes in, keeps the state, and leaves the rule to `update_param`.

    An optimizer of your own gives `update_param`, which changes the parameter's array in place, and in `state_names`
    the arrays that it keeps for each parameter.

    Parameters
    ----------
    learning_rate : float
        Above 0.
    clip_norm : float, optional
        Above 0. If the norm of all gradients together, the square root of the sum of the squares of all their elements,
        is larger, they are multiplied by ``clip_norm / norm`` before they are used. The gradient of L2 is part of them;
        Adam's weight decay is not. Gradients whose norm is not finite are left as they are. All optimizers take it.

    Attributes
    ----------
    learning_rate : float
        Base rate; checked when it is set, like `clip_norm`.
    clip_norm : float or None
    rate_factor : float
        Factor on it, 1 unless a `Solver` sets it from its schedule before each step.
    regularised : frozenset of str or None
        Names of the parameters that weight decay applies to, as `Sequential.train_step` takes them from the layers;
        None, before that, means those that are called ``weight``.
    state_names : tuple of str
        Names of the arrays that are kept for each parameter: zeros of its shape and dtype at first; but ``steps`` is
        a count, an array of no axes.
    state : dict of str to dict of str to ndarray
        By the parameter's name, then by `state_names`; filled by the first update. A copy of it (`copy.deepcopy`),
        given to `load_state`, lets another optimizer go on from there.

    Notes
    -----
    Clipping: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", 2013,
    algorithm 1. With it no weight is updated while its gradient is computed, which takes a little longer.

    Examples
    --------
    >>> import numpy as np
    >>> class SignMomentum(Optimizer):
    ...     state_names = ("mean",)
    ...
    ...     def update_param(self, name, param, grad, state, rate):
    ...         state["mean"] *= 0.9
    ...         state["mean"] += 0.1 * grad
    ...         param -= rate * np.sign(state["mean"])
    >>> params = {"weight": np.zeros(2)}
    >>> SignMomentum(0.5).update(params, {"weight": np.array([3.0, -4.0])})
    >>> params["weight"]
    array([-0.5,  0.5])
    """

    state_names: ClassVar[tuple[str, ...]] = ()
    _checked_attributes = MappingProxyType(
        {
            "learning_rate": lambda _, rate: as_number(rate, "learning_rate", above=0),
            "clip_norm": lambda _, norm: None if norm is None else as_number(norm, "clip_norm", above=0),
        }
    )

    def __init__(self, learning_rate: float, *, clip_norm: float | None = None) -> None:
        self.learning_rate = learning_rate
        self.clip_norm = clip_norm
        self.rate_factor = 1.0
        self.regularised: frozenset[str] | None = None
        self.state: dict[str, State] = {}
        self._updated: set[str] = set()  # in this step, while their gradients were computed
        self._clipped: dict[np.dtype, FloatArray] = {}  # memory for a clipped gradient

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_clipped": {}}  # its content is meaningless

    def hyperparameters(self) -> dict[str, Any]:
        """Return the constructor's arguments but for the learning rate and `clip_norm`."""
        return {}

    def __repr__(self) -> str:
        values = self.hyperparameters() | ({} if self.clip_norm is None else {"clip_norm": self.clip_norm})
        options = "".join(f", {name}={value!r}" for name, value in values.items())
        return f"{type(self).__name__}({self.learning_rate!r}{options})"

    def load_state(self, state: Mapping[str, Mapping[str, npt.ArrayLike]]) -> None:
        """Take over a copy of a state; the next update checks that it fits the parameters.

        Parameters
        ----------
        state : mapping of str to mapping of str to array_like
            What `state` of an optimizer of this class holds.

        Raises
        ------
        ValueError
            If a parameter's arrays are not those of `state_names`, or not numbers.
        TypeError
            If it is not a mapping of mappings. Nothing is changed after an error.
        """
        if not isinstance(state, Mapping) or not all(isinstance(kept, Mapping) for kept in state.values()):
            raise TypeError(
                f"{type(self).__name__}: expected a state, the arrays by name of each parameter, got {state!r:.60}"
            )
        new: dict[str, State] = {}
        for name, kept in state.items():
            if set(kept) != set(self.state_names):
                raise ValueError(
                    f"{type(self).__name__}: expected for {name} the arrays {list(self.state_names)}, got {list(kept)}"
                )
            new[name] = {key: np.array(kept[key], order="C") for key in self.state_names}
            for key, array in new[name].items():
                if key == STEPS and not (array.shape == () and array.dtype.kind in "iu" and array >= 0):
                    raise ValueError(f"{type(self).__name__}: expected {STEPS} of {name} to be a count, got {array!r}")
                if key != STEPS and array.dtype not in NATIVE:
                    raise ValueError(
                        f"{type(self).__name__}: expected {key} of {name} in float32 or float64, got {array.dtype}"
                    )
            if STEPS in new[name]:
                new[name][STEPS] = new[name][STEPS].astype(np.int64)
        self.state = new if self.state_names else {}

    def update(self, params: Mapping[str, FloatArray], grads: Mapping[str, FloatArray]) -> None:
        """Update every parameter in place.

        Parameters
        ----------
        params : mapping of str to ndarray
            Contiguous and writeable, float32 or float64.
        grads : mapping of str to ndarray
            The gradients: the names, shapes and dtypes of `params`.

        Raises
        ------
        ValueError
            If names, shapes or dtypes differ, a parameter is not contiguous and writeable, or the state is another
            model's; nothing is updated then.
        """
        if not (isinstance(params, Mapping) and isinstance(grads, Mapping)):
            raise TypeError(
                f"{type(self).__name__}: expected parameters and gradients as dictionaries of arrays by name, got "
                f"{type(params).__name__} and {type(grads).__name__}"
            )
        done, self._updated = self._updated, set()
        self._check_names(params.keys() | done)
        if params.keys() != grads.keys():
            odd = sorted(params.keys() ^ grads.keys())
            raise ValueError(f"{type(self).__name__}: parameters and gradients differ in the names {odd}")
        for name, param in params.items():
            self._check(name, param, grads[name])
        self.check_params(params)
        rate = self.learning_rate * self.rate_factor
        factor = 1.0
        if self.clip_norm is not None and self.clip_norm < (norm := total_norm(grads.values())) < inf:
            factor = self.clip_norm / norm
        for name, param in params.items():
            kept, grad = self._next_state(name, param), np.ascontiguousarray(grads[name]).reshape(-1)
            if factor != 1:
                grad = self._multiplied(grad, factor)
            self.update_param(name, param.reshape(-1), grad, kept, rate)

    def _multiplied(self, grad: FloatArray, factor: float) -> FloatArray:
        """Return a gradient times a factor, in memory that the next call uses again."""
        memory = self._clipped.get(grad.dtype)
        if memory is None or memory.size < grad.size:
            memory = self._clipped[grad.dtype] = np.empty_like(grad)
        elementwise(lambda part, out: np.multiply(part, factor, out=out), grad, memory[: grad.size])
        return memory[: grad.size]

    def begin(self, params: Mapping[str, FloatArray], l2: float) -> Callable[[str], Update] | None:
        """Check the parameters of a step, and say how weights are updated while their gradients are computed.

        Parameters
        ----------
        params : mapping of str to ndarray
            All parameters of the model.
        l2 : float
            Strength of the L2 regularisation.

        Returns
        -------
        callable or None
            ``updates(name)`` counts the update of a weight and says how it is done; `update` then gets the gradients
            of the other parameters. None if the class has an `update_param` of its own, or gradients are clipped, which
            needs all of them first: `update` then gets all.

        Raises
        ------
        ValueError
            If a parameter is not contiguous and writeable or not float32 or float64, or the state is another model's.
        """
        self.check_params(params)
        if self.clip_norm is not None or type(self) not in WITH_RULES or vars(self).keys() & {"update_param", "rule"}:
            return None
        self._updated = set()
        self._check_names(params.keys())
        for name, param in params.items():
            self._check(name, param, param)
        for name, param in params.items():  # of all at once, so that a step that fails leaves a complete state
            self._begin_state(name, param)

        def updates(name: str) -> Update:
            rate, kept = self.learning_rate * self.rate_factor, self._next_state(name, params[name])
            self._updated.add(name)
            if type(self) is SGD:
                return Update(rate, l2)
            arrays = tuple(kept[key] for key in self.state_names if key != STEPS)
            return Update(rate, l2, self.rule(name, int(kept.get(STEPS, 0)), rate, l2), arrays)

        return updates

    def rule(self, name: str, steps: int, rate: float, l2: float = 0.0) -> _kernels.Rule:
        """Return the rule of an update, for the kernels.

        Parameters
        ----------
        name : str
            Name of the parameter.
        steps : int
            How often it was updated, this update included.
        rate : float
            The learning rate times the schedule's factor.
        l2 : float
            Times the parameter, it is added to the gradient.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update_param")

    def _begin_state(self, name: str, param: FloatArray) -> None:
        """Create the arrays that are kept for a parameter, unless they are there."""
        if name not in self.state and self.state_names:
            self.state[name] = {
                key: np.zeros((), np.int64) if key == STEPS else np.zeros_like(param) for key in self.state_names
            }

    def _next_state(self, name: str, param: FloatArray) -> State:
        """Return the arrays that are kept for a parameter, flattened, after its steps were counted up."""
        self._begin_state(name, param)
        kept = {key: array if key == STEPS else array.reshape(-1) for key, array in self.state.get(name, {}).items()}
        if STEPS in kept:
            kept[STEPS] += 1
        return kept

    def update_param(self, name: str, param: FloatArray, grad: FloatArray, state: State, rate: float) -> None:
        """Update one parameter in place.

        Parameters
        ----------
        name : str
            Name of the parameter, such as ``"conv1.weight"``.
        param, grad : ndarray, shape (M,)
            The parameter and its gradient, flattened, of one dtype.
        state : dict of str to ndarray
            The arrays of `state_names`, flattened, to be updated in place; ``steps``, where it is among them, counts
            this update already.
        rate : float
            The learning rate times the schedule's factor.
        """
        arrays = [state[key] for key in self.state_names if key != STEPS]
        rule = self.rule(name, int(state.get(STEPS, 0)), rate)
        elementwise(partial(_kernels.update, rule), grad, param, *arrays)

    def check_params(self, params: Mapping[str, FloatArray]) -> None:
        """Raise a ValueError if a parameter cannot be updated where it lies in memory.

        Parameters
        ----------
        params : dict of str to ndarray
            Parameters by name.
        """
        for name, param in params.items():
            if not (param.flags.c_contiguous and param.flags.writeable):
                raise ValueError(f"{type(self).__name__}: expected {name} to be contiguous and writeable")

    def _check_names(self, names: Set[str]) -> None:
        if self.state and self.state.keys() != names:
            odd = sorted(names ^ self.state.keys())
            raise ValueError(
                f"{type(self).__name__}: parameters and state differ in the names {odd}; another model needs an "
                "optimizer of its own"
            )

    def _check(self, name: str, param: FloatArray, grad: FloatArray) -> None:
        what = type(self).__name__
        if not all(isinstance(a, np.ndarray) and a.dtype in NATIVE for a in (param, grad)):
            raise ValueError(f"{what}: expected {name} and its gradient in float32 or float64")
        if param.shape != grad.shape or param.dtype != grad.dtype:
            raise ValueError(
                f"{what}: expected the gradient of {name} to be {param.dtype} of shape {param.shape}, "
                f"got {grad.dtype} of shape {grad.shape}"
            )
        for key, array in self.state.get(name, {}).items():
            if key != STEPS and (array.shape != param.shape or array.dtype != param.dtype):
                raise ValueError(
                    f"{what}: expected {key} of {name} to be {param.dtype} of shape {param.shape}, got {array.dtype} "
                    f"of shape {array.shape}; another model needs an optimizer of its own"
                )


class SGD(Optimizer):
    """Vanilla stochastic gradient descent: ``param -= learning_rate * grad``.

    Parameters
    ----------
    learning_rate : float
        Above 0. With 0.1, the loss of a new network such as ConvNet1 may grow a hundredfold in the first iterations,
        from which it does not always recover; 0.02 is safe, and so are larger rates that grow at first, with
        `OneCycle`. See `find_learning_rate`.
    clip_norm : float, optional
        As for `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If a hyper-parameter is not a number of its range.

    Notes
    -----
    H. Robbins, S. Monro, "A stochastic approximation method", 1951.
    """

    def rule(self, name: str, steps: int, rate: float, l2: float = 0.0) -> _kernels.Rule:
        return _kernels.Rule("sgd", rate, l2=l2)


class Momentum(Optimizer):
    """Stochastic gradient descent with momentum.

    ``velocity = momentum * velocity + grad``, from 0; ``param -= learning_rate * velocity``, or, with Nesterov's
    momentum, ``param -= learning_rate * (momentum * velocity + grad)``.

    Parameters
    ----------
    learning_rate : float
        Above 0. Steps grow to up to ``1 / (1 - momentum)`` times those of `SGD`. With momentum 0.9, use about a tenth
        of SGD's learning rate.
    momentum : float
        In [0, 1).
    nesterov : bool
        Whether the gradient counts as if it had been taken one step of the velocity ahead.
    clip_norm : float, optional
        As for `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If a hyper-parameter is not a number of its range.

    Notes
    -----
    B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; I. Sutskever, J. Martens,
    G. Dahl, G. Hinton, "On the importance of initialization and momentum in deep learning", 2013. The learning rate
    stands outside of the velocity, as in PyTorch's SGD.
    """

    state_names = ("velocity",)

    def __init__(
        self, learning_rate: float, momentum: float = 0.9, *, nesterov: bool = False, clip_norm: float | None = None
    ) -> None:
        super().__init__(learning_rate, clip_norm=clip_norm)
        self.momentum = as_number(momentum, "momentum", at_least=0, below=1)
        self.nesterov = as_flag(nesterov, "nesterov")

    def hyperparameters(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "nesterov": self.nesterov}

    def rule(self, name: str, steps: int, rate: float, l2: float = 0.0) -> _kernels.Rule:
        return _kernels.Rule("nesterov" if self.nesterov else "momentum", rate, decay1=self.momentum, l2=l2)


class RMSProp(Optimizer):
    """Root mean square propagation: each element's step is divided by the size that its gradients had lately.

    ``mean_square = decay * mean_square + (1 - decay) * grad**2``, from 0;
    ``param -= learning_rate * grad / (sqrt(mean_square) + epsilon)``.

    Parameters
    ----------
    learning_rate : float
        Above 0; about the length of an element's step.
    decay : float
        In [0, 1).
    epsilon : float
        At least the smallest normal number of float32, about 1.2e-38.
    clip_norm : float, optional
        As for `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If a hyper-parameter is not a number of its range.

    Notes
    -----
    T. Tieleman, G. Hinton, "Lecture 6.5: RMSProp", COURSERA: Neural Networks for Machine Learning, 2012, with the
    epsilon of PyTorch's.
    """

    state_names = ("mean_square",)

    def __init__(
        self, learning_rate: float = 1e-3, *, decay: float = 0.99, epsilon: float = 1e-8, clip_norm: float | None = None
    ) -> None:
        super().__init__(learning_rate, clip_norm=clip_norm)
        self.decay = as_number(decay, "decay", at_least=0, below=1)
        self.epsilon = as_number(epsilon, "epsilon", at_least=SMALLEST)

    def hyperparameters(self) -> dict[str, Any]:
        return {"decay": self.decay, "epsilon": self.epsilon}

    def rule(self, name: str, steps: int, rate: float, l2: float = 0.0) -> _kernels.Rule:
        return _kernels.Rule("rmsprop", rate, decay1=self.decay, epsilon=self.epsilon, l2=l2)


class Adadelta(Optimizer):
    """Adadelta: each element's step is as large as its steps were lately, relative to the size that its gradients had.

    ``mean_square = decay * mean_square + (1 - decay) * grad**2``, from 0;
    ``step = sqrt(mean_square_step + epsilon) / sqrt(mean_square + epsilon) * grad``;
    ``mean_square_step = decay * mean_square_step + (1 - decay) * step**2``, from 0; ``param -= learning_rate * step``.

    Parameters
    ----------
    learning_rate : float
        Above 0; 1 is the published rule.
    decay : float
        In [0, 1).
    epsilon : float
        At least the smallest normal number of float32, about 1.2e-38. The first step of an element is about
        ``sqrt(epsilon / (1 - decay))`` long.
    clip_norm : float, optional
        As for `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If a hyper-parameter is not a number of its range.

    Notes
    -----
    M. D. Zeiler, "ADADELTA: an adaptive learning rate method", 2012, algorithm 1, with PyTorch's learning rate and
    default values.
    """

    state_names = ("mean_square", "mean_square_step")

    def __init__(
        self, learning_rate: float = 1.0, *, decay: float = 0.9, epsilon: float = 1e-6, clip_norm: float | None = None
    ) -> None:
        super().__init__(learning_rate, clip_norm=clip_norm)
        self.decay = as_number(decay, "decay", at_least=0, below=1)
        self.epsilon = as_number(epsilon, "epsilon", at_least=SMALLEST)

    def hyperparameters(self) -> dict[str, Any]:
        return {"decay": self.decay, "epsilon": self.epsilon}

    def rule(self, name: str, steps: int, rate: float, l2: float = 0.0) -> _kernels.Rule:
        return _kernels.Rule("adadelta", rate, decay1=self.decay, epsilon=self.epsilon, l2=l2)


class Adam(Optimizer):
    """Adaptive moment estimation, bias-corrected, with decoupled weight decay (AdamW) as an option.

    ``mean = beta1 * mean + (1 - beta1) * grad`` and ``mean_square = beta2 * mean_square + (1 - beta2) * grad**2``,
    both from 0; at the t-th update ``param -= learning_rate * (mean / (1 - beta1**t)) /
    (sqrt(mean_square / (1 - beta2**t)) + epsilon)``. With weight decay, the parameters that the layers say are
    regularised, weights and not biases, are multiplied by ``1 - learning_rate * weight_decay`` first.

    Parameters
    ----------
    learning_rate : float
        Above 0; at most about the length of an element's step.
    beta1, beta2 : float
        In [0, 1).
    epsilon : float
        At least the smallest normal number of float32, about 1.2e-38.
    weight_decay : float
        At least 0.
    clip_norm : float, optional
        As for `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If a hyper-parameter is not a number of its range.

    Notes
    -----
    D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1; I. Loshchilov, F. Hutter,
    "Decoupled weight decay regularization", 2019, algorithm 2.
    """

    state_names = ("mean", "mean_square", STEPS)

    def __init__(
        self,
        learning_rate: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, clip_norm=clip_norm)
        self.beta1 = as_number(beta1, "beta1", at_least=0, below=1)
        self.beta2 = as_number(beta2, "beta2", at_least=0, below=1)
        self.epsilon = as_number(epsilon, "epsilon", at_least=SMALLEST)
        self.weight_decay = as_number(weight_decay, "weight_decay", at_least=0)

    def hyperparameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("beta1", "beta2", "epsilon", "weight_decay")}

    def rule(self, name: str, steps: int, rate: float, l2: float = 0.0) -> _kernels.Rule:
        is_regularised = name.rpartition(".")[2] == "weight" if self.regularised is None else name in self.regularised
        return _kernels.Rule(
            "adam",
            rate / (1 - self.beta1**steps),
            decay1=self.beta1,
            decay2=self.beta2,
            epsilon=self.epsilon,
            correction=sqrt(1 - self.beta2**steps),
            shrink=1 - rate * self.weight_decay if is_regularised else 1.0,
            l2=l2,
        )


# Optimizers of exactly these classes update by their rule; a subclass may have an `update_param` of its own.
WITH_RULES = (SGD, Momentum, RMSProp, Adadelta, Adam)
