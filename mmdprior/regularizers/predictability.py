"""A penalty on what networks predict of each code dimension from the others."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.predictors.networks import BatchedMLP
from mmdprior.priors.arguments import positive_int
from mmdprior.regularizers.regularizer import Regularizer, codes_of
from mmdprior.regularizers.sparse_warning import SparseWarning
from mmdprior.regularizers.standardise import MIN_VARIANCE, standardised
from mmdprior.seeding import stream
from mmdprior.tracing import may_store_results

__all__ = ["Predictability"]


class Predictability(Regularizer):
    """sum_i max(0, Cov(z_i, p_i)), where a network predicts p_i of z_i from all other dimensions.

    The training loop trains the networks, on detached codes, to predict in squared error, while the model
    learns to be unpredictable. This is the penalty of NashAE (Yeats et al., arXiv 2209.10677) with two
    changes. Codes are first standardised by the batch, so that the penalty does not shrink them and does not
    oppose the prior. And only positive covariances count, because a predictor that is wrong needs no
    correction. At the optimum of the networks, Cov(z_i, p_i) is the R2 of dimension i, so the penalty is
    d times the LPS of these predictors.

    ``terms`` has ``predictability``, the penalty divided by d, and ``predictability_max``, the maximum over
    dimensions.

    Constant codes have the penalty zero and are not moved by it. The penalty warns once where fewer than two
    dimensions vary.

    Args:
        dim: number of latent dimensions d, at least 2.
        hidden: widths of the hidden layers of each network.
        steps: updates of the networks per update of the model.
        standardise: predict (z - mean) / std of the batch; False gives NashAE's plain covariances.
        through_predictions: whether the gradient also flows through the inputs of the predictions, as in
            NashAE. False only moves each z_i away from its prediction, and does not mislead the networks.
        seed: seed of the initial weights; 0 by default.

    Raises:
        InputError: fewer than two dimensions, or a width or number of steps below 1.

    Example:
        In your own training loop, only the networks go into a separate optimizer:

        >>> encoder, penalty = torch.nn.Linear(8, 3), Predictability(3)
        >>> main = torch.optim.Adam(encoder.parameters(), lr=1e-3)
        >>> auxiliary = torch.optim.Adam(penalty.networks.parameters(), lr=2e-3)
        >>> for _ in range(3):
        ...     z = encoder(torch.randn(64, 8))
        ...     for _ in range(penalty.auxiliary_steps):
        ...         auxiliary.zero_grad()
        ...         penalty.auxiliary_loss(z).backward()
        ...         auxiliary.step()
        ...     main.zero_grad()
        ...     loss = 10.0 * penalty(z)  # plus the reconstruction loss
        ...     loss.backward()
        ...     main.step()
        >>> list(penalty.terms)
        ['predictability', 'predictability_max']
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (64, 64),
        steps: int = 2,
        standardise: bool = True,
        through_predictions: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if positive_int("dim", dim) < 2:
            raise InputError(
                f"dim: {dim} received; give at least 2, because each dimension is predicted from the others"
            )
        if not isinstance(hidden, Sequence) or len(hidden) == 0:
            raise InputError(f"hidden: {hidden!r} received; give a width per hidden layer, such as (64, 64)")
        for width in hidden:
            positive_int("hidden", width)
        positive_int("steps", steps)
        generator = stream(seed or 0, "predictability")
        self.networks = BatchedMLP(dim, hidden, [generator], torch.zeros(1, dim, 1))
        self.dim = dim
        self._collapse = SparseWarning()
        self.auxiliary_steps = steps
        self.standardise = standardise
        self.through_predictions = through_predictions

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        widths = " x ".join(str(w.shape[2]) for w in list(self.networks.weights)[:-1])
        codes = "standardised" if self.standardise else "plain"
        return f"predictability of {codes} codes by {self.dim} networks of {widths} hidden units"

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Check that the networks have the dimension of the latent."""
        if dim != self.dim:
            raise InputError(f"dim: {self.dim} received; the latent has {dim}")

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty of a batch of at least two codes.

        The gradient reaches only the codes, not the networks.

        Raises:
            InputError: codes of another dimension, or a batch of one.
        """
        z = self._standardised(latent)
        if self._collapse.is_due(z):
            self._warn_if_constant(codes_of(latent).detach())
        inputs = z if self.through_predictions else z.detach()
        predicted = self.networks.predict_each(inputs, trained=False)
        covariance = (z * (predicted - predicted.mean(0))).mean(0).clamp(min=0)
        if may_store_results():
            self.terms = {
                "predictability": covariance.detach().mean(),
                "predictability_max": covariance.detach().max(),
            }
        return covariance.sum()

    def auxiliary_modules(self) -> list[nn.Module]:
        """Return the predicting networks."""
        return [self.networks]

    def auxiliary_loss(self, latent: Latent | Tensor, *, step: int = 0) -> Float[Tensor, ""]:
        """Return the squared error of the networks, averaged over the batch and summed over dimensions.

        The gradient reaches only the networks, not the codes.
        """
        z = self._standardised(latent).detach()
        return (self.networks.predict_each(z, trained=True) - z).square().mean(0).sum()

    def _standardised(self, latent: Latent | Tensor) -> Float[Tensor, "n d"]:
        """Return the codes centred by the batch, and scaled if ``standardise``, in float32 or float64."""
        z = codes_of(latent, least=2)
        self.check(dim=z.shape[1], stochastic=False)
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        return standardised(z) if self.standardise else z - z.mean(0)

    def _warn_if_constant(self, codes: Float[Tensor, "n d"]) -> None:
        smallest = MIN_VARIANCE if self.standardise else 0.0
        varying = int((codes.double().var(0, correction=0) > smallest).sum())
        if varying < 2:
            self._collapse.give(
                f"predictability: {varying} of {self.dim} dimensions vary over the batch, so that the "
                "penalty is zero and cannot move the codes; give it a smaller weight, or add a penalty that "
                "keeps the variance, such as mmd"
            )
