"""Comparing a config with the stored one, completing runs, and viewing the prior of a config."""

from pathlib import Path

import pytest
import yaml

from mmdprior import InputError
from mmdprior.build.prior_view import view_prior
from mmdprior.comparison import read_runs
from mmdprior.config import load_config
from mmdprior.config.load import make_config
from mmdprior.runs import assemble
from mmdprior.runs.complete import complete
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.start import difference, is_finished
from mmdprior.training.checkpoint import plain_key

CONFIGS = Path(__file__).parents[2] / "configs"
MMD = CONFIGS / "cifar10" / "mmd_gaussian.yaml"


def resolved(*overrides):
    return load_config(MMD, list(overrides)).to_dict()


@pytest.mark.parametrize(
    ("key", "default", "changed"),
    [("background", "white", "black"), ("value_range", None, [0, 100]), ("crop", None, 8)],
)
def test_an_argument_that_a_later_version_added_counts_as_its_default(tmp_path, key, default, changed):
    own = ["data.name=image_folder", "data.root=nowhere", "data.size=32"]
    stored = resolved(*own)
    assert stored["data"].pop(key) == default
    run = RunDirectory(tmp_path).create()
    run.config.write_text(yaml.safe_dump(stored))
    run.scores.parent.mkdir(parents=True, exist_ok=True)
    run.scores.write_text("{}")
    assert is_finished(load_config(MMD, own), tmp_path)
    with pytest.raises(InputError, match=rf"data\.{key}"):
        is_finished(load_config(MMD, [*own, f"data.{key}={changed}"]), tmp_path)


@pytest.mark.parametrize(
    "override",
    [
        "regularizer.estimator=biased",
        "regularizer.prior.scale=2.0",
        "data.flip=true",
        "trainer.average=0.9",
        "evaluation.prior={name: uniform}",
    ],
)
def test_every_setting_distinguishes_two_configs_in_both_directions(override):
    assert difference(resolved(), resolved()) is None
    assert difference(resolved(override), resolved()) is not None
    assert difference(resolved(), resolved(override)) is not None


def test_a_setting_missing_in_the_stored_config_counts_as_its_default():
    stored = resolved()
    for section, key in (("data", "flip"), ("trainer", "average"), ("trainer", "schedule")):
        stored[section] = {k: v for k, v in stored[section].items() if k != key}
    assert difference(resolved("trainer.schedule=constant"), stored) is None
    assert difference(resolved("trainer.schedule=constant", "data.flip=true"), stored) == "data.flip"
    assert difference(resolved(), stored) == "trainer.schedule"


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ("module.encoder.weight", "encoder.weight"),
        ("_orig_mod.encoder.weight", "encoder.weight"),
        ("module._orig_mod.encoder._orig_mod.weight", "encoder.weight"),
        ("encoder.submodule.weight", "encoder.submodule.weight"),
        ("encoder.module.weight", "encoder.module.weight"),
    ],
)
def test_plain_key_drops_whole_parts_of_wrappers_only(key, plain):
    assert plain_key(key) == plain


def test_view_prior_returns_the_mmd_of_a_sum():
    view = view_prior(str(CONFIGS / "cifar10" / "independent.yaml"), (), dim=None, batch_size=None)
    assert type(view.penalty).__name__ == "MMD"


def test_view_prior_returns_no_penalty_without_mmd():
    view = view_prior(str(CONFIGS / "cifar10" / "vae.yaml"), (), dim=None, batch_size=None)
    assert view.penalty is None


def test_complete_refuses_unfinished_runs(tmp_path):
    raw = {
        "name": "small",
        "data": {"name": "sprites", "images": 300, "batch_size": 16},
        "model": {"name": "mlp", "hidden": [8], "latent_dim": 3},
        "regularizer": {"name": "none"},
        "trainer": {"steps": 4, "device": "cpu", "checkpoint_every": 2},
        "evaluation": {"final_predictors": ["linear"], "match_samples": 16, "pictures": False},
    }
    run = assemble(make_config(raw, Path(), "x"), runs=tmp_path, progress=False)
    run.trainer.stop = lambda: run.trainer.step == 2
    assert run.run() is None
    (found,) = read_runs([run.directory]).runs
    with pytest.raises(InputError, match=r"step 2 of 4 reached; finish the run first"):
        complete(found)
    assert not (run.directory / "report" / "test.json").exists()
