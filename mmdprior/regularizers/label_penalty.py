"""`LabelPenalty`: the base of penalties on labelled codes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.precision import full_precision_dtype
from mmdprior.priors.conditional import ConditionalPrior
from mmdprior.priors.factor import columns_of, label_values, labels_of_factors
from mmdprior.regularizers.regularizer import Regularizer, check_codes, codes_of

__all__ = ["LabelPenalty"]


class LabelPenalty(Regularizer):
    """Base of penalties that compare labelled codes with a conditional prior.

    The labels of the prior are columns of the labels of the data, which `set_labels` finds by name. Without
    it, labels have one column per label of the prior, in its order. Rows with a missing label do not enter
    the term of that label.

    Args:
        prior: conditional prior.

    Raises:
        InputError: the prior is not conditional.

    Example:
        >>> from mmdprior.priors import Factors
        >>> from mmdprior.regularizers import SquaredError
        >>> penalty = SquaredError(Factors(2, {"x": {"dims": [0], "levels": 5}}))
        >>> penalty.set_labels(("y", "x"), torch.tensor([[0, 0], [1, 4]]))
        >>> penalty.set_labels(("y",), torch.tensor([[0], [1]]))
        Traceback (most recent call last):
        mmdprior.errors.InputError: prior.factors: 'x' received; the labels of the data are y
    """

    on_labelled = True

    def __init__(self, prior: ConditionalPrior) -> None:
        super().__init__()
        if not isinstance(prior, ConditionalPrior):
            raise InputError(
                f"prior: {type(prior).__name__} received; give a conditional one: factors, per_class or "
                "class_mixture"
            )
        self.prior = prior
        self._columns: list[int] | None = None

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Check that prior and latent have the same dimension."""
        if self.prior.dim != dim:
            raise InputError(f"prior: dim {self.prior.dim} received; the latent has {dim}")

    def set_labels(self, names: Sequence[str], labels: Tensor) -> None:
        """Find the labels of the prior among those of the data, and check their values.

        Raises:
            InputError: the data have no such label, no row has it, or it has values that the prior does not
                have.
        """
        labels_of_factors(self.prior.factors, names, labels)
        self._columns = [list(names).index(factor.name) for factor in self.prior.factors]

    def labelled(
        self, latent: Latent | Tensor, labels: Tensor | None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k"]]:
        """Return codes in full precision, and the values of the labels of the prior, NaN where missing.

        Args:
            latent: codes of the labelled batch.
            labels: their labels; None for labels that are all missing.

        Raises:
            InputError: codes or labels of another shape.
        """
        z = codes_of(latent)
        self.check(dim=z.shape[1], stochastic=False)
        dtype, count = full_precision_dtype(z), len(self.prior.factors)
        if labels is None:
            return z.to(dtype), z.new_full((len(z), count), torch.nan, dtype=dtype)
        if self._columns is not None and labels.ndim == 2:
            labels = columns_of(labels, self._columns)
        if labels.shape != (len(z), count):
            raise InputError(
                f"labels: shape {tuple(labels.shape)} received; give ({len(z)}, {count}), one column per "
                f"label: {', '.join(self.prior.label_names)}"
            )
        return z.to(dtype), label_values(labels, dtype).to(z.device)

    @staticmethod
    def means_of(latent: Latent | Tensor) -> Tensor:
        """Return the posterior means of codes, or plain codes unchanged."""
        means = latent.mean if isinstance(latent, Latent) else latent
        check_codes("latent", means)
        return means
