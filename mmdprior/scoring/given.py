"""Labels that ``mmdprior sculpt --given`` names, and codes that have them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmdprior.data.factor_files import read_factors
from mmdprior.data.labelled import labelled_rows
from mmdprior.errors import InputError
from mmdprior.priors import ConditionalPrior, Prior
from mmdprior.priors.factor import label_values, labels_of_factors

__all__ = ["GivenLabels", "given_labels"]


@dataclass(frozen=True)
class GivenLabels:
    """Labels of some rows.

    Attributes:
        names: one name per column.
        values: (n, k) labels, NaN where missing.
    """

    names: tuple[str, ...]
    values: Tensor

    def of(self, prior: Prior, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows with a label of a prior, as places in ``rows``, and their labels.

        Args:
            prior: conditional prior.
            rows: rows that may be used.

        Raises:
            InputError: the prior is not conditional, or has labels or values that are not among these.
        """
        if not isinstance(prior, ConditionalPrior):
            raise InputError(
                f"--prior: {type(prior).__name__} received; --given needs a conditional prior, such as "
                "'{name: factors, factors: {x: {dims: [0], levels: 8}}}'"
            )
        labels = labels_of_factors(prior.factors, self.names, self.values[rows])
        places = (~labels.isnan().all(1)).nonzero().flatten()
        return places, labels[places]


def given_labels(given: str, names: Sequence[str], labels: Tensor, seed: int = 0) -> GivenLabels:
    """Return the labels that may be used.

    Args:
        given: a number of rows whose labels of the data are used; or ``FILE`` or ``FILE:KEY`` with one row
            per training image or code, where missing labels are empty, NaN, or negative integers.
        names: names of the labels of the data.
        labels: (n, k) labels of the data.
        seed: seed of the choice of rows.

    Raises:
        InputError: data without labels, a file that cannot be read, or one with another number of rows.

    Example:
        >>> import torch
        >>> from mmdprior.scoring.given import given_labels
        >>> few = given_labels("20", ("x",), torch.arange(100)[:, None] % 5)
        >>> int((~few.values.isnan()).sum())
        20
    """
    if given.isdecimal():
        if not names:
            raise InputError(f"--given: {given} received, but the data have no labels; give a file of labels")
        chosen = labelled_rows(labels, int(given), seed=seed)
        values = label_values(labels)
        kept = torch.full_like(values, torch.nan)
        kept[chosen] = values[chosen]
        return GivenLabels(tuple(names), kept)
    columns = read_factors(given, "--given")
    count = len(next(iter(columns.values())))
    if count != len(labels):
        raise InputError(f"--given: {given}: {count} rows received; give {len(labels)}, one per training row")
    table = [label_values(torch.from_numpy(np.asarray(column))) for column in columns.values()]
    return GivenLabels(tuple(columns), torch.stack(table, 1))
