"""A run in a few lines: before training, after it, and in a dry run."""

from pathlib import Path

from mmdprior.data.source import sample_kind
from mmdprior.evaluation import Evaluation
from mmdprior.runs.experiment import Experiment
from mmdprior.training.retention import last_checkpoint

__all__ = ["final_lines", "first_lines", "stopped_line", "summary"]


def first_lines(experiment: Experiment) -> str:
    """Return directory, device and penalty of a run, for the start of its training.

    Args:
        experiment: the run.
    """
    trainer = experiment.trainer
    return f"run {experiment.directory} on {trainer.device}\npenalty: {trainer.regularizer.describe()}"


def stopped_line(experiment: Experiment) -> str:
    """Return where a run was stopped, and the command that continues it.

    Args:
        experiment: the run.
    """
    step, directory = experiment.trainer.step, experiment.directory
    return f"stopped at step {step}; to continue: mmdprior train --resume {directory}"


def final_lines(experiment: Experiment, result: Evaluation | None) -> str:
    """Return the scores of a run and its last checkpoint.

    Args:
        experiment: the run, after training.
        result: scores of the test split.
    """
    config = experiment.config
    head = f"test split of {config.slots['data'].title}, {config.name}, step {experiment.trainer.step}"
    return f"{head}\n{result}\ncheckpoint {last_checkpoint(experiment.directory or Path())}"


def summary(experiment: Experiment) -> str:
    """Return what a run would do: data, model, penalty and training.

    Args:
        experiment: the run, before training.

    Example:
        >>> from mmdprior.config.load import make_config
        >>> from mmdprior.runs import assemble
        >>> raw = {
        ...     "name": "small",
        ...     "data": {"name": "sprites", "images": 200, "batch_size": 16, "validation": 40, "test": 40},
        ...     "model": {"name": "mlp", "hidden": [8], "latent_dim": 2},
        ...     "regularizer": {"name": "none"},
        ...     "trainer": {"steps": 20, "device": "cpu"},
        ... }
        >>> print(summary(assemble(make_config(raw), progress=False)))
        config    small, seed 0
        data      sprites: 120 training, 40 validation, 40 test images of 1 x 64 x 64
        model     mlp, d = 2, deterministic posterior, 69,682 parameters
        penalty   NoPenalty
        training  20 steps of 16 images (2.7 epochs) on cpu
        One batch passed through all parts. Nothing was trained or written.
    """
    config, trainer, splits = experiment.config, experiment.trainer, experiment.splits
    shape = splits.train.image_shape
    kind = sample_kind(shape)
    size = config.data.batch_size
    parameters = sum(p.numel() for p in trainer.model.parameters())
    encoder, decoder = (config.slots[f"model.{part}"].title for part in ("encoder", "decoder"))
    networks = encoder if encoder == decoder else f"{encoder} and {decoder}"
    posterior = config.slots["model.posterior"].title
    epochs = trainer.steps * size / len(splits.train)
    lines = {
        "config": f"{config.name}, seed {config.seed}",
        "data": f"{config.slots['data'].title}: {len(splits.train)} training, {len(splits.validation)} "
        f"validation, {len(splits.test)} test {kind} of {' x '.join(map(str, shape))}",
        "model": f"{networks}, d = {config.model.latent_dim}, {posterior} posterior, "
        f"{parameters:,} parameters",
        "penalty": trainer.regularizer.describe(),
        "training": f"{trainer.steps} steps of {size} {kind} ({epochs:.1f} epochs) on {trainer.device}",
    }
    text = "\n".join(f"{name:<9} {line}" for name, line in lines.items())
    return f"{text}\nOne batch passed through all parts. Nothing was trained or written."
