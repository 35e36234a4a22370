"""Quality of reconstructions: squared error, PSNR or R2, the likelihood's loss, and SSIM."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmdprior.data import ImageSet, Subset
from mmdprior.data.source import sample_kind, to_float
from mmdprior.errors import InputError
from mmdprior.evaluation.encode import rows_of_rank
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.precision import in_float64
from mmdprior.results import Result, to_plain
from mmdprior.seeding import stream
from mmdprior.world import World

__all__ = ["Reconstruction", "reconstruction_error", "reconstruction_ssim", "ssim"]


_ROUNDING = 1e-14
"""Share of the sum of squares below which a sum of squared distances is rounding error."""


@dataclass(frozen=True)
class Reconstruction(Result):
    """Reconstruction errors on a data set, from one sample z ~ q(z|x) per image, signal or vector.

    Attributes:
        mse: squared error of the unclipped mean image, averaged over all pixels of all images in [0, 1]. Of
            vectors and signals, squared error of the mean in standard deviations of each feature or channel
            of the training data, averaged over all values.
        loss: loss of the likelihood, summed over pixels or values and averaged over samples.
        r2: 1 - SSE / SST of vectors and signals, over all standardised values. SST is the sum of squared
            distances to the mean sample of the scored data. NaN if these are equal. None for images.

    Example:
        >>> from mmdprior.evaluation import Reconstruction
        >>> error = Reconstruction(mse=0.01, loss=30.0)
        >>> error.psnr
        20.0
        >>> print(error)
        PSNR 20.00 dB, MSE 0.01000, loss 30.0
        >>> print(Reconstruction(mse=0.25, loss=30.0, r2=0.75))
        R2 0.7500, MSE 0.25, loss 30
    """

    mse: float
    loss: float
    r2: float | None = None

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio -10 log10(mse), in dB; NaN for vectors and signals."""
        if self.r2 is not None:
            return math.nan
        return -10 * math.log10(self.mse) if self.mse > 0 else math.inf

    @property
    def quality(self) -> dict[str, float]:
        """``psnr`` of images, ``r2`` of vectors and signals, by name."""
        return {"psnr": self.psnr} if self.r2 is None else {"r2": self.r2}

    def to_dict(self) -> dict[str, Any]:
        """Return ``mse``, ``psnr`` (or ``r2``) and ``loss``; None where one is not finite."""
        return to_plain({"mse": self.mse, **self.quality, "loss": self.loss})

    def __str__(self) -> str:
        if self.r2 is not None:
            return f"R2 {self.r2:.4f}, MSE {self.mse:.4g}, loss {self.loss:.4g}"
        return f"PSNR {self.psnr:.2f} dB, MSE {self.mse:.5f}, loss {self.loss:.1f}"


@torch.no_grad()
def reconstruction_error(
    model: Autoencoder,
    images: ImageSet,
    codes: Float[Tensor, "n d"] | Latent | None = None,
    *,
    batch_size: int = 512,
    seed: int = 0,
    device: torch.device | str = "cpu",
    world: World = World(),  # noqa: B008, it is frozen
) -> Reconstruction:
    """Reconstruct a data set and compute the errors.

    Args:
        model: model on ``device``; it decodes in evaluation mode.
        images: data set, in the order of ``codes``.
        codes: one sample of q(z|x) per image, or the `Latent` with them. After a flow, a `Latent` from
            `encode` also has the codes before it, which are decoded without inverting the flow. By default
            the samples are drawn here, and depend on ``batch_size``.
        batch_size: images per forward pass.
        seed: seed of the samples drawn here.
        device: device of the model.
        world: processes that share the work; one process by default. All return the same errors.

    Raises:
        InputError: the decoder returns another shape than that of the images.

    Example:
        >>> from mmdprior.data import sprites
        >>> from mmdprior.evaluation import reconstruction_error
        >>> from mmdprior.models import Autoencoder, MLPDecoder, MLPEncoder
        >>> shape = (1, 64, 64)
        >>> model = Autoencoder(MLPEncoder(shape, 4, hidden=[8]), MLPDecoder(shape, 4, hidden=[8]))
        >>> error = reconstruction_error(model, sprites(images=100).train)
        >>> error.psnr > 0
        True
    """
    squared = loss = 0.0
    is_image = sample_kind(images.image_shape) == "images"
    moments = torch.zeros(2, *images.image_shape, dtype=torch.float64)
    rows = rows_of_rank(len(images), batch_size, world)
    start, pixels = int(rows[0]) if len(rows) else 0, math.prod(images.image_shape)
    generator = stream(seed, "reconstruct")
    with evaluation_mode(model):
        for batch, _ in Subset(images, rows).chunks(batch_size):
            x = to_float(batch.to(device))
            if codes is None:
                output = model(x, generator)[1].to(x)
            elif isinstance(codes, Latent) and codes.base is not None and model.quantiser is None:
                before = codes.base.sample[start : start + len(x)].to(x)
                output = model.decoder_output(before, x.shape).to(x)
            else:
                sample = codes.sample if isinstance(codes, Latent) else codes
                output = model.decode_raw(sample[start : start + len(x)].to(x), x.shape).to(x)
            start += len(x)
            y = model.likelihood.standardise(x)
            squared += float((model.likelihood.standardise(model.likelihood.mean(output)) - y).square().sum())
            loss += float(model.likelihood.loss(output, x)) * len(x)
            if not is_image:
                y = in_float64(y)
                moments += torch.stack([y.sum(0), y.square().sum(0)]).cpu()
    # Sums, not means, so that ranks with different numbers of images add up.
    squared, loss = world.sum(torch.tensor([squared, loss], dtype=torch.float64)).tolist()
    r2 = None if is_image else _r2(squared, world.sum(moments), len(images))
    return Reconstruction(mse=squared / (len(images) * pixels), loss=loss / len(images), r2=r2)


def _r2(squared: float, moments: Float[Tensor, "2 *sample"], n: int) -> float:
    """Return 1 - SSE / SST from the sums and the sums of squares of n samples; NaN if all are equal."""
    total, squares = moments
    variation = (squares - total.square() / n).clamp(min=0)
    variation = variation.where(variation > _ROUNDING * squares, 0.0)  # constant, up to rounding
    sst = float(variation.sum())
    return 1 - squared / sst if sst > 0 else math.nan


@torch.no_grad()
def reconstruction_ssim(
    model: Autoencoder,
    images: ImageSet,
    codes: Float[Tensor, "n d"],
    *,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> float:
    """Return the mean SSIM between images and their reconstructions clamped to [0, 1].

    Args:
        model: model on ``device``; it decodes in evaluation mode.
        images: data set, in the order of ``codes``.
        codes: one sample of q(z|x) per image.
        batch_size: images per forward pass.
        device: device of the model.
    """
    total, start = 0.0, 0
    with evaluation_mode(model):
        for batch, _ in images.chunks(batch_size):
            x = to_float(batch.to(device))
            decoded = model.decode(codes[start : start + len(x)].to(x)).to(x).clamp(0, 1)
            total += float(ssim(x, decoded).double().sum())
            start += len(x)
    return total / max(start, 1)


_WINDOW, _SIGMA = 11, 1.5
"""Side and standard deviation of the Gaussian window, in pixels."""

_C1, _C2 = 0.01**2, 0.03**2
"""(K1 L)^2 and (K2 L)^2 with K1 = 0.01, K2 = 0.03 and dynamic range L = 1."""


def ssim(x: Float[Tensor, "n c h w"], y: Tensor) -> Float[Tensor, "n"]:
    """Return the mean structural similarity of each pair of images in [0, 1]; 1 for equal images.

    Wang, Bovik, Sheikh and Simoncelli (2004), equation 13, with their constants and Gaussian window. It is
    computed per channel and averaged over channels and over the positions at which the whole window fits.
    Images smaller than the window use the largest odd window that fits.

    Args:
        x: images.
        y: images of the same shape.

    Raises:
        InputError: the shapes differ.

    Example:
        >>> import torch
        >>> from mmdprior.evaluation.reconstruction import ssim
        >>> x = torch.rand(2, 3, 32, 32)
        >>> ssim(x, x), bool((ssim(x, 1 - x) < 0).all())
        (tensor([1., 1.]), True)
    """
    if x.shape != y.shape:
        raise InputError(f"images: shapes {tuple(x.shape)} and {tuple(y.shape)} received; give equal ones")
    window = _gaussian_window(min(_WINDOW, *x.shape[2:])).to(x)
    channels = x.shape[1]

    def blur(values: Tensor) -> Tensor:
        # The Gaussian window is separable: one pass per axis.
        rows = functional.conv2d(values, window.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)
        return functional.conv2d(rows, window.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)

    # Weighted means, variances and covariance in each window, eq. 14 to 16.
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x.square(), blur(y * y) - mean_y.square()
    covariance = blur(x * y) - mean_x * mean_y
    # Eq. 13.
    numerator = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    denominator = (mean_x.square() + mean_y.square() + _C1) * (var_x + var_y + _C2)
    return (numerator / denominator).flatten(1).mean(1)


def _gaussian_window(size: int) -> Float[Tensor, "k"]:
    """Return Gaussian weights of sum 1 at the largest odd number of pixels up to ``size``."""
    half = (size - 1) // 2
    offsets = torch.arange(-half, half + 1, dtype=torch.float64)
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    return weights / weights.sum()
