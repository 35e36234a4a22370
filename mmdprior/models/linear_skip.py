"""Linear paths in parallel to encoder and decoder, initialised by PCA.

Without them, a small convolutional autoencoder with an MMD penalty folds few dimensions into many: on
CIFAR-10 at d = 32 its codes predict one another almost perfectly. Training that starts at PCA, whose codes
are uncorrelated, removes the folding.
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

__all__ = ["LOG_VAR_START", "PCA", "LinearSkipDecoder", "LinearSkipEncoder", "add_linear_skip", "fit_pca"]

LOG_VAR_START = -4.0
"""Log-variance at which a Gaussian posterior with a linear skip starts: standard deviation 0.14."""

_PASSES = 8
"""Power iterations of `fit_pca`; each reads the data once."""

_NOISE_FLOOR = 1e-10
"""Share of the largest variance below which a component is rounding error."""


@dataclass(frozen=True)
class PCA:
    """Leading principal components of flattened images.

    Attributes:
        mean: mean image.
        components: unit vectors in columns, in decreasing order of variance.
        scale: standard deviation along each component.
        rotation: orthogonal matrix that the whitened codes are multiplied by, as by FastICA; None for none.

    Example:
        >>> from mmdprior.models import PCA
        >>> PCA.empty(pixels=3 * 32 * 32, dim=8).components.shape
        torch.Size([3072, 8])
    """

    mean: Float[Tensor, "pixels"]
    components: Float[Tensor, "pixels d"]
    scale: Float[Tensor, "d"]
    rotation: Float[Tensor, "d d"] | None = None

    @property
    def projection(self) -> Float[Tensor, "pixels d"]:
        """Matrix from centred images to codes."""
        whitening = self.components / self.scale
        return whitening if self.rotation is None else whitening @ self.rotation

    @property
    def expansion(self) -> Float[Tensor, "d pixels"]:
        """Matrix from codes to centred images."""
        colouring = (self.components * self.scale).T
        return colouring if self.rotation is None else self.rotation.T @ colouring

    @staticmethod
    def empty(pixels: int, dim: int) -> "PCA":
        """Return zeros of the right shapes, to be overwritten by a checkpoint's state dict."""
        return PCA(torch.zeros(pixels), torch.zeros(pixels, dim), torch.ones(dim))


def fit_pca(chunks: Callable[[], Iterable[Float[Tensor, "b pixels"]]], dim: int) -> PCA:
    """Fit PCA by randomised subspace iteration (Halko, Martinsson and Tropp, arXiv 0909.4061, algorithm 4.4).

    The data are read in chunks, ten times, and never in memory as a whole. The random start is the same in
    every call. Signs are fixed: the entry of largest magnitude of each component is positive.

    Args:
        chunks: called once per pass; yields the rows of the data in float.
        dim: number of components.

    Raises:
        InputError: there are fewer rows or pixels than components, or a component has no variance.

    Example:
        >>> import torch
        >>> from mmdprior.models import fit_pca
        >>> images = torch.rand(200, 3 * 8 * 8)
        >>> pca = fit_pca(lambda: images.split(50), dim=4)
        >>> codes = (images - pca.mean) @ pca.components / pca.scale
        >>> torch.allclose(torch.cov(codes.T), torch.eye(4), atol=1e-4)
        True
    """
    mean, rows = _mean(chunks)
    pixels = len(mean)
    if min(rows - 1, pixels) < dim:
        raise InputError(
            f"linear_skip: {rows} images of {pixels} values received; PCA to latent_dim {dim} needs more"
        )
    # More vectors than components, so that the wanted ones converge faster.
    width = min(2 * dim + 8, pixels)
    basis = torch.randn(pixels, width, generator=stream(0, "pca")).to(mean)
    for _ in range(_PASSES):
        basis = torch.linalg.qr(_scatter_times(chunks, mean, basis))[0]
    # Rayleigh-Ritz: eigenvectors of the covariance restricted to the span of the basis.
    product = _scatter_times(chunks, mean, basis)
    restricted = (basis.T.cpu().double() @ product.cpu().double()) / (rows - 1)
    variances, rotation = torch.linalg.eigh((restricted + restricted.T) / 2)
    variances, rotation = variances.flip(0)[:dim], rotation.flip(1)[:, :dim]
    if variances[-1] <= _NOISE_FLOOR * variances[0]:
        rank = int((variances > _NOISE_FLOOR * variances[0]).sum())
        raise InputError(
            f"linear_skip: the images span {rank} dimensions, fewer than latent_dim {dim}; lower latent_dim, "
            "give more varied images, or linear_skip: false"
        )
    components = basis @ rotation.to(basis)
    largest = components.abs().argmax(0)
    components = components * components[largest, torch.arange(dim, device=mean.device)].sign()
    return PCA(mean, components, variances.sqrt().to(mean))


def add_linear_skip(model: Autoencoder, pca: PCA, image_shape: tuple[int, ...]) -> Autoencoder:
    """Return an autoencoder with linear paths in parallel to the encoder and the decoder of a model.

    It starts as PCA with whitened codes, because the last layers of the model's networks are set to zero.

    Args:
        model: encoder and decoder whose last layers are linear or convolutional; both are modified.
        pca: fitted on ``model.likelihood.link(images)``, flattened.
        image_shape: (channels, height, width).

    Raises:
        InputError: the output of a network is not zero after its last layer was set to zero.

    Example:
        >>> import torch
        >>> from mmdprior.models import Autoencoder, MLPDecoder, MLPEncoder, add_linear_skip, fit_pca
        >>> images = torch.rand(200, 1, 8, 8)
        >>> model = Autoencoder(MLPEncoder((1, 8, 8), 4), MLPDecoder((1, 8, 8), 4))
        >>> pca = fit_pca(lambda: images.flatten(1).split(50), dim=4)
        >>> codes = add_linear_skip(model, pca, (1, 8, 8)).encode(images).mean
        >>> torch.allclose(torch.cov(codes.T), torch.eye(4), atol=1e-4)
        True
    """
    num_params = model.posterior.num_params(len(pca.scale))
    encoder = LinearSkipEncoder(model.encoder, model.likelihood, pca, num_params)
    decoder = LinearSkipDecoder(model.decoder, pca, image_shape)
    # fork_rng: the probes must not change the random numbers that the caller draws next.
    with torch.no_grad(), torch.random.fork_rng([]):
        for network, probe in (
            (model.encoder, torch.rand(2, *image_shape)),
            (model.decoder, torch.randn(2, len(pca.scale))),
        ):
            if bool(network(probe).any()):
                raise InputError(
                    f"linear_skip: {type(network).__name__} is not zero when its last layer is; end it "
                    "with a linear or convolutional layer"
                )
    return model.with_networks(encoder, decoder)


class LinearSkipEncoder(nn.Module):
    """Whitened PCA codes plus the encoder's output.

    Outputs beyond the first d, such as log-variances, start at `LOG_VAR_START`.

    Args:
        encoder: network in parallel to the linear path; its last layer is set to zero.
        likelihood: its `Likelihood.link` is the space in which the path is linear.
        pca: fitted on training images in that space.
        num_params: number of outputs per image.
    """

    def __init__(self, encoder: nn.Module, likelihood: Likelihood, pca: PCA, num_params: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.likelihood = likelihood
        dim = len(pca.scale)
        projection = torch.zeros(len(pca.mean), num_params)
        projection[:, :dim] = pca.projection.cpu()
        offset = torch.full((num_params,), LOG_VAR_START)
        offset[:dim] = 0
        self.register_buffer("centre", pca.mean.cpu().clone())
        self.register_buffer("projection", projection)
        self.register_buffer("offset", offset)
        self.centre: Tensor
        self.projection: Tensor
        self.offset: Tensor
        _zero_last_layer(encoder, "encoder")

    def forward(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n p"]:
        """Return the parameters of the posterior."""
        # Without autocast: the sum over all pixels needs more than 16 bits.
        with torch.autocast(images.device.type, enabled=False):
            flat = self.likelihood.link(images).flatten(1) - self.centre
            linear = flat @ self.projection + self.offset
        return linear + self.encoder(images)


class LinearSkipDecoder(nn.Module):
    """The PCA reconstruction plus the decoder's output.

    Args:
        decoder: network in parallel to the linear path; its last layer is set to zero.
        pca: the same as the encoder's.
        image_shape: (channels, height, width).
    """

    def __init__(self, decoder: nn.Module, pca: PCA, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.decoder = decoder
        self.image_shape = tuple(image_shape)
        self.register_buffer("centre", pca.mean.cpu().clone())
        self.register_buffer("expansion", pca.expansion.cpu().contiguous())
        self.centre: Tensor
        self.expansion: Tensor
        _zero_last_layer(decoder, "decoder")

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *sample"]:
        """Return one value per pixel: its logit or its mean, depending on the likelihood."""
        with torch.autocast(z.device.type, enabled=False):
            linear = (z @ self.expansion + self.centre).unflatten(1, self.image_shape)
        return linear + self.decoder(z)


def _zero_last_layer(network: nn.Module, name: str) -> None:
    types = (nn.Linear, nn.modules.conv._ConvNd)
    layers = [layer for layer in network.modules() if isinstance(layer, types)]
    if not layers:
        raise InputError(
            f"linear_skip: {name} {type(network).__name__} has no linear or convolutional layer to "
            "start at zero; end it with one"
        )
    nn.init.zeros_(layers[-1].weight)
    if layers[-1].bias is not None:
        nn.init.zeros_(layers[-1].bias)


def _mean(chunks: Callable[[], Iterable[Tensor]]) -> tuple[Tensor, int]:
    """Return the mean row, summed in float64, and the number of rows."""
    total, rows, device = torch.zeros(()), 0, torch.device("cpu")
    for chunk in chunks():
        total, rows, device = total + chunk.sum(0).cpu().double(), rows + len(chunk), chunk.device
    if rows == 0:
        raise InputError("linear_skip: no training images received; PCA needs some")
    return (total / rows).float().to(device), rows


def _scatter_times(chunks: Callable[[], Iterable[Tensor]], mean: Tensor, basis: Tensor) -> Tensor:
    """Return X^T X @ basis for the centred data X; the (pixels, pixels) scatter matrix is never formed."""
    product = torch.zeros_like(basis)
    for chunk in chunks():
        centred = chunk - mean
        product += centred.T @ (centred @ basis)
    return product
