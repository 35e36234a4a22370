"""Images and figures of a model during training and in its report."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.data import ImageSet, thin
from mmdprior.data.source import to_float
from mmdprior.evaluation import Codes, Evaluation
from mmdprior.figures.figures import figures_of
from mmdprior.figures.images import error_image, image_figure, in_rows
from mmdprior.figures.prior_shape import PriorShape
from mmdprior.figures.sample_curves import curve_figures
from mmdprior.figures.style import to_picture
from mmdprior.figures.traversal import Traversal, traverse
from mmdprior.metrics import active_dimensions
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.priors import Prior
from mmdprior.seeding import stream

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Panels", "prior_samples", "reconstructions"]

_PER_ROW = 4
"""Marginals next to each other, so that their text is legible on the cards of TensorBoard."""

_TRAVERSAL_CODES = 5000
"""Codes among which the start of a traversal is sought."""


@torch.no_grad()
def reconstructions(model: Autoencoder, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "3 n *sample"]:
    """Return images, their reconstructions from mean codes, and absolute errors, stacked in this order.

    Args:
        model: in the mode in which it should run, usually evaluation mode.
        images: (n, c, h, w) in [0, 1], on the device of the model; signals (n, c, t) or vectors (n, p).

    Returns:
        (3, n, c, h, w) on the CPU. Errors are averaged over channels and white where they are 0.5 or more.
        Signals and vectors are in their own units, and their errors are absolute differences.

    Example:
        >>> import torch
        >>> from mmdprior import models
        >>> from mmdprior.figures import reconstructions
        >>> encoder, decoder = models.LinearEncoder((1, 8, 8), 3), models.LinearDecoder((1, 8, 8), 3)
        >>> reconstructions(models.Autoencoder(encoder, decoder), torch.rand(4, 1, 8, 8)).shape
        torch.Size([3, 4, 1, 8, 8])
    """
    decoded = model.decode(model.encode(images, stream(0, "panel")).mean).to(images)
    if images.ndim != 4:
        return torch.stack([images, decoded, (images - decoded).abs()]).cpu()
    decoded = decoded.clamp(0, 1)
    return torch.stack([images, decoded, error_image(images, decoded)]).cpu()


@torch.no_grad()
def prior_samples(
    model: Autoencoder, prior: Prior, n: int = 64, device: torch.device | str = "cpu", seed: int = 0
) -> Float[Tensor, "n *sample"]:
    """Decode samples from a prior.

    Args:
        model: model on ``device``.
        prior: prior with the dimension of the model's latents.
        n: number of samples.
        device: where to decode.
        seed: seed of the samples; the same seed gives the same samples.

    Returns:
        (n, c, h, w) images in [0, 1] on the CPU; signals (n, c, t) or vectors (n, p) in their own units.

    Example:
        >>> from mmdprior import models
        >>> from mmdprior.figures import prior_samples
        >>> from mmdprior.priors import Uniform
        >>> encoder, decoder = models.LinearEncoder((1, 8, 8), 3), models.LinearDecoder((1, 8, 8), 3)
        >>> prior_samples(models.Autoencoder(encoder, decoder), Uniform(3), n=5).shape
        torch.Size([5, 1, 8, 8])
    """
    z = prior.sample(n, stream(seed, "panel", device=prior.device)).to(device)
    decoded = model.decode(z)
    return (decoded.clamp(0, 1) if decoded.ndim == 4 else decoded).cpu()


@dataclass(frozen=True)
class Panels:
    """Images, figures and histograms of one validation, by TensorBoard tag.

    All methods run the model in evaluation mode and restore its mode afterwards.

    Attributes:
        images: held-out images; a few of them are reconstructed.
        prior: the intended prior, which is sampled and compared with the codes.
        device: device of the model.
        columns: number of reconstructed images.
        rows: largest number of dimensions in a traversal.
        shown: largest number of dimensions with a histogram.

    Example:
        >>> import torch
        >>> from mmdprior import models
        >>> from mmdprior.data import InMemory
        >>> from mmdprior.evaluation import encode
        >>> from mmdprior.figures import Panels
        >>> from mmdprior.priors import Gaussian
        >>> images = InMemory(torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8))
        >>> encoder, decoder = models.LinearEncoder((1, 8, 8), 3), models.LinearDecoder((1, 8, 8), 3)
        >>> model = models.Autoencoder(encoder, decoder)
        >>> sorted(Panels(images, Gaussian(3)).draw(model, encode(model, images)))
        ['prior_samples', 'reconstructions', 'traversals']
    """

    images: ImageSet
    prior: Prior
    device: torch.device | str = "cpu"
    columns: int = 8
    rows: int = 16
    shown: int = 64

    @cached_property
    def shape(self) -> PriorShape:
        """Marginal CDFs and samples of the prior."""
        return PriorShape.of(self.prior)

    def draw(self, model: Autoencoder, codes: Codes) -> dict[str, Float[Tensor, "rgb H W"]]:
        """Return one image each of reconstructions, decoded prior samples and a traversal."""
        strip, samples = self.strip(model), self.draws(model)
        if strip.ndim != 5:
            return {
                "reconstructions": to_picture(self.strip_figure(strip)),
                "prior_samples": to_picture(image_figure(in_rows(samples), [])),
                "traversals": self.traversal(model, codes).grid(),
            }
        return {
            "reconstructions": _grid(strip.flatten(0, 1), strip.shape[1]),
            "prior_samples": _grid(samples, round(len(samples) ** 0.5)),
            "traversals": self.traversal(model, codes).grid(),
        }

    def strip(self, model: Autoencoder) -> Float[Tensor, "3 n *sample"]:
        """Return a few held-out images, their reconstructions and the errors; see `reconstructions`."""
        some = thin(self.images, self.columns)
        batch, _ = some.gather(torch.arange(len(some)))
        with evaluation_mode(model):
            return reconstructions(model, to_float(batch.to(self.device)))

    @staticmethod
    def strip_figure(strip: Float[Tensor, "3 n *sample"]) -> "Figure":
        """Return the figure of a strip: rows of images, or curves with their reconstructions over them."""
        if strip.ndim == 5:
            return image_figure(strip, ["image", "decoded", "error"])
        n = strip.shape[1]
        across = n // 2 if n % 2 == 0 else n
        pairs = strip[:2].transpose(0, 1).unflatten(0, (-1, across))
        return curve_figures({"": (pairs, [], [])}, legend=["data", "decoded"])

    def draws(self, model: Autoencoder, n: int = 64) -> Float[Tensor, "n *sample"]:
        """Return n decoded samples from the prior; see `prior_samples`."""
        with evaluation_mode(model):
            return prior_samples(model, self.prior, n, self.device)

    def traversal(self, model: Autoencoder, codes: Codes) -> Traversal:
        """Return the traversal of the active dimensions that starts from a central mean code."""
        active = active_dimensions(codes.latent)
        means = codes.latent.mean[:_TRAVERSAL_CODES]
        return traverse(model, self.shape, codes=means, active=active, rows=self.rows, device=self.device)

    def figures(self, evaluation: Evaluation, codes: Codes) -> dict[str, "Figure"]:
        """Return the figures of codes and scores by TensorBoard tag."""
        figures = figures_of(evaluation, codes, self.shape, per_row=_PER_ROW)
        folders = dict.fromkeys(("marginals", "quantiles", "pairs"), "aggregate_posterior")
        folders |= dict.fromkeys(("factors", "factor_importance"), "disentanglement")
        return {f"{folders.get(name, 'dependence')}/{name}": figure for name, figure in figures.items()}

    def histograms(self, codes: Codes) -> dict[str, Float[Tensor, "n"]]:
        """Return the sampled codes of each of the first ``shown`` dimensions by TensorBoard tag."""
        samples = codes.latent.sample[:, : self.shown].cpu()
        return {f"z/{dimension:03d}": column for dimension, column in enumerate(samples.unbind(1))}


def _grid(images: Float[Tensor, "n c h w"], across: int) -> Float[Tensor, "rgb H W"]:
    from torchvision.utils import make_grid

    return make_grid(images.nan_to_num(0.0), nrow=across, pad_value=1.0)
