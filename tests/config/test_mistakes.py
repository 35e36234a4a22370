"""Mistakes in a config: each gives one line with the key path, the value received and a remedy."""

import pytest
import yaml
from helpers.configs import NESTED, SMALL, TOYS, changed

from mmdprior import InputError
from mmdprior.build.prior_view import named_prior
from mmdprior.config.load import load_config, make_config
from mmdprior.runs import assemble

PENALTY = {"target": f"{NESTED}:Mixed", "goal": "gaussian", "near": "rbf"}

# Key path, value, part of the message. Found when the config is loaded, before any work:
MISTAKES = [
    ("regularzer", {"name": "mmd"}, "regularzer: unknown key; did you mean 'regularizer'?"),
    ("trainer.step", 5, "trainer.step: unknown key; did you mean 'steps'?"),
    ("trainer.steps", None, "trainer.steps: missing"),
    ("trainer.steps", "many", "trainer.steps: 'many' received; expected a valid integer"),
    ("trainer.steps", -1, "trainer.steps: -1 received; expected greater than or equal to 0"),
    ("trainer.steps", True, "trainer.steps: True received"),
    ("trainer.learning_rate", 0, "trainer.learning_rate: 0 received"),
    ("trainer.precision", "float16", "trainer.precision: 'float16' received; expected 'float32'"),
    ("trainer.channels_last", "yes please", "trainer.channels_last: 'yes please' received"),
    ("trainer.schedule", "cosin", "trainer.schedule.name: 'cosin' received; did you mean 'cosine'?"),
    ("trainer.schedule", {"name": "warmup"}, "trainer.schedule.warmup_steps: missing"),
    ("trainer", 5, "trainer: 5 received; give a mapping"),
    ("data.batchsize", 5, "data.batchsize: unknown key; did you mean 'batch_size'?"),
    ("data.name", "sprite", "data.name: 'sprite' received; did you mean 'sprites'?"),
    ("data.images", "all", "data.images: 'all' received; expected a valid integer"),
    ("data.name", None, "data.name: missing; give one of arrays, cars3d, celeba"),
    ("model.latent_dim", 0, "model.latent_dim: 0 received"),
    ("model.hiden", [3], "model.hiden: unknown key; did you mean 'hidden'?"),
    ("model.hidden", 3, "model.hidden: 3 received; expected a valid list"),
    ("model.posterior", "gausian", "model.posterior.name: 'gausian' received; did you mean 'gaussian'?"),
    ("model.target", "a:b", "model.target: 'a:b' received; give encoder: {target: ...}"),
    ("regularizer.prior", None, "regularizer.prior: missing; give a prior"),
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
    (
        "regularizer.prior",
        {"name": "gaussian", "target": "a:b"},
        "regularizer.prior: name 'gaussian' and target 'a:b' received; give one of them",
    ),
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
    (
        "model.likelihood",
        {"target": "math:pi"},
        "model.likelihood.target: 'math:pi' received, which is a float",
    ),
    ("trainer.schedule", {"target": "torch:randn"}, "no signature that Python can read"),
    ("regularizer", {3: 4}, "regularizer: key 3 received; give strings as keys"),
    ("name", "../up", "name: '../up' received; expected text that matches"),
    ("seed", -1, "seed: -1 received"),
    ("evaluation.monitor", "psnr", "evaluation.monitor: 'psnr' received; expected 'reconstruction/psnr'"),
    ("evaluation.predictors", ["forest"], "evaluation.predictors.0: 'forest' received"),
    ("trainer.schedule", "null", "trainer.schedule.name: 'null' received; known: constant, cosine"),
    ("trainer.keep_last", 2, "trainer.keep_last: 2 received; give keep_every, too"),
    ("trainer.betas", [0.9], "trainer.betas: [0.9] received; expected a list of at least 2 items"),
    ("model.posterior", {"name": "gaussian", "scale": 1}, "model.posterior.scale: unknown key; known: none"),
    (
        "model",
        {"latent_dim": 4, "encoder": "mlp", "decoder": "mlp", "hidden": [8]},
        "model.hidden: unknown key next to encoder and decoder; leave it out",
    ),
    ("data.source", "sprites", "data.source: unknown key"),
    ("regularizer.penalty", "mmd", "regularizer.penalty: unknown key"),
    # Slots in a slot.
    (
        "regularizer.prior",
        {"name": "correlated", "correlation": 0.5},
        "regularizer.prior.base: missing; give a prior",
    ),
    ("regularizer.prior", {"name": "rotation", "base": 3}, "regularizer.prior.base: 3 received; give a name"),
    (
        "regularizer.prior",
        {"name": "product", "blocks": ["gaussian", {"name": "unifrm"}]},
        "regularizer.prior.blocks.1.name: 'unifrm' received; did you mean 'uniform'?",
    ),
    (
        "regularizer.prior",
        {"name": "product", "blocks": [{"name": "product", "blocks": [{"name": "uniform", "lo": 1}]}]},
        "regularizer.prior.blocks.0.blocks.0.lo: unknown key; did you mean 'low'?",
    ),
    (
        "regularizer.prior",
        {"name": "transform", "base": "gaussian", "fn": {"name": "x"}},
        "regularizer.prior.fn.name: 'x' received; give target",
    ),
    ("regularizer.prior", {"name": "product", "blocks": []}, "blocks: [] received; give a list of priors"),
    # A sum: weight and schedule are written next to the arguments of each penalty.
    ("regularizer", {"name": "sum"}, "regularizer.penalties: missing; give a list of regularizers"),
    (
        "regularizer",
        {"name": "sum", "penalties": [{"name": "kl", "weigth": 2.0}]},
        "regularizer.penalties.0.weigth: unknown key; did you mean 'weight'?",
    ),
    (
        "regularizer",
        {"name": "sum", "penalties": ["kl", {"name": "none", "weight": "high"}]},
        "regularizer.penalties.1.weight: 'high' received; expected a valid number",
    ),
    (
        "regularizer",
        {"name": "sum", "penalties": [{"name": "kl", "schedule": "warmpu"}]},
        "regularizer.penalties.0.schedule.name: 'warmpu' received; did you mean 'warmup'?",
    ),
    # Slots of a user's target, under any argument name.
    (
        "regularizer",
        {"target": f"{NESTED}:hidden_argument", "weight": 1.0},
        "regularizer.weight: a key of the section, but also an argument of",
    ),
    ("regularizer", {**PENALTY, "near": None}, "regularizer.near: null received; give a kernel"),
    (
        "regularizer",
        {"target": f"{NESTED}:Mixed", "goal": "gaussian"},
        "regularizer.near: missing; give a kernel",
    ),
    (
        "regularizer",
        {**PENALTY, "near": "gaussian"},
        "regularizer.near.name: 'gaussian' received; known: anova",
    ),
    ("regularizer", {**PENALTY, "far": {"name": "rbf", "scale": 1}}, "regularizer.far.scale: unknown key"),
    ("regularizer", {**PENALTY, "more": "rbf"}, "regularizer.more: 'rbf' received; give a list of kernels"),
    ("regularizer", {**PENALTY, "more": ["rbf", 3]}, "regularizer.more.1: 3 received; give a name"),
    ("regularizer", {**PENALTY, "strength": "much"}, "regularizer.strength: 'much' received"),
    ("regularizer", {**PENALTY, "fare": "rbf"}, "regularizer.fare: unknown key; did you mean 'far'?"),
    (
        "regularizer",
        {**PENALTY, "base": {"name": "mmd", "prior": {"name": "uniform", "low": "x"}}},
        "regularizer.base.prior.low: 'x' received",
    ),
    (
        "regularizer",
        {**PENALTY, "rise": {"name": "warmup", "steps": 3}},
        "regularizer.rise.steps: unknown key; did you mean 'warmup_steps'?",
    ),
]

# Found when the parts are built:
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
    ("data.batch_size", 5000, "data.batch_size: 5000"),
    ("trainer.device", "tpu9", "device: 'tpu9'"),
    ("model", {"name": "resnet", "latent_dim": 4, "channels": [0]}, "model.channels"),
    (
        "regularizer.prior",
        {"name": "correlated", "base": "uniform", "correlation": -0.9},
        "positive definite",
    ),
    (
        "regularizer.prior",
        {"name": "product", "blocks": [{"name": "circle"}] * 2, "dims": [[0, 1], [1, 2]]},
        "regularizer.prior.dims",
    ),
    (
        "regularizer.prior",
        {"name": "product", "blocks": [{"name": "circle"}] * 2, "dims": [[0, 1], [2, 4]]},
        "regularizer.prior.dims",
    ),
    (
        "regularizer.prior",
        {"name": "product", "blocks": [{"name": "uniform", "dim": 4}, "gaussian"]},
        "regularizer.prior.blocks: 4 of 4 dimensions taken; leave at least one",
    ),
    (
        "regularizer",
        {**PENALTY, "near": {"target": f"{TOYS}:Predicting"}},
        "regularizer.near: Predicting returned; return a Kernel",
    ),
    (
        "regularizer",
        {**PENALTY, "far": {"name": "sum", "kernels": ["rbf", {"name": "rbf", "lengthscale": -1.0}]}},
        "regularizer.far.kernels.1.lengthscale: -1.0 received",
    ),
    (
        "regularizer",
        {
            "name": "sum",
            "penalties": [
                "none",
                {"name": "mmd", "prior": "gaussian", "kernel": {"name": "energy", "power": 3.0}},
            ],
        },
        "regularizer.penalties.1.kernel.power: 3.0 received",
    ),
    ("data", {"target": f"{TOYS}:halves", "step": 1}, "data: float returned; return a Source, an ImageSet"),
]

FILES = [
    ("a: [1", "x.yaml: line 1: not YAML"),
    ("name: a\nname: b", "x.yaml: line 2: duplicate key 'name' received; keep one"),
    ("- a", "x.yaml: list received; give a mapping of sections"),
    ("name: !!python/object/apply:os.system [ls]", "not YAML"),
    ("{[]: 1}", "x.yaml"),
    ("name: &a {b: *a}", "x.yaml: nested too deeply, or an anchor that contains itself"),
    ("[" * 5000, "x.yaml: nested too deeply"),
]

OVERRIDES = [
    ("seed", "override: 'seed' received; give key.sub=value"),
    ("=3", "override: '=3' received; give key.sub=value"),
    ("a..b=1", "override: 'a..b=1' received; give key.sub=value"),
    ("seed.sub=1", "override: 'seed.sub=1' received; seed is not a section"),
    ("trainer.steps=[1", "override trainer.steps: line 1: not YAML"),
    ("name=my run #2", "# after a space starts a comment: name='\"my run #2\"'"),
    ("name=2024", "name: 2024 received; expected a valid string; put it in quotes: \"'2024'\""),
    ("trainer.betas.2=0.5", "'2' is out of range for a list of 2 (from 0)"),
    ("trainer.betas.x=0.5", "'x' is out of range for a list of 2 (from 0)"),
]


def error_of(function, *arguments):
    """Return the text of the `InputError` that a call raises, which must be one line."""
    with pytest.raises(InputError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES)
def test_loading_names_the_mistake(path, value, message):
    error = error_of(make_config, changed(path, value), TOYS.parent, "x.yaml")
    assert error.startswith("x.yaml: ")
    assert message in error


@pytest.mark.parametrize(("path", "value", "message"), BUILD_MISTAKES)
def test_building_names_the_mistake(path, value, message):
    config = make_config(changed(path, value), TOYS.parent, "x.yaml")
    assert message in error_of(lambda: assemble(config, progress=False))


@pytest.mark.parametrize(("text", "message"), FILES)
def test_files_that_are_no_config(tmp_path, text, message):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert message in error_of(load_config, file)


def test_missing_file(tmp_path):
    assert "y.yaml: no such file; give a YAML config" in error_of(load_config, tmp_path / "y.yaml")


@pytest.mark.parametrize(("override", "message"), OVERRIDES)
def test_overrides(tmp_path, override, message):
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump({**changed("trainer.betas", [0.9, 0.99]), "seed": 3}))
    assert message in error_of(load_config, file, [override])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing", "--prior.name: 'nothing' received; did you mean 'rotation'?"),
        ("{name: laplace, scale: 0.0}", "--prior.scale: 0.0 received; every entry must be positive"),
        ("{name: samples, path: nowhere.npy}", "nowhere.npy: no such file"),
        ("[gaussian]", "--prior: ['gaussian'] received; give a name"),
        ("{name: laplace", "--prior: line 1: not YAML"),
    ],
)
def test_priors_named_on_the_command_line(source, message):
    assert message in error_of(named_prior, source, 4, "--prior")


def test_absent_sections_are_reported_by_their_first_missing_key():
    for section, message in {
        "data": "data.name: missing",
        "model": "model.name: missing; give one of conv, dct, linear, mixer, mlp, resnet, or encoder",
        "trainer": "trainer.steps: missing; give a value",
        "regularizer": "regularizer.name: missing; give one of beta_tc, conditional_mmd, cramer_wold",
    }.items():
        raw = {key: value for key, value in SMALL.items() if key != section}
        assert message in error_of(make_config, raw)
