"""Completion of a run's report from its checkpoint."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmdprior.build.data import SplitName
from mmdprior.build.factor_scores import final_scores, images_to_score
from mmdprior.build.restore import TrainedRun, checkpoint_file, config_of, open_checkpoint
from mmdprior.config.load import dump_config
from mmdprior.data import ImageSet
from mmdprior.errors import InputError
from mmdprior.evaluation import Codes, Evaluation, encode, evaluate
from mmdprior.figures.factor_map import factors_followed
from mmdprior.files import write_whole
from mmdprior.metrics import PriorMatch
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.read import Run, read_run
from mmdprior.runs.report import device_name, write_report
from mmdprior.training import read_checkpoint

__all__ = ["complete", "make_run"]


def complete(run: Run, *, data: str | None = None, device: str = "auto", trust: bool = False) -> None:
    """Write what is missing in the report of a run: scores of the test split, codes, pictures and facts.

    Existing scores are not changed.

    Args:
        run: finished run with a checkpoint.
        data: path of the run's data, if it has moved since; see `split_to_score`.
        device: a torch device, or ``auto``.
        trust: allow targets that the checkpoint names, whose code then runs.

    Raises:
        InputError: no checkpoint, no data, or a run that has not reached its last step.
    """
    trained = open_checkpoint(run.directory, device=device, trust=trust)
    _check_finished(trained)
    settings, directory = trained.config.evaluation, RunDirectory(run.directory)
    images = trained.images(data, limit=settings.limit, split="test", moved=True)
    common: dict[str, Any] = {
        "seed": trained.config.seed,
        "batch_size": settings.batch_size,
        "device": trained.device,
    }
    scores = None
    if run.test:
        codes = encode(trained.model, images, **common)
    else:
        match = PriorMatch(trained.prior, n=settings.match_samples)
        scores, codes = evaluate(
            trained.model,
            images,
            predictors=settings.final_predictors,
            match=match,
            groups=settings.groups,
            **common,
        )
        scores = _with_factors(scores, codes, trained, data, common)
    supervised = run.test.get("disentanglement") if scores is None else scores.disentanglement
    known = {"versions": trained.content.get("versions", {}), "completed_on": device_name(trained.device)}
    write_report(
        directory,
        model=trained.model,
        images=images,
        codes=codes,
        prior=trained.prior,
        facts={**known, **run.facts},
        batch_size=settings.batch_size,
        device=trained.device,
        followed=factors_followed(supervised) if supervised else (),
    )
    if scores is not None:  # written last: this file marks the run as finished
        write_whole(directory.scores, scores.to_json() + "\n")


def make_run(path: Path, *, command: Sequence[str], device: str = "auto") -> None:
    """Make a run directory of a folder that holds nothing but ``checkpoints/last.pt``: config and report.

    Args:
        path: the folder. Targets that the checkpoint names are imported.
        command: command that made the checkpoint.
        device: a torch device, or ``auto``.

    Raises:
        InputError: no checkpoint, or no data.
    """
    directory = RunDirectory(path).create()
    content = read_checkpoint(checkpoint_file(path))
    write_whole(directory.config, dump_config(config_of(content, str(path), trust=True)))
    directory.record_command(command)
    complete(read_run(path), device=device, trust=True)


def _with_factors(
    scores: Evaluation, codes: Codes, trained: TrainedRun, data: str | None, common: dict[str, Any]
) -> Evaluation:
    """Return the scores with the supervised scores that the config names."""
    factor_scores = final_scores(trained.config)
    if factor_scores is None:
        return scores

    def open_split(split: SplitName) -> ImageSet:
        return trained.images(data, split=split, moved=True)

    chosen = images_to_score(trained.config, open_split("test"), open_split)
    labelled = codes if chosen is None else encode(trained.model, chosen, **common)
    return replace(scores, disentanglement=factor_scores(labelled, seed=trained.config.seed))


def _check_finished(trained: TrainedRun) -> None:
    """Raise `InputError` for a run that has not reached its last step and did not stop early."""
    step, steps = int(trained.content["step"]), trained.config.trainer.steps
    patience = trained.config.evaluation.patience
    stopped_early = patience is not None and int(trained.content.get("stale", 0)) >= patience
    if step < steps and not stopped_early:
        raise InputError(f"step {step} of {steps} reached; finish the run first (train --resume)")
