"""Schedules at single steps."""

import pytest

from mmdprior import InputError
from mmdprior.training import Constant, Cosine, Cyclical, Warmup


def test_constant():
    assert [Constant()(s) for s in (0, 99)] == [1.0, 1.0]


def test_warmup_reaches_one_after_its_steps():
    assert [Warmup(4)(s) for s in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cyclical_repeats_its_rise():
    assert [Cyclical(10, 0.5)(s) for s in (0, 1, 5, 9, 10, 11)] == pytest.approx([0, 0.2, 1, 1, 0, 0.2])


def test_cosine_warms_up_and_ends_at_its_final_factor():
    cosine = Cosine(100, warmup_steps=10, final=0.1)
    assert cosine(0) == pytest.approx(0.1)
    assert cosine(10) == 1.0
    assert cosine(55) == pytest.approx(0.55)
    assert cosine(100) == pytest.approx(0.1)


@pytest.mark.parametrize("bad", [lambda: Warmup(0), lambda: Cyclical(5, 0.0), lambda: Cosine(5, -1)])
def test_arguments_out_of_range_are_errors(bad):
    with pytest.raises(InputError):
        bad()
