"""The default recipe: which network is trained, how long and with what, chosen by the images alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convnet.core.checks import count_of
from convnet.datasets.augmentation import Augmentation
from convnet.layers.base import Layer
from convnet.models.default_layers import default_layers, small_layers
from convnet.models.sequential import Sequential
from convnet.training.optimizers import Adam, Momentum, Optimizer
from convnet.training.schedules import Constant, CosineDecay, OneCycle, Schedule
from convnet.training.solver import Callback, Solver

__all__ = ["NETWORKS", "SCHEDULES", "Recipe"]


class Network(NamedTuple):
    """A network, and how it is trained.

    Attributes
    ----------
    layers : callable
        ``layers(input_shape, num_classes, rng)`` of untrained layers.
    optimizer : callable
        ``optimizer(learning_rate)``.
    learning_rate, l2, batch_size
        What suits it.
    images, least, most : int
        How many images the training should see, and the bounds of the epochs.
    """

    layers: Callable[[Sequence[int], int, np.random.Generator], list[Layer]]
    optimizer: Callable[[float], Optimizer]
    learning_rate: float
    l2: float
    batch_size: int
    images: int
    least: int
    most: int


NETWORKS = {
    "small": Network(small_layers, partial(Momentum, nesterov=True), 0.05, 1e-4, 100, 150_000, 3, 30),
    "large": Network(default_layers, partial(Adam, weight_decay=0.1), 0.01, 0.0, 32, 120_000, 10, 40),
}
SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    "one-cycle": OneCycle,
    "cosine": CosineDecay,
    "constant": lambda epochs: Constant(),
}
# Options of the augmentation.
CHANGES = ("shift", "rotation", "flip", "contrast", "brightness", "cutout")
# The small network is for grey images up to this size, from this number on.
SMALL_SIDES, MANY = (8, 32), 10_000
# Fewer images make smaller minibatches, so that there are about so many of them an epoch.
LEAST_BATCH, BATCHES = 8, 10


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how.

    Parameters
    ----------
    network : {"small", "large"}
        `small_layers` with `Momentum`, or `default_layers` with `Adam`.
    epochs, batch_size, seed
        As of `Solver`; the seed draws the initial weights, too.
    learning_rate : float
        The largest one.
    schedule : {"one-cycle", "cosine", "constant"}
    l2 : float
        As of `Sequential`.
    shift, rotation, flip, contrast, brightness, cutout
        As of `Augmentation`.
    """

    network: str
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str
    l2: float
    seed: int
    shift: int
    rotation: float
    flip: bool
    contrast: float
    brightness: float
    cutout: int

    @classmethod
    def chosen(cls, given: Mapping[str, Any], image_shape: Sequence[int], count: int) -> "Recipe":
        """Return the recipe for `count` training images of a shape (C, H, W); None in `given` stands for the default.

        The network is the small one for 10,000 grey images or more of 8 to 32 pixels, and otherwise the large one. The
        fewer images, the more epochs. Images are shifted by up to a sixteenth of their side. Those in colours, which
        are photographs as a rule, are mirrored, too, and get a little more or less contrast and light; grey ones may
        be digits or letters, which a mirror spoils.
        """
        channels, *sides = image_shape
        is_small = channels == 1 and SMALL_SIDES[0] <= min(sides) and max(sides) <= SMALL_SIDES[1] and count >= MANY
        has_colours = channels > 1
        name = given.get("network") or ("small" if is_small else "large")
        network = NETWORKS[name]
        chosen: dict[str, Any] = {
            "network": name,
            "epochs": min(max(-(-network.images // count), network.least), network.most),
            "batch_size": min(network.batch_size, max(LEAST_BATCH, count // BATCHES)),
            "learning_rate": network.learning_rate,
            "schedule": "one-cycle",
            "l2": network.l2,
            "seed": 0,
            "shift": min(max(min(sides) // 16, 1), min(sides) - 1),
            "rotation": 0.0,
            "flip": has_colours,
            "contrast": 0.2 if has_colours else 0.0,
            "brightness": 0.1 if has_colours else 0.0,
            "cutout": 0,
        }
        return cls(**{key: value if given.get(key) is None else given[key] for key, value in chosen.items()})

    @property
    def can_go_on(self) -> bool:
        """Whether more epochs make the same run longer: the learning rate does not depend on their number."""
        return self.schedule == "constant"

    def model(self, input_shape: Sequence[int], num_classes: int) -> Sequential:
        """Return the untrained network."""
        rng = np.random.default_rng(self.seed)
        layers = NETWORKS[self.network].layers(input_shape, num_classes, rng)
        return Sequential(layers, input_shape, l2=self.l2, rng=rng)

    @property
    def augmentation(self) -> Augmentation | None:
        """The changes of the training images, None for no changes."""
        amounts = {name: getattr(self, name) for name in CHANGES}
        return Augmentation(**amounts) if any(amounts.values()) else None

    def solver(
        self, model: Sequential, data: Mapping[str, npt.NDArray[Any]], callbacks: Sequence[Callback] = ()
    ) -> Solver:
        """Return what trains the network.

        The last parameters stay: no epoch is chosen by the validation images, whose accuracy is an honest one.
        """
        return Solver(
            model,
            data,
            NETWORKS[self.network].optimizer(self.learning_rate),
            schedule=SCHEDULES[self.schedule](self.epochs),
            batch_size=self.batch_size,
            epochs=self.epochs,
            seed=self.seed,
            callbacks=callbacks,
            augmentation=self.augmentation,
            restore_best=False,
        )

    def __str__(self) -> str:
        changes = [name if value is True else f"{name} {value:g}" for name in CHANGES if (value := getattr(self, name))]
        return (
            f"recipe: network {self.network}, {count_of(self.epochs, 'epoch')}, minibatches of {self.batch_size}, "
            f"learning rate {self.learning_rate:g} ({self.schedule}), L2 {self.l2:g}, seed {self.seed}; images changed "
            f"by {', '.join(changes) or 'nothing'}"
        )
