"""Assemble a run: build and check all its objects from a config."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmdprior.build.assets import read_assets
from mmdprior.build.builder import Builder
from mmdprior.build.construct import error_path
from mmdprior.build.data import changed_sizes, open_splits
from mmdprior.build.device import choose_device
from mmdprior.build.dry_run import dry_run
from mmdprior.build.factor_scores import check_factor_scores, validation_scores
from mmdprior.config.load import dump_config
from mmdprior.config.schema import Config
from mmdprior.data import (
    Augmentation,
    Batches,
    ImageSet,
    ResidentBatches,
    Splits,
    StreamingBatches,
    labelled_subset,
    thin,
)
from mmdprior.data.batches import fits_in_memory
from mmdprior.data.source import load_into_memory, sample_kind
from mmdprior.errors import InputError, InputWarning
from mmdprior.evaluation.evaluation import check_group_label
from mmdprior.files import write_whole
from mmdprior.metrics import PriorMatch
from mmdprior.metrics.checks import rows_needed
from mmdprior.models import Autoencoder
from mmdprior.predictors import PREDICTORS
from mmdprior.priors import Prior
from mmdprior.regularizers import Regularizer
from mmdprior.runs.directory import RunDirectory, create_run_directory
from mmdprior.runs.experiment import Experiment
from mmdprior.runs.heap import keep_freed_memory
from mmdprior.training import (
    AdaptiveSchedule,
    Checkpointing,
    JSONLines,
    Logger,
    Loggers,
    ModelSelection,
    Numerics,
    Trainer,
    Validation,
    WeightAverage,
    join,
)
from mmdprior.training.auxiliary import auxiliary_optimizer, prepare
from mmdprior.training.losses import observed
from mmdprior.training.muon import MATRIX_RATE, Muon, hidden_weights
from mmdprior.training.settings import faster_layout, faster_precision
from mmdprior.world import World

__all__ = ["assemble"]


def assemble(
    config: Config,
    directory: Path | None = None,
    resume: Mapping[str, Any] | None = None,
    *,
    runs: str | Path | None = None,
    progress: bool = True,
) -> Experiment:
    """Build all objects of a run from its config, without training. Under torchrun every rank builds its own.

    Args:
        config: checked config.
        directory: run directory. Without it and without ``runs``, nothing is written.
        resume: content of a checkpoint of this run, to continue from.
        runs: folder in which a new run directory is created, after all that can fail has been built.
        progress: show a progress bar.

    Raises:
        InputError: parts that do not fit together: data, model, prior, device.

    Example:
        >>> from mmdprior.config import load_config
        >>> _ = Path("small.yaml").write_text(
        ...     "name: small\\ndata: {name: sprites, images: 400, batch_size: 16}\\n"
        ...     "model: {name: mlp, hidden: [8], latent_dim: 4}\\n"
        ...     "regularizer: {name: mmd, prior: gaussian}\\n"
        ...     "trainer: {steps: 2, device: cpu}\\n"
        ... )
        >>> experiment = assemble(load_config("small.yaml"), progress=False)
        >>> len(experiment.splits.test), experiment.trainer.steps
        (40, 2)
    """
    with error_path("trainer"):
        chosen = choose_device(config.trainer.device)
    world, device = join(chosen)
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(config.seed)
    np.random.seed(config.seed % 2**32)
    parts = _build(config, resume, world, device)
    if runs is not None:
        # One rank names the directory; otherwise each would create its own.
        directory = world.from_main(lambda: create_run_directory(runs, config.name))
    logger = _logger(parts.builder, directory if world.main else None, resume)
    match = PriorMatch(parts.prior, n=config.evaluation.match_samples)
    trainer = _trainer(config, parts, match, logger, directory, progress=progress)
    if resume is not None:
        trainer.load_state_dict(resume)
    return Experiment(config, parts.splits, parts.stored, trainer, match, logger, directory)


@dataclass(frozen=True)
class _Parts:
    """Objects that are built before the run directory exists, since building them may fail.

    Attributes:
        builder: builder of the config, for schedules and assets.
        regularizer: penalty on ``device``.
        prior: intended prior.
        splits: training, validation and test images.
        stored: the same splits, before they were loaded into memory.
        batches: training batches of this rank.
        labelled: batches of the labelled images; None where all labels may be used.
        model: autoencoder on ``device``.
        world: ranks that train together.
        device: device of the run.
        numerics: precision and layout of the networks.
    """

    builder: Builder
    regularizer: Regularizer
    prior: Prior
    splits: Splits
    stored: Splits
    batches: Batches
    labelled: Batches | None
    model: Autoencoder
    world: World
    device: torch.device
    numerics: Numerics


def _build(config: Config, resume: Mapping[str, Any] | None, world: World, device: torch.device) -> _Parts:
    """Build data, model and regularizer, and check in a dry run that they fit together."""
    builder = Builder(config, read_assets(config) if resume is None else resume["assets"])
    regularizer = builder.regularizer().to(device)
    prior = builder.intended_prior()
    stored, splits, batches = _data(config, device, world)
    if resume is not None and (change := changed_sizes(stored, resume.get("split_sizes"))):
        raise InputError(f"data: {change}; restore the data, because another split would mix the images")
    labelled = _labelled_batches(config, splits.train, device, world)
    check_group_label(config.evaluation.groups, splits.validation.label_names, "evaluation.groups")
    check_factor_scores(config, splits.validation)
    # A new model computes its linear skip from the training images. A resumed one finds it in the checkpoint.
    images = splits.train if resume is None else None
    model = builder.model(splits.train.image_shape, images).to(device)
    prepare(regularizer, model, splits.train, None if labelled is None else labelled.images)
    dry_run(
        model,
        regularizer,
        splits.train,
        latent_dim=config.model.latent_dim,
        batch_size=config.data.batch_size,
        device=device,
    )
    numerics = _numerics(config, model, splits.train.image_shape, device)
    if numerics.channels_last:
        model.to(memory_format=torch.channels_last)
    builder.check_clients()
    if config.trainer.optimizer == "muon" and not hidden_weights(model):
        _warn("trainer.optimizer: muon received; the networks have only last layers, which AdamW trains")
    rates = builder.schedule("trainer.schedule")
    if isinstance(rates, AdaptiveSchedule):
        raise InputError(
            f"trainer.schedule: {type(rates).__name__} received for the learning rate; give it as "
            "regularizer.schedule, because it adjusts the weight of a penalty"
        )
    schedule = builder.schedule("regularizer.schedule")
    if isinstance(schedule, AdaptiveSchedule):
        if config.regularizer.weight == 0:
            _warn("regularizer.schedule: has no effect at weight 0; give a positive regularizer.weight")
        zero = torch.zeros(())
        quantities = observed(zero, zero, regularizer.terms, model.likelihood, splits.train.image_shape)
        with error_path("regularizer.schedule"):
            schedule.check(quantities.keys())
    return _Parts(
        builder, regularizer, prior, splits, stored, batches, labelled, model, world, device, numerics
    )


def _warn(text: str) -> None:
    warnings.warn(text, InputWarning, stacklevel=3)


def _numerics(
    config: Config, model: Autoencoder, image_shape: tuple[int, ...], device: torch.device
) -> Numerics:
    """Return precision and layout of the networks, with ``auto`` replaced by what is faster on the device."""
    settings = config.trainer
    if settings.channels_last is True and len(image_shape) != 3:
        raise InputError(
            "trainer.channels_last: true received; give false, because only images have this layout"
        )
    return Numerics(
        faster_precision(device) if settings.precision == "auto" else settings.precision,
        faster_layout(model, image_shape) if settings.channels_last == "auto" else settings.channels_last,
        settings.compile,
        settings.accumulate,
    )


def _logger(builder: Builder, directory: Path | None, resume: Mapping[str, Any] | None) -> Logger:
    """Write the config of a new run, and return the logger of its directory."""
    if directory is None:
        return Logger()
    run = RunDirectory(directory)
    start = 0 if resume is None else resume["step"]
    if resume is None:
        write_whole(run.config, dump_config(builder.config))
    return Loggers([JSONLines(run.metrics, start), *builder.loggers(run.path, start)])


def _trainer(
    config: Config,
    parts: _Parts,
    match: PriorMatch,
    logger: Logger,
    directory: Path | None,
    *,
    progress: bool,
) -> Trainer:
    model, regularizer = parts.model, parts.regularizer
    average = None if config.trainer.average is None else WeightAverage(model, config.trainer.average)
    validation = _validation(config, parts, model if average is None else average.model, match, logger)
    return Trainer(
        model=model,
        regularizer=regularizer,
        batches=parts.batches,
        labelled=parts.labelled,
        optimizer=_optimizer(config, model, regularizer),
        auxiliary_optimizer=auxiliary_optimizer(
            regularizer, config.trainer.auxiliary_learning_rate, config.trainer.auxiliary_betas
        ),
        weight_schedule=parts.builder.schedule("regularizer.schedule"),
        learning_rate_schedule=parts.builder.schedule("trainer.schedule"),
        average=average,
        validate=validation,
        deferred=validation.draw_deferred,
        checkpointing=_checkpointing(config, parts, directory),
        device=parts.device,
        numerics=parts.numerics,
        world=parts.world,
        logger=logger,
        callbacks=parts.builder.callbacks(),
        progress=progress and parts.world.main,
        **_trainer_settings(config),
    )


def _validation(
    config: Config, parts: _Parts, model: Autoencoder, match: PriorMatch, logger: Logger
) -> Validation:
    return Validation(
        model,
        thin(parts.splits.validation, config.evaluation.limit),
        match,
        logger,
        predictors=config.evaluation.predictors,
        seed=config.seed,
        batch_size=config.evaluation.batch_size,
        device=parts.device,
        world=parts.world,
        pictures=config.evaluation.pictures,
        groups=config.evaluation.groups,
        factor_scores=validation_scores(config),
        defer_first=True,
    )


def _checkpointing(config: Config, parts: _Parts, directory: Path | None) -> Checkpointing:
    return Checkpointing(
        folder=None if directory is None else RunDirectory(directory).checkpoints,
        every=config.trainer.checkpoint_every,
        keep_every=config.trainer.keep_every,
        keep_last=config.trainer.keep_last,
        metadata={
            "config": config.to_dict(),
            "image_shape": list(parts.splits.train.image_shape),
            "assets": parts.builder.assets,
            "value_ranges": {name: list(limits) for name, limits in parts.stored.value_ranges.items()},
            "split_sizes": list(parts.stored.sizes),
        },
    )


def _trainer_settings(config: Config) -> dict[str, Any]:
    """Return the arguments of the trainer that are plain values of the config."""
    settings = config.trainer
    return {
        "steps": settings.steps,
        "seed": config.seed,
        "weight": config.regularizer.weight,
        "gradient_clip": settings.gradient_clip,
        "flow_only": config.model.flow_training == "flow_only",
        "log_every": settings.log_every,
        "selection": ModelSelection(
            config.evaluation.every, config.evaluation.monitor, config.evaluation.patience
        ),
    }


def _data(config: Config, device: torch.device, world: World) -> tuple[Splits, Splits, Batches]:
    """Open the data. Return its splits as stored, its splits as loaded, and the training batches."""
    # One process per machine downloads; the others then find the files.
    stored = world.local_main_first(lambda: open_splits(config.slots["data"], config.data))
    _check_sizes(config, stored, world)
    settings, seed = config.data, config.seed
    resident = settings.resident
    if resident == "auto":  # one answer for all ranks
        resident = not world.any(not fits_in_memory(stored.train, device))
    size, augmentation = settings.batch_size, Augmentation(settings.flip, settings.shift)
    with error_path("data"):
        augmentation.check(stored.train.image_shape)
    if not resident:
        workers = settings.workers
        batches = StreamingBatches(stored.train, size, seed, device, workers, augmentation, world)
        return stored, stored, batches
    splits = Splits(
        load_into_memory(stored.train),
        load_into_memory(stored.validation),
        load_into_memory(stored.test),
    )
    return stored, splits, ResidentBatches(splits.train, size, seed, device, augmentation, world)


def _labelled_batches(config: Config, train: ImageSet, device: torch.device, world: World) -> Batches | None:
    """Return the batches of the labelled images; None without ``data.labelled``."""
    settings = config.data.labelled
    if settings is None:
        return None
    few = labelled_subset(
        train, settings.count, settings.fraction, stratify=settings.stratify, seed=settings.seed
    )
    size = min(settings.batch_size, len(few))
    with error_path("data.labelled"):
        if size % world.size:
            raise InputError(f"batch_size: {size} received; give a multiple of the {world.size} processes")
        augmentation = Augmentation(config.data.flip, config.data.shift)
        return ResidentBatches(few, size, config.seed, device, augmentation, world)


def _check_sizes(config: Config, splits: Splits, world: World) -> None:
    """Check that the monitored score has enough images, and that ranks and parts share batches evenly."""
    needed = rows_needed(config.model.latent_dim)
    sizes = {"data.validation": len(splits.validation), "data.test": len(splits.test)}
    monitor = config.evaluation.monitor.removeprefix("lps/")
    if monitor in PREDICTORS and monitor not in config.evaluation.predictors:
        raise InputError(
            f"evaluation.monitor: 'lps/{monitor}' received; add {monitor} to evaluation.predictors "
            f"({config.evaluation.predictors})"
        )
    if config.evaluation.limit is not None:
        sizes["evaluation.limit"] = config.evaluation.limit
    kind = sample_kind(splits.train.image_shape)
    for key, size in sizes.items():
        if size < needed:
            text = (
                f"{key}: {size} {kind} received; LPS of {config.model.latent_dim} dimensions needs {needed}"
            )
            if monitor in PREDICTORS and key != "data.test":
                raise InputError(f"{text}; give more, or another evaluation.monitor")
            warnings.warn(f"{text}, so it will be NaN", InputWarning, stacklevel=2)
    size, parts = config.data.batch_size, world.size * config.trainer.accumulate
    if size % parts:
        raise InputError(
            f"data.batch_size: {size} received; give a multiple of {parts}, {world.size} processes times "
            f"trainer.accumulate {config.trainer.accumulate}"
        )


def _optimizer(config: Config, model: Autoencoder, regularizer: Regularizer) -> torch.optim.Optimizer:
    """Return the optimizer of the model, and of the regularizer's parameters outside its learned parts."""
    settings = config.trainer
    learned = {id(p) for module in regularizer.auxiliary_modules() for p in module.parameters()}
    shared = [p for p in regularizer.parameters() if id(p) not in learned]
    # A flow that was fitted after training is not trained any more when the run is resumed.
    fitted = {id(p) for p in (model.flow.parameters() if model.flow else ()) if not p.requires_grad}
    trained = [p for p in model.parameters() if id(p) not in fitted]
    if settings.optimizer == "muon":
        matrices = hidden_weights(model)
        hidden = {id(weight) for weight in matrices}
        others = [p for p in [*trained, *shared] if id(p) not in hidden]
        return Muon(
            matrices,
            others,
            matrix_lr=settings.matrix_learning_rate or MATRIX_RATE,
            lr=settings.learning_rate,
            betas=(settings.betas[0], settings.betas[1]),
            weight_decay=settings.weight_decay,
        )
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(
        [*trained, *shared],
        lr=settings.learning_rate,
        betas=(settings.betas[0], settings.betas[1]),
        weight_decay=settings.weight_decay,
        fused=True,
    )
