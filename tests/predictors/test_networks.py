"""Networks trained together."""

from copy import deepcopy

import torch
from helpers.codes import dependent

from mmdprior.predictors import MLPPredictor
from mmdprior.predictors.network_trainer import _AdamW, _BestWeights, _drop_stopped
from mmdprior.predictors.networks import BatchedMLP, InputsAndTargets


def test_dropping_stopped_networks_has_no_effect_on_the_others(monkeypatch):
    """Only rounding changes."""
    z, validation, test = dependent(1, 400), dependent(1, 200), dependent(1, 200)
    model = MLPPredictor(hidden=(16,), epochs=25, patience=2)
    dropped = model.fit(z, validation, [torch.Generator().manual_seed(0)])(test).r2()
    monkeypatch.setattr("mmdprior.predictors.network_trainer._MIN_STOPPED_SHARE", 1.0)
    kept = model.fit(z, validation, [torch.Generator().manual_seed(0)])(test).r2()
    torch.testing.assert_close(kept, dropped, atol=1e-4, rtol=0)


def test_updates_are_those_of_adamw_also_after_networks_were_dropped():
    model = BatchedMLP(6, (5,), [torch.Generator().manual_seed(0)], torch.zeros(1, 6, 1))
    reference = deepcopy(model)
    ours, theirs = _AdamW(model, 0.1, 0.5), torch.optim.AdamW(reference.parameters(), 0.1, weight_decay=0.5)
    rows = InputsAndTargets(torch.randn(1, 10, 6), torch.randn(1, 10, 6))
    best = _BestWeights(model, rows, lambda outputs, targets: (outputs.squeeze(2) - targets).square())
    kept = torch.arange(6)
    for step in range(6):
        if step == 3:
            kept = torch.tensor([1, 4, 5])
            _drop_stopped(model, ours, best, kept)
        for parameter, complete in zip(model.parameters(), reference.parameters(), strict=True):
            complete.grad = torch.randn(complete.shape)
            parameter.grad = complete.grad[kept]
        ours.step()
        theirs.step()
    for parameter, complete in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter, complete[kept])
