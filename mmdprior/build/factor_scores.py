"""The supervised scores that a config names."""

import warnings
from collections.abc import Callable, Sequence

from mmdprior.build.data import SplitName
from mmdprior.config.schema import Config, DisentanglementSettings
from mmdprior.data import ImageSet
from mmdprior.errors import InputError, InputWarning
from mmdprior.evaluation import FactorScores
from mmdprior.evaluation.supervised import FACTOR_IMAGES, images_of_factors, random_images
from mmdprior.metrics import SupervisedProtocol
from mmdprior.metrics.supervised.scores import QUICK_SCORES, SCORES, available_scores

__all__ = ["check_factor_scores", "final_scores", "images_to_score", "validation_scores"]


def validation_scores(config: Config) -> FactorScores | None:
    """Return the supervised scores of validations, without chance levels; None if they are off.

    Without a choice of the user they are those that fit no trees.
    """
    settings = config.evaluation.disentanglement_settings
    if settings is None:
        return None
    return _factor_scores(settings, settings.scores, QUICK_SCORES, chance=0)


def final_scores(config: Config) -> FactorScores | None:
    """Return the supervised scores at the end of a run; None if they are off.

    Without a choice of the user they are all that the installed packages allow.
    """
    settings = config.evaluation.disentanglement_settings
    if settings is None:
        return None
    return _factor_scores(settings, settings.final_scores, SCORES, chance=settings.chance)


def images_to_score(
    config: Config,
    test: ImageSet,
    open_split: Callable[[SplitName], ImageSet],
    *,
    limit: int | None = None,
    seed: int | None = None,
) -> ImageSet | None:
    """Return the images of the supervised scores at the end of a run; None if they are those of other scores.

    Args:
        config: checked config.
        test: test split of the run, before ``evaluation.limit``.
        open_split: function that returns a split of the data.
        limit: largest number of images; None for that of the config.
        seed: seed of the choice of images; None for that of the config.
    """
    settings = config.evaluation.disentanglement_settings
    seed = config.seed if seed is None else seed
    limit = limit or (FACTOR_IMAGES if settings is None else settings.limit)
    if test.factors is None:
        return None
    if settings is None or settings.split is None:
        return images_of_factors(test, limit, seed) if test.factors.grid else None
    return random_images(open_split(settings.split), limit, seed)


def _factor_scores(
    settings: DisentanglementSettings, names: Sequence[str] | None, default: tuple[str, ...], chance: int
) -> FactorScores:
    scores = available_scores(default) if names is None else tuple(names)
    protocol = SupervisedProtocol(
        n_train=settings.n_train, n_test=settings.n_test, bins=settings.bins, probe=settings.probe
    )
    return FactorScores(scores, dict(settings.kinds), protocol, chance)


def check_factor_scores(config: Config, images: ImageSet) -> None:
    """Check that the scores can be computed, and warn if the images have no known factors.

    Args:
        config: checked config.
        images: images of the run.

    Raises:
        InputError: scikit-learn is missing for a score, or a kind is set for an unknown factor.
    """
    settings, key = config.evaluation.disentanglement_settings, "evaluation.disentanglement"
    if settings is None:
        return
    if images.factors is None:
        text = f"{key}: the data have no known factors, so there are no supervised scores"
        warnings.warn(f"{text}; set it to false, or give data.factors", InputWarning, stacklevel=2)
        return
    for name in settings.kinds:
        if name not in images.factors.kinds:
            known = ", ".join(images.factors.kinds)
            raise InputError(f"{key}.kinds: {name!r} received; the factors of the data are {known}")
    named = (*(settings.scores or ()), *(settings.final_scores or ()))
    missing = sorted({*named} - {*available_scores(named)})
    if missing:
        raise InputError(
            f"{key}: {missing[0]!r} received; it needs scikit-learn, pip install 'mmdprior[metrics]'"
        )
