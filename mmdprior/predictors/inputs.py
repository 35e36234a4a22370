"""Inputs of networks on which atoms of the codes are visible."""

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.atoms import find_atoms
from mmdprior.predictors.moments import Ranks

__all__ = ["NetworkInputs"]


class NetworkInputs:
    """Codes and, for columns with atoms among other values, further inputs that show the atoms.

    A network on the codes alone can neither separate an atom from values close to it, nor see what happens in
    a narrow range between two atoms. Such a column therefore has its normal score as well, in which an atom
    counts as at most a sixteenth of the rows, and the indicator of each of its atoms. For other columns
    these inputs are zero; without any such column there are none.

    Args:
        train: (p, n, d) codes that define atoms and ranks.

    Attributes:
        groups: number of inputs per dimension. Input g d + i belongs to dimension i.

    Example:
        >>> import torch
        >>> from mmdprior.predictors.inputs import NetworkInputs
        >>> z = torch.randn(1, 1000, 2)
        >>> NetworkInputs(z)(z).shape, NetworkInputs(z.relu())(z).shape
        (torch.Size([1, 1000, 2]), torch.Size([1, 1000, 6]))
    """

    def __init__(self, train: Float[Tensor, "p n d"]) -> None:
        self.atoms = find_atoms(train).among_others(train)
        self.groups = 1
        if self.atoms.count:
            self.groups = 2 + self.atoms.count
            self.ranks = Ranks(train, self.atoms)
            self.mixed = self.atoms.values.isfinite().any(2)[:, None]

    def __call__(self, z: Float[Tensor, "p k d"]) -> Float[Tensor, "p k inputs"]:
        """Return the inputs of every row."""
        if self.groups == 1:
            return z
        scores = torch.where(self.mixed, self.ranks.gaussian(z), 0.0)
        return torch.cat([z, scores, self.atoms.indicators(z).movedim(3, 2).flatten(2)], 2)
