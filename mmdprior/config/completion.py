"""Write the report that a run lacks, from its checkpoint; and open a trained model with its prior."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmdprior.config.build import Builder, choose_device
from mmdprior.config.load import parse_value
from mmdprior.config.prior_builder import PriorBuilder
from mmdprior.config.rebuild import config_of, model_from_checkpoint
from mmdprior.config.schema import Config
from mmdprior.config.slots import check_slot
from mmdprior.config.sources import split_to_score
from mmdprior.data import ImageSet, thin
from mmdprior.errors import InputError
from mmdprior.evaluation import PriorMatch, encode, evaluate
from mmdprior.models import Autoencoder
from mmdprior.priors import Prior
from mmdprior.reporting import Run
from mmdprior.reporting.run_report import write_report
from mmdprior.training import read_checkpoint
from mmdprior.training.facts import device_name
from mmdprior.training.retention import LAST
from mmdprior.training.run_directory import write_whole

__all__ = ["Opened", "complete", "open_checkpoint"]


@dataclass(frozen=True)
class Opened:
    """A trained model, and what belongs to it.

    Attributes:
        config: of its run.
        content: of the checkpoint.
        model: on ``device``.
        prior: the intended one.
        device: where to compute.
    """

    config: Config
    content: dict[str, Any]
    model: Autoencoder
    prior: Prior
    device: torch.device

    def images(self, data: str | None = None, limit: int | None = None) -> ImageSet:
        """Return test images of the run's data, or of other data; see `split_to_score`."""
        return thin(split_to_score(self.config, data, "test", tuple(self.content["image_shape"])), limit)

    def other_prior(self, source: str) -> Prior:
        """Return a prior that is named as in YAML, of the model's dimensions.

        Raises:
            InputError: no prior, or one of other dimensions.
        """
        named = ":" in source and not source.lstrip().startswith("{")
        value = {"target": source} if named else parse_value(source, "--prior")
        prior = PriorBuilder().build(check_slot("prior", value, "--prior", Path()), self.prior.dim)
        if prior.dim != self.prior.dim:
            raise InputError(f"--prior: dim {prior.dim} received; the model's latent has {self.prior.dim}")
        return prior


def open_checkpoint(path: str | Path, *, device: str = "auto", trust: bool = False) -> Opened:
    """Rebuild the model of a checkpoint, or of a run's last checkpoint, with its intended prior.

    Args:
        path: a ``.pt`` file or a run directory.
        device: a torch device, or ``auto``.
        trust: run targets that the checkpoint names.
    """
    file = Path(path) / "checkpoints" / LAST if Path(path).is_dir() else Path(path)
    content = read_checkpoint(file)
    config = config_of(content, str(file), trust=trust)
    where = choose_device(device)
    model = model_from_checkpoint(content, config).to(where)
    prior = Builder(config, dict(content.get("assets", {}))).intended_prior()
    return Opened(config, content, model, prior, where)


def complete(run: Run, *, data: str | None = None, device: str = "auto", trust: bool = False) -> None:
    """Write whatever a run's ``report/`` lacks: scores of the test split, codes, pictures and facts.

    Scores that are there are left as they are.

    Args:
        run: with a checkpoint.
        data: where the run's data lie now; see `split_to_score`.
        device: a torch device, or ``auto``.
        trust: run targets that the checkpoint names.

    Raises:
        InputError: no checkpoint, or data that are not there.
    """
    opened = open_checkpoint(run.directory, device=device, trust=trust)
    _refuse_unfinished(opened)
    settings, report = opened.config.evaluation, run.directory / "report"
    images = opened.images(data, limit=settings.limit)
    common: dict[str, Any] = {
        "seed": opened.config.seed,
        "batch_size": settings.batch_size,
        "device": opened.device,
    }
    scores = None
    if run.test:
        codes = encode(opened.model, images, **common)
    else:
        match = PriorMatch(opened.prior, n=settings.match_samples)
        scores, codes = evaluate(
            opened.model, images, predictors=settings.final_predictors, match=match, **common
        )
    report.mkdir(exist_ok=True)
    known = {"versions": opened.content.get("versions", {}), "completed_on": device_name(opened.device)}
    write_report(
        report,
        model=opened.model,
        images=images,
        codes=codes,
        prior=opened.prior,
        facts={**known, **run.facts},
        batch_size=settings.batch_size,
        device=opened.device,
    )
    if scores is not None:  # last: it marks the run as finished
        write_whole(report / "test.json", scores.to_json() + "\n")


def _refuse_unfinished(opened: Opened) -> None:
    """Raise `InputError` for a run that stopped, or still trains, before its last step."""
    step, steps = int(opened.content["step"]), opened.config.trainer.steps
    patience = opened.config.evaluation.patience
    ended_early = patience is not None and int(opened.content.get("stale", 0)) >= patience
    if step < steps and not ended_early:
        raise InputError(f"step {step} of {steps} reached; finish the run first (train --resume)")
