"""Profiles: times and operations of the stages."""

import pickle

import numpy as np
import pytest

import convnet
from convnet import Affine, Conv2D, ConvNet1, Dropout, MaxPool2D, ReLU, Sequential, plot_profile
from convnet.models import plan as plans
from convnet.models.plan import Plan
from convnet.models.profile import Profile, StageTime, measured_peak, median_times


@pytest.fixture
def data(rng):
    return rng.standard_normal((20, 1, 12, 12)).astype(np.float32), np.arange(20) % 10


def network(**options):
    rng = np.random.default_rng(0)
    layers = [Conv2D(1, 8, 3, padding=1, rng=rng), ReLU(), MaxPool2D(2), Conv2D(8, 9, 3, rng=rng), ReLU(), Dropout(0.5)]
    return Sequential([*layers, Affine(9 * 16, 10, rng=rng)], (1, 12, 12), **options)


@pytest.mark.parametrize("with_labels", [False, True])
def test_every_stage_has_its_time_and_operations(data, with_labels):
    x, labels = data
    model = network(fuse=False)
    profile = model.plan().profile(x, labels if with_labels else None, seconds=0.01)
    assert [stage.name for stage in profile.stages] == list(model.layers)
    assert profile.batch_size == 20
    assert profile.threads == convnet.get_num_threads()
    forward = {"conv1": 9 * 8 * 144, "conv2": 72 * 9 * 16, "affine1": 144 * 10}
    # The first layer's input has no use for a gradient.
    times = {"conv1": 1, "conv2": 2, "affine1": 2}
    for stage in profile.stages:
        flop = 2 * 20 * forward.get(stage.name, 0)
        assert stage.forward_flop == flop
        assert stage.backward_flop == (flop * times.get(stage.name, 0) if with_labels else 0)
        assert stage.forward > 0
        assert (stage.backward > 0) == with_labels
    total = profile.total
    assert total.forward == pytest.approx(sum(stage.forward for stage in profile.stages))
    assert total.backward_flop == sum(stage.backward_flop for stage in profile.stages)


def test_a_profile_changes_nothing(data):
    model = network()
    before = pickle.dumps((dict(model.params), model.rng))
    model.plan().profile(*data, seconds=0.01)
    assert pickle.dumps((dict(model.params), model.rng)) == before


def test_a_profile_takes_the_times_of_the_clock(data, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(plans, "perf_counter", lambda: float(next(clock)))
    stages = network().plan().profile(*data, seconds=0).stages
    assert {(stage.forward, stage.backward) for stage in stages} == {(1.0, 1.0)}


def test_a_profile_prints_a_table():
    rows = [
        StageTime("conv1 + relu1", "direct", 2e-3, 0.0, 4_000_000, 0),
        StageTime("pool1", "loops", 5e-5, 1e-3, 0, 0),
    ]
    lines = str(Profile(rows, 7, 2, 4e9, "training step of 7 examples")).splitlines()
    assert lines[0] == "training step of 7 examples; 2 threads, peak 4 GFLOP/s"
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[1:]]
    assert cells == [
        ["stage", "algorithm", "forward", "of peak", "backward", "of peak", "of all"],
        ["conv1 + relu1", "direct", "2.000 ms", "50%", "-", "-", "66%"],
        ["pool1", "loops", "50.0 us", "-", "1.000 ms", "-", "34%"],
        ["total", "2.050 ms", "49%", "1.000 ms", "-", "100%"],
    ]


def test_without_an_instruction_set_the_peak_is_not_known(data):
    model = ConvNet1((1, 12, 12), hidden_size=5, dtype=np.float64)
    text = str(model.plan().profile(data[0].astype(float), seconds=0.01))
    assert "peak not known" in text
    assert "%" not in text.splitlines()[1].replace("of peak", "")


def test_the_peak_grows_with_the_threads():
    if convnet._kernels.instruction_set() == "none":
        assert measured_peak(1) == 0
        return
    assert convnet._kernels.multiply_adds(1000, 3) == 3 * convnet._kernels.multiply_adds(1000, 1)
    # No processor does a thousand of them in a nanosecond, nor less than one in a microsecond.
    assert 1e6 < measured_peak(1) < 1e12


def test_medians_are_of_five_calls_at_least():
    calls = iter([[9.0, 9.0], *([float(i), 10.0 * i] for i in (5, 1, 3, 2, 4))])
    assert median_times(lambda: next(calls), 0) == [3.0, 30.0]


@pytest.mark.parametrize(
    ("x", "labels", "error", "message"),
    [
        (np.zeros((2, 1, 5, 5)), None, ValueError, r"profile: x: expected shape \(N, 1, 12, 12\), got \(2, 1, 5, 5\)"),
        (np.zeros((0, 1, 12, 12)), None, ValueError, "profile: expected at least one example, got none"),
        (np.zeros((2, 1, 12, 12)), [0, 10], ValueError, "label"),
        (np.zeros((2, 1, 12, 12), "U1"), None, TypeError, "profile: x"),
    ],
)
def test_what_cannot_be_profiled_is_named(x, labels, error, message):
    with pytest.raises(error, match=message):
        network().plan().profile(x, labels, seconds=0)


def test_a_plan_without_a_loss_takes_no_labels(data):
    model = network()
    plan = Plan(model.layers, model.input_shape, np.dtype(np.float32))
    assert plan.profile(data[0], seconds=0).total.forward > 0
    with pytest.raises(ValueError, match=r"the plan has no loss; take that of model.plan\(\)"):
        plan.profile(*data, seconds=0)


def test_another_loss_of_the_model_is_taken(data):
    model, seen = network(), []

    def loss(scores, labels):
        seen.append(len(scores))
        return convnet.softmax_loss(scores, labels)

    model.plan()
    model.loss_function = loss
    model.plan().profile(*data, seconds=0)
    assert set(seen) == {20}


@pytest.mark.parametrize("with_labels", [False, True])
def test_a_profile_is_drawn(data, with_labels):
    x, labels = data
    profile = network().plan().profile(x, labels if with_labels else None, seconds=0.01)
    figure = plot_profile(profile)
    axes = figure.axes[0]
    passes = 2 if with_labels else 1
    assert len(axes.patches) == passes * len(profile.stages)
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(
        1e3 * (profile.total.forward + profile.total.backward)
    )
    assert next(text.get_text() for text in axes.get_yticklabels()).startswith(profile.stages[0].name)
    figure.canvas.draw()  # lays out all text without a warning
