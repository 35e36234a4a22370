"""Pictures that tell at a glance what a model kept and what its latents do."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.utils import make_grid

from mmdprior.data import ImageSet, thin
from mmdprior.data.batches import to_float
from mmdprior.evaluation import Codes, active_dimensions
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.priors import Prior
from mmdprior.seeding import stream

__all__ = ["Panels", "prior_samples", "reconstructions", "traversals"]

_PAD = 1.0


@torch.no_grad()
def reconstructions(model: Autoencoder, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "rgb H W"]:
    """Images in the first row, their reconstructions from the mean codes below."""
    decoded = model.decode(model.encode(images, stream(0, "panel")).mean)
    rows = torch.cat([images, decoded.clamp(0, 1)])
    return make_grid(rows, nrow=len(images), pad_value=_PAD).cpu()


@torch.no_grad()
def prior_samples(
    model: Autoencoder, prior: Prior, n: int = 64, device: torch.device | str = "cpu"
) -> Float[Tensor, "rgb H W"]:
    """Decoded draws from the prior, the same draws at every call."""
    z = prior.sample(n, stream(0, "panel", device=prior.device)).to(device)
    return make_grid(model.decode(z).clamp(0, 1), nrow=round(n**0.5), pad_value=_PAD).cpu()


@torch.no_grad()
def traversals(
    model: Autoencoder,
    codes: Float[Tensor, "n d"],
    dimensions: Tensor,
    columns: int = 9,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "rgb H W"]:
    """One row a dimension: the code of one image, moved through the quantiles .02 to .98 of that dimension.

    The image is the one whose code is nearest to the median of all dimensions.

    Args:
        model: on ``device``.
        codes: mean codes; they give the medians and the quantiles.
        dimensions: which, in the order of the rows.
        columns: steps between the quantiles.
        device: where to decode.
    """
    codes = codes.cpu()
    median = codes.median(0).values
    scale = codes.std(0).clamp(min=1e-12)
    start = codes[((codes - median) / scale).square().sum(1).argmin()]
    levels = torch.linspace(0.02, 0.98, columns)
    rows = []
    for dimension in dimensions.tolist():
        row = start.repeat(columns, 1)
        row[:, dimension] = torch.quantile(codes[:, dimension], levels)
        rows.append(row)
    decoded = model.decode(torch.cat(rows).to(device))
    return make_grid(decoded.clamp(0, 1), nrow=columns, pad_value=_PAD).cpu()


@dataclass(frozen=True)
class Panels:
    """The pictures of one validation, by TensorBoard tag.

    Attributes:
        images: held-out images; a few of them are reconstructed.
        prior: whose draws are decoded.
        device: where the model lies.
        columns: images in the strip of reconstructions.
        rows: dimensions traversed, those of largest spread.
        shown: dimensions whose histograms are written.
    """

    images: ImageSet
    prior: Prior
    device: torch.device | str = "cpu"
    columns: int = 8
    rows: int = 16
    shown: int = 64

    def draw(self, model: Autoencoder, codes: Codes) -> dict[str, Tensor]:
        """Return the pictures of a model; it is left as it was."""
        shown = thin(self.images, self.columns)
        batch, _ = shown.gather(torch.arange(len(shown)))
        means = codes.latent.mean[:5000]
        spread = means.std(0) * active_dimensions(codes.latent)
        used = spread.argsort(descending=True)[: max(1, min(self.rows, int((spread > 0).sum())))]
        with evaluation_mode(model):
            return {
                "reconstructions": reconstructions(model, to_float(batch.to(self.device))),
                "prior_samples": prior_samples(model, self.prior, device=self.device),
                "traversals": traversals(model, means, used.cpu(), device=self.device),
            }

    def histograms(self, codes: Codes) -> dict[str, Tensor]:
        """Return the sampled codes of every dimension, up to ``shown``."""
        samples = codes.latent.sample[:, : self.shown].cpu()
        return {f"z/{dimension:03d}": column for dimension, column in enumerate(samples.unbind(1))}
