"""Residual: its stages in every layout and size, what it refuses, and how it is shown.

The contract, the loops, the gradients, files and the page are tested for all layers by their rows in layer_cases.py.
"""

import copy

import numpy as np
import pytest
from plans import check, with_biases

from convnet import (
    SGD,
    Affine,
    BatchNorm2D,
    Conv2D,
    Dropout,
    GlobalAveragePool,
    Layer,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Tanh,
    _kernels,
    load_model,
    save_model,
)


@pytest.fixture(params=_kernels.INSTRUCTION_SETS)
def instruction_set(request):
    before = _kernels.instruction_set()
    _kernels.use_instruction_set(request.param)
    yield request.param
    _kernels.use_instruction_set(before)


def convolution(rng, dtype, channels, filters, kernel_size=3, **options):
    options = {"padding": kernel_size // 2, "bias": False} | options
    return Conv2D(channels, filters, kernel_size, rng=rng, dtype=dtype, **options)


def block(rng, dtype, channels, filters, stride=1):
    """Return the basic block of a residual network."""
    layers = [
        convolution(rng, dtype, channels, filters, stride=stride),
        BatchNorm2D(filters, dtype=dtype),
        ReLU(),
        convolution(rng, dtype, filters, filters),
        BatchNorm2D(filters, dtype=dtype),
    ]
    if stride == 1 and channels == filters:
        return Residual(layers)
    return Residual(
        layers, [convolution(rng, dtype, channels, filters, 1, stride=stride), BatchNorm2D(filters, dtype=dtype)]
    )


class Doubled(Layer):
    """A layer of a user's."""

    def forward(self, x, rng=None):
        return 2 * np.asarray(x), None

    def backward(self, dy, cache, need_dx=True):
        return 2 * np.asarray(dy), {}


NETWORKS = {
    "a residual network": lambda rng, dtype: [
        convolution(rng, dtype, 2, 9),
        BatchNorm2D(9, dtype=dtype),
        ReLU(),
        block(rng, dtype, 9, 9),
        ReLU(),
        block(rng, dtype, 9, 17, stride=2),
        LeakyReLU(0.2),
        block(rng, dtype, 17, 17),
        ReLU(),
        GlobalAveragePool(),
    ],
    "depthwise convolutions": lambda rng, dtype: [
        convolution(rng, dtype, 2, 9),
        ReLU(),
        Residual(
            [
                Conv2D(9, 9, 3, padding=1, groups=9, bias=False, rng=rng, dtype=dtype),
                BatchNorm2D(9, dtype=dtype),
                ReLU(),
                Conv2D(9, 9, 1, bias=False, rng=rng, dtype=dtype),
                BatchNorm2D(9, dtype=dtype),
            ]
        ),
        Conv2D(9, 9, 3, stride=2, padding=1, groups=9, bias=False, rng=rng, dtype=dtype),
        BatchNorm2D(9, dtype=dtype),
        LeakyReLU(0.2),
        GlobalAveragePool(),
    ],
    "at the door": lambda rng, dtype: [block(rng, dtype, 2, 2), Tanh()],
    "at the door, with a shortcut": lambda rng, dtype: [block(rng, dtype, 2, 11), MaxPool2D(2)],
    "without parameters": lambda rng, dtype: [Residual([Tanh(), Dropout(0.3)], ReLU()), ReLU()],
    "parameters of the shortcut alone": lambda rng, dtype: [
        Residual([Tanh()], convolution(rng, dtype, 2, 2, bias=True)),
        LeakyReLU(-0.5),
    ],
    "within each other": lambda rng, dtype: [
        convolution(rng, dtype, 2, 9),
        Residual(
            [
                Residual([convolution(rng, dtype, 9, 9, bias=True)], [BatchNorm2D(9, dtype=dtype)]),
                ReLU(),
                block(rng, dtype, 9, 9),
                ReLU(),
            ],
            [Residual([Tanh()]), ReLU()],
        ),
        ReLU(),
        MaxPool2D(2),
    ],
    "of vectors": lambda rng, dtype: [
        Affine(240, 12, rng=rng, dtype=dtype),
        Residual([ReLU(), Affine(12, 12, rng=rng, dtype=dtype), ReLU(), Affine(12, 12, rng=rng, dtype=dtype)]),
        ReLU(),
    ],
    "images to vectors": lambda rng, dtype: [
        convolution(rng, dtype, 2, 10),
        Residual([convolution(rng, dtype, 10, 10), GlobalAveragePool()], [GlobalAveragePool()]),
        ReLU(),
    ],
    "layers of a user's": lambda rng, dtype: [
        convolution(rng, dtype, 2, 9),
        Residual([convolution(rng, dtype, 9, 9), Doubled(), ReLU()], Doubled()),
        ReLU(),
    ],
}


def network(name, dtype=np.float32, **options):
    rng, shape = np.random.default_rng(1), (2, 12, 10)
    layers = NETWORKS[name](rng, dtype)
    for layer in layers:
        shape = layer.output_shape(shape)
    layers.append(Affine(int(np.prod(shape)), 5, rng=rng, dtype=dtype))
    return with_biases(Sequential(layers, (2, 12, 10), **{"l2": 0.1} | options))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "not fused"])
@pytest.mark.parametrize("name", NETWORKS)
def test_plans_agree_with_the_reference(dtype, name, fuse, n):
    check(network(name, dtype, fuse=fuse), dtype, n)


def test_predictions_follow_training(rng, dtype):
    model = network("a residual network", dtype, l2=0)
    x, labels = rng.standard_normal((30, 2, 12, 10)).astype(dtype), rng.integers(0, 5, 30)
    before = {name: array.copy() for name, array in (model.params | model.state).items()}
    losses = [model.train_step(x, labels, SGD(0.05)) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    assert all((array != before[name]).any() for name, array in (model.params | model.state).items())
    # Alone or in a batch, and by the layers themselves.
    scores = model.scores(x)
    alone = np.concatenate([model.scores(x[n : n + 1]) for n in range(len(x))])
    np.testing.assert_allclose(alone, scores, rtol=1e-4, atol=1e-4)
    y = x
    for layer in model.layers.values():
        y = layer(y)
    np.testing.assert_allclose(y, scores, rtol=1e-3, atol=1e-3)


def test_a_step_updates_like_the_gradients_of_the_loss(rng):
    model = network("within each other", np.float64)
    other = copy.deepcopy(model)
    x, labels = rng.standard_normal((6, 2, 12, 10)), rng.integers(0, 5, 6)
    _, grads = other.loss(x, labels)
    model.train_step(x, labels, SGD(0.5))
    for name, param in model.params.items():
        np.testing.assert_allclose(param, other.params[name] - 0.5 * grads[name], rtol=1e-9, atol=1e-12)


def test_images_stay_channels_last_between_fork_and_sum():
    if _kernels.instruction_set() == "none":
        pytest.skip("the loops in Cython take NCHW alone")
    stages = {
        stage.label: (stage.input_layout, stage.output_layout) for stage in network("within each other").plan().stages
    }
    inside = [layouts for label, layouts in stages.items() if "residual1" in label]
    assert set(inside[:-1]) == {("NHWC", "NHWC")}
    door = network("at the door, with a shortcut").plan().stages
    assert (door[0].label, door[0].input_layout, door[0].output_layout) == ("residual1 fork", "NCHW", "NHWC")


def test_a_replaced_layer_makes_a_new_plan(rng):
    model = network("a residual network")
    x = rng.standard_normal((3, 2, 12, 10)).astype(np.float32)
    before = model.scores(x)
    inner = model.layers["residual1"].branches["layers"]["conv1"]
    inner.params["weight"] = np.zeros_like(inner.params["weight"])
    assert model.params["residual1.layers.conv1.weight"] is inner.params["weight"]
    after = model.scores(x)
    assert (after != before).any()
    y = x
    for layer in model.layers.values():
        y = layer(y)
    np.testing.assert_allclose(y, after, rtol=1e-4, atol=1e-4)


def test_it_is_shown():
    model = network("a residual network")
    summary = model.summary().splitlines()
    assert [line.split()[:2] for line in summary if "residual2" in line or "shortcut" in line] == [
        ["residual2", "Residual"],
        ["shortcut.conv1", "Conv2D"],
        ["shortcut.norm1", "BatchNorm2D"],
    ]
    total = sum(param.size for param in model.params.values())
    assert f"{total:,}" in summary[-1]
    assert repr(model.layers["residual1"]).startswith("Residual(layers=[Conv2D(in_channels=9,")
    plan = str(model.plan())
    for word in ("residual1 fork", "residual2 swap", "residual2 sum", "residual2.shortcut.conv1"):
        assert word in plan


def test_a_file_names_what_is_wrong_with_an_inner_layer(tmp_path, monkeypatch):
    model = network("a residual network")
    path = tmp_path / "model.npz"
    save_model(model, path)
    assert repr(load_model(path)) == repr(model)
    monkeypatch.setattr("convnet.models.files.MOST_LAYERS", 20)
    with pytest.raises(ValueError, match="expected at most 20 layers, got 2"):
        load_model(path)
    with pytest.raises(TypeError, match=r"layer residual1\.layers\.layer1 to be one of Conv2D"):
        save_model(network("layers of a user's"), path)


def test_wrong_arguments(rng):
    conv = convolution(rng, np.float32, 4, 8)
    with pytest.raises(ValueError, match="Residual: layers: expected at least one layer"):
        Residual([])
    with pytest.raises(TypeError, match="shortcut: expected layer 1 to be a"):
        Residual([conv], [3])
    with pytest.raises(TypeError, match="Residual: layers: expected a sequence of layers"):
        Residual(conv)
    with pytest.raises(ValueError, match="is in the model already; make a second one"):
        Residual([conv], conv)
    with pytest.raises(ValueError, match="is in the model already; make a second one"):
        Sequential([Residual([conv]), conv, Affine(8, 2, rng=rng)], (4, 1, 1))
    with pytest.raises(
        ValueError,
        match=r"layer residual1, given one example of shape \(4, 6, 6\): Residual: expected the layers' output to be "
        r"of the shape that it is added to, \(4, 6, 6\), got \(8, 6, 6\); give a shortcut",
    ):
        Sequential([Residual([conv]), Affine(288, 2, rng=rng)], (4, 6, 6))
    with pytest.raises(ValueError, match=r"added to, \(8, 3, 3\), got \(8, 6, 6\)$"):
        Residual([conv], convolution(rng, np.float32, 4, 8, 1, stride=2)).output_shape((4, 6, 6))
    with pytest.raises(ValueError, match="layer conv1, given one example of shape"):
        Residual([conv]).output_shape((3, 6, 6))
    with pytest.raises(ValueError, match=r"got \(8, 6, 6\); give a shortcut"):
        Residual([conv])(np.zeros((1, 4, 6, 6)))
