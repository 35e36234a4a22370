"""What a run looks at while it trains."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from mmdprior.data import ImageSet
from mmdprior.evaluation import PriorMatch, Protocol, evaluate
from mmdprior.models import Autoencoder
from mmdprior.reporting import Panels
from mmdprior.training.loggers import Logger

__all__ = ["Validation"]


@dataclass
class Validation:
    """Scores the model on held-out images and sends pictures to the logger.

    Attributes:
        model: on ``device``.
        images: the validation split.
        match: to the intended prior.
        logger: takes the pictures; the numbers are returned.
        predictors: of LPS; cheap ones, since this runs during training.
        seed: of the scores.
        batch_size: images at a time.
        device: where to compute.
        pictures: draw them, where the logger keeps them.
    """

    model: Autoencoder
    images: ImageSet
    match: PriorMatch
    logger: Logger
    predictors: Sequence[str] = ("linear",)
    seed: int = 0
    batch_size: int = 512
    device: torch.device | str = "cpu"
    pictures: bool = True

    def __call__(self, step: int) -> dict[str, float]:
        """Return numbers by tag."""
        result, codes = evaluate(
            self.model,
            self.images,
            predictors=self.predictors,
            match=self.match,
            protocol=Protocol.quick(),
            seed=self.seed,
            batch_size=self.batch_size,
            device=self.device,
        )
        if self.pictures and self.logger.pictures:
            for tag, image in self._panels.draw(self.model, codes).items():
                self.logger.image(tag, image, step)
            for tag, figure in self._panels.figures(result, codes).items():
                self.logger.figure(tag, figure, step)
            for tag, values in self._panels.histograms(codes).items():
                self.logger.histogram(tag, values, step)
        return result.scalars()

    @cached_property
    def _panels(self) -> Panels:
        return Panels(self.images, self.match.prior, self.device)
