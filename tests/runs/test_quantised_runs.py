"""model.quantiser: training, checkpoints, and its place behind a flow."""

from pathlib import Path

import pytest
import torch
from helpers import small_runs
from helpers.small_runs import raw_config, run_directory, same, weights

from mmdprior import InputError
from mmdprior.build.restore import load_model
from mmdprior.config.load import make_config
from mmdprior.evaluation import encode, reconstruction_error
from mmdprior.runs.rows import portable
from mmdprior.runs.start import difference

COUPLING = {"name": "coupling", "layers": 2, "hidden": [8]}
QUANTISERS = [
    {"name": "qlae", "levels": 4, "quantisation": 1.0, "commitment": 0.5},
    {"name": "uniform", "levels": 4, "train": "noise"},
    {"name": "uniform", "levels": 4, "bounds": "robust"},
]


DATA = {"name": "sprites", "images": 100, "batch_size": 16}


def experiment(*arguments, **changes):
    return small_runs.experiment(*arguments, data=DATA, model__linear_skip=False, **changes)


def trainer(*arguments, **changes):
    return small_runs.trainer(*arguments, data=DATA, model__linear_skip=False, **changes)


@pytest.mark.parametrize("quantiser", QUANTISERS)
def test_a_resumed_run_is_the_uninterrupted_one_and_a_checkpoint_rebuilds_it(tmp_path, quantiser):
    whole = trainer(run_directory(tmp_path), model__quantiser=quantiser)
    whole.run()
    file = whole.checkpointing.folder / "last.pt"
    half = trainer(model__quantiser=quantiser)
    stopped = iter([False, False, True])
    half.stop = lambda: next(stopped)
    half.run()
    resumed = trainer(model__quantiser=quantiser)
    resumed.load_state_dict(half.state_dict())
    resumed.run()
    assert resumed.step == whole.step == 6
    assert same(weights(resumed.model), weights(whole.model))
    loaded = load_model(file)
    assert same(weights(loaded), weights(whole.model))
    assert loaded.quantiser.levels == whole.model.quantiser.levels


def test_quantising_after_trains_the_weights_of_a_run_without_a_quantiser():
    plain, after = trainer(), trainer(model__quantiser={"name": "uniform", "train": "after"})
    plain.run()
    after.run()
    kept = {k: v for k, v in weights(after.model).items() if not k.startswith("quantiser.")}
    assert same(kept, weights(plain.model))


@pytest.mark.parametrize("flow_training", ["joint", "flow_only", "after"])
def test_reconstructions_behind_a_flow_are_those_of_the_levels(flow_training):
    train = "straight_through" if flow_training == "joint" else "after"
    built = experiment(
        model__quantiser={"name": "uniform", "levels": 4, "low": -2.0, "high": 2.0, "train": train},
        model__flow=COUPLING,
        model__flow_training=flow_training,
        model__flow_fit={"steps": 4, "batch_size": 64},
    )
    scores = built.run()
    model, images = built.trainer.evaluated.eval(), built.splits.test
    codes = encode(model, images)
    assert codes.latent.base is not None
    assert scores.reconstruction.mse == pytest.approx(
        reconstruction_error(model, images, codes.latent.sample).mse, rel=1e-6
    )
    with torch.no_grad():
        values = -1.5 + ((codes.latent.sample.clamp(-2, 1.999) + 2) / 1.0).floor()
        decoded = model.decoder(model.flow.inverse(values))
        assert torch.allclose(model.likelihood.mean(decoded), model.decode(codes.latent.sample), atol=1e-5)


@pytest.mark.parametrize(
    ("quantiser", "flow_training"),
    [
        ("fsq", "after"),
        ({"name": "fsq", "train": "after"}, "flow_only"),
        ({"name": "qlae", "train": "after"}, "after"),
        ({"name": "uniform", "train": "after", "bounds": "robust"}, "after"),
    ],
)
def test_a_quantiser_that_adapts_needs_a_flow_that_is_trained_with_it(quantiser, flow_training):
    with pytest.raises(
        InputError, match=r"model\.flow_training: '\w+' received with a quantiser that adapts"
    ):
        experiment(model__quantiser=quantiser, model__flow=COUPLING, model__flow_training=flow_training)


@pytest.mark.parametrize(
    ("quantiser", "text"),
    [
        ("vq", r"model\.quantiser\.name: 'vq' received"),
        ({"name": "fsq", "level": 4}, r"model\.quantiser\.level: unknown key; did you mean 'levels'"),
        ({"name": "fsq", "levels": 1}, r"model\.quantiser\.levels: 1 received; give at least 2"),
        ({"name": "uniform", "levels": [2, 2]}, r"model\.quantiser\.levels: 2 numbers received; .* 4"),
        ({"name": "qlae", "train": "noise"}, r"model\.quantiser\.train: 'noise' received"),
    ],
)
def test_wrong_settings_name_their_key(quantiser, text):
    with pytest.raises(InputError, match=text):
        experiment(model__quantiser=quantiser)


def test_a_stored_config_without_a_quantiser_is_that_of_a_run_without_one():
    config = make_config(raw_config(), Path(), "x").to_dict()
    stored = {**config, "model": {k: v for k, v in config["model"].items() if k != "quantiser"}}
    assert config["model"]["quantiser"] is None
    assert difference(portable(config), portable(stored)) is None
