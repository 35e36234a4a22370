"""Groups of the trainer's settings, and its old keyword arguments."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import nn

from mmdprior.data import InMemory, ResidentBatches
from mmdprior.models import Autoencoder
from mmdprior.regularizers import NoPenalty
from mmdprior.training import Checkpointing, ModelSelection, Numerics, Profiler, Trainer
from mmdprior.training.settings import _OLD_NAMES


def make_trainer(**options):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    model = Autoencoder(encoder, nn.Sequential(nn.Linear(2, 4), nn.Unflatten(1, (1, 2, 2))))
    batches = ResidentBatches(InMemory(torch.zeros(8, 1, 2, 2, dtype=torch.uint8)), 4, 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Trainer(model, NoPenalty(), batches, optimizer, steps=1, **options)


def test_old_keyword_arguments_fill_the_groups_and_warn():
    profiler = Profiler()
    old = {"precision": "bfloat16", "accumulate": 2, "monitor": "lps/linear", "patience": 3}
    old |= {"checkpoints": Path("c"), "keep_last": 1, "identity": {"config": {}}, "phases": profiler}
    with pytest.warns(DeprecationWarning, match="in the next release") as warnings:
        trainer = make_trainer(**old, selection=ModelSelection(every=7))
    assert len(warnings) == len(old)
    assert any("Trainer(keep_last=...) is now checkpointing.keep_last" in str(w.message) for w in warnings)
    assert trainer.numerics == Numerics(precision="bfloat16", accumulate=2)
    assert trainer.selection == ModelSelection(every=7, monitor="lps/linear", patience=3)
    assert trainer.checkpointing == Checkpointing(Path("c"), keep_last=1, metadata={"config": {}})
    assert trainer.profiler is profiler


def test_every_old_name_has_a_field_in_its_group():
    groups = {"numerics": Numerics, "checkpointing": Checkpointing, "selection": ModelSelection}
    for new in _OLD_NAMES.values():
        group, _, name = new.partition(".")
        if name:
            assert name in {field.name for field in fields(groups[group])}
        assert group in {field.name for field in fields(Trainer)}


def test_unknown_arguments_are_errors():
    with pytest.raises(TypeError, match="patients"):
        make_trainer(patients=3)


def test_a_missing_monitored_number_is_never_the_best():
    assert not ModelSelection(monitor="lps/linear").score({}) > -float("inf")
    assert ModelSelection().score({"reconstruction/psnr": 20.0}) == 20.0
