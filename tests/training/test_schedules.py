"""The schedules."""

import numpy as np
import pytest

from convnet import Constant, CosineDecay, EpochDecay, OneCycle, StepDecay


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
    for schedule in (Constant(), EpochDecay(0.8), StepDecay(2, 0.5), CosineDecay(3, last=0.1), OneCycle(3)):
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
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
