"""What small networks can predict of each code dimension from the others, as a penalty."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.predictors.networks import BatchedMLP
from mmdprior.regularizers.regularizer import Regularizer, codes_of
from mmdprior.seeding import stream

__all__ = ["Predictability"]

_TINY = 1e-6


class Predictability(Regularizer):
    """sum_i max(0, Cov(z_i, zhat_i)), zhat_i the prediction of dimension i by a network from all others.

    The networks are learned parts: the loop trains them beside the model on detached codes to predict, in
    squared error, and the model is trained to be unpredictable (NashAE, Yeats et al., arXiv 2209.10677, whose
    penalty this is but for two things). Codes are standardised by the batch first, so the penalty does not
    shrink them and does not fight the prior; and only positive covariances count, since a predictor that is
    wrong needs no correction. At the networks' optimum Cov(z_i, zhat_i) is the R2 of dimension i, so the
    penalty is d times the LPS of these predictors.

    In a loop of your own the networks, and nothing else, go into an optimizer of their own::

        optimizer = torch.optim.Adam(penalty.networks.parameters(), lr=2e-3)
        for _ in range(penalty.auxiliary_steps):
            optimizer.zero_grad(), penalty.auxiliary_loss(z).backward(), optimizer.step()
        loss = reconstruction + weight * penalty(z)

    Terms for the log: ``predictability``, the penalty over d, and ``predictability_max`` over dimensions.

    Args:
        dim: d, number of latent dimensions, at least 2.
        hidden: widths of each network's hidden layers.
        steps: updates of the networks per update of the model.
        standardise: predict (z - mean) / std of the batch; False gives NashAE's plain covariances.
        through_predictions: let the gradient flow into the predictions' inputs too, as NashAE does; False
            moves each z_i away from what is predicted of it, and nothing to mislead the networks.
        seed: of the networks' start.

    Raises:
        InputError: fewer than two dimensions, or a width or number of steps below 1.
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
        if dim < 2:
            raise InputError(
                f"dim: {dim} received; predicting a dimension from the others needs a latent of 2"
            )
        if min(hidden, default=0) < 1:
            raise InputError(f"hidden: {list(hidden)} received; give positive widths")
        if steps < 1:
            raise InputError(f"steps: {steps} received; give at least 1 update of the predictors")
        start = stream(seed or 0, "predictability")
        self.networks = BatchedMLP(dim, hidden, [start], torch.zeros(1, dim, 1))
        self.dim = dim
        self.auxiliary_steps = steps
        self.standardise = standardise
        self.through_predictions = through_predictions

    def describe(self) -> str:
        """Say in a line what is penalised, and how."""
        widths = " x ".join(str(w.shape[2]) for w in list(self.networks.weights)[:-1])
        codes = "standardised" if self.standardise else "plain"
        return f"predictability of {codes} codes by {self.dim} networks of {widths} hidden units"

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Ask for a latent of the networks' dimension."""
        if dim != self.dim:
            raise InputError(f"dim: {self.dim} received; the latent has {dim}")

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty of a batch of at least two codes.

        Raises:
            InputError: codes of another dimension, or a batch of one.
        """
        z = self._prepared(latent)
        predicted = self._predict(z if self.through_predictions else z.detach(), learn=False)
        covariance = (z * (predicted - predicted.mean(0))).mean(0).clamp(min=0)
        self.terms = {
            "predictability": covariance.detach().mean(),
            "predictability_max": covariance.detach().max(),
        }
        return covariance.sum()

    def auxiliary_modules(self) -> list[nn.Module]:
        """Return the predicting networks."""
        return [self.networks]

    def auxiliary_loss(self, latent: Latent | Tensor) -> Float[Tensor, ""]:
        """Return the networks' squared error, averaged over the batch and summed over dimensions.

        It has a gradient in the networks alone, as the penalty has one in the codes alone.
        """
        z = self._prepared(latent).detach()
        return (self._predict(z, learn=True) - z).square().mean(0).sum()

    def _prepared(self, latent: Latent | Tensor) -> Float[Tensor, "n d"]:
        z = codes_of(latent)
        self.check(dim=z.shape[1], stochastic=False)
        if len(z) < 2:
            raise InputError(f"predictability: {len(z)} row received; give a batch of at least 2")
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        centred = z - z.mean(0)
        if not self.standardise:
            return centred
        return centred / centred.square().mean(0).clamp(min=_TINY).sqrt()

    def _predict(self, z: Float[Tensor, "n d"], *, learn: bool) -> Float[Tensor, "n d"]:
        held = {name: p if learn else p.detach() for name, p in self.networks.named_parameters()}
        rows = z[None].to(self.networks.weights[0].dtype)
        with torch.autocast(z.device.type, enabled=False):
            return functional_call(self.networks, held, (rows,)).squeeze(2).T.to(z.dtype)
