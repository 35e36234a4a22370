"""What a run looks at while it trains."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch

from mmdprior.data import ImageSet
from mmdprior.evaluation import Codes, Reconstruction, add_reconstruction, encode_and_reconstruct, score_codes
from mmdprior.figures import Panels
from mmdprior.metrics import PriorMatch, Protocol
from mmdprior.models import Autoencoder
from mmdprior.training.loggers import Logger
from mmdprior.world import World

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
        world: the processes that share the encoding; the main one scores and draws.
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
    world: World = field(default_factory=World)
    pictures: bool = True

    def __call__(self, step: int) -> dict[str, float]:
        """Return numbers by tag, the same in every process."""
        codes, error = encode_and_reconstruct(
            self.model,
            self.images,
            batch_size=self.batch_size,
            seed=self.seed,
            device=self.device,
            world=self.world,
        )
        cuda = [self.device] if torch.device(self.device).type == "cuda" else []
        with torch.random.fork_rng(cuda):
            return self.world.from_main(lambda: self._score(codes, error, step))

    def _score(self, codes: Codes, error: Reconstruction, step: int) -> dict[str, float]:
        scored = score_codes(codes, self.predictors, protocol=Protocol.quick(), seed=self.seed)
        result = add_reconstruction(scored, codes, error, self.match)
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
