"""From a checked config to objects: the only place where a name becomes a thing."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmdprior.config.paths import at
from mmdprior.config.schema import Config
from mmdprior.config.slots import Slot, is_function_of
from mmdprior.data import ImageSet, Subset
from mmdprior.data.batches import to_float
from mmdprior.data.codes import read_codes
from mmdprior.errors import InputError
from mmdprior.kernels import Kernel
from mmdprior.models import PCA, Autoencoder, Likelihood, Posterior, add_linear_skip, fit_pca
from mmdprior.priors import Gaussian, Prior, as_prior
from mmdprior.priors.empirical import check_draws
from mmdprior.regularizers import Regularizer

__all__ = ["Builder", "choose_device"]

_CONTRACTS: Mapping[str, type] = {
    "encoder": nn.Module,
    "decoder": nn.Module,
    "posterior": Posterior,
    "likelihood": Likelihood,
    "kernel": Kernel,
    "regularizer": Regularizer,
}
"""What a factory of each slot must return."""

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
        regularizer = self._make(self.config.slots["regularizer"], seed=self.config.seed)
        posterior = self._make(self.config.slots["model.posterior"])
        with at("regularizer"):
            regularizer.check(dim=self.config.model.latent_dim, stochastic=posterior.stochastic)
        return regularizer

    def intended_prior(self) -> Prior:
        """Build ``evaluation.prior``: by default the regularizer's, or N(0, I) where it has none."""
        own = self.config.slots.get("evaluation.prior")
        of_penalty = self.config.slots["regularizer"].arguments.get("prior")
        dim = self.config.model.latent_dim
        if own is None and isinstance(of_penalty, Slot):
            own = of_penalty
        prior = Gaussian(dim) if own is None else self._prior(own, dim)
        if prior.dim != dim:
            raise InputError(f"evaluation.prior: dim {prior.dim} received; the latent has {dim}")
        return prior

    def schedule(self, path: str) -> Any:
        """Build a schedule over the run's steps."""
        return self._nested(self.config.slots[path])

    def _make(self, slot: Slot, **known: Any) -> Any:
        """Call a slot's factory with its arguments, nested slots built first."""
        factory = slot.factory()
        arguments: dict[str, Any] = {}
        for key, value in slot.arguments.items():
            if isinstance(value, Slot):
                arguments[key] = self._nested(value)
            elif isinstance(value, list) and value and all(isinstance(v, Slot) for v in value):
                arguments[key] = [self._nested(entry) for entry in value]
            else:
                arguments[key] = value
        accepted = inspect.signature(factory).parameters
        for key, value in known.items():
            if key in accepted and arguments.get(key) is None:
                arguments[key] = value
        with at(slot.path):
            made = factory(**arguments)
            contract = _CONTRACTS.get(slot.kind, object)
            if not isinstance(made, contract):
                raise InputError(f"{type(made).__name__} returned; return a {contract.__name__}")
        return made

    def _nested(self, slot: Slot) -> Any:
        if slot.kind == "prior":
            return self._prior(slot, self.config.model.latent_dim)
        if slot.kind == "schedule" and is_function_of("step", slot.factory()):
            made = partial(slot.factory(), **slot.arguments)
        else:
            made = self._make(slot, steps=self.config.trainer.steps)
        if slot.kind == "schedule":
            with at(slot.path):
                float(made(0))
        return made

    def _prior(self, slot: Slot, dim: int) -> Prior:
        """Build a prior, of the given dimension unless its arguments say otherwise."""
        if slot.name == "product":
            return self._product(slot, dim)
        if slot.name == "samples":
            return self._make(slot, file_content=self._asset(slot, str(slot.arguments["path"])))
        factory = slot.factory()
        dim = slot.arguments.get("dim") or dim
        if not callable(factory) or isinstance(factory, nn.Module):
            made: Any = factory
        elif is_function_of("n", factory):
            made = partial(factory, **{key: v for key, v in slot.arguments.items() if key != "dim"})
        else:
            made = self._make(slot, dim=dim)
        with at(slot.path):
            prior = as_prior(made, dim)
            if slot.target is not None:
                check_draws(prior)
        return prior

    def _product(self, slot: Slot, dim: int) -> Prior:
        """Build blocks; one that states no dimension takes what the others leave."""
        entries: list[Slot] = slot.arguments["blocks"]
        open_slots = [entry for entry in entries if _takes_dim(entry)]
        if len(open_slots) > 1:
            raise InputError(f"{open_slots[1].path}.dim: missing; only one block may leave its dim open")
        built = {entry.path: self._prior(entry, dim) for entry in entries if entry not in open_slots}
        rest = dim - sum(block.dim for block in built.values())
        if open_slots and rest < 1:
            raise InputError(f"{slot.path}.blocks: {dim - rest} dimensions taken of {dim}; none is left open")
        built |= {entry.path: self._prior(entry, rest) for entry in open_slots}
        with at(slot.path):
            return slot.factory()([built[entry.path] for entry in entries])

    def _asset(self, slot: Slot, path: str) -> Tensor:
        if path not in self.assets:
            with at(slot.path):
                self.assets[path] = read_codes(path)
        return self.assets[path]


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


def _takes_dim(slot: Slot) -> bool:
    """Tell a block whose dimension is left to the product."""
    if slot.name == "product":
        return any(_takes_dim(entry) for entry in slot.arguments["blocks"])
    factory = slot.factory()
    if not callable(factory) or isinstance(factory, nn.Module):
        return False
    named = "dim" in inspect.signature(factory).parameters or is_function_of("n", factory)
    return named and slot.arguments.get("dim") is None
