"""The schedules."""

import numpy as np
import pytest
from cases import trained

from convnet import SGD, Constant, CosineDecay, EpochDecay, OneCycle, PlateauDecay, StepDecay

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


def test_constant_is_1():
    assert [Constant()(epoch) for epoch in (0, 0.5, 100)] == [1, 1, 1]


def test_epoch_decay_is_a_staircase():
    schedule = EpochDecay(0.5)
    assert [schedule(epoch) for epoch in (0, 0.99, 1, 1.5, 3)] == [1, 1, 0.5, 0.5, 0.125]
    assert EpochDecay(1)(7.3) == 1


def test_step_decay_is_a_staircase_of_longer_steps():
    schedule = StepDecay(3, 0.1)
    assert [schedule(epoch) for epoch in (0, 2.99, 3, 5.5, 6)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert StepDecay(0.5, 0.5)(1.25) == 0.25


def test_cosine_decay_goes_from_1_to_the_last_factor_and_stays():
    schedule = CosineDecay(4, last=0.2)
    assert [schedule(epoch) for epoch in (0, 2, 4, 5)] == pytest.approx([1, 0.6, 0.2, 0.2])
    assert CosineDecay(4)(1) == pytest.approx((1 + np.sqrt(0.5)) / 2)
    assert (np.diff([schedule(epoch) for epoch in np.linspace(0, 4, 50)]) < 0).all()


def test_one_cycle_goes_up_and_down_and_stays():
    schedule = OneCycle(10, warmup=0.2, first=0.1, last=0.01)
    assert [schedule(epoch) for epoch in (0, 1, 2, 6, 10, 11)] == pytest.approx([0.1, 0.55, 1, 0.505, 0.01, 0.01])
    factors = [schedule(epoch) for epoch in np.linspace(0, 10, 101)]
    assert (np.diff(factors[:21]) > 0).all()
    assert (np.diff(factors[20:]) < 0).all()
    assert OneCycle(10, warmup=0)(0) == 1


def test_repr_makes_the_same_schedule():
    for schedule in (
        Constant(),
        EpochDecay(0.8),
        StepDecay(2, 0.5),
        CosineDecay(3, last=0.1),
        OneCycle(3),
        PlateauDecay(),
    ):
        again = eval(repr(schedule))
        assert [again(epoch) for epoch in (0, 0.3, 1.7, 3)] == [schedule(epoch) for epoch in (0, 0.3, 1.7, 3)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EpochDecay(0), "decay: expected a finite number above 0 and at most 1, got 0"),
        (lambda: EpochDecay(1.01), "decay: .* got 1.01"),
        (lambda: EpochDecay(-0.5), "decay: .* got -0.5"),
        (lambda: StepDecay(0, 0.5), "every: expected a finite number above 0, got 0"),
        (lambda: CosineDecay(0), "epochs: expected at least 1, got 0"),
        (lambda: CosineDecay(3, last=2), "last: expected a finite number of at least 0 and at most 1, got 2"),
        (lambda: OneCycle(3, warmup=1), "warmup: expected a finite number of at least 0 and below 1, got 1"),
        (lambda: OneCycle(3, first=-1), "first: .* got -1"),
        (lambda: OneCycle(3, last=np.nan), "last: .* got nan"),
        (lambda: PlateauDecay(1), "decay: expected a finite number above 0 and below 1, got 1"),
        (lambda: PlateauDecay(patience=0), "patience: expected at least 1, got 0"),
        (lambda: PlateauDecay(threshold=-1), "threshold: expected a finite number of at least 0, got -1"),
        (lambda: PlateauDecay(minimum=1.5), "minimum: .* got 1.5"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def by_pytorchs_rule(accuracies, decay, patience, threshold, minimum):
    """Return the factor of ReduceLROnPlateau as it is written down, whose patience counts the bad epochs it bears."""
    best, bad, factor = None, 0, 1.0
    for accuracy in accuracies:
        if best is None or accuracy > best + threshold:
            best, bad = accuracy, 0
        else:
            bad += 1
        if bad > patience - 1:
            factor, bad = max(factor * decay, minimum), 0
    return factor


def some_histories(rng):
    for length in (0, 1, 2, 7, 40):
        yield np.sort(rng.random(length)).tolist()
        yield (np.round(rng.random(length) * 8) / 8).tolist()
        yield [0.5] * length
        yield (-rng.random(length)).tolist()


@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize(("threshold", "minimum"), [(0.0, 0.0), (0.125, 0.01), (0.25, 0.3), (0, 1)])
def test_plateau_decay_follows_the_rule(rng, patience, threshold, minimum):
    schedule = PlateauDecay(0.5, patience=patience, threshold=threshold, minimum=minimum)
    for accuracies in some_histories(rng):
        kept = list(accuracies)
        expected = by_pytorchs_rule(accuracies, 0.5, patience, threshold, minimum)
        assert schedule(3.5, accuracies=accuracies) == schedule(0, accuracies=accuracies) == expected
        assert accuracies == kept


def test_plateau_decay_by_hand():
    schedule = PlateauDecay(0.1, patience=2, threshold=0.01)
    accuracies = [0.1, 0.8, 0.8, 0.805, 0.9, 0.85, 0.9, 0.95]
    factors = [schedule(0, accuracies=accuracies[:n]) for n in range(9)]
    assert factors == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])
    assert schedule(7) == 1


def test_plateau_decay_equals_pytorchs(rng):
    torch = pytest.importorskip("torch")
    for patience, threshold, minimum in ((1, 0.0, 0.0), (3, 0.125, 0.05)):
        schedule = PlateauDecay(0.5, patience=patience, threshold=threshold, minimum=minimum)
        for accuracies in some_histories(rng):
            optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
            theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer,
                "max",
                0.5,
                patience - 1,
                threshold=threshold,
                threshold_mode="abs",
                min_lr=minimum,
                eps=0,
            )
            for accuracy in accuracies:
                theirs.step(accuracy)
            assert schedule(0, accuracies=accuracies) == optimizer.param_groups[0]["lr"]


def test_a_solver_hands_the_validation_accuracies_to_a_schedule_that_takes_them(rng):
    seen = []

    def schedule(epoch, *, accuracies):
        seen.append((epoch, list(accuracies)))
        return 1.0

    solver = trained(rng, 0)
    solver.schedule = schedule
    solver.train()
    history = solver.validation_accuracy_history
    assert seen == [(i / 4, history[: 1 + i // 4]) for i in range(8)]


def test_a_solver_lowers_its_rate_on_a_plateau(rng):
    rates = []

    class Spy(SGD):
        def update_param(self, name, param, grad, state, rate):
            if name == "affine1.bias":
                rates.append(rate)

    solver = trained(rng, 0)  # nothing is updated, so that the accuracy stays as it is
    solver.optimizer, solver.schedule, solver.epochs = Spy(0.5), PlateauDecay(0.5, patience=2, minimum=0.2), 8
    solver.train()
    assert rates[::4] == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.1, 0.1]
    assert rates == np.repeat(rates[::4], 4).tolist()
