"""From a config to objects: shipped configs, priors, targets in every slot, assets."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.configs import SMALL, TOYS, changed

from mmdprior import InputError
from mmdprior.build import Builder, builder, choose_device, read_assets
from mmdprior.build.construct import SlotBuilder, error_path
from mmdprior.build.data import images_from, open_splits
from mmdprior.cli.main import main
from mmdprior.config.load import load_config, make_config, read_mapping
from mmdprior.config.slots import check_slot
from mmdprior.models import DeterministicPosterior
from mmdprior.priors import (
    Affine,
    Chain,
    Correlated,
    FromCallable,
    FromDistribution,
    Gaussian,
    Product,
    Samples,
    Transform,
)
from mmdprior.regularizers import MMD
from mmdprior.runs import assemble
from mmdprior.runs.plan import is_plan

CONFIGS = Path(__file__).parents[2] / "configs"
EXPERTS = CONFIGS / "experts"  # settings of a benchmark, not of runs
SHIPPED = [
    path
    for path in sorted(CONFIGS.rglob("*.yaml"))
    if path.stem != "base" and path.parent != EXPERTS and not is_plan(read_mapping(path))
]


@pytest.fixture(scope="module")
def one_pca_per_model():
    """Fit the PCA of the linear skip once for all configs with the same model."""
    fits = {}
    fit = builder._fit_pca

    def cached(model, train, dim):
        key = (train.image_shape, dim, type(model.likelihood))
        if key not in fits:
            fits[key] = fit(model, train, dim)
        return fits[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "_fit_pca", cached)
        yield


def build_prior(prior):
    """Return the prior of a config's penalty."""
    config = make_config(changed("regularizer.prior", prior), TOYS.parent, "x.yaml")
    return Builder(config, read_assets(config)).regularizer().prior


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CONFIGS)))
@pytest.mark.usefixtures("one_pca_per_model")
def test_every_shipped_config_loads_builds_and_steps(path, tmp_path):
    """Random images or signals of the shape of the data take the place of a download."""
    family, kind = path.parent.name, "signals" if path.parent.name == "beamsynthesis" else "images"
    side, channels = {"cifar10": (32, 3), "tiny_imagenet": (64, 3)}.get(family, (64, 1))
    shape = (400, side, side, channels) if kind == "images" else (400, 1000)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    raw = load_config(path, ["trainer.device=cpu"]).to_dict()
    raw["data"] = {"name": "arrays", "path": str(tmp_path / "x.npy"), "kind": kind, "batch_size": 16}
    raw["data"] |= {"validation": 70, "test": 70}
    raw["trainer"]["steps"] = steps = min(1, raw["trainer"]["steps"])
    experiment = assemble(make_config(raw, path.parent, str(path)), progress=False)
    experiment.trainer.validate = None
    before = [p.detach().clone() for p in experiment.trainer.model.parameters()]
    experiment.trainer.run()
    after = experiment.trainer.model.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) == (steps > 0)


def test_configs_differing_in_seed_build_different_models():
    weights = []
    for seed in (0, 0, 1):
        experiment = assemble(make_config({**SMALL, "seed": seed}, Path(), "x"), progress=False)
        weights.append(next(iter(experiment.trainer.model.parameters())).detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


class TestPriors:
    def test_dimension_is_that_of_the_latent_by_default(self):
        assert build_prior({"name": "gaussian", "scale": 2.0}).dim == 4
        assert build_prior("uniform").dim == 4

    def test_product_gives_the_remaining_dimensions_to_the_block_without_dim(self):
        prior = build_prior(
            {
                "name": "product",
                "blocks": [{"name": "gaussian"}, {"name": "gaussian_mixture", "means": [[-2.0], [2.0]]}],
            }
        )
        assert isinstance(prior, Product)
        assert [block.dim for block in prior.blocks] == [3, 1]

    def test_blocks_from_targets_may_set_their_dimension(self):
        for block in ({"target": f"{TOYS}:wide", "dim": 3}, {"target": f"{TOYS}:make_gaussian", "dim": 3}):
            prior = build_prior({"name": "product", "blocks": [block, {"name": "uniform"}]})
            assert [part.dim for part in prior.blocks] == [3, 1]
        nested = {"name": "product", "blocks": [{"name": "gaussian", "dim": 1}, "uniform"]}
        prior = build_prior({"name": "product", "blocks": [nested, {"name": "uniform", "dim": 1}]})
        assert [part.dim for part in prior.blocks] == [3, 1]

    def test_samples_from_a_file(self, tmp_path):
        np.save(tmp_path / "z.npy", np.random.default_rng(0).normal(size=(50, 4)))
        prior = build_prior({"name": "samples", "path": str(tmp_path / "z.npy")})
        assert isinstance(prior, Samples)
        assert prior.points.shape == (50, 4)

    @pytest.mark.parametrize(
        ("attribute", "kind"),
        [
            ("two_sided", FromCallable),
            ("wide", FromCallable),
            ("make_gaussian", Gaussian),
            ("laplace", FromDistribution),
        ],
    )
    def test_targets(self, attribute, kind):
        assert isinstance(build_prior({"target": f"toys.py:{attribute}"}), kind)

    def test_target_arguments(self):
        prior = build_prior({"target": f"{TOYS}:wide", "factor": 100.0})
        assert prior.sample(1000).std() > 50
        assert pickle.loads(pickle.dumps(prior)).sample(3).shape == (3, 4)
        assert build_prior({"target": "torch.distributions:Laplace", "loc": 0.0, "scale": 1.0}).dim == 4

    def test_intended_prior(self):
        assert Builder(make_config(SMALL, Path(), "x")).intended_prior().dim == 4
        own = changed("evaluation.prior", {"name": "uniform", "low": -3.0})
        assert Builder(make_config(own, Path(), "x")).intended_prior().low[0] == -3
        kl = changed("regularizer", {"name": "kl"}, changed("model.posterior", "gaussian"))
        assert isinstance(Builder(make_config(kl, Path(), "x")).intended_prior(), Gaussian)


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


@pytest.mark.parametrize("value", yaml.safe_load(PRIORS), ids=lambda value: value["name"])
def test_every_prior_is_built_in_the_dimension_of_the_latent(value):
    builder = SlotBuilder({"dim": 4})
    slot = check_slot("prior", value)
    prior = builder.build(slot)
    assert prior.dim == 4
    assert torch.isfinite(prior.sample(16)).all()
    again = builder.build(check_slot("prior", slot.to_dict()))
    draws = [p.sample(5, torch.Generator().manual_seed(0)) for p in (prior, again)]
    assert torch.equal(*draws)


def test_priors_made_of_priors_have_their_parts():
    values = yaml.safe_load(PRIORS)
    built = {type(SlotBuilder({"dim": 4}).build(check_slot("prior", value))) for value in values}
    assert {Affine, Chain, Correlated, Product, Transform} <= built


def test_targets_in_every_slot():
    raw = changed("regularizer.kernel", {"target": f"{TOYS}:Linear", "slope": 2.0})
    assert isinstance(Builder(make_config(raw, Path(), "x")).regularizer(), MMD)
    raw = changed("model", {"latent_dim": 4, "name": "mlp", "encoder": {"target": f"{TOYS}:Encoder"}})
    model = Builder(make_config(raw, Path(), "x")).model((1, 64, 64))
    assert type(model.encoder).__name__ == "Encoder"
    assert isinstance(model.posterior, DeterministicPosterior)
    raw = changed("regularizer", {"target": f"{TOYS}:Predicting", "weight": 2.0})
    assert type(Builder(make_config(raw, Path(), "x")).regularizer()).__name__ == "Predicting"
    raw = changed("regularizer.schedule", {"target": f"{TOYS}:halves", "base": 0.25})
    assert Builder(make_config(raw, Path(), "x")).schedule("regularizer.schedule")(2) == 0.0625
    raw = changed("data", {"target": f"{TOYS}:little_images", "images": 90, "batch_size": 8})
    config = make_config(raw, Path(), "x")
    assert len(open_splits(config.slots["data"], config.data).train) == 72


class TestAssets:
    def test_the_builder_reads_no_file(self, tmp_path):
        np.save(tmp_path / "z.npy", np.random.default_rng(0).normal(size=(50, 4)))
        prior = {"name": "samples", "path": str(tmp_path / "z.npy")}
        config = make_config(changed("regularizer.prior", prior))
        with pytest.raises(InputError, match=r"regularizer.prior.path: .* read it first, with read_assets"):
            Builder(config).regularizer()
        assets = read_assets(config)
        (tmp_path / "z.npy").unlink()
        assert Builder(config, assets).regularizer().prior.points.shape == (50, 4)

    def test_every_path_is_read_once_at_any_depth(self, tmp_path, monkeypatch):
        paths = [str(tmp_path / name) for name in ("a.npy", "b.npy")]
        for path in paths:
            np.save(path, np.random.default_rng(0).normal(size=(50, 2)))
        blocks = [{"name": "samples", "path": path} for path in (paths[0], paths[0])]
        raw = changed("regularizer.prior", {"name": "product", "blocks": blocks})
        rotated = {"name": "rotation", "base": {"name": "product", "blocks": [*blocks]}}
        rotated["base"]["blocks"][1] = {"name": "samples", "path": paths[1]}
        read = []
        monkeypatch.setattr(
            "mmdprior.build.assets.read_codes", lambda path: read.append(path) or torch.ones(9, 2)
        )
        config = make_config(changed("evaluation.prior", rotated, raw))
        assert read_assets(config).keys() == set(paths)
        assert sorted(read) == paths
        assert Builder(config, read_assets(config)).intended_prior().dim == 4


@pytest.mark.parametrize(
    ("data", "remedy"),
    [
        ({"name": "image_folder", "root": "x", "size": 12}, "resize with data.size"),
        ({"name": "cifar10", "root": "x"}, "resize with data.size"),
        ({"name": "arrays", "path": "x.npy"}, "give model.name: mlp"),
        ({"name": "sprites"}, "give model.name: mlp"),
    ],
)
def test_a_size_that_the_network_does_not_accept(data, remedy):
    config = make_config(changed("data", data, changed("model", {"name": "conv", "latent_dim": 4})))
    with pytest.raises(
        InputError, match=rf"4 convolutions .* a side of 12 allows 1 to 3; give fewer, or {remedy}$"
    ):
        Builder(config).model((1, 12, 17))


class TestImages:
    def test_a_source_that_is_named_is_split_like_a_section(self):
        assert len(images_from("{name: sprites, images: 200, test: 40}", "test")) == 40

    def test_an_array_file_without_test_images_is_used_whole(self, tmp_path):
        np.save(tmp_path / "x.npy", np.zeros((50, 8, 8, 1), dtype=np.uint8))
        assert len(images_from(str(tmp_path / "x.npy"), "test")) == 50

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ("nowhere", "--data: 'nowhere' received; give a folder"),
            ("{name: sprite}", "--data.name: 'sprite' received; did you mean 'sprites'"),
            ("{name: sprites, image: 3}", "--data.image: unknown key; did you mean 'images'"),
            ("{name: sprites, batch_size: 0}", "--data.batch_size: 0 received"),
            (".", "--data: folder . received; give the size"),
        ],
    )
    def test_mistakes_are_one_line(self, data, message):
        with pytest.raises(InputError) as caught:
            images_from(data, "test")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(
        InputError, match="device: 'tpu9' received; not available on this machine; give auto or cpu"
    ):
        choose_device("tpu9")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("scale: 3 received; give 4"), "a.kernel.scale: 3 received; give 4"),
        (InputError("kernel: 3 received; give 4"), "a.kernel: 3 received; give 4"),
        (InputError("a.kernel.scale: 3 received"), "a.kernel.scale: 3 received"),
        (InputError("no scale at all"), "a.kernel: no scale at all"),
        (KeyError("boom"), "a.kernel: does not work (KeyError: 'boom')"),
        (SystemExit(0), "a.kernel: does not work (SystemExit: 0)"),
    ],
    ids=repr,
)
def test_errors_get_the_key_path_of_their_part(error, expected):
    with pytest.raises(InputError) as caught, error_path("a.kernel"):
        raise error
    assert str(caught.value) == expected


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
def test_samples_of_another_width_are_one_line(suffix, tmp_path):
    file = tmp_path / f"codes{suffix}"
    torch.save(torch.randn(9, 5), file) if suffix == ".pt" else np.save(
        file, np.random.default_rng(0).normal(size=(9, 5))
    )
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
        "evaluation": {"final_predictors": ["linear"], "pictures": False},
    }
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(config))
    assert main(["train", str(file), "--runs", str(tmp_path / "runs")]) == 0
    (last,) = (tmp_path / "runs").rglob("last.pt")
    slot = check_slot("prior", {"name": "samples", "path": str(last)}, "prior", tmp_path)
    prior = SlotBuilder({"dim": 3}, read_assets(slot)).build(slot)
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
        assert len(penalty.queue.extend(torch.randn(16, 4), keep=False)) == 56
