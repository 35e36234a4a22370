"""`LPSMetric`, the stateful LPS as a metric of torchmetrics, where that package is installed."""

import importlib
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.metrics.stateful import LPS

Metric: Any = object
with suppress(ImportError):
    Metric = importlib.import_module("torchmetrics").Metric

__all__ = ["LPSMetric"]


class LPSMetric(Metric):
    """LPS as a metric of torchmetrics, for ``MetricCollection`` and Lightning's ``self.log``.

    ``compute`` returns the score as a tensor of 0 dimensions, and ``metric.lps.compute()`` the whole result.
    Ranks are merged by `LPS` itself.

    Args:
        settings: arguments of `LPS`.

    Attributes:
        lps: the metric of this package.

    Raises:
        InputError: torchmetrics is not installed; or see `LPS`.

    Example:
        >>> import importlib.util, torch
        >>> from mmdprior.metrics.torchmetrics_lps import LPSMetric
        >>> if importlib.util.find_spec("torchmetrics"):
        ...     metric = LPSMetric("linear")
        ...     metric.update(torch.randn(1000, 1).expand(1000, 2))
        ...     assert metric.compute() > 0.99
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(self, *settings: Any, **named_settings: Any) -> None:
        if Metric is object:
            raise InputError('LPSMetric: needs torchmetrics; pip install "mmdprior[torchmetrics]"')
        super().__init__()
        self.lps = LPS(*settings, **named_settings)

    def update(self, codes: Tensor) -> None:
        """Add rows; see `LPS.update`."""
        self.lps.update(codes)

    def compute(self) -> Tensor:
        """Return the score of all rows of all ranks."""
        return torch.tensor(self.lps.compute().score)

    def forward(self, codes: Tensor) -> Tensor:
        """Add rows, and return their own score; NaN for few of them."""
        self.update(codes)
        batch = self.lps.fresh(synchronise=False)
        batch.update(codes)
        self._computed = None
        return torch.tensor(batch.compute().score)

    def reset(self) -> None:
        """Remove all rows."""
        super().reset()
        self.lps.reset()

    def merge_state(self, incoming_state: Any) -> None:
        """Add the rows of another metric."""
        self.lps.merge(incoming_state.lps)
        self._computed = None
        self._update_count = int(getattr(self, "_update_count", 0)) + 1
