"""YAML to objects: shipped configs, overrides, targets, and one line for each mistake."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mmdprior import InputError
from mmdprior.build import Builder, read_assets
from mmdprior.build.data import open_splits
from mmdprior.config import dump_config, load_config
from mmdprior.config.catalogue import INJECTED, NAMES
from mmdprior.config.json_schema import json_schema
from mmdprior.config.load import make_config, read_mapping
from mmdprior.config.schema import SECTIONS
from mmdprior.config.slots import arguments_model
from mmdprior.models import DeterministicPosterior
from mmdprior.priors import FromCallable, FromDistribution, Gaussian, Product, Samples
from mmdprior.regularizers import MMD
from mmdprior.runs import assemble
from mmdprior.runs.plan import is_plan, read_plan

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))
PLANS = [path for path in SHIPPED if is_plan(read_mapping(path))]
CONFIGS = [path for path in SHIPPED if path not in PLANS]
TOYS = ROOT / "tests" / "helpers" / "toys.py"

SMALL = {
    "name": "small",
    "data": {"name": "sprites", "images": 400, "batch_size": 16},
    "model": {"name": "mlp", "hidden": [8], "latent_dim": 4},
    "regularizer": {"name": "mmd", "prior": {"name": "gaussian"}},
    "trainer": {"steps": 1, "device": "cpu"},
}


def changed(path, value, base=SMALL):
    raw = json.loads(json.dumps(base))
    place = raw
    *parents, last = path.split(".")
    for key in parents:
        place = place.setdefault(key, {})
    if value is None:
        place.pop(last)
    else:
        place[last] = value
    return raw


def build_prior(prior):
    config = make_config(changed("regularizer.prior", prior), TOYS.parent, "x.yaml")
    return Builder(config, read_assets(config)).regularizer().prior


@pytest.mark.parametrize("section", [s for s in SECTIONS.values() if s.own_slot is not None])
def test_no_key_of_a_section_hides_an_argument_of_what_stands_flat_in_it(section):
    for name, factory in NAMES[section.own_slot].items():
        hidden = section.model_fields.keys() & arguments_model(factory, section.own_slot).model_fields.keys()
        assert not hidden, name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_every_shipped_config_loads_builds_and_steps(path, tmp_path):
    """On random images of the data's own shape, in place of a download."""
    side, channels = {"cifar10": (32, 3), "tiny_imagenet": (64, 3)}.get(path.parent.name, (64, 1))
    shape = (400, side, side, channels)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    raw = load_config(path, ["trainer.device=cpu"]).to_dict()
    raw["data"] = {"name": "arrays", "path": str(tmp_path / "x.npy"), "batch_size": 16}
    raw["data"] |= {"validation": 70, "test": 70}
    raw["trainer"]["steps"] = steps = min(1, raw["trainer"]["steps"])
    experiment = assemble(make_config(raw, path.parent, str(path)), progress=False)
    experiment.trainer.validate = None
    before = [p.detach().clone() for p in experiment.trainer.model.parameters()]
    experiment.trainer.run()
    after = experiment.trainer.model.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) == (steps > 0)


def test_every_run_of_every_shipped_plan_has_a_valid_config_and_a_directory_of_its_own():
    runs = [run for path in PLANS for run in read_plan(path).runs]
    directories = [run.directory("runs") for run in runs]
    assert len(set(directories)) == len(directories)
    assert all(run.load().name == f"{run.plan}/{run.name}" for run in runs)


def test_families_differ_in_nothing_but_penalty_and_posterior():
    for family in ("sprites", "cifar10", "tiny_imagenet"):
        names = ("ae", "vae", "beta_vae", "mmd_gaussian", "mmd_uniform", "mmd_mixture")
        kept = []
        for name in names:
            raw = yaml.safe_load((ROOT / "configs" / family / f"{name}.yaml").read_text())
            raw.pop("regularizer")
            raw["model"].pop("posterior")
            assert raw.pop("name") == f"{family}/{name}"
            kept.append(raw)
        assert all(raw == kept[0] for raw in kept)


def test_resolved_config_is_complete_and_loads_to_itself():
    config = make_config(SMALL, Path(), "x.yaml")
    resolved = yaml.safe_load(dump_config(config))
    assert resolved["model"]["encoder"] == {"name": "mlp", "hidden": [8], "activation": "relu"}
    assert resolved["trainer"]["learning_rate"] == 1e-3
    assert make_config(resolved, Path(), "y.yaml").to_dict() == resolved


def test_overrides_reach_every_depth(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(SMALL))
    config = load_config(
        file,
        [
            "seed=7",
            "trainer.learning_rate=3e-4",
            "regularizer.kernel=imq",
            "regularizer.kernel.scale=2.5",
            "regularizer.prior={name: uniform, low: -2}",
            "evaluation.predictors=[linear, mlp]",
        ],
    )
    assert config.seed == 7
    assert config.trainer.learning_rate == 3e-4
    regularizer = config.to_dict()["regularizer"]
    assert regularizer["kernel"] == {"name": "imq", "scale": 2.5, "factors": [1.0]}
    assert regularizer["prior"]["low"] == -2
    assert config.evaluation.predictors == ["linear", "mlp"]


def test_configs_differing_in_seed_build_different_models():
    weights = []
    for seed in (0, 0, 1):
        experiment = assemble(make_config({**SMALL, "seed": seed}, Path(), "x"), progress=False)
        weights.append(next(iter(experiment.trainer.model.parameters())).detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


class TestPriors:
    def test_dimension_is_that_of_the_latent_unless_given(self):
        assert build_prior({"name": "gaussian", "scale": 2.0}).dim == 4
        assert build_prior("uniform").dim == 4

    def test_product_gives_the_rest_to_the_open_block(self):
        prior = build_prior(
            {
                "name": "product",
                "blocks": [{"name": "gaussian"}, {"name": "gaussian_mixture", "means": [[-2.0], [2.0]]}],
            }
        )
        assert isinstance(prior, Product)
        assert [block.dim for block in prior.blocks] == [3, 1]

    def test_blocks_of_ones_own_state_their_dimension(self):
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


def test_arguments_named_like_slots_elsewhere_are_plain():
    raw = changed("model", {"name": "resnet", "latent_dim": 4, "channels": [4], "blocks": 1})
    assert make_config(raw, Path(), "x").to_dict()["model"]["encoder"]["blocks"] == 1


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


MISTAKES = [
    ("regularzer", {"name": "mmd"}, "regularzer: unknown key; did you mean 'regularizer'?"),
    ("trainer.step", 5, "trainer.step: unknown key; did you mean 'steps'?"),
    ("trainer.steps", None, "trainer.steps: missing"),
    ("trainer.steps", "many", "trainer.steps: 'many' received; expected a valid integer"),
    ("trainer.steps", -1, "trainer.steps: -1 received; expected greater than or equal to 0"),
    ("trainer.steps", True, "trainer.steps: True received"),
    ("trainer.learning_rate", 0, "trainer.learning_rate: 0 received"),
    ("trainer.precision", "float16", "trainer.precision: 'float16' received; expected 'float32'"),
    ("trainer.schedule", "cosin", "trainer.schedule.name: 'cosin' received; did you mean 'cosine'?"),
    ("trainer.schedule", {"name": "warmup"}, "trainer.schedule.warmup_steps: missing"),
    ("trainer", 5, "trainer: 5 received; give a mapping"),
    ("data.batchsize", 5, "data.batchsize: unknown key; did you mean 'batch_size'?"),
    ("data.name", "sprite", "data.name: 'sprite' received; did you mean 'sprites'?"),
    ("data.images", "all", "data.images: 'all' received; expected a valid integer"),
    ("data.name", None, "data: give either name"),
    ("model.latent_dim", 0, "model.latent_dim: 0 received"),
    ("model.hiden", [3], "model.hiden: unknown key; did you mean 'hidden'?"),
    ("model.hidden", 3, "model.hidden: 3 received; expected a valid list"),
    ("model.posterior", "gausian", "model.posterior.name: 'gausian' received; did you mean 'gaussian'?"),
    ("model.target", "a:b", "model"),
    ("regularizer.prior", None, "regularizer.prior: missing"),
    ("regularizer.prior.dim", "four", "regularizer.prior.dim: 'four' received"),
    (
        "regularizer.kernel",
        {"name": "rbf", "lengthscale": "medium"},
        "regularizer.kernel.lengthscale: 'medium'",
    ),
    ("regularizer.kernel", {"name": "rbf", "scale": 1.0}, "regularizer.kernel.scale: unknown key"),
    ("regularizer.kernel", 3, "regularizer.kernel: 3 received"),
    (
        "regularizer.estimator",
        "best",
        "regularizer.estimator.name: 'best' received; known: auto, biased, block, known_prior, unbiased",
    ),
    ("regularizer.weight", -1.0, "regularizer.weight: -1.0 received"),
    (
        "regularizer.prior",
        {"target": "nowhere:x"},
        "regularizer.prior.target: 'nowhere:x' cannot be imported",
    ),
    ("regularizer.prior", {"target": "no_colon"}, "regularizer.prior.target: 'no_colon' received"),
    ("regularizer.prior", {"target": f"{TOYS}:absent"}, "cannot be imported"),
    ("regularizer.prior", {"target": "gone.py:x"}, "no such file"),
    ("regularizer.prior", {"target": f"{TOYS}:wide", "faktor": 1.0}, "did you mean 'factor'?"),
    ("regularizer.prior", {"name": "gaussian", "target": "a:b"}, "give either name"),
    ("data.name", ["sprites"], "data.name: ['sprites'] received"),
    ("data.validation", float("nan"), "data.validation: nan received; expected a finite number"),
    ("model.posterior", {"name": {}}, "model.posterior.name: {} received"),
    ("trainer.betas", [0.9, 1.0], "trainer.betas.1: 1.0 received; expected less than 1"),
    ("trainer.gradient_clip", float("inf"), "trainer.gradient_clip: inf received"),
    ("seed", 10**30, "seed: 1000000000000000000000000000000 received"),
    ("regularizer.weight", "a" * 500, "a... received; expected a valid number"),
    ("regularizer.kernel", ["rbf"], "regularizer.kernel: ['rbf'] received"),
    ("regularizer.kernel", {"name": "sum", "kernels": "rbf"}, "give a list of kernels"),
    ("regularizer.prior", {"name": "product", "blocks": {"name": "gaussian"}}, "give a list of priors"),
    ("regularizer.prior", {"target": "math:pi", "scale": 1}, "regularizer.prior.scale: unknown key"),
    ("model.likelihood", {"target": "math:pi"}, "model.likelihood.target: 'math:pi' is float"),
    ("trainer.schedule", {"target": "torch:randn"}, "no signature that Python can read"),
    ("regularizer", {3: 4}, "regularizer: key"),
    ("name", "../up", "name: '../up' received"),
    ("seed", -1, "seed: -1 received"),
    ("evaluation.monitor", "psnr", "evaluation.monitor: 'psnr' received; expected 'reconstruction/psnr'"),
    ("evaluation.predictors", ["forest"], "evaluation.predictors.0: 'forest' received"),
]


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES)
def test_mistakes_are_named_before_any_work(path, value, message):
    with pytest.raises(InputError) as caught:
        make_config(changed(path, value), TOYS.parent, "x.yaml")
    assert str(caught.value).startswith("x.yaml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


BUILD_MISTAKES = [
    (
        "regularizer.prior",
        {"name": "gaussian", "dim": 3},
        "regularizer.prior: dim 3 received; the latent has 4",
    ),
    ("regularizer.prior", {"name": "gaussian", "scale": -1.0}, "regularizer.prior.scale: -1.0"),
    (
        "regularizer.prior",
        {"name": "product", "blocks": ["gaussian", "uniform"]},
        "regularizer.prior.blocks.1.dim",
    ),
    ("regularizer.prior", {"name": "samples", "path": "gone.npy"}, "gone.npy: no such file"),
    ("regularizer.prior", {"target": f"{TOYS}:narrow"}, "shape (8, 2) returned"),
    ("regularizer.prior", {"target": f"{TOYS}:broken"}, "regularizer.prior"),
    ("regularizer.kernel", {"name": "rbf", "lengthscale": 0.0}, "regularizer.kernel.lengthscale: 0.0"),
    (
        "regularizer",
        {"name": "kl"},
        "regularizer.latent: deterministic received; a kl penalty needs model.posterior",
    ),
    ("evaluation.prior", {"name": "gaussian", "dim": 9}, "evaluation.prior: dim 9"),
    ("data.images", 60, "data.validation: 6 images received"),
    ("model.hidden", [-5], "model.hidden: [4096, -5, 4] received"),
    ("model.hidden", [10**15], "model: does not work (RuntimeError"),
    ("model.likelihood", {"target": "os:getcwd"}, "model.likelihood: str returned; return a Likelihood"),
    ("regularizer.kernel", {"target": "builtins:object"}, "regularizer.kernel: "),
    ("regularizer.kernel", {"name": "rbf", "lengthscale": 1e-200}, "lengthscale: 1e-200 received"),
    (
        "regularizer.prior",
        {"target": f"{TOYS}:raises"},
        "regularizer.prior: does not work (KeyError: 'boom')",
    ),
    ("regularizer.prior", {"target": f"{TOYS}:Absent"}, "regularizer.prior: Absent: NoneType returned"),
    (
        "regularizer.prior",
        {"name": "gaussian_mixture", "means": [[0.0] * 4] * 2, "scale": [[1.0], [1.0, 2.0]]},
        "regularizer.prior.scale: not a table of numbers",
    ),
    ("trainer.schedule", {"target": "torch.nn:ReLU"}, "trainer.schedule: does not work"),
    ("regularizer.prior", {"target": f"{TOYS}:exits"}, "regularizer.prior: does not work (SystemExit"),
    ("model.encoder", {"target": f"{TOYS}:Wide"}, "model.encoder: 9 outputs returned; return 4"),
    ("regularizer", {"target": f"{TOYS}:Vector"}, "regularizer: shape (16,) returned; return a 0-dim"),
    ("regularizer.kernel", {"target": f"{TOYS}:Square"}, "regularizer: does not work (RuntimeError: boom)"),
    ("data.batch_size", 1, "needs 2"),
    ("trainer.device", "meta", "device: 'meta'"),
    ("evaluation.monitor", "lps/mlp", "evaluation.monitor: 'lps/mlp' received; add mlp"),
    ("evaluation.limit", 20, "evaluation.limit: 20 images received"),
    ("data.batch_size", 5000, "data.batch_size: 5000"),
    ("trainer.device", "tpu9", "device: 'tpu9'"),
    ("model", {"name": "resnet", "latent_dim": 4, "channels": [0]}, "model.channels"),
]


@pytest.mark.parametrize(("path", "value", "message"), BUILD_MISTAKES)
def test_mistakes_that_only_building_shows(path, value, message):
    config = make_config(changed(path, value), TOYS.parent, "x.yaml")
    with pytest.raises(InputError) as caught:
        assemble(config, progress=False)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not YAML"),
        ("name: a\nname: b", "line 2: key 'name' is given twice"),
        ("- a", "give a mapping of sections"),
        ("name: !!python/object/apply:os.system [ls]", "not YAML"),
        ("{[]: 1}", "x.yaml"),
        ("name: &a {b: *a}", "holds itself"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, message):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(file)
    assert message in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        load_config(tmp_path / "y.yaml")


def test_merge_keys_are_no_duplicates(tmp_path):
    file = tmp_path / "x.yaml"
    text = yaml.safe_dump({k: v for k, v in SMALL.items() if k != "data"})
    file.write_text("data: {<<: {name: sprites, images: 400}, batch_size: 16}\n" + text)
    assert load_config(file).data.batch_size == 16


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=1", "seed.sub=1", "trainer.steps=[1"])
def test_bad_overrides(tmp_path, override):
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump({**SMALL, "seed": 3}))
    with pytest.raises(InputError, match="override"):
        load_config(file, [override])


def test_json_schema_names_every_key():
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    rbf = next(v for v in schema["$defs"]["kernel"]["anyOf"] if v.get("title") == "rbf")
    assert "lengthscale" in rbf["properties"]
    fields = schema["properties"]["trainer"]["properties"].values()
    assert all(field.get("description") for field in fields)


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in NAMES for n in NAMES[k]])
def test_every_argument_of_every_name_is_documented(kind, name):
    factory = NAMES[kind][name]
    document = (getattr(factory, "func", factory).__doc__) or ""
    for argument in set(arguments_model(factory, kind).model_fields) - INJECTED[kind]:
        assert f"{argument}:" in document, f"{kind} {name}: {argument}"
