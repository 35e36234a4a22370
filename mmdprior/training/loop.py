"""The training loop, top to bottom in the order in which it happens."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mmdprior.data import Batches
from mmdprior.errors import InputError, reason
from mmdprior.models import Autoencoder
from mmdprior.regularizers import Regularizer
from mmdprior.seeding import stream
from mmdprior.training.auxiliary import LearnedParts, load_optimizer
from mmdprior.training.averaging import WeightAverage
from mmdprior.training.checkpoint import (
    FORMAT_VERSION,
    plain_state_dict,
    random_states,
    restore_random_states,
    versions,
)
from mmdprior.training.distributed import average_gradients, replicate, share_state
from mmdprior.training.finiteness import Guard
from mmdprior.training.gradient import Gradient, Losses, Precision
from mmdprior.training.loggers import Logger
from mmdprior.training.profiling import Profiler, Timer
from mmdprior.training.retention import LAST, BackgroundWriter, kept_name, store
from mmdprior.training.schedules import Constant, Schedule
from mmdprior.world import World

__all__ = ["Trainer"]


@dataclass
class Trainer:
    """Minimises reconstruction + weight * penalty for a number of steps, in one process or several.

    Every random number is a function of the seed and the step (`mmdprior.seeding`), and torch's global
    generator, for modules that use it, is kept in the checkpoint: a resumed run is the same run.

    Attributes:
        model: on ``device``.
        regularizer: on ``device``.
        batches: of the training images, those of this process.
        optimizer: of the model, and of whatever in the regularizer is trained with it.
        steps: updates in all.
        seed: of the posterior noise.
        device: where everything lies.
        weight: of the penalty.
        weight_schedule: factor on the weight.
        learning_rate_schedule: factor on the optimizer's learning rate.
        auxiliary_optimizer: of the regularizer's learned parts, where it has any.
        gradient_clip: largest norm of the gradient; None leaves it alone.
        precision: ``bfloat16`` runs the networks under autocast; losses stay in float32.
        channels_last: hand images over in that layout; the model is in it already.
        compile: run encoder and decoder through torch.compile.
        accumulate: take each batch in so many parts, in two passes; the gradient stays that of the whole.
        average: of the weights, validated in their place and kept in checkpoints.
        world: the processes that train together, each with its own `Trainer`; the main one writes.
        logger: takes the numbers.
        log_every: steps between logged numbers; on a GPU the only steps that wait for it.
        validate: called with the step; returns numbers by tag.
        validate_every: steps between those calls.
        monitor: the tag that selects the best checkpoint: the highest ``reconstruction/psnr``, or the
            lowest value of any other.
        patience: validations without a better value after which training ends; None never ends it early.
        checkpoints: folder for checkpoints; None writes none.
        checkpoint_every: steps between rewrites of the last checkpoint.
        keep_every: steps between checkpoints that are kept; None keeps none.
        keep_last: how many of those stay, the newest; None for all.
        profiler: told where a step's time goes.
        identity: what a checkpoint needs beside the state: config, image shape, data read.
        stop: asked after every finished step; once it says yes, the last checkpoint is written and the run
            returns with ``stopped`` set.
        progress: show a bar.
    """

    model: Autoencoder
    regularizer: Regularizer
    batches: Batches
    optimizer: torch.optim.Optimizer
    steps: int
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    weight: float = 1.0
    weight_schedule: Schedule = field(default_factory=Constant)
    learning_rate_schedule: Schedule = field(default_factory=Constant)
    auxiliary_optimizer: torch.optim.Optimizer | None = None
    gradient_clip: float | None = None
    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False
    accumulate: int = 1
    average: WeightAverage | None = None
    world: World = field(default_factory=World)
    logger: Logger = field(default_factory=Logger)
    log_every: int = 50
    validate: Callable[[int], Mapping[str, float]] | None = None
    validate_every: int = 1000
    monitor: str = "reconstruction/psnr"
    patience: int | None = None
    checkpoints: Path | None = None
    checkpoint_every: int = 1000
    keep_every: int | None = None
    keep_last: int | None = None
    profiler: Profiler = field(default_factory=Profiler)
    identity: Mapping[str, Any] = field(default_factory=dict)
    stop: Callable[[], bool] = lambda: False
    progress: bool = True

    def __post_init__(self) -> None:
        self.step = 0
        self.best = -math.inf
        self.stale = 0
        self.steps_per_second = math.nan
        self.stopped = False
        share_state(self.model, self.world)
        share_state(self.regularizer, self.world)
        if self.average is not None:
            share_state(self.average.model, self.world)
        self._gradient = Gradient(
            replicate(_compiled(self.model) if self.compile else self.model, self.world),
            self.regularizer,
            self.device,
            self.world,
            self.precision,
            torch.channels_last if self.channels_last else torch.preserve_format,
            self.accumulate,
        )
        self._learned = LearnedParts(self.regularizer, self.auxiliary_optimizer, self.world)
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        replicated = {id(p) for part in (self.model.encoder, self.model.decoder) for p in part.parameters()}
        self._loose = [p for p in self._parameters if id(p) not in replicated]
        self._learning_rates = [group["lr"] for group in self.optimizer.param_groups]
        self._guard = Guard(self.optimizer, self.device, self.batches, self.checkpoints)
        self._writer = BackgroundWriter(partial(store, keep_last=self.keep_last))
        self._versions = versions()

    def run(self) -> None:
        """Train from the current step to the last, or until patience ends or `stop` says so.

        Raises:
            NonFiniteLossError: before the update that would have spoilt the weights.
        """
        try:
            if self.steps == 0:
                self._validate()
                self._write(LAST)
            elif not self._finished():
                self._run()
        finally:
            self.profiler.close()
            self._writer.wait()

    def _run(self) -> None:
        mark = self.profiler.begin
        self._gradient.network.train()
        self.regularizer.train()
        timer = Timer(self.step)
        bar = tqdm(total=self.steps, initial=self.step, unit="step", disable=None if self.progress else True)
        mark("data")
        for batch in self.batches.stream(self.step):
            for group, rate in zip(self.optimizer.param_groups, self._learning_rates, strict=True):
                group["lr"] = rate * self.learning_rate_schedule(self.step)
            weight = self.weight * self.weight_schedule(self.step)
            noise = stream(self.seed, "posterior", self.step, self.device)
            self._learned.freeze(frozen=True)

            self.optimizer.zero_grad(set_to_none=True)
            losses = self._gradient(batch, noise, self.step, weight, mark)
            average_gradients(self._loose, self.world)

            mark("optimizer")
            self._guard.see(self.step, losses, self._clip())
            self.optimizer.step()
            self._learned.train(losses.latent)
            self.step += 1
            if self.average is not None:
                self.average.update(self.step)

            mark("logging")
            bar.update()
            if self._due(self.log_every):
                self._guard.check()
                self.steps_per_second = timer.rate(self.step)
                self._log(losses, weight)
                bar.set_postfix_str(f"loss {float(losses.total):.4g}", refresh=False)
            with timer.paused():
                if self._due(self.validate_every):
                    self._validate()
                if self._due(self.checkpoint_every):
                    self._write(LAST)
                if self.keep_every is not None and self.step % self.keep_every == 0:
                    self._write(kept_name(self.step))
            if self._finished():
                break
            if self.world.any(self.stop()):
                self.stopped = True
                break
            self.profiler.end_step()
            mark("data")
        if self.step % self.checkpoint_every and self.step < self.steps:
            self._write(LAST)
        bar.close()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs, and that rebuilding the model needs."""
        auxiliary = self.auxiliary_optimizer
        return {
            "format_version": FORMAT_VERSION,
            **self.identity,
            "step": self.step,
            "best": self.best,
            "stale": self.stale,
            "model": plain_state_dict(self.model),
            "averaged": None if self.average is None else plain_state_dict(self.average.model),
            "regularizer": plain_state_dict(self.regularizer),
            "optimizer": self.optimizer.state_dict(),
            "auxiliary_optimizer": None if auxiliary is None else auxiliary.state_dict(),
            "random": random_states(),
            "versions": self._versions,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the run that wrote the state.

        Raises:
            InputError: a state that lacks something or belongs to another run.
        """
        try:
            self.model.load_state_dict(state["model"])
            self.regularizer.load_state_dict(state["regularizer"])
            load_optimizer(self.optimizer, state["optimizer"])
            if self.auxiliary_optimizer is not None:
                load_optimizer(self.auxiliary_optimizer, state["auxiliary_optimizer"])
            if self.average is not None:
                self.average.model.load_state_dict(state["averaged"])
            self.step, self.best = int(state["step"]), float(state["best"])
            self.stale = int(state.get("stale", 0))
            restore_random_states(state["random"])
        except Exception as error:  # torch raises many kinds for a state that does not fit
            raise InputError(
                f"checkpoint: does not fit this run ({type(error).__name__}: {reason(error)})"
            ) from error

    @property
    def evaluated(self) -> Autoencoder:
        """The model that is scored: with averaged weights where there are any."""
        return self.model if self.average is None else self.average.model

    def _finished(self) -> bool:
        """Log whether all steps are done, or patience is at its end."""
        impatient = self.patience is not None and self.stale >= self.patience
        return self.step >= self.steps or impatient

    def _clip(self) -> Tensor:
        """Clip the gradient and return its norm before; zero where nothing is clipped."""
        if self.gradient_clip is None:
            return torch.zeros((), device=self.device)
        return nn.utils.clip_grad_norm_(self._parameters, self.gradient_clip)

    def _log(self, losses: Losses, weight: float) -> None:
        penalty = float(losses.penalty)
        values = {
            "loss/total": float(losses.total),
            "loss/reconstruction": float(losses.reconstruction),
            "penalty/value": penalty,
            "penalty/weighted": weight * penalty,
            **{f"penalty/{name}": float(term) for name, term in self.regularizer.terms.items()},
            "trainer/learning_rate": self.optimizer.param_groups[0]["lr"],
            "trainer/steps_per_second": self.steps_per_second,
        }
        self.logger.scalars(values, self.step)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.steps

    def _validate(self) -> None:
        if self.validate is None:
            return
        values = self.validate(self.step)
        self.logger.scalars(values, self.step)
        sign = 1 if self.monitor == "reconstruction/psnr" else -1
        self.stale += 1
        if sign * values.get(self.monitor, math.nan) > self.best:
            self.best, self.stale = sign * values[self.monitor], 0
            self._write("best.pt")

    def _write(self, name: str) -> None:
        if self.checkpoints is not None and self.world.main:
            self._guard.check()
            self._writer.submit(self.state_dict(), self.checkpoints / name)


def _compiled(model: Autoencoder) -> Autoencoder:
    """Return the model with encoder and decoder compiled, sharing every weight with the one given."""
    encoder, decoder = (cast(nn.Module, torch.compile(part)) for part in (model.encoder, model.decoder))
    return Autoencoder(encoder, decoder, model.posterior, model.likelihood)
