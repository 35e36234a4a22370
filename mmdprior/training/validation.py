"""Scores of the model on held-out images during training."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from mmdprior.data import ImageSet
from mmdprior.evaluation import (
    Codes,
    Evaluation,
    FactorScores,
    Reconstruction,
    add_reconstruction,
    encode_and_reconstruct,
    score_codes,
)
from mmdprior.figures import Panels
from mmdprior.metrics import PriorMatch, Protocol
from mmdprior.models import Autoencoder
from mmdprior.seeding import global_generators_kept
from mmdprior.training.loggers import Logger
from mmdprior.world import World

__all__ = ["Validation"]


@dataclass
class Validation:
    """Scores the model on held-out images, and sends pictures to the logger.

    Attributes:
        model: model on ``device``.
        images: validation split.
        match: comparison of the codes with the intended prior.
        logger: receives the pictures. The numbers are returned.
        predictors: predictors of LPS. Fast ones suffice, since this runs during training.
        seed: seed of posterior noise and scores.
        batch_size: images per forward pass.
        device: device of the model.
        world: ranks that share the encoding. Rank 0 scores and draws.
        pictures: draw pictures, if the logger keeps them.
        groups: label of the images that is equal for dependent ones, ``blocks`` for images in time order, or
            None for independent images.
        factor_scores: supervised scores of images with known factors; None for none.
        defer_first: whether the figures of step 0 are drawn by `draw_deferred` or the next call, so that
            training starts a second earlier.

    Example:
        >>> from torch import nn
        >>> from mmdprior.data import InMemory
        >>> from mmdprior.priors import Gaussian
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        >>> decoder = nn.Sequential(nn.Linear(2, 64), nn.Unflatten(1, (1, 8, 8)))
        >>> images = InMemory(torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8))
        >>> validate = Validation(Autoencoder(encoder, decoder), images, PriorMatch(Gaussian(2)), Logger())
        >>> numbers = validate(step=0)
        >>> {"reconstruction/psnr", "lps/linear", "match/mmd_standardised"} <= numbers.keys()
        True
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
    groups: str | None = None
    factor_scores: FactorScores | None = None
    defer_first: bool = False

    def __post_init__(self) -> None:
        self._deferred: tuple[Evaluation, Codes] | None = None

    def __call__(self, step: int) -> dict[str, float]:
        """Return scores by TensorBoard tag, equal on every rank.

        Args:
            step: training step, under which pictures are logged.
        """
        codes, error = encode_and_reconstruct(
            self.model,
            self.images,
            batch_size=self.batch_size,
            seed=self.seed,
            device=self.device,
            world=self.world,
        )
        # Scores may draw from the global generators. Restoring these afterwards makes training independent of
        # how often it is validated.
        with global_generators_kept(self.device):
            # Only rank 0 scores, and its numbers go to all: they decide about early stopping, which all ranks
            # must do at the same step.
            return self.world.from_main(lambda: self._score(codes, error, step))

    def _score(self, codes: Codes, error: Reconstruction, step: int) -> dict[str, float]:
        quick, groups = Protocol.quick(), self.groups
        scored = score_codes(codes, self.predictors, protocol=quick, seed=self.seed, groups=groups)
        result = add_reconstruction(scored, codes, error, self.match, groups=groups)
        if self.factor_scores is not None:
            result = replace(result, disentanglement=self.factor_scores(codes, seed=self.seed))
        self.draw_deferred()
        if self.pictures and self.logger.pictures:
            for tag, image in self._panels.draw(self.model, codes).items():
                self.logger.image(tag, image, step)
            for tag, values in self._panels.histograms(codes).items():
                self.logger.histogram(tag, values, step)
            if self.defer_first and step == 0:
                self._deferred = result, codes
            else:
                self._draw_figures(result, codes, step)
        return result.scalars()

    def draw_deferred(self) -> None:
        """Draw the figures of step 0, if they have not been drawn yet."""
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            self._draw_figures(*deferred, step=0)

    def _draw_figures(self, result: Evaluation, codes: Codes, step: int) -> None:
        for tag, figure in self._panels.figures(result, codes).items():
            self.logger.figure(tag, figure, step)

    @cached_property
    def _panels(self) -> Panels:
        return Panels(self.images, self.match.prior, self.device)
