"""Cheaper scores for runs whose scores no test inspects."""

import pytest

from mmdprior.metrics import PriorMatch


@pytest.fixture(scope="module", autouse=True)
def _few_null_draws():
    """Estimate the null distribution of the match to the prior from 10 batches instead of 200."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PriorMatch, "_DRAWS", 10)
        yield
