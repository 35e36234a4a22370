"""The training loop, top to bottom in the order in which it happens."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mmdprior.data import Batch, Batches
from mmdprior.errors import InputError, reason
from mmdprior.models import Autoencoder
from mmdprior.regularizers import Regularizer
from mmdprior.seeding import stream
from mmdprior.training.checkpoint import (
    FORMAT_VERSION,
    plain_state_dict,
    random_states,
    restore_random_states,
    versions,
    write_checkpoint,
)
from mmdprior.training.finiteness import NONFINITE, Finiteness, write_nonfinite
from mmdprior.training.loggers import Logger
from mmdprior.training.run_directory import LAST
from mmdprior.training.schedules import Constant, Schedule
from mmdprior.training.timer import Timer

__all__ = ["NonFiniteLossError", "Precision", "Trainer"]

Precision = Literal["float32", "bfloat16"]


class NonFiniteLossError(InputError):
    """The loss or its gradient was not finite; the weights are those before that step."""


@dataclass
class Trainer:
    """Minimises reconstruction + weight * penalty for a number of steps.

    Every random number is a function of the seed and the step (`mmdprior.seeding`), and torch's global
    generator, for modules that use it, is kept in the checkpoint: a resumed run is the same run.

    Attributes:
        model: on ``device``.
        regularizer: on ``device``.
        batches: of the training images.
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
        logger: takes the numbers.
        log_every: steps between logged numbers; on a GPU the only steps that wait for it.
        validate: called with the step; returns numbers by tag.
        validate_every: steps between those calls.
        monitor: the tag that selects the best checkpoint: the highest ``reconstruction/psnr``, or the
            lowest value of any other.
        checkpoints: folder for checkpoints; None writes none.
        checkpoint_every: steps between rewrites of the last checkpoint.
        keep_every: steps between checkpoints kept for good; None keeps none.
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
    logger: Logger = field(default_factory=Logger)
    log_every: int = 50
    validate: Callable[[int], Mapping[str, float]] | None = None
    validate_every: int = 1000
    monitor: str = "reconstruction/psnr"
    checkpoints: Path | None = None
    checkpoint_every: int = 1000
    keep_every: int | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    stop: Callable[[], bool] = lambda: False
    progress: bool = True

    def __post_init__(self) -> None:
        self.step = 0
        self.best = -math.inf
        self.steps_per_second = math.nan
        self.stopped = False
        self._learning_rates = [group["lr"] for group in self.optimizer.param_groups]
        self._finite = Finiteness(("reconstruction", "penalty", "gradient norm"), self.device)
        self._versions = versions()

    def run(self) -> None:
        """Train from the current step to the last.

        Raises:
            NonFiniteLossError: before the update that would have spoilt the weights.
        """
        self.model.train()
        self.regularizer.train()
        timer = Timer(self.step)
        stream_of_batches = self.batches.stream(self.step) if self.step < self.steps else iter(())
        bar = tqdm(
            total=self.steps,
            initial=self.step,
            unit="step",
            disable=None if self.progress else True,
        )
        for batch in stream_of_batches:
            for group, rate in zip(self.optimizer.param_groups, self._learning_rates, strict=True):
                group["lr"] = rate * self.learning_rate_schedule(self.step)
            self._freeze_auxiliary(frozen=True)

            latent, output = self._forward(batch)
            reconstruction = self.model.likelihood.loss(output, batch.images)
            penalty = self.regularizer(latent, step=self.step, labels=batch.labels)
            weight = self.weight * self.weight_schedule(self.step)
            loss = reconstruction + weight * penalty

            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = self._clip()
            self._check_finite(loss.detach(), reconstruction.detach(), penalty.detach(), norm)
            self.optimizer.step()
            self._train_auxiliary(latent.detach())

            self.step += 1
            bar.update()
            if self.step % self.log_every == 0 or self.step == self.steps:
                self._raise_if_broken()
                values = self._values(loss, reconstruction, penalty, weight)
                self.steps_per_second = timer.rate(self.step)
                values["trainer/steps_per_second"] = self.steps_per_second
                self.logger.scalars(values, self.step)
                bar.set_postfix_str(f"loss {values['loss/total']:.4g}", refresh=False)
            if self.validate is not None and self._due(self.validate_every):
                with timer.paused():
                    self._validate()
            if self.checkpoints is not None and self._due(self.checkpoint_every):
                self._raise_if_broken()
                with timer.paused():
                    self._write(LAST)
            if self.keep_every is not None and self.step % self.keep_every == 0:
                self._raise_if_broken()
                self._write(f"step_{self.step:08d}.pt")
            if self.step < self.steps and self.stop():
                self._raise_if_broken()
                self._write(LAST)
                self.stopped = True
            if self.step == self.steps or self.stopped:
                break
        bar.close()
        if self.steps == 0:
            self._finish_without_steps()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs, and that rebuilding the model needs."""
        auxiliary = self.auxiliary_optimizer
        return {
            "format_version": FORMAT_VERSION,
            **self.identity,
            "step": self.step,
            "best": self.best,
            "model": plain_state_dict(self.model),
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
            _load_optimizer(self.optimizer, state["optimizer"])
            if self.auxiliary_optimizer is not None:
                _load_optimizer(self.auxiliary_optimizer, state["auxiliary_optimizer"])
            self.step, self.best = int(state["step"]), float(state["best"])
            restore_random_states(state["random"])
        except Exception as error:  # torch raises many kinds for a state that does not fit
            raise InputError(
                f"checkpoint: does not fit this run ({type(error).__name__}: {reason(error)})"
            ) from error

    def _forward(self, batch: Batch) -> tuple[Any, Tensor]:
        noise = stream(self.seed, "posterior", self.step, self.device)
        enabled = self.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
            return self.model(batch.images, noise)

    def _clip(self) -> Tensor:
        """Clip the gradient and return its norm before; zero where nothing is clipped."""
        if self.gradient_clip is None:
            return torch.zeros((), device=self.device)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        return nn.utils.clip_grad_norm_(parameters, self.gradient_clip)

    def _check_finite(self, loss: Tensor, *parts: Tensor) -> None:
        """Keep a non-finite step from the weights: at once, or on a GPU without waiting for it.

        There the fused optimizer skips every update from that step on (the switch that GradScaler
        uses), and the error follows at the next logged step.
        """
        self._finite.see(self.step, loss, *parts)
        if self.device.type == "cuda" and getattr(self.optimizer, "_step_supports_amp_scaling", False):
            self.optimizer.found_inf = self._finite.broken.float()  # type: ignore[attr-defined]
        else:
            self._raise_if_broken()

    def _raise_if_broken(self) -> None:
        if not bool(self._finite.broken):
            return
        step, parts = self._finite.first()
        rows = next(self.batches.rows(step))
        kept = ""
        if self.checkpoints is not None:
            write_nonfinite(self.checkpoints, step, parts, rows)
            kept = f"; the batch's rows are in {self.checkpoints / NONFINITE}, the last checkpoint is kept"
        raise NonFiniteLossError(
            f"loss: not finite at step {step} ({_told(parts)}){kept}; lower trainer.learning_rate or "
            "regularizer.weight, set trainer.gradient_clip, or look at the part that is not finite"
        )

    def _freeze_auxiliary(self, *, frozen: bool) -> None:
        for module in self.regularizer.auxiliary_modules():
            module.requires_grad_(not frozen)

    def _train_auxiliary(self, latent: Any) -> None:
        """Update the regularizer's learned parts on codes that carry no gradient."""
        if self.auxiliary_optimizer is None:
            return
        self._freeze_auxiliary(frozen=False)
        for _ in range(self.regularizer.auxiliary_steps):
            self.auxiliary_optimizer.zero_grad(set_to_none=True)
            self.regularizer.auxiliary_loss(latent).backward()
            self.auxiliary_optimizer.step()

    def _values(
        self, loss: Tensor, reconstruction: Tensor, penalty: Tensor, weight: float
    ) -> dict[str, float]:
        return {
            "loss/total": float(loss.detach()),
            "loss/reconstruction": float(reconstruction.detach()),
            "penalty/value": float(penalty.detach()),
            "penalty/weighted": weight * float(penalty.detach()),
            **{f"penalty/{name}": float(term) for name, term in self.regularizer.terms.items()},
            "trainer/learning_rate": self.optimizer.param_groups[0]["lr"],
        }

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.steps

    def _validate(self) -> None:
        if self.validate is None:
            return
        values = self.validate(self.step)
        self.logger.scalars(values, self.step)
        sign = 1 if self.monitor == "reconstruction/psnr" else -1
        if sign * values.get(self.monitor, math.nan) > self.best:
            self.best = sign * values[self.monitor]
            self._write("best.pt")

    def _finish_without_steps(self) -> None:
        """Record a model that is complete as it was built, such as PCA."""
        self._validate()
        self._write(LAST)

    def _write(self, name: str) -> None:
        if self.checkpoints is not None:
            write_checkpoint(self.state_dict(), self.checkpoints / name)


def _told(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in parts.items())


def _load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimizer's state; moments of another shape than their parameters would crash a step."""
    optimizer.load_state_dict(dict(state))
    for parameter, entries in optimizer.state.items():
        for name, entry in entries.items():
            if isinstance(entry, Tensor) and entry.ndim > 0 and entry.shape != parameter.shape:
                raise InputError(f"optimizer {name}: {tuple(entry.shape)} for {tuple(parameter.shape)}")
