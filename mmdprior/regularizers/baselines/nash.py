"""NashAE: the covariance of each code dimension with what networks predict of it."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.predictors.networks import BatchedMLP, check_widths
from mmdprior.priors.arguments import positive_int
from mmdprior.regularizers.code_penalty import CodePenalty
from mmdprior.regularizers.regularizer import codes_of
from mmdprior.seeding import stream

__all__ = ["Nash"]


class Nash(CodePenalty):
    """sum_i Cov(z_i, p_i), where a network predicts p_i of z_i from the other dimensions.

    As published (Yeats et al., arXiv 2209.10677, eq. 3): z_i is detached, so that the gradient reaches the
    encoder only through the inputs of the networks, which are trained on half the mean squared error.
    `Predictability` is the variant of this package.

    The published codes are in (0, 1): ``posterior: {name: deterministic, bound: sigmoid}``. Others are
    accepted.

    ``terms`` has ``covariance``, the mean over dimensions, and ``covariance_max``.

    Published, and the defaults here: two hidden layers of 40 units with SELUs; 5 updates of the networks per
    update of the model, Adam 1e-2. Batch 200. The published loss is (1 - lambda) R + lambda A for this
    penalty A, lambda 0.2 (CelebA) or 0.008 (dSprites), and R half the mean squared error per pixel. For the
    sum of squared errors over P pixels, the weight is therefore 2 P lambda / (1 - lambda).

    Args:
        dim: number of latent dimensions d, at least 2.
        hidden: widths of the hidden layers of each network.
        steps: updates of the networks per update of the model.
        seed: seed of the initial weights; 0 by default.

    Raises:
        InputError: fewer than two dimensions, or a width or number of steps below 1.

    Example:
        >>> import torch
        >>> penalty = Nash(3)
        >>> z = torch.rand(64, 3, requires_grad=True)
        >>> penalty(z).backward()
        >>> penalty.auxiliary_loss(z).shape, list(penalty.terms)
        (torch.Size([]), ['covariance', 'covariance_max'])
    """

    name = "nash"
    auxiliary_learning_rate = 1e-2
    auxiliary_betas = (0.9, 0.999)

    def __init__(
        self, dim: int, hidden: Sequence[int] = (40, 40), steps: int = 5, seed: int | None = None
    ) -> None:
        super().__init__()
        if positive_int("dim", dim) < 2:
            raise InputError(
                f"dim: {dim} received; give at least 2, because each dimension is predicted from the others"
            )
        self.auxiliary_steps = positive_int("steps", steps)
        generator = stream(seed or 0, "nash")
        bias = torch.zeros(1, dim, 1)
        self.networks = BatchedMLP(dim, check_widths(hidden), [generator], bias, activation="selu")
        self.dim = dim

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return f"covariance of codes with the predictions of {self.dim} networks (NashAE)"

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Check that the networks have the dimension of the latent."""
        if dim != self.dim:
            raise InputError(f"dim: {self.dim} received; the latent has {dim}")

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return the sum of covariances; the gradient reaches the codes as inputs of the networks."""
        z, target = latent.sample, latent.sample.detach()
        predicted = self.networks.predict_each(z, trained=False)
        covariance = ((target - target.mean(0)) * predicted).mean(0)
        return covariance.sum(), {"covariance": covariance.mean(), "covariance_max": covariance.max()}

    def auxiliary_modules(self) -> list[nn.Module]:
        """Return the predicting networks."""
        return [self.networks]

    def auxiliary_loss(self, latent: Latent | Tensor, *, step: int = 0) -> Float[Tensor, ""]:
        """Return half the mean squared error of the networks."""
        z = codes_of(latent, least=2).detach()
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        return 0.5 * (self.networks.predict_each(z, trained=True) - z).square().mean()
