"""A linear path, initialised by PCA, beside any encoder and decoder.

Without it, a small convolutional autoencoder trained under an MMD penalty folds few dimensions into
many: on CIFAR-10 at d = 32 its codes predict one another almost perfectly. Starting at PCA, whose
codes are uncorrelated already, removes the folding.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.models.autoencoder import Autoencoder
from mmdprior.models.likelihood import Likelihood
from mmdprior.seeding import stream

__all__ = ["PCA", "LinearSkipDecoder", "LinearSkipEncoder", "add_linear_skip", "fit_pca"]

LOG_VAR_START = -4.0
"""Log-variance at which a Gaussian posterior beside a linear path starts (standard deviation .14)."""

_PASSES = 8
_OVERSAMPLING = 2


@dataclass(frozen=True)
class PCA:
    """Leading principal components of flattened images."""

    mean: Float[Tensor, "pixels"]
    components: Float[Tensor, "pixels d"]
    scale: Float[Tensor, "d"]

    @staticmethod
    def empty(pixels: int, dim: int) -> "PCA":
        """Return zeros of the right shapes, to be filled from a checkpoint."""
        return PCA(torch.zeros(pixels), torch.zeros(pixels, dim), torch.ones(dim))


def fit_pca(chunks: Callable[[], Iterable[Float[Tensor, "b pixels"]]], dim: int) -> PCA:
    """Fit PCA by subspace iteration over chunks, which are read several times and never held together.

    Eight passes with 2d vectors; the start is drawn from a fixed stream, signs are set so that the
    largest entry of a component is positive.

    Args:
        chunks: called for every pass; yields the rows of the data in float.
        dim: number of components.

    Raises:
        InputError: fewer rows or pixels than components, or a component without variance.
    """
    mean, rows = _mean(chunks)
    pixels = len(mean)
    if min(rows - 1, pixels) < dim:
        raise InputError(
            f"linear_skip: {rows} images of {pixels} values received; PCA to latent_dim {dim} needs more"
        )
    width = min(_OVERSAMPLING * dim + 8, pixels)
    basis = torch.randn(pixels, width, generator=stream(0, "pca")).to(mean)
    for _ in range(_PASSES):
        basis = torch.linalg.qr(_covariance_times(chunks, mean, basis))[0]
    product = _covariance_times(chunks, mean, basis)
    small = (basis.T.cpu().double() @ product.cpu().double()) / (rows - 1)
    variances, rotation = torch.linalg.eigh((small + small.T) / 2)
    variances, rotation = variances.flip(0)[:dim], rotation.flip(1)[:, :dim]
    if variances[-1] <= 1e-10 * variances[0]:
        rank = int((variances > 1e-10 * variances[0]).sum())
        raise InputError(
            f"linear_skip: the images span {rank} dimensions; latent_dim {dim} is more than PCA can fill"
        )
    components = basis @ rotation.to(basis)
    largest = components.abs().argmax(0)
    components = components * components[largest, torch.arange(dim, device=mean.device)].sign()
    return PCA(mean, components, variances.sqrt().to(mean))


class LinearSkipEncoder(nn.Module):
    """Whitened PCA codes plus what the encoder adds; extra outputs start at `LOG_VAR_START`.

    Args:
        encoder: the network beside the path; its last layer is set to zero here.
        likelihood: gives the space in which the path is linear.
        pca: fitted on training images in that space.
        num_params: the encoder's outputs.
    """

    def __init__(self, encoder: nn.Module, likelihood: Likelihood, pca: PCA, num_params: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.likelihood = likelihood
        dim = len(pca.scale)
        projection = torch.zeros(len(pca.mean), num_params)
        projection[:, :dim] = pca.components.cpu() / pca.scale.cpu()
        offset = torch.full((num_params,), LOG_VAR_START)
        offset[:dim] = 0
        self.register_buffer("centre", pca.mean.cpu().clone())
        self.register_buffer("projection", projection)
        self.register_buffer("offset", offset)
        self.centre: Tensor
        self.projection: Tensor
        self.offset: Tensor
        _zero_last_layer(encoder, "encoder")

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p"]:
        """Return the posterior's parameters."""
        with torch.autocast(images.device.type, enabled=False):
            flat = self.likelihood.link(images).flatten(1) - self.centre
            linear = flat @ self.projection + self.offset
        return linear + self.encoder(images)


class LinearSkipDecoder(nn.Module):
    """The PCA reconstruction plus what the decoder adds.

    Args:
        decoder: the network beside the path; its last layer is set to zero here.
        pca: as given to the encoder's path.
        image_shape: (channels, height, width).
    """

    def __init__(self, decoder: nn.Module, pca: PCA, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.decoder = decoder
        self.image_shape = tuple(image_shape)
        self.register_buffer("centre", pca.mean.cpu().clone())
        self.register_buffer("expansion", (pca.components * pca.scale).T.cpu().contiguous())
        self.centre: Tensor
        self.expansion: Tensor
        _zero_last_layer(decoder, "decoder")

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Return logits or means."""
        with torch.autocast(z.device.type, enabled=False):
            linear = (z @ self.expansion + self.centre).unflatten(1, self.image_shape)
        return linear + self.decoder(z)


def add_linear_skip(model: Autoencoder, pca: PCA, image_shape: tuple[int, int, int]) -> Autoencoder:
    """Return the autoencoder with linear paths beside its encoder and decoder.

    Args:
        model: any encoder and decoder whose last layers are linear or convolutional.
        pca: fitted on ``model.likelihood.link(images)``, flattened.
        image_shape: (channels, height, width).

    Raises:
        InputError: a network whose output does not vanish with its last layer.
    """
    num_params = model.posterior.num_params(len(pca.scale))
    encoder = LinearSkipEncoder(model.encoder, model.likelihood, pca, num_params)
    decoder = LinearSkipDecoder(model.decoder, pca, image_shape)
    with torch.no_grad(), torch.random.fork_rng([]):
        for part, probe in (
            (model.encoder, torch.rand(2, *image_shape)),
            (model.decoder, torch.randn(2, len(pca.scale))),
        ):
            if bool(part(probe).any()):
                raise InputError(
                    f"linear_skip: {type(part).__name__} is not zero when its last layer is; end it "
                    "with a linear or convolutional layer"
                )
    return Autoencoder(encoder, decoder, model.posterior, model.likelihood)


def _zero_last_layer(network: nn.Module, name: str) -> None:
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    layers = [layer for layer in network.modules() if isinstance(layer, kinds)]
    if not layers:
        raise InputError(
            f"linear_skip: {name} {type(network).__name__} has no linear or convolutional layer to "
            "start at zero; end it with one"
        )
    nn.init.zeros_(layers[-1].weight)
    if layers[-1].bias is not None:
        nn.init.zeros_(layers[-1].bias)


def _mean(chunks: Callable[[], Iterable[Tensor]]) -> tuple[Tensor, int]:
    total, rows, device = torch.zeros(()), 0, torch.device("cpu")
    for chunk in chunks():
        total, rows, device = total + chunk.sum(0).cpu().double(), rows + len(chunk), chunk.device
    if rows == 0:
        raise InputError("linear_skip: no training images received; PCA needs some")
    return (total / rows).float().to(device), rows


def _covariance_times(chunks: Callable[[], Iterable[Tensor]], mean: Tensor, basis: Tensor) -> Tensor:
    product = torch.zeros_like(basis)
    for chunk in chunks():
        centred = chunk - mean
        product += centred.T @ (centred @ basis)
    return product
