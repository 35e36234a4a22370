"""Labels of images that are known factors of variation, and what their values mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mmdprior.choices import FactorKind

__all__ = ["FactorKind", "KnownFactors"]


@dataclass(frozen=True)
class KnownFactors:
    """Which labels of images are factors of variation, and what their values mean.

    Sets of images with known factors get the supervised scores of `mmdprior.disentanglement`.

    Attributes:
        kinds: kind of every factor by the name of its label: ``discrete``, ``ordinal``, ``circular`` or
            ``continuous``, or None where it follows from the values.
        periods: period of circular factors by name, in the units of the labels.
        grid: whether the images are a full grid of the factors, or a random sample of one. Supervised scores
            then use all images by default, not only held-out ones.

    Example:
        >>> import torch
        >>> from mmdprior.data import InMemory, KnownFactors
        >>> factors = KnownFactors({"radius": "continuous"})
        >>> images = InMemory(torch.rand(20, 1, 8, 8), torch.rand(20, 1), ("radius",), factors=factors)
        >>> list(images.factors.columns(images.labels, images.label_names))
        ['radius']
    """

    kinds: Mapping[str, FactorKind | None]
    periods: Mapping[str, float] = field(default_factory=dict)
    grid: bool = False

    def columns(self, labels: Tensor, label_names: Sequence[str]) -> dict[str, Tensor]:
        """Return the (n,) values of every factor by name.

        Args:
            labels: (n, k) labels.
            label_names: one name per label column.
        """
        return {name: labels[:, i] for i, name in enumerate(label_names) if name in self.kinds}
