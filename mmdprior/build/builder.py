"""From a checked config to objects: the only place where a name becomes a thing."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmdprior.build.construct import error_path, make
from mmdprior.config.schema import Config
from mmdprior.config.slots import Slot, is_function_of
from mmdprior.data import ImageSet, Subset
from mmdprior.data.source import to_float
from mmdprior.errors import InputError
from mmdprior.models import PCA, Autoencoder, add_linear_skip, fit_pca
from mmdprior.priors import Gaussian, Prior, as_prior
from mmdprior.priors.empirical import check_draws
from mmdprior.regularizers import Regularizer

__all__ = ["Builder", "PriorBuilder"]

_PCA_IMAGES = 50_000
_PCA_CHUNK = 2048


@dataclass
class Builder:
    """Builds the parts of one run.

    Attributes:
        config: checked.
        assets: the arrays that the config names by path, from `read_assets` or a checkpoint.
    """

    config: Config
    assets: Mapping[str, Tensor] = field(default_factory=dict)

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
            with error_path("model"):
                if train is not None:
                    pca = _fit_pca(model, train, settings.latent_dim)
                return add_linear_skip(model, pca, image_shape)
        return model

    def regularizer(self) -> Regularizer:
        """Build the penalty and check that it fits the latent."""
        regularizer = self._nested(self.config.slots["regularizer"])
        posterior = self._make(self.config.slots["model.posterior"])
        with error_path("regularizer"):
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
            with error_path(slot.path):
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


def _fit_pca(model: Autoencoder, train: ImageSet, dim: int) -> PCA:
    """Fit PCA on evenly spaced training images, at most 50,000, in the likelihood's space."""
    step = max(1, -(-len(train) // _PCA_IMAGES))
    rows = Subset(train, torch.arange(0, len(train), step))
    held = [images for images, _ in rows.chunks(_PCA_CHUNK)]

    def chunks() -> Iterator[Tensor]:
        return (model.likelihood.link(to_float(images)).flatten(1) for images in held)

    return fit_pca(chunks, dim)


@dataclass
class PriorBuilder:
    """Builds priors.

    Attributes:
        assets: the arrays that the config names by path, from `read_assets` or a checkpoint.
    """

    assets: Mapping[str, Tensor] = field(default_factory=dict)

    def build(self, slot: Slot, dim: int) -> Prior:
        """Build a prior, of the given dimension unless its arguments say otherwise."""
        if slot.name == "product":
            return self._product(slot, dim)
        factory = slot.factory()
        dim = slot.arguments.get("dim") or dim
        if not callable(factory) or isinstance(factory, nn.Module):
            made: Any = factory
        elif is_function_of("n", factory):
            made = partial(factory, **{key: v for key, v in slot.arguments.items() if key != "dim"})
        else:
            content = self._asset(slot) if slot.name == "samples" else None
            inner = _base_dim(slot, dim)
            made = make(slot, lambda part: self._part(part, inner), dim=dim, file_content=content)
        with error_path(slot.path):
            prior = as_prior(made, dim)
            if slot.target is not None:
                check_draws(prior)
        return prior

    def _part(self, slot: Slot, dim: int) -> Any:
        """Build what a prior is made of: another prior, or a function of the user's own."""
        return partial(slot.factory(), **slot.arguments) if slot.kind == "function" else self.build(slot, dim)

    def _product(self, slot: Slot, dim: int) -> Prior:
        """Build blocks; one that states no dimension takes what the others leave."""
        entries: list[Slot] = slot.arguments["blocks"]
        open_slots = [entry for entry in entries if _takes_dim(entry)]
        if len(open_slots) > 1:
            raise InputError(f"{open_slots[1].path}.dim: missing; only one block may leave its dim open")
        built = {entry.path: self.build(entry, dim) for entry in entries if entry not in open_slots}
        rest = dim - sum(block.dim for block in built.values())
        if open_slots and rest < 1:
            raise InputError(f"{slot.path}.blocks: {dim - rest} dimensions taken of {dim}; none is left open")
        built |= {entry.path: self.build(entry, rest) for entry in open_slots}
        others = {key: value for key, value in slot.arguments.items() if key != "blocks"}
        with error_path(slot.path):
            return slot.factory()([built[entry.path] for entry in entries], **others)

    def _asset(self, slot: Slot) -> Tensor:
        path = str(slot.arguments["path"])
        if path not in self.assets:
            raise InputError(f"{slot.path}.path: {path!r} received; read it first with read_assets")
        return self.assets[path]


def _base_dim(slot: Slot, dim: int) -> int:
    """Return the dimension of the prior that another one is made of: an affine map may change it."""
    matrix = slot.arguments.get("matrix")
    return len(matrix[0]) if isinstance(matrix, list) and matrix and isinstance(matrix[0], list) else dim


def _takes_dim(slot: Slot) -> bool:
    """Log a block whose dimension is left to the product."""
    if slot.name == "product":
        return any(_takes_dim(entry) for entry in slot.arguments["blocks"])
    base = slot.arguments.get("base")
    if isinstance(base, Slot):
        return "matrix" not in slot.arguments and _takes_dim(base)
    factory = slot.factory()
    if not callable(factory) or isinstance(factory, nn.Module):
        return False
    named = "dim" in inspect.signature(factory).parameters or is_function_of("n", factory)
    return named and slot.arguments.get("dim") is None
