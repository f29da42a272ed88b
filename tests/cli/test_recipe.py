"""The default recipe: what is chosen for which images, and that every option reaches what it is for."""

import numpy as np
import pytest

import convnet
from convnet.cli import arguments
from convnet.cli.recipe import NETWORKS, SCHEDULES, Recipe


@pytest.mark.parametrize(
    ("shape", "count", "expected"),
    [
        ((1, 28, 28), 59_000, {"network": "small", "epochs": 3, "batch_size": 100, "shift": 1, "flip": False}),
        ((1, 28, 28), 9_999, {"network": "large", "epochs": 13, "batch_size": 32, "shift": 1, "flip": False}),
        ((1, 64, 64), 59_000, {"network": "large", "epochs": 10, "batch_size": 32, "shift": 4, "flip": False}),
        ((1, 6, 28), 59_000, {"network": "large", "shift": 1}),
        ((3, 32, 32), 50_000, {"network": "large", "epochs": 10, "batch_size": 32, "shift": 2, "flip": True}),
        ((3, 64, 48), 240, {"network": "large", "epochs": 40, "batch_size": 24, "shift": 3, "contrast": 0.2}),
        ((1, 1, 64), 400, {"network": "large", "shift": 0}),
        ((3, 5, 5), 4, {"network": "large", "epochs": 40, "batch_size": 8, "shift": 1, "flip": True}),
    ],
)
def test_a_recipe_is_chosen_by_the_images(shape, count, expected):
    recipe = Recipe.chosen({}, shape, count)
    assert {name: getattr(recipe, name) for name in expected} == expected
    model = recipe.model(shape, 3)
    x, labels = np.zeros((2, *shape), np.float32), np.zeros(2, np.int64)
    assert model.loss(x, labels)[0] > 0


def test_what_is_given_is_taken():
    given = {
        **{"network": "small", "epochs": 7, "batch_size": 9, "learning_rate": 0.003, "schedule": "cosine", "l2": 0.02},
        **{"seed": 5, "shift": 0, "rotation": 3.0, "flip": False, "contrast": 0.1, "brightness": 0.2, "cutout": 2},
    }
    recipe = Recipe.chosen(given | {"size": (3, 3)}, (3, 8, 8), 50)
    assert vars(recipe) == given
    rng = np.random.default_rng(0)
    data = {"x_train": rng.standard_normal((50, 3, 8, 8), np.float32), "y_train": np.arange(50) % 2}
    solver = recipe.solver(recipe.model((3, 8, 8), 2), data)
    assert (solver.epochs, solver.batch_size, solver.seed, solver.model.l2) == (7, 9, 5, 0.02)
    assert repr(solver.schedule) == repr(convnet.CosineDecay(7))
    assert isinstance(solver.optimizer, convnet.Momentum)
    assert solver.optimizer.learning_rate == 0.003
    expected = convnet.Augmentation(shift=0, rotation=3.0, contrast=0.1, brightness=0.2, cutout=2)
    assert repr(solver.augmentation) == repr(expected)
    assert not solver.restore_best


def test_nothing_is_changed_where_all_changes_are_off():
    given = {"shift": 0, "flip": False, "contrast": 0.0, "brightness": 0.0}
    recipe = Recipe.chosen(given, (3, 8, 8), 50)
    assert recipe.augmentation is None
    assert str(recipe).endswith("images changed by nothing")
    assert str(Recipe.chosen({}, (3, 64, 64), 50)).endswith(
        "images changed by shift 4, flip, contrast 0.2, brightness 0.1"
    )


def test_a_seed_draws_the_weights():
    first, second, third = (
        Recipe.chosen({"seed": seed}, (3, 8, 8), 50).model((3, 8, 8), 2).params["conv1.weight"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_choices_of_the_options_are_those_of_the_tables():
    assert tuple(NETWORKS) == arguments.NETWORKS
    assert tuple(SCHEDULES) == arguments.SCHEDULES


def test_only_a_constant_rate_does_not_depend_on_the_epochs():
    for name, schedule in SCHEDULES.items():
        short, long = schedule(2), schedule(4)
        is_same = all(short(epoch) == long(epoch) for epoch in (0, 0.5, 1, 1.9))
        assert Recipe.chosen({"schedule": name}, (1, 8, 8), 50).can_go_on == is_same
