"""When the figures of step 0 are drawn."""

import numpy as np
import pytest
from helpers.small_runs import experiment

from mmdprior.errors import InputError
from mmdprior.figures.style import pixels
from mmdprior.training import Logger, Validation


class Recording(Logger):
    """Records figures as (step, tag, pixels) and scalars as (step, None, None), in order."""

    pictures = True

    def __init__(self):
        self.events = []

    def scalars(self, values, step):
        self.events.append((step, None, None))

    def figure(self, tag, figure, step):
        self.events.append((step, tag, pixels(figure)))

    def order(self):
        """Return (step, whether it is a figure), without repetitions."""
        return list(dict.fromkeys((step, tag is not None) for step, tag, _ in self.events))

    def figures(self, step):
        return {tag: image for at, tag, image in self.events if at == step and tag is not None}


def recorded(*, log_every=1, **changes):
    """Return the experiment of a small config, and the logger that its trainer and validation use."""
    built, logger = (
        experiment(evaluation__pictures=True, trainer__log_every=log_every, **changes),
        Recording(),
    )
    built.trainer.logger = built.trainer.validate.logger = logger
    return built, logger


def at_once(built):
    """Return the figures of step 0 of an experiment as a validation draws them outside of runs."""
    logger, ready = Recording(), built.trainer.validate
    Validation(ready.model, ready.images, ready.match, logger, seed=ready.seed)(0)
    return logger.figures(0)


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[tag], b[tag]) for tag in a)


NUMBERS, FIGURES = False, True


@pytest.mark.parametrize(
    ("log_every", "order"),
    [
        (1, [(0, NUMBERS), (1, NUMBERS), (0, FIGURES), (2, NUMBERS), (2, FIGURES)]),
        (100, [(0, NUMBERS), (0, FIGURES), (2, FIGURES), (2, NUMBERS)]),
    ],
)
def test_figures_of_step_0_follow_the_first_logged_step_or_the_next_validation(log_every, order):
    built, logger = recorded(log_every=log_every, trainer__steps=3, evaluation__every=2)
    expected = at_once(built)
    built.run()
    assert logger.order() == [*order, (3, NUMBERS), (3, FIGURES)]
    assert len(expected) > 3
    assert same(logger.figures(0), expected)
    assert not same(logger.figures(2), expected)


@pytest.mark.parametrize("steps", [0, 4])
def test_figures_of_step_0_are_drawn_at_the_end_of_a_run_that_stops_early(steps):
    built, logger = recorded(log_every=100, trainer__steps=steps, evaluation__every=100)
    built.trainer.stop = lambda: built.trainer.step == 2
    built.run()
    assert logger.order()[-1] == (0, True)


class TestFailure:
    @pytest.fixture(params=[RuntimeError, KeyboardInterrupt])
    def failing(self, request):
        built, logger = recorded(log_every=100, trainer__steps=4, evaluation__every=100)

        def fail():
            raise request.param("the training failed")

        built.trainer.stop = fail
        return built, logger

    def test_draws_the_figures_of_step_0(self, failing):
        built, logger = failing
        with pytest.raises(BaseException, match="the training failed"):
            built.run()
        assert logger.figures(0)

    def test_is_reported_if_the_drawing_fails_too(self, failing):
        built, logger = failing

        def fail(*_):
            raise InputError("the drawing failed")

        logger.figure = fail
        with pytest.raises(BaseException, match="the training failed"):
            built.run()


def test_a_failed_drawing_is_an_error_of_the_run():
    built, logger = recorded(trainer__steps=2, evaluation__every=100)

    def fail(*_):
        raise InputError("the drawing failed")

    logger.figure = fail
    with pytest.raises(InputError, match="the drawing failed"):
        built.run()
