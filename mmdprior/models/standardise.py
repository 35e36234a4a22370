"""Standardised vectors and signals: networks and loss in units of the standard deviation of each feature.

Images have known limits. The features of a table have units of their own, so without this the feature with
the largest numbers would dominate the loss.
"""

import warnings
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError, InputWarning, shorten
from mmdprior.models.autoencoder import Autoencoder
from mmdprior.models.likelihood import BernoulliLikelihood, Likelihood

__all__ = [
    "Standardisation",
    "StandardisedEncoder",
    "StandardisedLikelihood",
    "fit_standardisation",
    "standardise",
]

_MIN_SCALE = 2 * torch.finfo(torch.float32).eps
"""Standard deviation, relative to the largest absolute value, below which float32 has no digits for it."""


class Standardisation(nn.Module):
    """An affine map per feature of vectors, or per channel of signals, stored as buffers.

    Args:
        centre: (features,) means of the training data, or (channels, 1).
        scale: standard deviations of the same shape, positive.

    Example:
        >>> import torch
        >>> from mmdprior.models.standardise import Standardisation
        >>> units = Standardisation(torch.tensor([1.0, 10.0]), torch.tensor([1.0, 2.0]))
        >>> units(torch.tensor([[2.0, 14.0]])), units.inverse(torch.tensor([[1.0, 2.0]]))
        (tensor([[1., 2.]]), tensor([[ 2., 14.]]))
    """

    def __init__(self, centre: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)
        self.centre: Tensor
        self.scale: Tensor

    @staticmethod
    def empty(sample_shape: tuple[int, ...]) -> "Standardisation":
        """Return the identity, to be overwritten by a checkpoint's state dict."""
        shape = (sample_shape[0], *[1] * (len(sample_shape) - 1))
        return Standardisation(torch.zeros(shape), torch.ones(shape))

    def forward(self, x: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
        """Return (x - centre) / scale."""
        return (x - self.centre) / self.scale

    def inverse(self, y: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
        """Return y * scale + centre."""
        return y * self.scale + self.centre


class StandardisedEncoder(nn.Module):
    """An encoder whose inputs are standardised first.

    Args:
        encoder: encoder of standardised data.
        units: standardisation.
    """

    def __init__(self, encoder: nn.Module, units: Standardisation) -> None:
        super().__init__()
        self.encoder = encoder
        self.units = units

    def forward(self, x: Float[Tensor, "n *sample"]) -> Tensor:
        """Return the parameters of the posterior."""
        params: Tensor = self.encoder(self.units(x))
        return params


class StandardisedLikelihood(Likelihood):
    """A likelihood of standardised data; its loss is in standardised units, its means in those of the data.

    Args:
        likelihood: likelihood of standardised data.
        units: standardisation.

    Example:
        >>> import torch
        >>> from mmdprior.models import GaussianLikelihood
        >>> from mmdprior.models.standardise import Standardisation, StandardisedLikelihood
        >>> units = Standardisation(torch.tensor([10.0]), torch.tensor([2.0]))
        >>> likelihood = StandardisedLikelihood(GaussianLikelihood(), units)
        >>> likelihood.loss(torch.zeros(1, 1), torch.tensor([[14.0]])), likelihood.mean(torch.ones(1, 1))
        (tensor(4.), tensor([[12.]]))
    """

    def __init__(self, likelihood: Likelihood, units: Standardisation) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.units = units

    def loss(
        self, output: Float[Tensor, "n *sample"], images: Float[Tensor, "n *sample"]
    ) -> Float[Tensor, ""]:
        """Return the loss of the standardised data."""
        return self.likelihood.loss(output, self.units(images))

    def mean(self, output: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
        """Return the mean of a decoder output, in the units of the data."""
        return self.units.inverse(self.likelihood.mean(output))

    def link(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
        """Return decoder outputs whose mean is close to the data."""
        return self.likelihood.link(self.units(images))

    def standardise(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
        """Return the standardised data."""
        return self.units(images)


def fit_standardisation(chunks: Callable[[], Iterable[Float[Tensor, "b *sample"]]]) -> Standardisation:
    """Return mean and standard deviation of each feature of vectors, or of each channel of signals.

    Sums are in float64, in two passes over the data. A constant feature has scale 1, with a warning.

    Args:
        chunks: called once per pass; yields the training data in parts.

    Raises:
        InputError: there are fewer than two rows, or all features are constant.

    Example:
        >>> import torch
        >>> from mmdprior.models.standardise import fit_standardisation
        >>> rows = torch.tensor([[0.0, 5.0], [2.0, 15.0]])
        >>> units = fit_standardisation(lambda: rows.split(1))
        >>> units.centre, units.scale
        (tensor([ 1., 10.]), tensor([1., 5.]))
    """
    rows, values = 0, 0
    total: Tensor | float = 0.0
    for chunk in chunks():
        flat = _by_feature(chunk)
        rows, values, total = rows + len(chunk), values + flat.shape[1], total + flat.sum(1)
    if rows < 2:
        raise InputError(f"data: {rows} training rows received; standardisation needs at least 2")
    centre = torch.as_tensor(total) / values
    squares, largest = torch.zeros_like(centre), torch.zeros_like(centre)
    for chunk in chunks():
        flat = _by_feature(chunk)
        squares += (flat - centre[:, None]).square().sum(1)
        largest = torch.maximum(largest, flat.abs().amax(1))
    scale = (squares / values).sqrt()
    constant = scale <= _MIN_SCALE * largest
    _report_constant(constant, "features" if chunk.ndim == 2 else "channels")
    shape = (-1, *[1] * (chunk.ndim - 2))
    scale = torch.where(constant, 1.0, scale)
    return Standardisation(centre.float().reshape(shape).cpu(), scale.float().reshape(shape).cpu())


def standardise(model: Autoencoder, units: Standardisation) -> Autoencoder:
    """Return an autoencoder of data in their own units from a model of standardised data.

    Args:
        model: encoder, decoder and likelihood of standardised data.
        units: standardisation.

    Raises:
        InputError: the likelihood is that of values in [0, 1].

    Example:
        >>> import torch
        >>> from mmdprior.models import Autoencoder, LinearDecoder, LinearEncoder
        >>> from mmdprior.models.standardise import fit_standardisation, standardise
        >>> table = 1000 + 50 * torch.randn(200, 6)
        >>> model = Autoencoder(LinearEncoder((6,), 2), LinearDecoder((6,), 2))
        >>> model = standardise(model, fit_standardisation(lambda: [table]))
        >>> codes = model.encode(table).mean
        >>> bool(codes.abs().max() < 10), bool((model.decode(codes) > 500).all())
        (True, True)
    """
    if isinstance(model.likelihood, BernoulliLikelihood):
        raise InputError(
            "model.likelihood: 'bernoulli' received for standardised data, which are not in [0, 1]; give "
            "gaussian or laplace, or data.standardise: false"
        )
    encoder = StandardisedEncoder(model.encoder, units)
    likelihood = StandardisedLikelihood(model.likelihood, units)
    return model.with_networks(encoder, model.decoder, likelihood)


def _by_feature(chunk: Tensor) -> Float[Tensor, "features values"]:
    """Return one row per feature or channel, in float64."""
    return chunk.double().transpose(0, 1).flatten(1)


def _report_constant(constant: Tensor, noun: str) -> None:
    """Warn about constant features; raise `InputError` if all are constant."""
    positions = constant.nonzero().flatten().tolist()
    if not positions:
        return
    listed = shorten(", ".join(map(str, positions)))
    if len(positions) == len(constant):
        raise InputError(
            f"data: all {len(constant)} {noun} are constant in the training split; check the file"
        )
    warnings.warn(
        f"data: constant {noun} in the training split, which are centred but not scaled: {listed}; leave "
        "them out if they carry no information",
        InputWarning,
        stacklevel=2,
    )
