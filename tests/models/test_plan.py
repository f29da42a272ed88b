"""The plan: stages, against the reference plan, in which every layer computes itself."""

import copy
from itertools import product

import numpy as np
import pytest
from cases import needs_fusion
from layer_cases import ROWS, model_of
from plans import agree, check, generator, outcome, with_biases

import convnet
from convnet import (
    GELU,
    SGD,
    Affine,
    AveragePool2D,
    BatchNorm2D,
    Conv2D,
    ConvNet1,
    Dropout,
    GlobalAveragePool,
    Layer,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
    Workspace,
    _kernels,
    gradient_error,
    svm_loss,
)
from convnet.core.workspace import Layout
from convnet.layers import LAYERS
from convnet.layers.stage import LayerStage
from convnet.models.plan import Plan


@pytest.fixture(params=_kernels.INSTRUCTION_SETS)
def instruction_set(request):
    before = _kernels.instruction_set()
    _kernels.use_instruction_set(request.param)
    yield request.param
    _kernels.use_instruction_set(before)


class Doubled(ReLU):
    """A subclass of a library layer that computes something else."""

    def forward(self, x, rng=None):
        y, cache = super().forward(x, rng)
        return 2 * y, cache

    def backward(self, dy, cache, need_dx=True):
        dx, grads = super().backward(dy, cache, need_dx)
        return 2 * dx, grads


class Halved(Affine):
    """A subclass of a library layer with parameters that computes something else."""

    def forward(self, x, rng=None):
        y, cache = super().forward(x, rng)
        return 0.5 * y, cache

    def backward(self, dy, cache, need_dx=True):
        return super().backward(0.5 * np.asarray(dy), cache, need_dx)


class Scale(Layer):
    """A layer of a user's own."""

    kind = "scale"

    def __init__(self, size, dtype):
        super().__init__()
        self.params = {"weight": np.linspace(0.5, 2, size).astype(dtype)}

    def forward(self, x, rng=None):
        return x * self.params["weight"], x

    def backward(self, dy, cache, need_dx=True):
        return dy * self.params["weight"], {"weight": (dy * cache).sum(axis=0)}


# Stacks for images of shape (2, 12, 10): `make(rng, dtype)` returns the layers but the last, an Affine layer.
STACKS = {
    "two fused groups": lambda rng, dtype: [
        Conv2D(2, 6, 3, padding=1, rng=rng, dtype=dtype),
        ReLU(),
        MaxPool2D(2),
        Conv2D(6, 4, (2, 3), padding=(1, 0), rng=rng, dtype=dtype),
        ReLU(),
        MaxPool2D(2),
        Affine(4 * 3 * 1, 9, rng=rng, dtype=dtype),
        ReLU(),
        Affine(9, 7, rng=rng, dtype=dtype),
        ReLU(),
    ],
    "every layer": lambda rng, dtype: [
        Conv2D(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), rng=rng, dtype=dtype),
        Sigmoid(),
        AveragePool2D((2, 3), stride=1, padding=(1, 0), count_padding=False),
        Conv2D(4, 5, 3, padding=2, rng=rng, dtype=dtype),
        LeakyReLU(0.1),
        MaxPool2D(3, stride=2, padding=1),
        Dropout(0.25),
        Affine(5 * 5 * 5, 9, rng=rng, dtype=dtype),
        Tanh(),
        Affine(9, 8, rng=rng, dtype=dtype),
        ReLU(),
    ],
    "channels last": lambda rng, dtype: [
        Conv2D(2, 9, 3, padding=1, rng=rng, dtype=dtype),
        LeakyReLU(0.2),
        Conv2D(9, 10, 3, padding=1, rng=rng, dtype=dtype),
        Tanh(),
        Conv2D(10, 8, (3, 2), padding=1, rng=rng, dtype=dtype),
        LeakyReLU(0.5),
        AveragePool2D(2),
        Conv2D(8, 17, 1, padding=1, rng=rng, dtype=dtype),
        ReLU(),
        MaxPool2D(2),
        Dropout(0.25),
        Sigmoid(),
        Conv2D(17, 4, 3, padding=1, rng=rng, dtype=dtype),
        ReLU(),
    ],
    "depthwise": lambda rng, dtype: [
        Conv2D(2, 9, 3, padding=1, rng=rng, dtype=dtype),
        ReLU(),
        Conv2D(9, 9, 3, stride=(2, 1), padding=1, groups=9, bias=False, rng=rng, dtype=dtype),
        LeakyReLU(0.2),
        Conv2D(9, 9, 3, padding=(2, 1), dilation=(2, 1), groups=9, rng=rng, dtype=dtype),
        ReLU(),
        MaxPool2D(2),
        Conv2D(9, 17, 1, rng=rng, dtype=dtype),
        Conv2D(17, 17, 2, padding=1, groups=17, bias=False, rng=rng, dtype=dtype),
        AveragePool2D(2),
    ],
    "other sides": lambda rng, dtype: [
        Conv2D(2, 9, 3, padding=((0, 1), (2, 0)), rng=rng, dtype=dtype),
        ReLU(),
        MaxPool2D(2),
        Conv2D(9, 17, 3, padding=((2, 0), (0, 3)), rng=rng, dtype=dtype),
        LeakyReLU(0.2),
        Conv2D(17, 17, 3, stride=(2, 1), padding=((0, 1), (1, 0)), groups=17, rng=rng, dtype=dtype),
        Tanh(),
        Conv2D(17, 9, 3, padding=((3, 1), (1, 2)), dilation=2, rng=rng, dtype=dtype),
        AveragePool2D(2, padding=((0, 1), (1, 0)), count_padding=False),
        Conv2D(9, 4, 2, stride=2, padding=((1, 0), (0, 1)), rng=rng, dtype=dtype),
        MaxPool2D(3, stride=1, padding=((0, 2), (2, 1))),
    ],
    "sizes rounded up": lambda rng, dtype: [
        Conv2D(2, 9, 2, rng=rng, dtype=dtype),
        ReLU(),
        MaxPool2D(2, ceil_mode=True),
        Conv2D(9, 8, 3, padding=1, rng=rng, dtype=dtype),
        AveragePool2D((3, 2), stride=2, padding=((1, 1), (0, 1)), ceil_mode=True),
    ],
    "global average pooling": lambda rng, dtype: [
        Conv2D(2, 9, 3, padding=1, rng=rng, dtype=dtype),
        SiLU(),
        Conv2D(9, 17, 3, padding=1, rng=rng, dtype=dtype),
        GELU(),
        GlobalAveragePool(),
        Affine(17, 6, rng=rng, dtype=dtype),
        Tanh(),
    ],
    "max pooling of whole images": lambda rng, dtype: [
        Conv2D(2, 9, 3, padding=1, bias=False, rng=rng, dtype=dtype),
        BatchNorm2D(9, dtype=dtype),
        ReLU(),
        MaxPool2D((12, 10)),
        Conv2D(9, 20, 1, rng=rng, dtype=dtype),
        LeakyReLU(0.1),
    ],
    "nothing to learn at first": lambda rng, dtype: [
        Dropout(0.2),
        LeakyReLU(),
        MaxPool2D(2),
        AveragePool2D(2, padding=1),
        Conv2D(2, 3, 3, padding=1, rng=rng, dtype=dtype),
        ReLU(),
    ],
    "groups that do not fit": lambda rng, dtype: [
        Conv2D(2, 4, 3, stride=2, padding=2, rng=rng, dtype=dtype),
        ReLU(),
        MaxPool2D(2),
        Conv2D(4, 5, 2, padding=1, rng=rng, dtype=dtype),
        ReLU(),
        MaxPool2D(3, stride=1),
        Conv2D(5, 3, 1, padding=3, rng=rng, dtype=dtype),
        MaxPool2D(2),
        ReLU(),
    ],
    "one layer": lambda rng, dtype: [],
    "ReLU behind ReLU": lambda rng, dtype: [Affine(240, 6, rng=rng, dtype=dtype), ReLU(), ReLU()],
    "layers of a user's": lambda rng, dtype: [
        Conv2D(2, 4, 3, padding=1, rng=rng, dtype=dtype),
        Doubled(),
        MaxPool2D(2),
        Halved(4 * 6 * 5, 8, rng=rng, dtype=dtype),
        ReLU(),
        Scale(8, dtype),
        Affine(8, 5, rng=rng, dtype=dtype),
        Doubled(),
    ],
}


def stack(name, dtype=np.float32, **options):
    """Return a model of one of the stacks, with biases and for seven classes."""
    rng, shape = np.random.default_rng(1), (2, 12, 10)
    layers = STACKS[name](rng, dtype)
    for layer in layers:
        shape = layer.output_shape(shape)
    layers.append(Affine(int(np.prod(shape)), 7, rng=rng, dtype=dtype))
    return with_biases(Sequential(layers, (2, 12, 10), **{"l2": 0.1, "rng": generator()} | options))


# ------------------------------------------------------------------------------------- against the reference plan

ACTIVATIONS = [ReLU, LeakyReLU(0.2), Sigmoid, Tanh, GELU, SiLU]
OPTIONS = [
    {"activation": activation, "pooling": pooling, "dropout": Dropout(0.3) if dropout else None}
    for (activation, pooling), dropout in zip(product(ACTIVATIONS, [MaxPool2D, AveragePool2D]), 6 * (0, 1), strict=True)
] + [
    {"dropout": Dropout(0.5), "loss": svm_loss},
    {"stride": 2, "kernel_size": (4, 3), "padding": (2, 1)},
    {"pooling": AveragePool2D(3, stride=2, padding=1, count_padding=False), "loss": svm_loss},
    {"pool_size": (3, 2), "pool_stride": (1, 2)},
    {"kernel_size": 9, "padding": 4},
    {"kernel_size": (4, 3), "padding": ((1, 2), (0, 2)), "pooling": MaxPool2D(3, stride=2, ceil_mode=True)},
]


def name_of(options):
    return ", ".join(f"{name} {getattr(value, '__name__', value)}" for name, value in options.items())


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "not fused"])
@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_convnet1_agrees_with_the_reference(dtype, options, fuse, n):
    model = ConvNet1(
        (2, 12, 10), num_filters=5, hidden_size=11, num_classes=4, l2=0.1, dtype=dtype, fuse=fuse, **options
    )
    check(with_biases(model), dtype, n)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "not fused"])
@pytest.mark.parametrize("name", STACKS)
def test_stacks_agree_with_the_reference(dtype, name, fuse, n):
    check(stack(name, dtype, fuse=fuse), dtype, n)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("n", [0, 3])
@pytest.mark.parametrize("case", ROWS)
def test_every_layer_agrees_with_the_reference(dtype, case, n):
    check(model_of(case, dtype), dtype, n)


@pytest.mark.usefixtures("instruction_set")
def test_convnet1_of_the_default_size_agrees_with_the_reference(rng):
    model = ConvNet1(l2=1e-3)
    x, labels = rng.standard_normal((20, 1, 28, 28), np.float32), rng.integers(0, 10, 20)
    reference = Plan(model.layers, model.input_shape, np.dtype(np.float32), reference=True)
    _, loss, grads = outcome(model.plan(), model, x, labels)
    _, expected, true = outcome(reference, model, x, labels)
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, grad in grads.items():
        agree(grad, true[name], np.float32, name)


def test_a_model_without_parameters_has_a_plan_of_each_dtype(rng):
    model = Sequential([LeakyReLU(), Tanh()], (3,))
    for dtype in (np.float32, np.float64):
        x = rng.standard_normal((5, 3)).astype(dtype)
        agree(model.scores(x), np.tanh(np.where(x > 0, x, dtype(0.01) * x)), dtype)
        assert model.loss(x, [0, 1, 2, 0, 1])[1] == {}


@needs_fusion
def test_fused_and_unfused_models_agree(rng):
    shape, labels = (2, 8, 7), rng.integers(0, 4, 5)
    x = rng.standard_normal((5, *shape)).astype(np.float32)

    def model(fuse):
        make = np.random.default_rng(1)
        layers = [Conv2D(2, 6, 3, padding=1, rng=make), ReLU(), MaxPool2D(2), Conv2D(6, 4, 2, rng=make), ReLU()]
        layers += [MaxPool2D(2), Affine(4, 4, rng=make)]
        return Sequential(layers, shape, l2=0.1, fuse=fuse)

    fused, plain = model(True), model(False)
    assert len(fused.plan().stages) == 3
    assert len(plain.plan().stages) == 7
    np.testing.assert_allclose(fused.scores(x), plain.scores(x), rtol=1e-4, atol=1e-5)
    loss, grads = fused.loss(x, labels)
    expected, true = plain.loss(x, labels)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert list(grads) == list(true)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, true[name], rtol=1e-3, atol=1e-5, err_msg=name)


# --------------------------------------------------------------------------------------------- which stages there are


@needs_fusion
@pytest.mark.parametrize(
    ("conv", "pool", "stages"),
    [
        ({"kernel_size": 3}, {"kernel_size": 2}, 2),
        ({"kernel_size": 3, "dtype": np.float64}, {"kernel_size": 2}, 4),
        ({"kernel_size": 3, "stride": 2, "padding": 2}, {"kernel_size": 2}, 4),
        ({"kernel_size": 3}, {"kernel_size": 3, "stride": 1}, 3),
        ({"kernel_size": 11, "padding": 4}, {"kernel_size": 2}, 2),
        ({"kernel_size": 3, "padding": ((0, 1), (2, 0))}, {"kernel_size": 2}, 2),
        ({"kernel_size": 3}, {"kernel_size": 2, "ceil_mode": True}, 3),
        ({"kernel_size": 3}, {"kernel_size": 2, "padding": ((0, 1), (0, 0))}, 3),
    ],
)
def test_only_runs_of_the_right_sizes_are_fused(rng, conv, pool, stages):
    layers = [Conv2D(1, 1, rng=rng, **conv), ReLU(), MaxPool2D(**pool)]
    features = int(np.prod(layers[2].output_shape(layers[0].output_shape((1, 6, 6)))))
    layers.append(Affine(features, 2, rng=rng, dtype=conv.get("dtype", np.float32)))
    assert len(Sequential(layers, (1, 6, 6)).plan().stages) == stages


def names_of(model):
    return [stage.names for stage in model.plan().stages]


@needs_fusion
def test_the_stages_of_convnet1():
    groups = [("conv1", "relu1", "pool1"), ("affine1", "relu2"), ("affine2",)]
    assert names_of(ConvNet1()) == groups
    assert names_of(ConvNet1(dropout=Dropout(0.5))) == [*groups[:2], ("dropout1",), ("affine2",)]
    singles = [(name,) for name in ConvNet1().layers]
    assert names_of(ConvNet1(fuse=False)) == singles
    assert names_of(ConvNet1(dtype=np.float64)) == [*singles[:3], *groups[1:]]
    other = ConvNet1(activation=Sigmoid)
    assert names_of(other) == [(name,) for name in other.layers]


def test_the_loops_in_cython_alone_fuse_no_convolution():
    before = _kernels.instruction_set()
    _kernels.use_instruction_set("none")
    try:
        assert names_of(ConvNet1())[:3] == [("conv1",), ("relu1",), ("pool1",)]
    finally:
        _kernels.use_instruction_set(before)


def readable(size):
    return f" {size / 1024:,.1f} KiB" if size < 2**20 else f" {size / 2**20:,.1f} MiB"


def test_a_plan_shows_a_line_a_stage(dtype):
    model = stack("two fused groups", dtype)
    plan = model.plan()
    title, header, *rows, total = str(plan).splitlines()
    for text in ("(2, 12, 10)", np.dtype(dtype).name, _kernels.instruction_set(), "50 examples", "threads"):
        assert text in title
    assert header.split() == ["stage", "algorithm", "layout", "fused", "output", "shape", "memory"]
    assert len(rows) == len(plan.stages)
    layout = plan.layout(50, True)
    for row, stage, size in zip(rows, plan.stages, layout.stage_sizes, strict=True):
        first, *_ = row.split("  ")
        assert first == " + ".join(stage.names)
        for text in (stage.algorithm, stage.output_layout, ", ".join(stage.fused) or " - ", str(stage.output_shape)):
            assert text in row
        assert row.endswith(readable(size))
    assert total.startswith("total ")
    assert total.endswith(readable(layout.size))
    assert len({len(line) for line in (header, *rows, total)}) == 1
    assert plan.table(batch_size=3) != plan.table(batch_size=50) == str(plan)
    if len(plan.stages) == 5:  # fused
        assert "conv1 + relu1 + pool1" in rows[0]
        assert "bias, ReLU, 2x2 max pooling" in rows[0]
        assert "NCHW to NHWC" in rows[0]
        assert "NHWC to NCHW" in rows[1]
    assert "bias, ReLU" in rows[-2]
    assert " MiB" in str(ConvNet1().plan()).splitlines()[-1]


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("training", [True, False])
def test_the_memory_of_a_stage_is_what_its_arrays_take(name, training):
    plan, threads = stack(name).plan(), convnet.get_num_threads()
    layout = plan.layout(7, training)
    stages = plan.stages if training else plan.prediction_stages
    for stage, size in zip(stages, layout.stage_sizes, strict=True):
        arrays = stage.arrays(7, threads, training)
        sizes = [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in arrays.values()]
        assert sum(sizes) <= size < sum(sizes) + 64 * len(sizes) + 1
    assert layout.size == sum(layout.stage_sizes)


@needs_fusion
def test_scratch_memory_is_counted():
    plan = stack("two fused groups").plan()
    assert all(any("scratch" in name for name in stage.arrays(50, 1, True)) for stage in plan.stages)
    assert plan.layout(100, True).size > plan.layout(50, True).size > plan.layout(50, False).size


@needs_fusion
def test_images_stay_channels_last_between_stages_that_take_them_so():
    plan = stack("channels last").plan()
    found = [("+".join(stage.names), stage.input_layout, stage.output_layout) for stage in plan.stages]
    assert found == [
        ("conv1+leaky_relu1", "NCHW", "NHWC"),
        ("conv2", "NHWC", "NHWC"),
        ("tanh1", "NHWC", "NHWC"),
        ("conv3+leaky_relu2+pool1", "NHWC", "NHWC"),
        ("conv4+relu1+pool2", "NHWC", "NCHW"),
        ("dropout1", "NCHW", "NCHW"),
        ("sigmoid1", "NCHW", "NCHW"),
        ("conv5+relu2", "NCHW", "NCHW"),
        ("affine1", "NCHW", "NCHW"),
    ]
    for stage in plan.stages[:4]:
        (n, *sizes), _ = stage.arrays(5, 1, True)["y"]
        channels, *pixels = stage.output_shape
        assert (n, sizes) == (5, [*pixels, channels])
    pooled = stack("global average pooling").plan().stages
    assert [(stage.input_layout, stage.output_layout) for stage in pooled[2:5]] == [
        ("NHWC", "NHWC"),
        ("NHWC", "NHWC"),
        ("NHWC", "NCHW"),
    ]
    assert {stage.output_layout for stage in stack("channels last", np.float64).plan().stages} == {"NCHW"}


def test_a_training_step_takes_the_memory_that_the_plan_says(rng):
    model, workspace = stack("every layer"), Workspace()
    x, labels = rng.standard_normal((9, 2, 12, 10), np.float32), rng.integers(0, 7, 9)
    model.train_step(x, labels, SGD(0.1), workspace)
    layout = model.plan().layout(9, True)
    assert model.plan().layout(9, True) is layout
    assert len(workspace.memories(layout)) == len(model.plan().stages)
    assert workspace._block.size == layout.size
    assert isinstance(layout, Layout)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("kernel", [3, 5])
def test_predictions_follow_weights_that_change_where_they_lie(rng, kernel):
    model = Sequential(
        [
            Conv2D(16, 40, kernel, padding=1, rng=rng),
            ReLU(),
            Conv2D(40, 33, kernel, padding=kernel // 2 + (kernel - 3) // 2, rng=rng),
            Affine(33 * 9 * 8, 3, rng=rng),
        ],
        (16, 9, 8),
    )
    x, workspace = rng.standard_normal((7, 16, 9, 8), np.float32), Workspace()
    weight = model.params["conv1.weight"]
    with_reference = Plan(model.layers, model.input_shape, np.dtype(np.float32), reference=True)
    for n in (1, 1, 7, 1, 1, 7, 7):
        for change in (1, 1, -2):
            weight[..., 0] *= change
            agree(
                model.plan().predict(x[:n], workspace), with_reference.predict(x[:n], Workspace()), np.dtype(np.float32)
            )
    model.plan().predict(x, workspace)
    workspace._block[...] = 255  # as if another call had used the memory ...
    workspace.memories(Layout([], 1))
    agree(model.plan().predict(x, workspace), with_reference.predict(x, Workspace()), np.dtype(np.float32))
    before = model.plan().predict(x, workspace).copy()
    memory, *_ = workspace.memories(model.plan().layout(7, False))
    if "packed" in memory:  # ... and kept weights are used where nothing has changed
        memory["packed"][...] = 0
        assert (model.plan().predict(x, workspace) != before).any()


# ------------------------------------------------------------------------------------------ when a plan is made anew


def test_a_plan_is_kept(rng):
    model = stack("every layer")
    x, labels = rng.standard_normal((9, 2, 12, 10), np.float32), rng.integers(0, 7, 9)
    plan, threads = model.plan(), convnet.get_num_threads()
    workspace, optimizer = Workspace(), SGD(0.1)
    try:
        for n in (9, 1, 4):
            convnet.set_num_threads(n)
            model.train_step(x[:n], labels[:n], optimizer, workspace)
            model.loss(x[:n].astype(np.float64), labels[:n])
            model.scores(x[:n])
            model.predict(x[:n].tolist())
            model.load_params({name: param + 1 for name, param in model.params.items()})
            model.first_non_finite(x)
            repr(model), model.summary(), str(model.plan())
            assert model.plan() is plan
    finally:
        convnet.set_num_threads(threads)


@pytest.mark.parametrize("name", ["conv1.weight", "affine2.bias"])
def test_a_parameter_that_is_replaced_makes_a_new_plan(rng, name):
    model, other = stack("two fused groups"), stack("two fused groups")
    x = rng.standard_normal((3, 2, 12, 10), np.float32)
    plan = model.plan()
    layer, _, key = name.partition(".")
    model.layers[layer].params[key] = 2 * model.layers[layer].params[key]
    assert model.plan() is not plan
    assert model.plan() is model.plan()
    other.params[name][...] *= 2
    assert model.scores(x).tobytes() == other.scores(x).tobytes()
    assert model.loss(x, [0, 1, 2])[0] == other.loss(x, [0, 1, 2])[0]
    optimizer = SGD(0.1)
    for each in (model, other):
        each.train_step(x, [0, 1, 2], optimizer)
    assert model.params[name].tobytes() == other.params[name].tobytes()


def test_another_instruction_set_makes_a_new_plan(rng):
    model, before = stack("two fused groups"), _kernels.instruction_set()
    x = rng.standard_normal((3, 2, 12, 10), np.float32)
    plan, scores = model.plan(), model.scores(x)
    try:
        for name in _kernels.INSTRUCTION_SETS:
            _kernels.use_instruction_set(name)
            assert model.plan().instruction_set == name
            assert (model.plan() is plan) == (name == before == _kernels.INSTRUCTION_SETS[0])
            plan = model.plan() if name == _kernels.INSTRUCTION_SETS[0] else plan
            agree(model.scores(x), scores, np.float32)
    finally:
        _kernels.use_instruction_set(before)
    assert model.scores(x).tobytes() == scores.tobytes()


def test_a_copy_of_a_model_has_a_plan_of_its_own_arrays(rng):
    model = stack("two fused groups")
    x = rng.standard_normal((3, 2, 12, 10), np.float32)
    scores = model.scores(x).tobytes()
    other = copy.deepcopy(model)
    other.params["conv1.weight"][...] = 0
    assert model.scores(x).tobytes() == scores
    assert other.scores(x).tobytes() != scores


# --------------------------------------------------------------------------------------------- layers of a user's


@pytest.mark.parametrize("position", range(3))
def test_a_subclass_in_the_place_of_a_fused_group_computes_itself(rng, position):
    calls = []

    def own(cls):
        class Own(cls):
            def forward(self, x, rng=None):
                calls.append("forward")
                return super().forward(x, rng)

            def backward(self, dy, cache, need_dx=True):
                calls.append("backward")
                return super().backward(dy, cache, need_dx)

        Own.__name__ = cls.__name__  # even so it is another class
        return Own

    classes = [own(cls) if place == position else cls for place, cls in enumerate((Conv2D, ReLU, MaxPool2D))]
    make = np.random.default_rng(0)
    layers = [classes[0](2, 3, 3, rng=make), classes[1](), classes[2](2), Affine(3 * 5 * 4, 4, rng=make)]
    model = Sequential(layers, (2, 12, 10))
    own_names = {tuple(model.layers)[position]}
    assert {stage.names[0] for stage in model.plan().stages if type(stage) is LayerStage} == own_names
    x = rng.standard_normal((3, 2, 12, 10), np.float32)
    model.scores(x)
    assert calls == ["forward"]
    model.loss(x, [0, 1, 2])
    assert calls == ["forward", "forward", "backward"]
    check(model, np.float32, 5)


def test_a_subclass_that_overrides_the_call_predicts_by_it(rng):
    class Cautious(Affine):
        def __call__(self, x):
            return 0.5 * super().__call__(x)

    model = Sequential([Cautious(4, 3, rng=rng), Affine(3, 2, rng=rng)], (4,))
    x = rng.standard_normal((5, 4), np.float32)
    first, second = model.layers.values()
    np.testing.assert_allclose(model.scores(x), second(0.5 * first.forward(x)[0]), rtol=1e-6)
    step = model.plan().forward(x, Workspace(), generator())
    np.testing.assert_allclose(step.y, second(first.forward(x)[0]), rtol=1e-6)


def test_layers_before_the_first_parameters_are_not_asked_for_gradients(rng):
    class NoBackward(ReLU):
        def backward(self, dy, cache, *, need_dx=True):
            raise AssertionError("asked")

    model = Sequential([NoBackward(), Affine(6, 3, rng=rng, dtype=np.float64), ReLU()], (6,))
    x = rng.standard_normal((4, 6))
    _, grads = model.loss(x, [0, 1, 2, 0])
    weight = model.params["affine1.weight"]
    assert gradient_error(lambda: model.loss(x, [0, 1, 2, 0])[0], weight, grads["affine1.weight"], rng=rng) < 1e-7


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2]])
def test_parameters_that_are_not_contiguous_work(rng, dtype, layout):
    model, other = stack("two fused groups", dtype), stack("two fused groups", dtype)
    for name in ("conv1", "affine1", "affine2"):
        model.layers[name].params["weight"] = layout(model.layers[name].params["weight"])
        assert not model.layers[name].params["weight"].flags.c_contiguous
    own = {stage.names for stage in model.plan().stages if type(stage) is LayerStage}
    assert own == {("conv1",), ("affine1",), ("affine2",)}
    x, labels = rng.standard_normal((7, 2, 12, 10)).astype(dtype), rng.integers(0, 7, 7)
    agree(model.scores(x), other.scores(x), dtype)
    (loss, grads), (expected, true) = model.loss(x, labels), other.loss(x, labels)
    assert loss == pytest.approx(expected, rel=1e-5 if dtype == np.float32 else 1e-11)
    for name, grad in grads.items():
        agree(grad, true[name], dtype, name)


def test_a_loss_of_another_shape_is_named(rng):
    model = stack("one layer")
    model.loss_function = lambda scores, labels: (0.0, scores[:, :3])
    with pytest.raises(ValueError, match=r"the loss: expected dscores of shape \(2, 7\), got \(2, 3\)"):
        model.loss(rng.standard_normal((2, 2, 12, 10)), [0, 1])


def test_a_library_layer_that_inherits_a_stage_without_state_runs_as_a_layer_stage(monkeypatch):
    class Counted(ReLU):
        kind = "counted"

        def __init__(self):
            super().__init__()
            self.state = {"steps": np.zeros((), np.int64)}

        def update_state(self, cache):
            self.state["steps"] += 1

    monkeypatch.setitem(LAYERS, "Counted", Counted)
    model = Sequential([Counted(), Affine(3, 2, rng=np.random.default_rng(0))], (3,))
    for _ in range(3):
        model.train_step(np.ones((2, 3)), [0, 1], SGD(0.1))
    assert model.state["counted1.steps"] == 3
