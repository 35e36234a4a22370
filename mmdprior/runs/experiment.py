"""A whole run from a config: data, model, trainer, run directory, final scores."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmdprior.build.assets import read_assets
from mmdprior.build.builder import Builder
from mmdprior.build.construct import error_path
from mmdprior.build.data import open_splits
from mmdprior.build.device import choose_device
from mmdprior.build.dry_run import dry_run
from mmdprior.config.load import dump_config
from mmdprior.config.schema import Config
from mmdprior.config.slots import Slot
from mmdprior.data import Augmentation, Batches, ResidentBatches, Splits, StreamingBatches, thin
from mmdprior.data.batches import fits_in_memory
from mmdprior.data.source import load_into_memory
from mmdprior.errors import InputError
from mmdprior.evaluation import Evaluation, add_reconstruction, encode_and_reconstruct, score_codes
from mmdprior.files import write_whole
from mmdprior.metrics import PriorMatch
from mmdprior.models import Autoencoder
from mmdprior.predictors import PREDICTORS
from mmdprior.regularizers import Regularizer
from mmdprior.runs.directory import create_run_directory
from mmdprior.runs.report import run_facts, write_report
from mmdprior.training import Logger, RunLogger, Trainer, Validation, WeightAverage, join
from mmdprior.world import World

__all__ = ["Experiment", "assemble"]


@dataclass(frozen=True)
class Experiment:
    """Everything of one run, ready to train.

    Attributes:
        config: checked.
        splits: the data.
        trainer: at the step where it will start.
        match: to the intended prior.
        logger: of the run.
        directory: of the run, or None; in every process.
    """

    config: Config
    splits: Splits
    trainer: Trainer
    match: PriorMatch
    logger: Logger
    directory: Path | None

    def run(self, guard: AbstractContextManager[object] | None = None) -> Evaluation | None:
        """Train, then score the test split, log it, and fill ``report/``: scores, codes, pictures, facts.

        Args:
            guard: entered for the time of training alone, such as `StopSignals`.

        Returns:
            The scores; None for a run that was told to stop and can be resumed, and in all processes but
            the main one.
        """
        start = time.perf_counter()
        with guard or nullcontext():
            self.trainer.run()
        seconds = time.perf_counter() - start
        result = None if self.trainer.stopped else self._score(seconds)
        self.logger.close()
        return result

    def _score(self, seconds: float) -> Evaluation | None:
        settings, trainer = self.config.evaluation, self.trainer
        images = thin(self.splits.test, settings.limit)
        codes, error = encode_and_reconstruct(
            trainer.evaluated,
            images,
            seed=self.config.seed,
            batch_size=settings.batch_size,
            device=trainer.device,
            world=trainer.world,
        )
        if not trainer.world.main:
            return None
        scored = score_codes(codes, settings.final_predictors, seed=self.config.seed)
        result = add_reconstruction(scored, codes, error, self.match)
        final = {f"test/{tag}": value for tag, value in result.scalars().items()}
        final["test/steps_per_second"] = trainer.steps_per_second
        if self.directory is not None:
            (self.directory / "report").mkdir(exist_ok=True)
            facts = write_report(
                self.directory / "report",
                model=trainer.evaluated,
                images=images,
                codes=codes,
                prior=self.match.prior,
                facts=run_facts(trainer.device, seconds),
                batch_size=settings.batch_size,
                device=trainer.device,
                pictures=settings.pictures,
            )
            final["test/reconstruction/ssim"] = facts["ssim"]
        self.logger.embedding(codes, trainer.step)
        self.logger.hparams(_settings(self.config), final, trainer.step)
        if self.directory is not None:  # last, since it tells that the run has finished
            write_whole(self.directory / "report" / "test.json", result.to_json() + "\n")
        return result


def assemble(
    config: Config,
    directory: Path | None = None,
    resume: Mapping[str, Any] | None = None,
    *,
    runs: str | Path | None = None,
    progress: bool = True,
) -> Experiment:
    """Build a run from its config; nothing trains yet. Under torchrun every process builds its own.

    Args:
        config: checked.
        directory: of the run; without one, and without ``runs``, nothing is written.
        resume: content of a checkpoint of this run, to continue from.
        runs: make a new run directory in here, once all that can fail has been built.
        progress: show a bar.

    Raises:
        InputError: whatever does not fit: data, model, prior, device.
    """
    world, device = join(choose_device(config.trainer.device))
    torch.manual_seed(config.seed)
    builder = Builder(config, read_assets(config) if resume is None else resume["assets"])
    regularizer = builder.regularizer().to(device)
    prior = builder.intended_prior()
    splits, batches = _data(config, device, world)
    shape = splits.train.image_shape
    model = builder.model(shape, splits.train if resume is None else None).to(device)
    dry_run(
        model,
        regularizer,
        splits.train,
        latent_dim=config.model.latent_dim,
        batch_size=config.data.batch_size,
        device=device,
    )
    if config.trainer.channels_last:
        model.to(memory_format=torch.channels_last)
    if runs is not None:
        directory = world.from_main(lambda: create_run_directory(runs, config.name))
    logger = _logger(config, directory if world.main else None, resume)
    match = PriorMatch(prior, n=config.evaluation.match_samples)
    average = None if config.trainer.average is None else WeightAverage(model, config.trainer.average)
    trainer = Trainer(
        model=model,
        regularizer=regularizer,
        batches=batches,
        optimizer=_optimizer(config, model, regularizer),
        auxiliary_optimizer=_auxiliary_optimizer(config, regularizer),
        steps=config.trainer.steps,
        seed=config.seed,
        device=device,
        weight=config.regularizer.weight,
        weight_schedule=builder.schedule("regularizer.schedule"),
        learning_rate_schedule=builder.schedule("trainer.schedule"),
        gradient_clip=config.trainer.gradient_clip,
        precision=config.trainer.precision,
        channels_last=config.trainer.channels_last,
        compile=config.trainer.compile,
        accumulate=config.trainer.accumulate,
        average=average,
        world=world,
        logger=logger,
        log_every=config.trainer.log_every,
        validate=Validation(
            model if average is None else average.model,
            thin(splits.validation, config.evaluation.limit),
            match,
            logger,
            predictors=config.evaluation.predictors,
            seed=config.seed,
            batch_size=config.evaluation.batch_size,
            device=device,
            world=world,
            pictures=config.evaluation.pictures,
        ),
        validate_every=config.evaluation.every,
        monitor=config.evaluation.monitor,
        patience=config.evaluation.patience,
        checkpoints=None if directory is None else directory / "checkpoints",
        checkpoint_every=config.trainer.checkpoint_every,
        keep_every=config.trainer.keep_every,
        keep_last=config.trainer.keep_last,
        identity={"config": config.to_dict(), "image_shape": list(shape), "assets": builder.assets},
        progress=progress and world.main,
    )
    if resume is not None:
        trainer.load_state_dict(resume)
    return Experiment(config, splits, trainer, match, logger, directory)


def _logger(config: Config, directory: Path | None, resume: Mapping[str, Any] | None) -> Logger:
    """Record the config of a new run, and log into its directory."""
    if directory is None:
        return Logger()
    if resume is None:
        write_whole(directory / "config.yaml", dump_config(config))
    return RunLogger(directory, resume["step"] if resume is not None else 0)


def _data(config: Config, device: torch.device, world: World) -> tuple[Splits, Batches]:
    splits = world.local_main_first(lambda: open_splits(config.slots["data"], config.data))
    _check_sizes(config, splits, world)
    settings, seed = config.data, config.seed
    resident = fits_in_memory(splits.train, device) if settings.resident == "auto" else settings.resident
    size, augmentation = settings.batch_size, Augmentation(settings.flip, settings.shift)
    with error_path("data"):
        augmentation.check(splits.train.image_shape)
    if not resident:
        workers = settings.workers
        return splits, StreamingBatches(splits.train, size, seed, device, workers, augmentation, world)
    splits = Splits(
        load_into_memory(splits.train),
        load_into_memory(splits.validation),
        load_into_memory(splits.test),
    )
    return splits, ResidentBatches(splits.train, size, seed, device, augmentation, world)


def _check_sizes(config: Config, splits: Splits, world: World) -> None:
    """Ask for images enough to score, and for batches that processes and parts share evenly."""
    needed = max(30, config.model.latent_dim + 2)
    sizes = {"data.validation": len(splits.validation), "data.test": len(splits.test)}
    monitor = config.evaluation.monitor.removeprefix("lps/")
    if monitor in PREDICTORS and monitor not in config.evaluation.predictors:
        raise InputError(
            f"evaluation.monitor: 'lps/{monitor}' received; add {monitor} to evaluation.predictors "
            f"({config.evaluation.predictors})"
        )
    if config.evaluation.limit is not None:
        sizes["evaluation.limit"] = config.evaluation.limit
    for key, size in sizes.items():
        if size < needed:
            raise InputError(
                f"{key}: {size} images received; scoring latent_dim {config.model.latent_dim} needs at "
                f"least {needed}"
            )
    size, parts = config.data.batch_size, world.size * config.trainer.accumulate
    if size % parts:
        raise InputError(
            f"data.batch_size: {size} received; give a multiple of {parts}, {world.size} processes times "
            f"trainer.accumulate {config.trainer.accumulate}"
        )


def _optimizer(config: Config, model: Autoencoder, regularizer: Regularizer) -> torch.optim.Optimizer:
    """Optimise the model and what the penalty learns with it; learned parts apart have their own."""
    settings = config.trainer
    apart = {id(p) for module in regularizer.auxiliary_modules() for p in module.parameters()}
    shared = [p for p in regularizer.parameters() if id(p) not in apart]
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(
        [*model.parameters(), *shared],
        lr=settings.learning_rate,
        betas=(settings.betas[0], settings.betas[1]),
        weight_decay=settings.weight_decay,
        fused=True,
    )


def _auxiliary_optimizer(config: Config, regularizer: Regularizer) -> torch.optim.Optimizer | None:
    parameters = [p for module in regularizer.auxiliary_modules() for p in module.parameters()]
    if not parameters:
        return None
    betas = config.trainer.auxiliary_betas
    return torch.optim.Adam(
        parameters,
        lr=config.trainer.auxiliary_learning_rate,
        betas=(betas[0], betas[1]),
        fused=True,
    )


def _settings(config: Config) -> dict[str, object]:
    """Return what tells runs apart in a table, in words.

    TensorBoard sorts the columns by name and shows the first five: the names see to it that these are
    those of the penalty.
    """
    penalty = config.slots["regularizer"]
    summed = penalty.arguments.get("penalties") or []
    inner = [part.arguments["penalty"] for part in summed]
    named = [item for slot in [*reversed(inner), penalty] for item in slot.arguments.items()]
    terms = [f"{part.arguments['weight']:g} {_title(part.arguments['penalty'])}" for part in summed]
    return {
        **{key: _title(part) for key, part in named if isinstance(part, Slot)},
        "latent_dim": config.model.latent_dim,
        "penalty": " + ".join(terms) or _title(penalty),
        "penalty_weight": config.regularizer.weight,
        "posterior": _title(config.slots["model.posterior"]),
        "seed": config.seed,
        "source": _title(config.slots["data"]),
        "train_batch_size": config.data.batch_size,
        "train_learning_rate": config.trainer.learning_rate,
        "train_steps": config.trainer.steps,
        "with_encoder": _title(config.slots["model.encoder"]),
        "with_linear_skip": config.model.linear_skip,
    }


def _title(slot: Slot) -> str:
    return slot.name or str(slot.target).rpartition(":")[2]
