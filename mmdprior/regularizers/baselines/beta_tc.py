"""beta-TCVAE: the total correlation of the aggregate posterior, estimated from a batch."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.priors.arguments import positive_int, positive_number
from mmdprior.regularizers.code_penalty import CodePenalty
from mmdprior.regularizers.kl import kl_divergence
from mmdprior.seeding import generator_options, stream

__all__ = ["BetaTC", "stratified_weights"]

EstimatorName = Literal["weighted", "stratified"]


class BetaTC(CodePenalty):
    """KL + (beta - 1) TC (Chen et al., arXiv 1802.04942, eq. 4 with alpha = gamma = 1).

    TC = E[log q(z) - sum_i log q(z_i)] is the total correlation of the aggregate posterior q. Each density is
    estimated from the posteriors of the batch, log q(z_a) ~ log sum_b W_ab q(z_a | x_b).

    - ``weighted``: W_ab = 1/n. Minibatch-weighted sampling (eq. 10) has 1/(n N), for N training images. It
      differs by the constant (d - 1) log N, which has no gradient.
    - ``stratified``: the weights of `stratified_weights` (appendix C.2).

    Independent codes have TC = 0. Both estimates are 0 where all posteriors are equal, and positive for
    narrower ones. Where no two posteriors overlap in any dimension, only b = a counts: ``weighted`` is then
    (d - 1) log n and ``stratified`` (d - 1) log N, for all codes.

    ``terms`` has ``kl`` and ``total_correlation``. Published for dSprites: beta 6, Adam 1e-3, batch 2048.

    Args:
        beta: factor of the total correlation.
        estimator: ``weighted``, the default, or ``stratified``.
        data_size: number N of training images, for ``stratified``; None, the default, takes it from the
            training loop.
        seed: seed of the stratification; None, the default, draws from torch's global generator.

    Raises:
        InputError: a negative beta, another estimator, or a data size that is not a positive integer.

    Example:
        >>> from mmdprior import Latent
        >>> mean, log_var = torch.zeros(64, 3), torch.zeros(64, 3)  # independent codes
        >>> penalty = BetaTC(beta=6.0)
        >>> _ = penalty(Latent(torch.randn(64, 3), mean, log_var))
        >>> {name: round(float(term), 4) + 0.0 for name, term in penalty.terms.items()}
        {'kl': 0.0, 'total_correlation': 0.0}
    """

    name = "beta_tc"
    needs_posterior = True

    def __init__(
        self,
        beta: float = 6.0,
        estimator: EstimatorName = "weighted",
        data_size: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.beta = positive_number("beta", beta, allow_zero=True)
        if estimator not in get_args(EstimatorName):
            raise InputError(f"estimator: {estimator!r} received; give weighted or stratified")
        self.estimator = estimator
        self.data_size = None if data_size is None else positive_int("data_size", data_size)
        self._images: int | None = None
        self.seed = seed

    def before_training(
        self, *, model: nn.Module, images: int, examples: Callable[[int], Tensor] | None = None
    ) -> None:
        """Receive the number of training images, which ``data_size`` overrides."""
        self._images = images

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return f"KL + ({self.beta:g} - 1) TC, minibatch-{self.estimator} estimate"

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return KL + (beta - 1) TC."""
        if latent.base is not None:
            raise InputError("model.flow: received with beta_tc, which needs a Gaussian posterior; remove it")
        kl = kl_divergence(latent)
        tc = self._total_correlation(latent, step)
        return kl + (self.beta - 1) * tc, {"kl": kl, "total_correlation": tc}

    def _total_correlation(self, latent: Latent, step: int) -> Float[Tensor, ""]:
        z, mean, log_var = latent.sample, latent.mean, latent.log_var
        assert log_var is not None
        # log q(z_a,i | x_b) of every row a, posterior b and dimension i.
        log_densities = -0.5 * (
            (z[:, None] - mean).square() * torch.exp(-log_var) + log_var + math.log(2 * math.pi)
        )
        log_weights = self._weights(z, step).log()
        log_joint = torch.logsumexp(log_weights + log_densities.sum(2), 1)
        log_marginals = torch.logsumexp(log_weights[:, :, None] + log_densities, 1)
        return (log_joint - log_marginals.sum(1)).mean()

    def _weights(self, z: Float[Tensor, "n d"], step: int) -> Float[Tensor, "n n"]:
        n = len(z)
        if self.estimator == "weighted":
            return z.new_full((n, n), 1 / n)
        size = self.data_size or self._images
        if size is None:
            raise InputError("data_size: missing; give the number of training images")
        generator = None if self.seed is None else stream(self.seed, "beta_tc", step, z.device)
        shift = torch.randint(1, n, (), **generator_options(generator), device=z.device)
        return stratified_weights(n, size, shift, z)


def stratified_weights(
    n: int, data_size: int, shift: int | Tensor = 1, like: Tensor | None = None
) -> Float[Tensor, "{n} {n}"]:
    """Return the weights W_ab of minibatch-stratified sampling (arXiv 1802.04942, appendix C.2).

    With M = n - 1, row a has 1/N for its own posterior, (N - M)/(N M) for one other and 1/M for all further
    ones. Every row sums to 1.

    Args:
        n: rows of the batch, at least 2.
        data_size: number N of training images, at least n - 1.
        shift: the other posterior of row a is (a + shift) modulo n.
        like: tensor whose dtype and device the weights have; by default those of a new tensor.

    Raises:
        InputError: a batch larger than the data.

    Example:
        >>> stratified_weights(3, 10)
        tensor([[0.1000, 0.4000, 0.5000],
                [0.5000, 0.1000, 0.4000],
                [0.4000, 0.5000, 0.1000]])
    """
    m = n - 1
    if data_size < m:
        raise InputError(f"data_size: {data_size} received for a batch of {n}; give at least {m}")
    rows = torch.arange(n, device=None if like is None else like.device)
    own, other = rows[:, None] == rows, (rows[:, None] + shift) % n == rows
    weights = torch.where(other, (data_size - m) / (data_size * m), 1 / m)
    weights = torch.where(own, 1 / data_size, weights)
    return weights if like is None else weights.to(like.dtype)
