"""Score whatever a user has: a checkpoint, codes in a file, a foreign encoder, a saved model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mmdprior.build.builder import Builder, choose_device
from mmdprior.build.data import SplitName, images_from, split_to_score
from mmdprior.build.restore import config_of, model_from_checkpoint
from mmdprior.data import ImageSet, thin
from mmdprior.data.codes import read_latent
from mmdprior.errors import InputError, reason
from mmdprior.evaluation import Codes, Evaluation, encode, evaluate, score_codes
from mmdprior.figures import save_figures
from mmdprior.latent import Latent
from mmdprior.metrics import PriorMatch, Protocol
from mmdprior.metrics.protocol import check_codes
from mmdprior.models import Autoencoder
from mmdprior.naming import short_names
from mmdprior.scoring.external import load_encoder, load_program
from mmdprior.scoring.file_kind import kind_of
from mmdprior.scoring.table import ScoreTable
from mmdprior.training import read_checkpoint

__all__ = ["Scored", "Scorer", "draw", "survey"]

_IMAGES = 10_000

Scored = tuple[Evaluation, Codes]
"""The scores, and the codes they are of."""


@dataclass(frozen=True)
class Scorer:
    """How to score.

    Attributes:
        predictors: of LPS.
        data: other images than the checkpoint's own; see `images_from`.
        split: which part of the data.
        limit: images or codes taken, evenly spaced; None takes 10,000 images, or all codes.
        batch_size: images at a time.
        seed: of noise, split and predictors.
        device: a torch device, or ``auto``.
        posterior: of foreign models: whether their outputs are codes, or means and log-variances.
        trust: run targets named in checkpoints, and models that carry code.
        protocol: of LPS: transform, folds, seeds.
    """

    predictors: Sequence[str] = ("linear", "mlp")
    data: str | None = None
    split: SplitName = "test"
    limit: int | None = None
    batch_size: int = 512
    seed: int = 0
    device: str = "auto"
    posterior: Literal["deterministic", "gaussian"] = "deterministic"
    trust: bool = False
    protocol: Protocol = field(default_factory=Protocol)

    def file(self, path: str) -> Scored:
        """Score whatever a file holds, told by its content."""
        kind = kind_of(path)
        if kind == "codes":
            return self.codes(path)
        return self.checkpoint(path) if kind == "checkpoint" else self.program(path)

    def codes(self, path: str) -> Scored:
        """Score a file of codes; see `read_latent`."""
        device = choose_device(self.device)
        read = read_latent(path, self.limit)
        parts = {"": read.mean}
        if read.log_var is not None:
            parts |= {"sample: ": read.sample, "log_var: ": read.log_var}
        for name, part in parts.items():
            try:
                check_codes(part)
            except InputError as error:
                raise InputError(f"{path}: {name}{str(error).removeprefix('codes: ')}") from None
        mean = read.mean.to(device)
        latent = Latent(mean, mean)
        if read.log_var is not None:
            latent = Latent(read.sample.to(device), mean, read.log_var.to(device))
        return self._score(Codes(latent, mean[:, :0], ()))

    def checkpoint(self, path: str) -> Scored:
        """Rebuild a checkpoint's model, with averaged weights where it has any, and data, and score it."""
        content = read_checkpoint(path)
        config = config_of(content, path, trust=self.trust)
        device = choose_device(self.device)
        model = model_from_checkpoint(content, config).to(device)
        images = split_to_score(config, self.data, self.split, tuple(content["image_shape"]))
        prior = Builder(config, dict(content.get("assets", {}))).intended_prior()
        return evaluate(
            model,
            self._thinned(images),
            predictors=self.predictors,
            match=PriorMatch(prior, n=config.evaluation.match_samples),
            protocol=self.protocol,
            seed=self.seed,
            batch_size=self.batch_size,
            device=device,
            thorough=True,
        )

    def encoder(self, target: str, weights: str | None) -> Scored:
        """Score a foreign encoder on ``data``."""
        images = self._images("a foreign encoder")
        model = load_encoder(target, weights, self.posterior, images.image_shape)
        return self._encode(model.to(choose_device(self.device)), images)

    def program(self, path: str) -> Scored:
        """Score a model that carries its code on ``data``."""
        if not self.trust:  # before anything is asked for that would not help
            load_program(path, self.posterior, (1, 1, 1), choose_device("cpu"), trust=False)
        images, device = self._images(path), choose_device(self.device)
        model = load_program(path, self.posterior, images.image_shape, device, trust=self.trust)
        return self._encode(model, images)

    def _encode(self, model: Autoencoder, images: ImageSet) -> Scored:
        device = choose_device(self.device)
        return self._score(
            encode(model, self._thinned(images), batch_size=self.batch_size, seed=self.seed, device=device)
        )

    def _score(self, codes: Codes) -> Scored:
        result = score_codes(codes, self.predictors, seed=self.seed, protocol=self.protocol, thorough=True)
        return result, codes

    def _images(self, model: str) -> ImageSet:
        if self.data is None:
            raise InputError(f"--data: missing; {model} needs images to encode")
        return images_from(self.data, self.split)

    def _thinned(self, images: ImageSet) -> ImageSet:
        return thin(images, _IMAGES if self.limit is None else self.limit)


def survey(
    scorer: Scorer,
    paths: Sequence[str],
    *,
    out: str | None = None,
    figures: str | None = None,
    log: Callable[[str], None] = print,
) -> ScoreTable:
    """Score every path; see `Scorer.file`.

    Args:
        scorer: how.
        paths: files; one named twice is scored once.
        out: a file of JSON, written anew after every input, so that an interruption costs one alone.
        figures: a folder of figures, with a folder an input.
        log: is given the error line of every input that fails, when it fails.
    """
    found = ScoreTable()
    for path in dict.fromkeys(paths):
        try:
            found.results[path], codes = scorer.file(path)
            if figures is not None:
                draw(figures, path, paths, found.results[path], codes)
        except (InputError, OSError, RuntimeError, MemoryError) as error:
            text = " ".join(str(error).split()) if isinstance(error, InputError | OSError) else reason(error)
            found.errors[path] = text if path in text else f"{path}: {text}"
            log(found.errors[path])
        if out is not None:
            Path(out).write_text(found.to_json() + "\n")
    return found


def draw(folder: str, path: str, paths: Sequence[str], result: Evaluation, codes: Codes) -> None:
    """Write the figures of one of several inputs into a folder of its own, named as in the table."""
    name = short_names(list(dict.fromkeys(paths)))[path].replace("/", "_")
    save_figures(result, codes, Path(folder) / name)
