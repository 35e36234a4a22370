"""Priors from YAML, nested and by path, and the command that shows them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mmdprior import InputError
from mmdprior.build import read_assets
from mmdprior.build.builder import PriorBuilder
from mmdprior.cli.main import main
from mmdprior.config.load import make_config
from mmdprior.config.slots import check_slot
from mmdprior.priors import Affine, Chain, Correlated, Product, Samples, Transform
from mmdprior.runs import assemble

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "helpers" / "toys.py"

PRIORS = """
- {name: laplace}
- {name: student_t, df: 4.0}
- {name: logistic, scale: 0.5}
- {name: beta, alpha: 0.5, beta: 2.0}
- {name: generalized_gaussian, shape: 8.0}
- {name: grid, levels: 8}
- {name: corners}
- {name: bernoulli, p: 0.3}
- {name: full_gaussian, covariance: [[1, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}
- {name: low_rank_gaussian, factor: [[1], [1], [0], [0]], scale: 0.5}
- {name: gaussian_mixture_ring, k: 6, dim: 4}
- {name: gaussian_mixture_grid, levels: 2, dim: 4}
- {name: gaussian_mixture_simplex}
- {name: gaussian_mixture_hypercube}
- {name: sphere}
- {name: ball, radius: 2.0}
- {name: spike_and_slab}
- {name: group_sparse, group_size: 2}
- {name: correlated, base: {name: uniform}, correlation: 0.5}
- {name: chain, coefficient: 0.7}
- {name: chain, coefficient: 0.7, base: {name: logistic}}
- {name: tree, parents: [-1, 0, 0, 1], coefficient: 0.7}
- {name: rotation, base: {name: laplace}, seed: 3}
- {name: affine, base: {name: uniform}, matrix: [[1, 0], [0, 1], [1, 1], [1, -1]]}
- {name: transform, base: {name: gaussian}, fn: {target: "TOYS:squared", factor: 0.5}}
- name: product
  blocks: [{name: correlated, base: {name: uniform}, correlation: 0.5}, {name: circle}]
  dims: [[0, 3], [1, 2]]
- name: product
  blocks: [{name: two_moons}, {name: pinwheel}]
- name: product
  blocks: [{name: swiss_roll, dim: 3}, {name: laplace}]
""".replace("TOYS", str(TOYS))


def build_prior(value, folder):
    slot = check_slot("prior", value, "prior", folder)
    return PriorBuilder(read_assets(slot)).build(slot, 4)


@pytest.mark.parametrize("value", yaml.safe_load(PRIORS), ids=lambda value: value["name"])
def test_every_name_builds_in_the_latents_dimension(value, tmp_path):
    slot = check_slot("prior", value, "prior", tmp_path)
    prior = PriorBuilder().build(slot, 4)
    assert prior.dim == 4
    assert torch.isfinite(prior.sample(16)).all()
    again = PriorBuilder().build(check_slot("prior", slot.to_dict(), "prior", tmp_path), 4)
    draws = [p.sample(5, torch.Generator().manual_seed(0)) for p in (prior, again)]
    assert torch.equal(*draws)


def test_nested_parts_arrive():
    values = yaml.safe_load(PRIORS)
    built = [PriorBuilder().build(check_slot("prior", value, "prior", Path()), 4) for value in values]
    assert {Affine, Chain, Correlated, Product, Transform} <= {type(prior) for prior in built}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"name": "correlated", "base": {"name": "uniform"}, "correlation": -0.9}, "positive definite"),
        ({"name": "correlated", "correlation": 0.5}, "prior.base: missing"),
        ({"name": "laplace", "scale": 0.0}, "scale: 0.0"),
        ({"name": "transform", "base": {"name": "gaussian"}, "fn": {"name": "x"}}, "prior.fn.name"),
        ({"name": "product", "blocks": [{"name": "circle"}] * 2, "dims": [[0, 1], [1, 2]]}, "dims"),
        ({"name": "product", "blocks": [{"name": "circle"}] * 2, "dims": [[0, 1], [2, 4]]}, "dims"),
        ({"name": "samples", "path": "nowhere.npy"}, "nowhere.npy"),
    ],
)
def test_mistakes_are_named(value, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        build_prior(value, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
def test_samples_of_another_width_are_one_line(suffix, tmp_path):
    file = tmp_path / f"codes{suffix}"
    torch.save(torch.randn(9, 5), file) if suffix == ".pt" else np.save(file, np.zeros((9, 5)))
    raw = {
        "name": "x",
        "data": {"name": "sprites", "images": 400},
        "model": {"name": "mlp", "latent_dim": 4},
        "regularizer": {"name": "mmd", "prior": {"name": "samples", "path": str(file)}},
        "trainer": {"steps": 1},
    }
    with pytest.raises(InputError, match="regularizer.prior: dim 5 received; the latent has 4") as caught:
        assemble(make_config(raw, tmp_path, "x"), progress=False)
    assert "\n" not in str(caught.value)


def test_look_at_a_prior(tmp_path, capsys):
    out = tmp_path / "p.png"
    assert main(["prior", "{name: laplace, scale: 2.0}", "--dim", "3", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "2.8284" in printed
    assert "independent dimensions" in printed
    assert out.stat().st_size > 10_000
    assert main(["prior", f"{TOYS}:two_sided", "--dim", "7", "--n", "500", "--out", str(out)]) == 0
    assert "not known to be independent" in capsys.readouterr().out


def test_what_the_penalty_sees_of_it(tmp_path, capsys):
    out = str(tmp_path / "p.pdf")
    given = [
        "prior",
        str(ROOT / "configs/quickstart.yaml"),
        "--power",
        "--repeats",
        "5",
        "--batch-size",
        "32",
    ]
    assert main([*given, "--out", out]) == 0
    assert "one dimension duplicated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "prior.name: 'nothing' received"),
        (["gaussian", "--out", "x.txt"], "--out: x.txt received"),
        (["gaussian", "seed=1"], "overrides go with a YAML config"),
        ([str(ROOT / "configs/sprites/vae.yaml"), "--power"], "the config's penalty is no mmd"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "p.png")]
    assert main(["prior", *arguments, *out]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_copies_the_latents_of_another_run(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 1), dtype=np.uint8)
    np.save(tmp_path / "x.npy", images)
    config = {
        "name": "toy",
        "data": {
            "name": "arrays",
            "path": str(tmp_path / "x.npy"),
            "batch_size": 16,
            "validation": 40,
            "test": 40,
        },
        "model": {"name": "mlp", "latent_dim": 3},
        "regularizer": {"name": "none"},
        "trainer": {"steps": 2, "device": "cpu"},
    }
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(config))
    assert main(["train", str(file), "--runs", str(tmp_path / "runs")]) == 0
    (last,) = (tmp_path / "runs").rglob("last.pt")
    slot = check_slot("prior", {"name": "samples", "path": str(last)}, "prior", tmp_path)
    prior = PriorBuilder(read_assets(slot)).build(slot, 3)
    assert isinstance(prior, Samples)
    assert prior.points.shape == (120, 3)
    copied = ["regularizer={name: mmd, prior: {name: samples, path: '" + str(last) + "'}}"]
    assert main(["train", str(file), *copied, "--runs", str(tmp_path / "again")]) == 0
    (copy,) = (tmp_path / "again").rglob("last.pt")
    last.unlink()
    capsys.readouterr()
    assert main(["score", str(copy), "--predictor", "linear"]) == 0


FORMS = """
- {kernel: {name: sliced, directions: 16}, num_samples: 100}
- {kernel: {name: sliced, lengthscale: 0.5}, queue: 40}
- {kernel: {name: anova, order: 3}, queue: 40, estimator: unbiased}
- {kernel: {name: rbf, lengthscale: median_batch, factors: [0.1, 1]}, estimator: {name: block, size: 8}}
- {kernel: {name: sum, kernels: [{name: anova, frequencies: 2}, {name: energy}], weights: [1, 0.5]}}
- {kernel: {name: product, kernels: [{name: laplacian}, {name: matern32}]}, estimator: biased}
"""


@pytest.mark.parametrize("value", yaml.safe_load(FORMS), ids=lambda value: value["kernel"]["name"])
def test_every_form_of_the_penalty_trains_from_yaml(value, tmp_path):
    raw = {
        "name": "x",
        "data": {"name": "sprites", "images": 400, "batch_size": 16},
        "model": {"name": "mlp", "hidden": [8], "latent_dim": 4},
        "regularizer": {"name": "mmd", "prior": "gaussian", "weight": 10.0, **value},
        "trainer": {"steps": 4, "device": "cpu"},
    }
    experiment = assemble(make_config(raw, tmp_path, "x"), progress=False)
    penalty = experiment.trainer.regularizer
    experiment.trainer.validate = None
    experiment.trainer.run()
    assert np.isfinite(float(penalty.terms["standardised"]))
    if "queue" in value:
        assert penalty.queue.codes.shape == (40, 4)
        assert bool((penalty.queue.codes != 0).any(1).all())
        assert len(penalty.queue.joined(torch.randn(16, 4), keep=False)) == 56
