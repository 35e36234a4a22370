"""Score whatever a user has: a checkpoint, a foreign encoder, a file of codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmdprior.config.build import choose_device
from mmdprior.config.foreign import load_encoder
from mmdprior.config.rebuild import config_of, model_from_checkpoint
from mmdprior.config.sources import SplitName, images_from, split_to_score
from mmdprior.data import thin
from mmdprior.data.arrays import read_codes
from mmdprior.errors import InputError
from mmdprior.evaluation import Codes, Evaluation, encode, evaluate, score_codes
from mmdprior.evaluation.lps import check_codes
from mmdprior.latent import Latent
from mmdprior.training import read_checkpoint

__all__ = ["Scorer"]


@dataclass(frozen=True)
class Scorer:
    """How to score.

    Attributes:
        predictors: of LPS.
        data: other images than the checkpoint's own; see `images_from`.
        split: which part of the data.
        limit: images encoded, evenly spaced.
        batch_size: images at a time.
        seed: of noise, split and predictors.
        device: a torch device, or ``auto``.
    """

    predictors: Sequence[str] = ("linear", "mlp")
    data: str | None = None
    split: SplitName = "test"
    limit: int | None = 10_000
    batch_size: int = 512
    seed: int = 0
    device: str = "auto"

    def codes(self, path: str) -> Evaluation:
        """Score a file of codes."""
        z = check_codes(read_codes(path)).to(choose_device(self.device))
        return score_codes(Codes(Latent(z, z), z[:, :0], ()), self.predictors, seed=self.seed)

    def checkpoint(self, path: str, *, trust: bool = False) -> Evaluation:
        """Rebuild a checkpoint's model and data, and score it; trust lets its targets run."""
        content = read_checkpoint(path)
        config = config_of(content, path, trust=trust)
        device = choose_device(self.device)
        model = model_from_checkpoint(content, config).to(device)
        images = split_to_score(config, self.data, self.split, tuple(content["image_shape"]))
        result, _ = evaluate(
            model,
            thin(images, self.limit),
            predictors=self.predictors,
            seed=self.seed,
            batch_size=self.batch_size,
            device=device,
        )
        return result

    def encoder(
        self, target: str, weights: str | None, posterior: Literal["deterministic", "gaussian"]
    ) -> Evaluation:
        """Score a foreign encoder on ``data``."""
        if self.data is None:
            raise InputError("--data: missing; a foreign encoder needs images to encode")
        device = choose_device(self.device)
        images = images_from(self.data, self.split)
        model = load_encoder(target, weights, posterior, images.image_shape).to(device)
        codes = encode(
            model,
            thin(images, self.limit),
            batch_size=self.batch_size,
            seed=self.seed,
            device=device,
        )
        return score_codes(codes, self.predictors, seed=self.seed)
