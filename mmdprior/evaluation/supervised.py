"""Supervised scores of the codes of images with known factors."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mmdprior.data import ImageSet, KnownFactors, Subset
from mmdprior.data.splits import whole_set
from mmdprior.errors import DATA_LOG
from mmdprior.evaluation.encode import Codes
from mmdprior.metrics.supervised.disentanglement import Disentanglement, disentanglement
from mmdprior.metrics.supervised.factors import Factors, Kind
from mmdprior.metrics.supervised.table import SupervisedProtocol
from mmdprior.seeding import stream

__all__ = ["FACTOR_IMAGES", "FactorScores", "images_of_factors", "random_images"]

_log = logging.getLogger(DATA_LOG)
FACTOR_IMAGES = 50_000
"""Images of a grid of factors that are scored unless another number is set."""
_MIN_ROWS = 4


@dataclass(frozen=True)
class FactorScores:
    """Computes supervised scores of codes, from the factors of their images or from a table of factors.

    Attributes:
        scores: names of scores; None for all.
        kinds: kinds of factors by name, in place of the declared ones; see `mmdprior.disentanglement`.
        protocol: sizes and choices of the scores.
        chance: number of copies with shuffled factors that measure the chance levels.

    Example:
        >>> import torch
        >>> from mmdprior import Latent
        >>> from mmdprior.data import KnownFactors
        >>> from mmdprior.evaluation import Codes, FactorScores
        >>> factors = torch.randint(0, 4, (500, 2))
        >>> z = factors + 0.1 * torch.randn(500, 2)
        >>> known = KnownFactors({"size": "ordinal", "hue": "ordinal"})
        >>> codes = Codes(Latent(z, z), factors, ("size", "hue"), known)
        >>> FactorScores(["mig"], chance=0)(codes).scores["mig"] > 0.9
        True
    """

    scores: Sequence[str] | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    protocol: SupervisedProtocol = field(default_factory=SupervisedProtocol)
    chance: int = 1

    def __call__(
        self, codes: Codes, factors: Factors | None = None, *, seed: int = 0
    ) -> Disentanglement | None:
        """Return the scores of mean codes; None without known factors, or for fewer than four codes.

        What makes a score doubtful is in the ``warnings`` of the result; Python's warnings are not used.

        Args:
            codes: codes of images, with their labels.
            factors: table of factors, one row per code, in place of the known factors of the images.
            seed: seed of split, votes, probes and copies.

        Raises:
            InputError: factors that do not fit the codes, or scikit-learn is missing for a score.
        """
        settings: dict[str, Any] = {"kinds": dict(self.kinds)}
        if factors is None:
            if codes.factors is None or len(codes.labels) < _MIN_ROWS:
                return None
            factors, settings = self._known(codes, codes.factors)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return disentanglement(
                codes.latent.mean,
                factors,
                scores=self.scores,
                protocol=self.protocol,
                chance=self.chance,
                seed=seed,
                **settings,
            )

    def _known(self, codes: Codes, known: KnownFactors) -> tuple[Factors, dict[str, Any]]:
        """Return the known factors by name, and what their values mean. A grid has no missing values."""
        columns = known.columns(codes.labels, codes.label_names)
        kinds = {name: kind for name, kind in known.kinds.items() if kind is not None and name in columns}
        kinds |= self.kinds
        periods = {name: period for name, period in known.periods.items() if kinds.get(name) == "circular"}
        missing = None if known.grid else "auto"
        return columns, {"kinds": kinds, "periods": periods, "missing": missing}


def images_of_factors(images: ImageSet, limit: int, seed: int = 0) -> ImageSet:
    """Return the images for supervised scores by default: all of a grid of factors, otherwise the given ones.

    Args:
        images: images to score, such as a test split.
        limit: largest number of images; see `random_images`.
        seed: seed of the choice.

    Example:
        >>> from mmdprior.data import make_splits, sprites
        >>> from mmdprior.evaluation.supervised import images_of_factors
        >>> test = make_splits(sprites(images=500), test=0.2).test
        >>> len(images_of_factors(test, limit=1000)), len(images_of_factors(test, limit=300))
        (500, 300)
    """
    is_grid = images.factors is not None and images.factors.grid
    return random_images(whole_set(images) if is_grid else images, limit, seed)


def random_images(images: ImageSet, limit: int, seed: int = 0) -> ImageSet:
    """Return at most ``limit`` random images, in their order, and log if that leaves some out.

    Evenly spaced rows of a grid would have only some levels of a factor.
    """
    if len(images) <= limit:
        return images
    rows = torch.randperm(len(images), generator=stream(seed, "factors"))[:limit].sort().values
    _log.info("factors: %d of %d images are scored, chosen at random", limit, len(images))
    return Subset(images, rows)
