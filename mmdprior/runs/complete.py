"""Write the report that a run lacks, from its checkpoint."""

from typing import Any

from mmdprior.build.restore import TrainedRun, open_checkpoint
from mmdprior.errors import InputError
from mmdprior.evaluation import encode, evaluate
from mmdprior.files import write_whole
from mmdprior.metrics import PriorMatch
from mmdprior.runs.read import Run
from mmdprior.runs.report import device_name, write_report

__all__ = ["complete"]


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


def _refuse_unfinished(opened: TrainedRun) -> None:
    """Raise `InputError` for a run that stopped, or still trains, before its last step."""
    step, steps = int(opened.content["step"]), opened.config.trainer.steps
    patience = opened.config.evaluation.patience
    ended_early = patience is not None and int(opened.content.get("stale", 0)) >= patience
    if step < steps and not ended_early:
        raise InputError(f"step {step} of {steps} reached; finish the run first (train --resume)")
