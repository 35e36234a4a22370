"""scikit-learn's trees."""

import pytest
import torch
from helpers.codes import dependent

from mmdprior import InputError
from mmdprior.predictors import TreesPredictor


def test_trees_see_a_parabola_and_name_the_missing_extra(monkeypatch):
    z = dependent(1, 800)
    fitted = TreesPredictor().fit(z, dependent(1, 200), [torch.Generator().manual_seed(0)])
    assert float(fitted(dependent(1, 200)).r2()[0, 2]) > 0.6
    monkeypatch.setitem(__import__("sys").modules, "sklearn.ensemble", None)
    with pytest.raises(InputError, match=r"mmdprior\[metrics\]"):
        TreesPredictor()
