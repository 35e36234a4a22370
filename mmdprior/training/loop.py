"""The training loop.

Three methods of `Trainer` hold it: ``_train`` runs the steps, ``_step`` is one step, and ``_backward`` is the
forward and backward pass of a step.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmdprior.data import Batch, Batches
from mmdprior.errors import InputError, reason
from mmdprior.models import Autoencoder
from mmdprior.regularizers import Regularizer
from mmdprior.regularizers.regularizer import penalty_of
from mmdprior.seeding import stream
from mmdprior.training.auxiliary import LearnedParts, prepare
from mmdprior.training.averaging import WeightAverage
from mmdprior.training.checkpoint import (
    FORMAT_VERSION,
    load_optimizer,
    plain_state_dict,
    random_states,
    restore_random_states,
    versions,
)
from mmdprior.training.distributed import average_gradients, broadcast_state, replicate
from mmdprior.training.gradient_cache import GradientCache
from mmdprior.training.labelled import labelled_codes, with_labelled
from mmdprior.training.logger import Callback, Logger
from mmdprior.training.losses import Guard, Losses, decoder_inputs, observed
from mmdprior.training.muon import Muon
from mmdprior.training.profiling import Profiler, Timer
from mmdprior.training.progress import Progress
from mmdprior.training.retention import BEST, LAST, NONFINITE, BackgroundWriter, kept_name, store
from mmdprior.training.schedules import AdaptiveSchedule, Constant, Schedule
from mmdprior.training.settings import Checkpointing, ModelSelection, Numerics, accept_old_names, autocast
from mmdprior.world import World

__all__ = ["Trainer"]


@dataclass
class Trainer:
    """Minimises reconstruction + weight * penalty for a number of steps, on one process or several.

    Every random number is a function of the seed and the step (`mmdprior.seeding`). The states of the global
    generators, for modules that draw from them, are in the checkpoint. So a resumed run has the weights of an
    uninterrupted one, bit by bit on the CPU.

    Attributes:
        model: autoencoder on ``device``.
        regularizer: penalty on ``device``.
        batches: batches of training images, the rows of this process.
        optimizer: optimizer of the model's parameters, and of parameters of the regularizer that are trained
            by the same loss.
        steps: number of updates of the run.
        seed: seed of the posterior noise.
        device: device of model, regularizer and batches; the CPU by default.
        weight: weight of the penalty.
        weight_schedule: factor on ``weight`` by step; constant by default.
        learning_rate_schedule: factor on the optimizer's learning rates by step; constant by default.
        auxiliary_optimizer: optimizer of the regularizer's learned parts, if it has any.
        gradient_clip: largest norm of the gradient; None does not clip. A flow has a norm of its
            own.
        flow_only: whether the gradient of the penalty reaches only the flow of the model, so that encoder and
            decoder are trained by the reconstruction alone.
        numerics: precision, memory format, compilation and accumulation.
        average: running average of the weights; validated in place of the weights and saved with them.
        world: ranks that train together, each with its own `Trainer`. Rank 0 writes.
        logger: receives the numbers; by default they are dropped.
        log_every: steps between logged numbers. On CUDA, only logged steps wait for the device.
        validate: called with the step, before the first one and then as ``selection`` says; returns numbers
            by tag, equal on every rank.
        deferred: does what ``validate`` has put off, such as the figures of step 0. It is called after logged
            steps and at the end of `run`, also of one that fails.
        selection: when to validate, which checkpoint is best, when to stop early.
        checkpointing: when to write checkpoints, and where.
        profiler: receives the beginning of each phase of a step.
        stop: called after every step. Once it returns True, the last checkpoint is written and the run
            returns with ``stopped`` set.
        progress: show a progress bar on a terminal, and a line per minute anywhere else.
        callbacks: called at the start, after every step and validation, and at the end.
        labelled: batches of the labelled part of the training images, for penalties on labels; None where
            these use the labels of ``batches``.

    Example:
        >>> from mmdprior import MMD
        >>> from mmdprior.data import InMemory, ResidentBatches
        >>> from mmdprior.priors import Gaussian
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        >>> decoder = nn.Sequential(nn.Linear(2, 64), nn.Unflatten(1, (1, 8, 8)))
        >>> model = Autoencoder(encoder, decoder)
        >>> images = InMemory(torch.randint(0, 256, (128, 1, 8, 8), dtype=torch.uint8))
        >>> trainer = Trainer(
        ...     model=model,
        ...     regularizer=MMD(Gaussian(2), seed=0),
        ...     batches=ResidentBatches(images, batch_size=32, seed=0),
        ...     optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
        ...     steps=5,
        ...     weight=100.0,
        ...     progress=False,
        ... )
        >>> trainer.run()
        >>> trainer.step, trainer.stopped
        (5, False)
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
    flow_only: bool = False
    numerics: Numerics = field(default_factory=Numerics)
    average: WeightAverage | None = None
    world: World = field(default_factory=World)
    logger: Logger = field(default_factory=Logger)
    log_every: int = 50
    validate: Callable[[int], Mapping[str, float]] | None = None
    deferred: Callable[[], None] = lambda: None
    selection: ModelSelection = field(default_factory=ModelSelection)
    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    profiler: Profiler = field(default_factory=Profiler)
    stop: Callable[[], bool] = lambda: False
    progress: bool = True
    labelled: Batches | None = None
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        self.step = 0
        self.best = -math.inf
        self.stale = 0
        self.steps_per_second = math.nan
        self.stopped = False
        labelled = None if self.labelled is None else self.labelled.images
        prepare(self.regularizer, self.model, self.batches.images, labelled)
        # Ranks may have initialised differently (global RNG, files): all start from the state of rank 0.
        broadcast_state(self.model, self.world)
        broadcast_state(self.regularizer, self.world)
        if self.average is not None:
            broadcast_state(self.average.model, self.world)
        self._network = replicate(_compiled(self.model) if self.numerics.compile else self.model, self.world)
        self._cache = self._gradient_cache() if self.numerics.accumulate > 1 else None
        self._learned = LearnedParts(self.regularizer, self.auxiliary_optimizer, self.world)
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        in_flow = {id(p) for p in (() if self.model.flow is None else self.model.flow.parameters())}
        self._flow_parameters = [p for p in self._parameters if id(p) in in_flow]
        self._other_parameters = [p for p in self._parameters if id(p) not in in_flow]
        replicated = {id(p) for part in (self.model.encoder, self.model.decoder) for p in part.parameters()}
        self._unreplicated = [p for p in self._parameters if id(p) not in replicated]
        if isinstance(self.learning_rate_schedule, AdaptiveSchedule):
            raise InputError(
                f"schedule: {type(self.learning_rate_schedule).__name__} received for the learning rate; "
                "give it as regularizer.schedule, because it adjusts the weight of a penalty"
            )
        self._learning_rates = [group["lr"] for group in self.optimizer.param_groups]
        folder = self.checkpointing.folder
        error_file = None if folder is None else folder / NONFINITE
        self._guard = Guard(self.optimizer, self.device, self.batches, error_file)
        self._writer = BackgroundWriter(partial(store, keep_last=self.checkpointing.keep_last))
        self._versions = versions()

    def run(self) -> None:
        """Train from the current step to the last one, or until early stopping or `stop`.

        Raises:
            NonFiniteLossError: a loss was not finite; the weights are those before that step.
        """
        try:
            for callback in self.callbacks:
                callback.start(self)
            if self.steps == 0:
                self._validate()
                self._write(LAST)
            elif not self._finished():
                self._train()
            self.deferred()
            for callback in self.callbacks:
                callback.end(self)
        except BaseException:
            with suppress(Exception):  # the error of the training is the one to report
                self.deferred()
            raise
        finally:
            self.profiler.close()
            self._writer.wait()  # an exception of the writing thread is raised here

    def _train(self) -> None:
        self._network.train()
        self.model.train()  # its own mode: a wrapper, such as DDP, changes that of the networks only
        self.regularizer.train()
        if self.step == 0 and self.validate is not None:  # where the curves start; never best.pt
            self.logger.scalars(self.validate(0), 0)
        timer = Timer(self.step)
        progress = Progress(self.steps, self.step, shown=self.progress)
        mark = self.profiler.begin
        mark("data")
        for batch in with_labelled(self.batches, self.labelled, self.step):
            losses = self._step(batch)
            mark("logging")
            for callback in self.callbacks:
                callback.step(self, losses)
            progress.update(self.step)
            if self._due(self.log_every):
                self._guard.check()
                self.steps_per_second = timer.rate(self.step)
                self._log(losses)
                progress.loss(float(losses.total))
            with timer.paused():  # the rate is that of training steps only
                if self._due(self.log_every):
                    self.deferred()
                if self._due(self.selection.every):
                    self._validate()
                self._checkpoint()
            if self._finished():
                break
            # A signal may have reached only one rank. All must leave at the same step; the others would hang
            # in the next collective.
            if self.world.any(self.stop()):
                self.stopped = True
                break
            self.profiler.end_step()
            mark("data")
        if self.step % self.checkpointing.every and self.step < self.steps:  # stopped between two writes
            self._write(LAST)
        progress.close()

    def _step(self, batch: Batch) -> Losses:
        """Update all weights by one batch and return its losses."""
        weight = self.weight * self.weight_schedule(self.step)
        for group, rate in zip(self.optimizer.param_groups, self._learning_rates, strict=True):
            group["lr"] = rate * float(self.learning_rate_schedule(self.step))
        # Seeded by the step: a resumed run draws the same noise. It is drawn for the global batch, so all
        # ranks draw the same and each uses its own rows.
        noise = stream(self.seed, "posterior", self.step, self.device)
        # The learned parts of the regularizer have a loss of their own below; this one must not train them.
        self._learned.freeze(frozen=True)
        self.optimizer.zero_grad(set_to_none=True)

        if self._cache is None:
            losses = self._backward(batch, noise, weight)
        else:
            losses = self._cache(batch, noise, self.step, weight, self.profiler.begin)
        # DDP has averaged the gradients of encoder and decoder over ranks, but not of other parameters.
        average_gradients(self._unreplicated, self.world)

        self.profiler.begin("optimizer")
        norm = self._clip_gradient()
        self._guard.observe(self.step, losses, norm)
        self.optimizer.step()
        if isinstance(self.weight_schedule, AdaptiveSchedule):
            values = losses.reconstruction, losses.penalty, self.regularizer.terms
            quantities = observed(*values, self.model.likelihood, batch.images.shape[1:])
            self.weight_schedule.observe(quantities, self.world)
        self._learned.train(losses.latent, self.step)
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        return losses

    def _backward(self, batch: Batch, noise: torch.Generator, weight: float | Tensor) -> Losses:
        """Add the gradient of a batch to ``.grad`` of the weights, and return the losses."""
        mark, network = self.profiler.begin, self._network
        mark("encoder")
        images = batch.images.contiguous(memory_format=self.numerics.memory_format)
        with autocast(self.numerics.precision, self.device):
            params, few = self._encode(images, batch.labelled)
        # The penalty is a function of the whole batch, not a mean over rows: every rank computes it on the
        # codes of all ranks. The gather is differentiable; with DDP's average the gradient is exact.
        latent = network.posterior(self.world.gather(params), noise)
        labels = self.world.gather(batch.labels)

        mark("decoder")
        # Noise and bounds of a quantiser, like the noise of the posterior, are those of the global batch.
        inputs, quantisation = decoder_inputs(network, latent, noise)
        codes = inputs[self.world.rows(len(inputs))]  # each rank decodes its own rows
        with autocast(self.numerics.precision, self.device):
            output = network.decoder_output(codes, images.shape)
        reconstruction = network.likelihood.loss(output, images)

        mark("penalty")
        # The penalty is on the continuous codes after the flow, if there is one. Without a quantiser the
        # decoder received those before it, so nothing is inverted.
        penalised = network.through_flow(latent.detach() if self.flow_only else latent)
        labelled = labelled_codes(network, few, batch, noise, self.world, flow_only=self.flow_only)
        penalty = penalty_of(self.regularizer, penalised, step=self.step, labels=labels, labelled=labelled)

        mark("backward")
        loss = reconstruction + weight * penalty
        (loss if quantisation is None else loss + quantisation).backward()
        return Losses.of(reconstruction, penalty, weight, penalised, self.world).plus(quantisation)

    def _encode(self, images: Tensor, labelled: Batch | None) -> tuple[Tensor, Tensor | None]:
        """Return the posterior parameters of images and of the labelled images, from one pass."""
        if labelled is None:
            return self._network.posterior_params(images), None
        few = labelled.images.contiguous(memory_format=self.numerics.memory_format)
        params = self._network.posterior_params(torch.cat([images, few]))
        return params[: len(images)], params[len(images) :]

    def state_dict(self) -> dict[str, Any]:
        """Return the content of a checkpoint: all that resuming the run and rebuilding the model need."""
        auxiliary, schedule = self.auxiliary_optimizer, self.weight_schedule
        return {
            "format_version": FORMAT_VERSION,
            **self.checkpointing.metadata,
            "step": self.step,
            "best": self.best,
            "stale": self.stale,
            "model": plain_state_dict(self.model),
            "averaged": None if self.average is None else plain_state_dict(self.average.model),
            "regularizer": plain_state_dict(self.regularizer),
            "optimizer": self.optimizer.state_dict(),
            "auxiliary_optimizer": None if auxiliary is None else auxiliary.state_dict(),
            "weight_schedule": schedule.state_dict() if isinstance(schedule, AdaptiveSchedule) else None,
            "random": random_states(),
            "versions": self._versions,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of `state_dict`, with the global generators; `run` then continues from its step.

        Raises:
            InputError: an entry is missing or belongs to another run.
        """
        try:
            self.model.load_state_dict(state["model"])
            self.regularizer.load_state_dict(state["regularizer"])
            load_optimizer(self.optimizer, state["optimizer"])
            if self.auxiliary_optimizer is not None:
                load_optimizer(self.auxiliary_optimizer, state["auxiliary_optimizer"])
            if self.average is not None:
                self.average.model.load_state_dict(state["averaged"])
            if isinstance(self.weight_schedule, AdaptiveSchedule):
                self.weight_schedule.load_state_dict(state["weight_schedule"])
            self.step, self.best = int(state["step"]), float(state["best"])
            self.stale = int(state.get("stale", 0))
            restore_random_states(state["random"])
        except Exception as error:  # torch raises many types for a state that does not fit
            raise InputError(
                f"checkpoint: does not fit this run ({type(error).__name__}: {reason(error)})"
            ) from error

    def write_last(self) -> None:
        """Write the last checkpoint again, after a change of the model or of ``checkpointing``."""
        self._write(LAST)
        self._writer.wait()

    @property
    def evaluated(self) -> Autoencoder:
        """Model that is validated and scored: with averaged weights if the run averages them."""
        return self.model if self.average is None else self.average.model

    def _gradient_cache(self) -> GradientCache:
        return GradientCache(
            self._network,
            self.regularizer,
            self.device,
            self.world,
            self.numerics.precision,
            self.numerics.memory_format,
            self.numerics.accumulate,
            self.flow_only,
        )

    def _clip_gradient(self) -> Tensor:
        """Clip the gradient and return its norm before; zero if the run does not clip."""
        if self.gradient_clip is None:
            return torch.zeros((), device=self.device)
        # Separate norms: a large gradient of the flow must not change the update of encoder and decoder.
        nn.utils.clip_grad_norm_(self._flow_parameters, self.gradient_clip)
        return nn.utils.clip_grad_norm_(self._other_parameters, self.gradient_clip)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.steps

    def _finished(self) -> bool:
        """Return whether all steps are done, or patience is exhausted."""
        patience = self.selection.patience
        return self.step >= self.steps or (patience is not None and self.stale >= patience)

    def _log(self, losses: Losses) -> None:
        penalty, weight = float(losses.penalty), float(losses.weight)
        values = {
            "loss/total": float(losses.total),
            "loss/reconstruction": float(losses.reconstruction),
            "penalty/value": penalty,
            "penalty/weighted": weight * penalty,
            **{f"penalty/{name}": float(term) for name, term in self.regularizer.terms.items()},
            "trainer/penalty_weight": weight,
            **({} if losses.quantisation is None else {"loss/quantisation": float(losses.quantisation)}),
            **_rates(self.optimizer),
            "trainer/steps_per_second": self.steps_per_second,
        }
        self.logger.scalars(values, self.step)

    def _validate(self) -> None:
        if self.validate is None:
            return
        values = self.validate(self.step)
        self.logger.scalars(values, self.step)
        for callback in self.callbacks:
            callback.validation(self, values)
        self.stale += 1
        score = self.selection.score(values)
        if score > self.best:  # False for NaN
            self.best, self.stale = score, 0
            self._write(BEST)

    def _checkpoint(self) -> None:
        if self._due(self.checkpointing.every):
            self._write(LAST)
        keep_every = self.checkpointing.keep_every
        if keep_every is not None and self.step % keep_every == 0:
            self._write(kept_name(self.step))

    def _write(self, name: str) -> None:
        folder = self.checkpointing.folder
        if folder is None:
            return
        # Deferred on CUDA: without this check the file would hold a step whose updates were skipped. Every
        # rank checks, so that all raise together instead of waiting for rank 0 in the next collective.
        self._guard.check()
        if self.world.main:
            self._writer.submit(self.state_dict(), folder / name)


# Assigned after the class so that type checkers see the generated signature.
Trainer.__init__ = accept_old_names(Trainer.__init__)  # type: ignore[method-assign]


def _rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the current learning rates by tag."""
    rates = [group["lr"] for group in optimizer.param_groups]
    if isinstance(optimizer, Muon):
        return {"trainer/learning_rate": rates[1], "trainer/matrix_learning_rate": rates[0]}
    return {"trainer/learning_rate": rates[0]}


def _compiled(model: Autoencoder) -> Autoencoder:
    """Return a model with compiled encoder and decoder that shares all weights with the given one."""
    encoder, decoder = (cast(nn.Module, torch.compile(part)) for part in (model.encoder, model.decoder))
    return model.with_networks(encoder, decoder)
