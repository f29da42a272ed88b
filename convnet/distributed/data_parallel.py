"""DataParallel: the steps of a Solver, computed by several processes."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import mmap
import os
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from math import isfinite
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from convnet import _kernels
from convnet.core.checks import FloatArray, as_count, as_flag, listed
from convnet.core.quota import cpu_quota
from convnet.core.surprises import warn
from convnet.core.threads import get_num_threads, set_num_threads
from convnet.core.version import __version__
from convnet.core.workspace import Workspace
from convnet.datasets.preprocessing import fingerprint
from convnet.distributed.leaves import leaves_of, owned
from convnet.distributed.loading import load_once
from convnet.distributed.passes import Passes
from convnet.distributed.peers import Peers
from convnet.distributed.sums import LeafSums
from convnet.layers.stage import LayerStage
from convnet.models.inputs import as_inputs
from convnet.models.sequential import Sequential
from convnet.training.minibatches import Minibatch
from convnet.training.optimizers import Optimizer
from convnet.training.parallel import Decisions, Part
from convnet.training.state import model_arrays

__all__ = ["DataParallel"]

T = TypeVar("T")

# Examples of each part of mapped data by which the processes compare theirs.
SOME = 20
REMEDY = (
    "a callback, which runs in process 0 alone, may call stop and change the learning rate and the epochs, but nothing "
    "else, and what runs in all processes, such as a loss, an augmentation and a schedule, has to return the same bits "
    "there, for which processors of different kinds may be a reason, too"
)


class DataParallel:
    """Train one model with several processes of MPI, on one machine or many.

    ``Solver(..., distributed=DataParallel())`` is all that a program needs. Every process runs the whole program and
    has the whole model; each computes a part of every minibatch, and all of them make the same update. It is started by
    ``mpiexec -n 4 python -m mpi4py train.py``; with a single process ``python train.py`` does, too.

    A minibatch is divided into leaves, whose number depends on its size alone. The gradients of the leaves are added up
    a fixed binary tree. So the model has the same bits after any number of processes and threads, but not those of a
    training without `distributed`: sums are rounded in another way, dropout draws for each leaf, and a batch
    normalization takes the mean and the variance of a leaf, unless it is `synchronised`.

    Parameters
    ----------
    leaf_size : int
        Least examples of a leaf. A minibatch of N examples has ``2 ** floor(log2(N / leaf_size))`` leaves, or one if N
        is less. There have to be as many leaves as processes, at least. Few large leaves are faster than many.
    synchronised : bool
        If True, a batch normalization takes the mean and the variance of the whole minibatch: three small sums more for
        each, for which all processes wait. If False, those of a leaf; the running statistics are the mean of those
        of the leaves. A subclass of `BatchNorm2D`, and one within a layer of your own, always takes those of a leaf; a
        warning says so.
    communicator : mpi4py.MPI.Comm, optional
        The processes; by default all of them.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and how many there are.
    is_first : bool
        Whether this is process 0. It alone calls the callbacks, shows progress and warns.

    Raises
    ------
    ValueError
        If the number of processes is not a power of two. When the Solver is made: if a minibatch has fewer leaves than
        there are processes, or if the processes differ in the model, the data or the options.
    RuntimeError
        If several processes were started without ``-m mpi4py``: when one of them raised an error, the others would wait
        for it for ever. In a training: if the losses or the models of the processes differ, or if another process, for
        which this one waits, has left the training or ended its program.

    Notes
    -----
    Each process uses its share of the machine's processors, unless ``CONVNET_NUM_THREADS`` is set. The accuracy is
    checked by every process for itself. What the program writes to files and to the standard output is written by every
    process: ask ``is_first``.
    """

    def __init__(self, leaf_size: int = 32, *, synchronised: bool = False, communicator: Any = None) -> None:
        self.leaf_size = as_count(leaf_size, "DataParallel: leaf_size")
        self.synchronised = as_flag(synchronised, "DataParallel: synchronised")
        given = MPI.COMM_WORLD if communicator is None else communicator
        self._peers = Peers(given)
        self.rank, self.size = self._peers.rank, self._peers.size
        self.is_first = self.rank == 0
        self.description = f"DataParallel({self.leaf_size}{', synchronised=True' if self.synchronised else ''})"
        if self.size & (self.size - 1):
            raise ValueError(f"DataParallel: expected a power of two of processes, 1, 2, 4, ..., got {self.size}")
        if self.size > 1 and "mpi4py.run" not in sys.modules:
            raise RuntimeError(
                f"DataParallel: expected processes that were started with -m mpi4py, got {self.size} without it, which "
                "would wait for ever for one that fails; start them with mpiexec -n N python -m mpi4py PROGRAM"
            )
        self._communicator = given.Dup()  # so that no message of the program is taken for one of ours
        self._sums = LeafSums(self._communicator, self._peers)
        self._peers.keep(self._sums)
        self._loss = 0.0  # of the last step
        self._workspaces: list[Workspace] = []
        if not os.environ.get("CONVNET_NUM_THREADS"):
            set_num_threads(_share_of_processors(given))

    def __repr__(self) -> str:
        return self.description

    def load_once(self, load: Callable[[], T]) -> T:
        """Return what a function returns that is called in one process of each machine alone.

        ``data, statistics = distributed.load_once(prepare)`` reads and prepares the data once for each machine. They
        are in its memory once, too: the processes map the arrays from a temporary file. All processes have to call it.

        Parameters
        ----------
        load : callable
            Without arguments. What it returns is pickled. Its arrays are written to a file in the folder of temporary
            files, which TMPDIR names, and the file goes when all have mapped it.

        Returns
        -------
        object
            Its arrays cannot be written to.

        Raises
        ------
        RuntimeError
            If the function raised an error in another process; in that process, its error.
        TypeError
            If the result cannot be pickled.
        OSError
            If the temporary file cannot be written.
        """
        return load_once(load, self._communicator, self._peers)

    # --------------------------------------------------------------------------- what a Solver calls

    def begin(self, model: Sequential, data: Mapping[str, Part], batch_size: int, run: Mapping[str, Any]) -> None:
        """Check that all processes have made the same Solver, and that there is work for each."""
        leaves = len(leaves_of(batch_size, self.leaf_size))
        if leaves < self.size:
            raise ValueError(
                f"DataParallel: expected minibatches of {self.size} leaves or more, one for each process, got {leaves} "
                f"from {batch_size} examples with leaf_size={self.leaf_size}; take smaller leaves, larger minibatches "
                "or fewer processes"
            )
        if type(model).loss is not Sequential.loss:
            raise ValueError(
                f"DataParallel: expected a model without a `loss` of its own, got {type(model).__name__}; give the "
                "model a function of all scores, loss="
            )
        mine = {
            "version of convnet": __version__,
            "instruction set (see CONVNET_SIMD)": _kernels.instruction_set(),
            **run,
            **{
                f"initial {name} (random generators need a random seed)": fingerprint(a)
                for name, a in model_arrays(model).items()
            },
            "model.rng (random generators need a random seed)": repr(model.rng.bit_generator.state),
            **{f"x_{part}": f"{x.dtype} of shape {x.shape}" for part, (x, _) in data.items()},
            **{f"examples of x_{part}": fingerprint(_some(x) if _is_mapped(x) else x) for part, (x, _) in data.items()},
            **{f"y_{part}": fingerprint(labels) for part, (_, labels) in data.items()},
        }
        first, *others = self._peers.exchange("Solver", mine)
        for rank, other in enumerate(others, 1):
            for name in {**first, **other}:
                if first.get(name) != other.get(name):
                    raise ValueError(
                        f"DataParallel: expected the same {name} in all processes, got {first.get(name)!r:.100} in "
                        f"process 0 and {other.get(name)!r:.100} in process {rank}"
                    )
        own = [stage.names[0] for stage in model.plan().stages if isinstance(stage, LayerStage) and stage.layer.state]
        if self.synchronised and self.is_first and own:
            warn(
                f"DataParallel(synchronised=True): the state of {listed(own)} comes from each leaf alone, as for any "
                "layer of your own or subclass of BatchNorm2D; only BatchNorm2D itself looks at the whole minibatch"
            )

    def part(self, n: int) -> slice:
        """Return which of the n examples of a minibatch are in leaves of this process."""
        leaves = leaves_of(n, self.leaf_size)
        own = [leaves[number] for number in owned(leaves, self.rank, self.size)]
        return slice(own[0].start, own[-1].stop) if own else slice(n, n)

    def train_step(self, model: Sequential, minibatch: Minibatch, optimizer: Optimizer, workspace: Workspace) -> float:
        """Compute this process' leaves of a minibatch, and update the model by the gradient of all of them."""
        given, labels, options = minibatch
        what, dtype = type(model).__name__, model.plan().dtype
        x = as_inputs(given, what, model.input_shape, dtype, model.statistics)  # as an augmentation's may be any array
        leaves, first = leaves_of(len(labels), self.leaf_size), self.part(len(labels)).start
        passes = Passes(model, leaves, self._sums, self.synchronised)
        keys = model.rng.integers(2**63, size=len(leaves))  # the same draws in all processes
        generators = [np.random.Generator(np.random.Philox(key=int(keys[number]))) for number in passes.numbers]
        while len(self._workspaces) < len(passes.own):
            self._workspaces.append(Workspace())
        inputs = [x[leaf.start - first : leaf.stop - first] for leaf in passes.own]
        own = passes.forward(inputs, self._workspaces[: len(inputs)], generators)
        self._loss, dscores = model.loss_of_scores(self._all_scores(own, leaves, model), labels, **options)
        if not isfinite(self._loss):
            return self._loss
        grads = passes.gradients(dscores)
        passes.update_state()
        self._loss += model.plan().add_l2(model.l2, grads)
        optimizer.regularised = model.plan().regularised
        optimizer.update(model.plan().params, grads)
        return self._loss

    def agree(self, decisions: Decisions, checked: Sequential | None) -> Decisions:
        """Let all processes go on as the first one has decided.

        After an accuracy check they also compare their models.
        """
        numbers = np.array([*decisions, self._loss], np.float64)
        self._peers.wait([self._communicator.Ibcast(numbers)])
        self._peers.passed()
        iteration, is_stopping, learning_rate, epochs, is_interrupted, loss = numbers.tolist()
        if iteration != decisions.iteration:
            raise RuntimeError(
                f"DataParallel: expected all processes at the same iteration, got {int(iteration)} in process 0 and "
                f"{decisions.iteration} in process {self.rank}; resume all of them from the same checkpoint"
            )
        if loss != self._loss:
            raise RuntimeError(
                f"DataParallel: expected the same loss in all processes in iteration {decisions.iteration}, got "
                f"{loss!r} in process 0 and {self._loss!r} in process {self.rank}; {REMEDY}"
            )
        if checked:
            self._compare(checked, decisions.iteration)
        return Decisions(int(iteration), bool(is_stopping), learning_rate, int(epochs), bool(is_interrupted))

    def training(self) -> AbstractContextManager[None]:
        """Return a context that waits for all processes, and tells them if this one leaves the training by an error."""
        self._loss = 0.0  # that of a step which failed is compared with nobody's
        return self._peers.training(self._sums.pending())

    # ----------------------------------------------------------------------------------- a step's parts

    def _all_scores(self, own: Sequence[FloatArray], leaves: list[slice], model: Sequential) -> FloatArray:
        """Return the scores of the whole minibatch: the loss is a function of all of them."""
        if self.size == 1:
            return np.concatenate(own)
        classes, counts = model.num_classes, []
        for rank in range(self.size):
            counts.append(sum(leaves[leaf].stop - leaves[leaf].start for leaf in owned(leaves, rank, self.size)))
        dtype = model.plan().dtype
        sent = np.concatenate(own) if own else np.empty((0, classes), dtype)
        scores = np.empty((leaves[-1].stop, classes), dtype)
        received = [scores, [count * classes for count in counts]]
        self._peers.wait([self._communicator.Iallgatherv(sent, received)])
        self._peers.passed()
        return scores

    def _compare(self, model: Sequential, iteration: int) -> None:
        """Raise an error in all processes if their models differ."""
        checksum = 0
        for array in model_arrays(model).values():
            checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
        first, *others = self._peers.exchange("the comparison of the models", checksum)
        for rank, other in enumerate(others, 1):
            if other != first:
                raise RuntimeError(
                    f"DataParallel: expected the same parameters and state in all processes after iteration "
                    f"{iteration}, got others in process {rank} than in process 0; {REMEDY}; checkpoints since the "
                    "last accuracy check may hold the difference"
                )


def _some(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return some examples from all over the data, which may be too many to read them all."""
    return x[:: max(1, len(x) // SOME)][:SOME]


def _is_mapped(x: npt.NDArray[Any]) -> bool:
    """Return whether an array lies in a mapped file, which may be larger than the memory."""
    base: Any = x
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)


def _share_of_processors(communicator: Any) -> int:
    """Return how many threads each process of this machine gets, so that all together do not exceed the processors."""
    here = communicator.Split_type(MPI.COMM_TYPE_SHARED)
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    processors, processes = set[int]().union(*here.allgather(own)), int(here.Get_size())
    share = int(min(len(processors), cpu_quota())) // processes
    here.Free()
    return max(1, min(get_num_threads(), share))
