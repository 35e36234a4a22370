"""From a checked config to objects: the only place where a name becomes a thing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.config.make import make
from mmdprior.config.paths import at
from mmdprior.config.prior_builder import PriorBuilder
from mmdprior.config.schema import Config
from mmdprior.config.slots import Slot, is_function_of
from mmdprior.data import ImageSet, Subset
from mmdprior.data.batches import to_float
from mmdprior.errors import InputError
from mmdprior.models import PCA, Autoencoder, add_linear_skip, fit_pca
from mmdprior.priors import Gaussian, Prior
from mmdprior.regularizers import Regularizer

__all__ = ["Builder", "choose_device"]

_DEVICES = ("cpu", "cuda", "mps", "xpu")

_PCA_IMAGES = 50_000
_PCA_CHUNK = 2048


@dataclass
class Builder:
    """Builds the parts of one run.

    Attributes:
        config: checked.
        assets: arrays that the config names by path; read once, then kept in checkpoints, so that
            rebuilding reads nothing again.
    """

    config: Config
    assets: dict[str, Tensor] = field(default_factory=dict)

    def model(self, image_shape: tuple[int, int, int], train: ImageSet | None = None) -> Autoencoder:
        """Build the autoencoder.

        Args:
            image_shape: (channels, height, width).
            train: images to fit the linear skip's PCA on; None leaves it to a state dict.
        """
        settings = self.config.model
        posterior = self._make(self.config.slots["model.posterior"])
        likelihood = self._make(self.config.slots["model.likelihood"])
        known = {
            "image_shape": image_shape,
            "latent_dim": settings.latent_dim,
            "num_params": posterior.num_params(settings.latent_dim),
        }
        encoder = self._make(self.config.slots["model.encoder"], **known)
        decoder = self._make(self.config.slots["model.decoder"], **known)
        model = Autoencoder(encoder, decoder, posterior, likelihood)
        if settings.linear_skip:
            pca = PCA.empty(int(np.prod(image_shape)), settings.latent_dim)
            with at("model"):
                if train is not None:
                    pca = _fit_pca(model, train, settings.latent_dim)
                return add_linear_skip(model, pca, image_shape)
        return model

    def regularizer(self) -> Regularizer:
        """Build the penalty and check that it fits the latent."""
        regularizer = self._nested(self.config.slots["regularizer"])
        posterior = self._make(self.config.slots["model.posterior"])
        with at("regularizer"):
            regularizer.check(dim=self.config.model.latent_dim, stochastic=posterior.stochastic)
        return regularizer

    def intended_prior(self) -> Prior:
        """Build ``evaluation.prior``: by default the regularizer's, or N(0, I) where it has none."""
        own = self.config.slots.get("evaluation.prior")
        dim = self.config.model.latent_dim
        if own is None:
            own = _prior_of(self.config.slots["regularizer"])
        prior = Gaussian(dim) if own is None else self._prior(own, dim)
        if prior.dim != dim:
            raise InputError(f"evaluation.prior: dim {prior.dim} received; the latent has {dim}")
        return prior

    def schedule(self, path: str) -> Any:
        """Build a schedule over the run's steps."""
        return self._nested(self.config.slots[path])

    def _make(self, slot: Slot, **known: Any) -> Any:
        return make(slot, self._nested, **known)

    def _nested(self, slot: Slot) -> Any:
        if slot.kind == "prior":
            return self._prior(slot, self.config.model.latent_dim)
        itself = {"schedule": "step", "estimator": "z"}.get(slot.kind)
        if itself is not None and is_function_of(itself, slot.factory()):
            made = partial(slot.factory(), **slot.arguments)
        else:
            known: dict[str, Any] = {"steps": self.config.trainer.steps}
            if slot.kind == "regularizer":
                known = {"dim": self.config.model.latent_dim, "seed": self.config.seed}
            made = self._make(slot, **known)
        if slot.kind == "schedule":
            with at(slot.path):
                float(made(0))
        return made

    def _prior(self, slot: Slot, dim: int) -> Prior:
        return PriorBuilder(self.assets).build(slot, dim)


def _prior_of(penalty: Slot) -> Slot | None:
    """Return the prior that a penalty names, or the first that a part of a sum names."""
    prior = penalty.arguments.get("prior")
    if isinstance(prior, Slot):
        return prior
    parts = [part.arguments["penalty"] for part in penalty.arguments.get("penalties") or []]
    return next((found for part in parts if (found := _prior_of(part)) is not None), None)


def choose_device(name: str) -> torch.device:
    """Return a device; ``auto`` is cuda, else mps, else cpu.

    Raises:
        InputError: an unknown device, or one that is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type in _DEVICES:
            torch.empty(0, device=device)
            return device
    except (AssertionError, NotImplementedError, RuntimeError):
        pass
    raise InputError(f"device: {name!r} is not available here; give auto or cpu")


def _fit_pca(model: Autoencoder, train: ImageSet, dim: int) -> PCA:
    """Fit PCA on evenly spaced training images, at most 50,000, in the likelihood's space."""
    step = max(1, -(-len(train) // _PCA_IMAGES))
    rows = Subset(train, torch.arange(0, len(train), step))
    held = [images for images, _ in rows.chunks(_PCA_CHUNK)]

    def chunks() -> Iterator[Tensor]:
        return (model.likelihood.link(to_float(images)).flatten(1) for images in held)

    return fit_pca(chunks, dim)
