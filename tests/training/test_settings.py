"""Groups of the trainer's settings, and its old keyword arguments."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from helpers.small_runs import experiment
from torch import nn

from mmdprior.data import InMemory, ResidentBatches
from mmdprior.models import Autoencoder, ConvEncoder, MixerDecoder, MLPEncoder
from mmdprior.regularizers import NoPenalty
from mmdprior.training import Checkpointing, ModelSelection, Numerics, Profiler, Trainer
from mmdprior.training.settings import _OLD_NAMES, faster_layout, faster_precision


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


@pytest.mark.parametrize(
    ("network", "shape", "faster"),
    [
        (ConvEncoder((3, 16, 16), 2, [4, 4]), (3, 16, 16), True),
        (nn.Sequential(nn.ConvTranspose2d(2, 2, 2)), (2, 8, 8), True),
        (ConvEncoder((3, 16), 2, [4, 4]), (3, 16), False),
        (MLPEncoder((3, 4, 4), 2), (3, 4, 4), False),
        (MixerDecoder((3, 8, 8), 2, width=4, depth=1), (3, 8, 8), False),
    ],
)
def test_automatic_layout_is_channels_last_for_convolutions_of_images(network, shape, faster):
    assert faster_layout(network, shape) is faster


@pytest.mark.parametrize(("native", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_automatic_precision_is_bfloat16_on_gpus_that_have_it(monkeypatch, native, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert faster_precision(torch.device("cuda")) == precision
    assert faster_precision(torch.device("cpu")) == faster_precision(torch.device("mps")) == "float32"


def test_automatic_settings_of_a_config_are_resolved_before_training():
    convolutional = {"name": "conv", "channels": [2, 2], "hidden": 4, "latent_dim": 4}
    chosen = experiment(model=convolutional, trainer__precision="auto").trainer
    assert chosen.numerics == Numerics("float32", channels_last=True)
    weight = chosen.model.encoder.convolutions[2].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert experiment(model=convolutional, trainer__channels_last=False).trainer.numerics == Numerics()
    assert experiment().trainer.numerics == Numerics()
