"""From YAML to a config and back: shipped files, defaults, overrides, strict YAML."""

import copy
from pathlib import Path

import pytest
import yaml
from helpers.configs import NESTED, SMALL

from mmdprior.config import dump_config, load_config
from mmdprior.config.base import read_layers
from mmdprior.config.catalogue import NAMES
from mmdprior.config.load import make_config, read_mapping
from mmdprior.config.schema import SECTIONS
from mmdprior.config.signature import signature_of
from mmdprior.config.text import parse_value
from mmdprior.runs.plan import is_plan, read_plan

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent.name != "experts"]  # of a benchmark
PLANS = [path for path in FILES if is_plan(read_mapping(path))]


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a mapping or a text to a YAML file."""

    def write(content):
        file = tmp_path / "x.yaml"
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return file

    return write


class TestShipped:
    def test_every_run_of_a_plan_has_a_valid_config_and_its_own_directory(self):
        runs = [run for path in PLANS for run in read_plan(path).runs]
        directories = [run.directory("runs") for run in runs]
        assert len(set(directories)) == len(directories)
        assert all(run.load().name == f"{run.plan}/{run.name}" for run in runs)

    @pytest.mark.parametrize("family", ["sprites", "cifar10", "tiny_imagenet"])
    def test_files_of_a_family_differ_only_in_penalty_and_posterior(self, family):
        others = []
        for name in ("ae", "vae", "beta_vae", "mmd_gaussian", "mmd_uniform", "mmd_mixture"):
            raw = read_layers(CONFIGS / family / f"{name}.yaml").content
            raw.pop("regularizer")
            raw["model"].pop("posterior", None)
            assert raw.pop("name") == f"{family}/{name}"
            others.append(raw)
        assert all(raw == others[0] for raw in others)


class TestResolved:
    def test_defaults_are_filled_in_and_the_result_loads_to_itself(self):
        resolved = yaml.safe_load(dump_config(make_config(SMALL)))
        assert resolved["model"]["encoder"] == {"name": "mlp", "hidden": [8], "activation": "relu"}
        assert resolved["trainer"]["learning_rate"] == 1e-3
        assert make_config(resolved).to_dict() == resolved

    def test_keys_of_a_slot_come_before_those_of_its_section(self):
        resolved = make_config(SMALL).to_dict()
        assert list(resolved) == ["name", "seed", *SECTIONS]
        assert list(resolved["regularizer"])[:2] == ["name", "prior"]
        assert list(resolved["regularizer"])[-2:] == ["weight", "schedule"]

    def test_weight_and_schedule_stay_next_to_the_arguments_of_a_penalty_in_a_sum(self):
        parts = [{"name": "kl", "weight": 2.0}, {"name": "none", "schedule": {"name": "constant"}}]
        raw = {**copy.deepcopy(SMALL), "regularizer": {"name": "sum", "penalties": parts}}
        resolved = make_config(raw).to_dict()
        assert resolved["regularizer"]["penalties"] == [
            {"name": "kl", "capacity": None, "capacity_steps": 100000, "gamma": 1.0, "weight": 2.0},
            {"name": "none", "weight": 1.0, "schedule": {"name": "constant"}},
        ]
        assert make_config(resolved).to_dict() == resolved

    def test_an_argument_named_like_a_slot_of_another_kind_is_plain(self):
        raw = {**SMALL, "model": {"name": "resnet", "latent_dim": 4, "channels": [4], "blocks": 1}}
        assert make_config(raw).to_dict()["model"]["encoder"]["blocks"] == 1

    def test_model_name_stands_for_the_network_that_is_not_given(self):
        raw = {**SMALL, "model": {"name": "mlp", "hidden": [8], "latent_dim": 4, "encoder": "linear"}}
        slots = make_config(raw).slots
        assert slots["model.encoder"].name == "linear"
        assert slots["model.decoder"].name == "mlp"
        assert (slots["model.encoder"].path, slots["model.decoder"].path) == ("model.encoder", "model")


class TestOverrides:
    def test_they_reach_every_depth(self, write):
        config = load_config(
            write(SMALL),
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

    def test_they_reach_into_lists(self, write):
        penalty = {"target": f"{NESTED}:Mixed", "goal": "gaussian", "near": "rbf", "more": ["imq", "rbf"]}
        config = load_config(
            write({**SMALL, "regularizer": penalty}),
            ["regularizer.more.1.lengthscale=3.0", "regularizer.more.0={name: energy}"],
        )
        more = config.to_dict()["regularizer"]["more"]
        assert [kernel["name"] for kernel in more] == ["energy", "rbf"]
        assert more[1]["lengthscale"] == 3.0


class TestYAML:
    def test_merge_keys_are_no_duplicates(self, write):
        text = yaml.safe_dump({key: value for key, value in SMALL.items() if key != "data"})
        file = write("data: {<<: {name: sprites, images: 400}, batch_size: 16}\n" + text)
        assert load_config(file).data.batch_size == 16

    def test_1e_3_is_a_number(self, write):
        text = yaml.safe_dump({key: value for key, value in SMALL.items() if key != "trainer"})
        file = write(text + "trainer: {steps: 1, learning_rate: 1e-3}\n")
        assert load_config(file).trainer.learning_rate == 1e-3

    @pytest.mark.parametrize(
        ("text", "value"),
        [("010", 10), ("1_000", 1000), ("-0x1F", -31), ("1:30", "1:30"), ("0", 0), ("+3", 3)],
    )
    def test_integers_are_those_of_yaml_1_2(self, text, value):
        assert parse_value(text, "x") == value


@pytest.mark.parametrize(
    ("section", "kind"), [("data", "source"), ("model", "encoder"), ("model", "decoder")]
)
def test_no_key_of_a_section_hides_an_argument_of_the_slot_in_it(section, kind):
    for name, factory in NAMES[kind].items():
        hidden = SECTIONS[section].model_fields.keys() & signature_of(factory, kind).arguments.keys()
        assert not hidden, name


def test_no_key_of_the_regularizer_hides_an_argument_of_a_penalty():
    keys = SECTIONS["regularizer"].model_fields.keys() - {"penalty"}
    for name, factory in NAMES["regularizer"].items():
        assert not keys & signature_of(factory, "regularizer").arguments.keys(), name
