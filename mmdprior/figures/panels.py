"""Pictures that tell at a glance what a model kept and what its latents do."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from mmdprior.data import ImageSet, thin
from mmdprior.data.source import to_float
from mmdprior.evaluation import Codes, Evaluation
from mmdprior.figures.figures import figures_of
from mmdprior.figures.images import error_image
from mmdprior.figures.prior_shape import PriorShape
from mmdprior.figures.traversal import Traversal, traverse
from mmdprior.metrics import active_dimensions
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.priors import Prior
from mmdprior.seeding import stream

__all__ = ["Panels", "prior_samples", "reconstructions"]


@torch.no_grad()
def reconstructions(model: Autoencoder, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "3 n c h w"]:
    """Return images, their reconstructions from the mean codes, and the absolute error, white from .5 on."""
    decoded = model.decode(model.encode(images, stream(0, "panel")).mean).to(images).clamp(0, 1)
    return torch.stack([images, decoded, error_image(images, decoded)]).cpu()


@torch.no_grad()
def prior_samples(
    model: Autoencoder, prior: Prior, n: int = 64, device: torch.device | str = "cpu", seed: int = 0
) -> Float[Tensor, "n c h w"]:
    """Return decoded draws from the prior, the same draws at every call with one seed."""
    z = prior.sample(n, stream(seed, "panel", device=prior.device)).to(device)
    return model.decode(z).clamp(0, 1).cpu()


@dataclass(frozen=True)
class Panels:
    """The pictures of one validation, by TensorBoard tag.

    Attributes:
        images: held-out images; a few of them are reconstructed.
        prior: whose draws are decoded.
        device: where the model lies.
        columns: images in the strip of reconstructions.
        rows: dimensions traversed, those that change the picture most.
        shown: dimensions whose histograms are written.
    """

    images: ImageSet
    prior: Prior
    device: torch.device | str = "cpu"
    columns: int = 8
    rows: int = 16
    shown: int = 64

    @cached_property
    def shape(self) -> PriorShape:
        """The prior as plain arrays."""
        return PriorShape.of(self.prior)

    def draw(self, model: Autoencoder, codes: Codes) -> dict[str, Float[Tensor, "rgb H W"]]:
        """Return the pictures of a model; it is left as it was."""
        strip, draws = self.strip(model), self.draws(model)
        return {
            "reconstructions": _grid(strip.flatten(0, 1), strip.shape[1]),
            "prior_samples": _grid(draws, round(len(draws) ** 0.5)),
            "traversals": self.traversal(model, codes).grid(),
        }

    def strip(self, model: Autoencoder) -> Float[Tensor, "3 n c h w"]:
        """Return a few images, their reconstructions and the errors."""
        shown = thin(self.images, self.columns)
        batch, _ = shown.gather(torch.arange(len(shown)))
        with evaluation_mode(model):
            return reconstructions(model, to_float(batch.to(self.device)))

    def draws(self, model: Autoencoder, n: int = 64) -> Float[Tensor, "n c h w"]:
        """Return decoded draws from the prior."""
        with evaluation_mode(model):
            return prior_samples(model, self.prior, n, self.device)

    def traversal(self, model: Autoencoder, codes: Codes) -> Traversal:
        """Return the traversal from a central image's code."""
        active = active_dimensions(codes.latent)
        means = codes.latent.mean[:5000]
        return traverse(model, self.shape, codes=means, active=active, rows=self.rows, device=self.device)

    def figures(self, evaluation: Evaluation, codes: Codes) -> dict[str, Figure]:
        """Return the figures of codes and scores by TensorBoard tag."""
        drawn = figures_of(evaluation, codes, self.shape)
        rooms = dict.fromkeys(("marginals", "quantiles", "pairs"), "aggregate_posterior")
        return {f"{rooms.get(name, 'dependence')}/{name}": figure for name, figure in drawn.items()}

    def histograms(self, codes: Codes) -> dict[str, Tensor]:
        """Return the sampled codes of every dimension, up to ``shown``."""
        samples = codes.latent.sample[:, : self.shown].cpu()
        return {f"z/{dimension:03d}": column for dimension, column in enumerate(samples.unbind(1))}


def _grid(images: Float[Tensor, "n c h w"], across: int) -> Float[Tensor, "rgb H W"]:
    return make_grid(images.nan_to_num(0.0), nrow=across, pad_value=1.0)
