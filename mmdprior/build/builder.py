"""The builder: the parts of a run from its config."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.build.construct import SlotBuilder, error_path
from mmdprior.config.schema import Config
from mmdprior.config.signature import signature_of
from mmdprior.config.slots import Slot
from mmdprior.data import ImageSet, Subset
from mmdprior.data.source import sample_kind, to_float
from mmdprior.errors import InputError
from mmdprior.flows.bijection import Bijection
from mmdprior.models import (
    PCA,
    Autoencoder,
    BernoulliLikelihood,
    Refinement,
    add_linear_skip,
    fit_fastica,
    fit_pca,
)
from mmdprior.models.quantiser import Quantiser
from mmdprior.models.standardise import Standardisation, fit_standardisation, standardise
from mmdprior.priors import Gaussian, Prior
from mmdprior.regularizers import Regularizer
from mmdprior.training.logger import Callback, Logger
from mmdprior.training.loggers import client

__all__ = ["Builder"]

_PCA_IMAGES = 50_000
"""Most images on which a linear skip is fitted."""
_PCA_CHUNK = 2048
_PCA_VALUES = 2**26
"""Most values that a fit of a linear skip keeps in float32, in 256 MiB; more are converted in every pass."""


@dataclass(frozen=True)
class Builder:
    """Builds the parts of one run. It reads no file: what the config names by path is in ``assets``.

    Attributes:
        config: a checked config.
        assets: the arrays that the config names by path, from `read_assets` or a checkpoint.

    Example:
        >>> import torch
        >>> from mmdprior.build import Builder
        >>> from mmdprior.config.load import make_config
        >>> config = make_config(
        ...     {
        ...         "name": "demo",
        ...         "data": {"name": "sprites"},
        ...         "model": {"name": "mlp", "latent_dim": 4, "hidden": [8]},
        ...         "regularizer": {"name": "mmd", "prior": "uniform"},
        ...         "trainer": {"steps": 10},
        ...     }
        ... )
        >>> builder = Builder(config)
        >>> builder.model((1, 16, 16)).encoder(torch.zeros(2, 1, 16, 16)).shape
        torch.Size([2, 4])
        >>> builder.intended_prior().sample(5).shape
        torch.Size([5, 4])
    """

    config: Config
    assets: Mapping[str, Tensor] = field(default_factory=dict)

    def model(self, image_shape: tuple[int, ...], train: ImageSet | None = None) -> Autoencoder:
        """Build the autoencoder.

        Args:
            image_shape: (channels, height, width) of images, (channels, length) of signals, (features,) of
                vectors.
            train: training data, on which the standardisation of signals and vectors and the PCA of the
                linear skip are fitted; None leaves them empty, for a state dict to be loaded.
        """
        settings, slots = self.config.model, self.config.slots
        posterior = self._slots.build(slots["model.posterior"])
        likelihood = self._slots.build(slots["model.likelihood"])
        networks = replace(
            self._slots,
            supplied={
                **self._slots.supplied,
                "image_shape": image_shape,
                "num_params": posterior.num_params(settings.latent_dim),
            },
        )
        with self._remedy_for_sizes():
            encoder = networks.build(slots["model.encoder"])
            decoder = networks.build(slots["model.decoder"])
        flow, quantiser = self._flow_in_training(), self._quantiser()
        model = Autoencoder(encoder, decoder, posterior, likelihood, flow, quantiser)
        if settings.refinement is not None:
            if quantiser is not None:
                raise InputError("model.refinement: received with a quantiser; leave out one of them")
            model.refinement = Refinement(settings.refinement.steps, settings.refinement.rate)
        if sample_kind(image_shape) != "images":
            with error_path("model"):
                model = self._standardised(model, image_shape, train)
        if not settings.linear_skip:
            return model
        with error_path("model"):
            if train is None:
                pca = PCA.empty(int(np.prod(image_shape)), settings.latent_dim)
            elif settings.linear_skip == "fastica":
                pca = fit_fastica(_linear_data(model, train), settings.latent_dim, self.config.seed)
            else:
                pca = _fit_pca(model, train, settings.latent_dim)
            return add_linear_skip(model, pca, image_shape)

    def _standardised(
        self, model: Autoencoder, image_shape: tuple[int, ...], train: ImageSet | None
    ) -> Autoencoder:
        """Return the model of signals or vectors, standardised unless the config switches this off."""
        if not self.config.data.standardise:
            if train is not None and isinstance(model.likelihood, BernoulliLikelihood):
                _check_unit_interval(train)
            return model
        if train is None:
            return standardise(model, Standardisation.empty(image_shape))
        return standardise(model, fit_standardisation(lambda: (chunk for chunk, _ in train.chunks())))

    def flow(self) -> Bijection | None:
        """Build ``model.flow``, untrained unless it is saved in the config; None without one."""
        slot = self.config.slots.get("model.flow")
        if slot is None:
            return None
        flow: Bijection = self._slots.build(slot)
        if flow.dim != self.config.model.latent_dim:
            raise InputError(
                f"model.flow: dim {flow.dim} received; the latent has {self.config.model.latent_dim}"
            )
        return flow

    def _quantiser(self) -> Quantiser | None:
        """Build ``model.quantiser``; None without one."""
        slot = self.config.slots.get("model.quantiser")
        if slot is None:
            return None
        quantiser: Quantiser = self._slots.build(slot)
        dim = self.config.model.latent_dim
        if quantiser.dim != dim:
            raise InputError(f"model.quantiser: dim {quantiser.dim} received; the latent has {dim}")
        flow = self.config.slots.get("model.flow")
        how = self.config.model.flow_training
        if quantiser.adapts and flow is not None and flow.name != "saved" and how != "joint":
            raise InputError(
                f"model.flow_training: {how!r} received with a quantiser that adapts to the codes in "
                "training; give joint, or quantise the trained model with mmdprior quantise"
            )
        return quantiser

    def _flow_in_training(self) -> Bijection | None:
        """Return the flow of the model in training; None where it is fitted afterwards."""
        slot = self.config.slots.get("model.flow")
        fitted_later = self.config.model.flow_training == "after"
        if slot is None or (fitted_later and slot.name != "saved"):
            return None
        flow = self.flow()
        return flow.requires_grad_(False) if flow is not None and slot.name == "saved" else flow

    def regularizer(self) -> Regularizer:
        """Build the penalty, and check that it fits the latent codes."""
        regularizer: Regularizer = self._slots.build(self.config.slots["regularizer"])
        posterior = self._slots.build(self.config.slots["model.posterior"])
        with error_path("regularizer"):
            regularizer.check(dim=self.config.model.latent_dim, stochastic=posterior.stochastic)
        return regularizer

    def intended_prior(self) -> Prior:
        """Build ``evaluation.prior``; by default the prior of the penalty, or N(0, I) if it has none."""
        slot = self.config.slots.get("evaluation.prior")
        dim = self.config.model.latent_dim
        if slot is None:
            slot = _prior_of(self.config.slots["regularizer"])
        prior: Prior = Gaussian(dim) if slot is None else self._slots.build(slot)
        if prior.dim != dim:
            raise InputError(f"evaluation.prior: dim {prior.dim} received; the latent has {dim}")
        return prior

    def schedule(self, path: str) -> Any:
        """Build a schedule over the steps of the run.

        Args:
            path: its key path, ``regularizer.schedule`` or ``trainer.schedule``.
        """
        return self._slots.build(self.config.slots[path])

    def loggers(self, directory: Path, start: int) -> list[Logger]:
        """Build ``trainer.loggers``.

        Args:
            directory: run directory.
            start: step from which the run continues; 0 for a new one.
        """
        supplied = {
            "directory": directory,
            "name": self.config.name,
            "settings": self.config.to_dict(),
            "start": start,
        }
        slots = replace(self._slots, supplied={**self._slots.supplied, **supplied})
        return [slots.build(slot) for slot in self._listed("trainer.loggers")]

    def check_clients(self) -> None:
        """Check that the clients of ``trainer.loggers`` are installed; raise `InputError` otherwise."""
        for slot in self._listed("trainer.loggers"):
            if slot.name in ("mlflow", "wandb"):
                with error_path(slot.path):
                    client(slot.name)

    def callbacks(self) -> list[Callback]:
        """Build ``trainer.callbacks``."""
        return [self._slots.build(slot) for slot in self._listed("trainer.callbacks")]

    def _listed(self, path: str) -> list[Slot]:
        """Return the slots of a list, by its key path."""
        return [slot for key, slot in self.config.slots.items() if key.rpartition(".")[0] == path]

    @contextmanager
    def _remedy_for_sizes(self) -> Iterator[None]:
        """Add what to change to the error of a network that does not accept the size of the images."""
        try:
            yield
        except InputError as error:
            if "; a side of " not in str(error):
                raise
            source = self.config.slots["data"]
            can_resize = "size" in signature_of(source.factory(), "source").arguments
            remedy = "resize with data.size" if can_resize else "give model.name: mlp"
            raise InputError(f"{error}; give fewer, or {remedy}") from None

    @property
    def _slots(self) -> SlotBuilder:
        supplied = {
            "dim": self.config.model.latent_dim,
            "latent_dim": self.config.model.latent_dim,
            "steps": self.config.trainer.steps,
            "seed": self.config.seed,
        }
        return SlotBuilder(supplied, self.assets)


def _prior_of(penalty: Slot) -> Slot | None:
    """Return the first prior among the arguments of a penalty, or of the penalties in it.

    A `Vamp` prior does not count: it exists only with the encoder that is trained.
    """
    for part in penalty.nested():
        prior = part if part.kind == "prior" and part.name != "vamp" else None
        if part.kind in ("regularizer", "weighted_regularizer"):
            prior = _prior_of(part)
        if prior is not None:
            return prior
    return None


def _check_unit_interval(train: ImageSet) -> None:
    """Raise `InputError` for a Bernoulli likelihood of values outside [0, 1]."""
    for chunk, _ in train.chunks():
        low, high = float(chunk.min()), float(chunk.max())
        if low < 0 or high > 1:
            raise InputError(
                f"likelihood: 'bernoulli' received for values from {low:g} to {high:g}; give gaussian"
            )


def _fit_pca(model: Autoencoder, train: ImageSet, dim: int) -> PCA:
    """Fit PCA on the data of `_linear_data`."""
    return fit_pca(_linear_data(model, train), dim)


def _linear_data(model: Autoencoder, train: ImageSet) -> Callable[[], Iterator[Tensor]]:
    """Return evenly spaced training images, at most 50,000, in the space of the decoder's output."""
    step = max(1, -(-len(train) // _PCA_IMAGES))
    rows = Subset(train, torch.arange(0, len(train), step))
    images = [chunk for chunk, _ in rows.chunks(_PCA_CHUNK)]  # uint8: a fit reads them more than once

    def chunks() -> Iterator[Tensor]:
        return (model.likelihood.link(to_float(chunk)).flatten(1) for chunk in images)

    if sum(chunk.numel() for chunk in images) > _PCA_VALUES:
        return chunks
    # A fit reads the data ten times; the logits of a Bernoulli likelihood take longer than its products.
    converted = list(chunks())
    return lambda: iter(converted)
