"""Networks trained together."""

import torch
from helpers.codes import dependent

from mmdprior.predictors import MLPPredictor


def test_dropping_stopped_networks_has_no_effect_on_the_others(monkeypatch):
    """Only rounding changes."""
    z, validation, test = dependent(1, 400), dependent(1, 200), dependent(1, 200)
    model = MLPPredictor(hidden=(16,), epochs=25, patience=2)
    dropped = model.fit(z, validation, [torch.Generator().manual_seed(0)])(test).r2()
    monkeypatch.setattr("mmdprior.predictors.network_trainer._MIN_STOPPED_SHARE", 1.0)
    kept = model.fit(z, validation, [torch.Generator().manual_seed(0)])(test).r2()
    torch.testing.assert_close(kept, dropped, atol=1e-4, rtol=0)
