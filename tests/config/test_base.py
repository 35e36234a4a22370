"""Configs with bases, shipped configs, and paths with environment variables."""

from pathlib import Path

import pytest
import yaml
from helpers.configs import SMALL, TOYS, changed

from mmdprior.build.assets import read_assets
from mmdprior.build.builder import Builder
from mmdprior.build.data import open_splits
from mmdprior.build.prior_view import view_prior
from mmdprior.cli.main import main
from mmdprior.config import load_config
from mmdprior.config.base import read_layers, shipped_folder, shipped_names
from mmdprior.errors import InputError
from mmdprior.files import expand
from mmdprior.runs.plan import read_plan


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes a YAML file to the working directory."""
    monkeypatch.chdir(tmp_path)

    def write_file(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return name

    return write_file


class TestMerging:
    @pytest.mark.parametrize(
        ("key", "base", "over", "merged"),
        [
            ("trainer", {"steps": 1, "log_every": 2}, {"steps": 3}, {"steps": 3, "log_every": 2}),
            ("trainer", {"betas": [0.1, 0.2]}, {"betas": [0.3]}, {"betas": [0.3]}),
            # The same part: arguments are merged, at any depth.
            (
                "regularizer",
                {"name": "mmd", "prior": {"name": "uniform", "low": -2}},
                {"prior": {"high": 2}},
                {"name": "mmd", "prior": {"name": "uniform", "low": -2, "high": 2}},
            ),
            (
                "regularizer",
                {"name": "mmd", "prior": {"name": "uniform", "low": -2}},
                {"prior": {"name": "uniform", "high": 2}},
                {"name": "mmd", "prior": {"name": "uniform", "low": -2, "high": 2}},
            ),
            # Arguments for a part that the base names without any.
            (
                "regularizer",
                {"prior": "uniform"},
                {"prior": {"low": 0}},
                {"prior": {"name": "uniform", "low": 0}},
            ),
            # Another part: its arguments replace those of the former, and settings of the section stay.
            (
                "regularizer",
                {"name": "mmd", "prior": "uniform", "kernel": "rbf", "weight": 9},
                {"name": "kl"},
                {"name": "kl", "weight": 9},
            ),
            (
                "regularizer",
                {"name": "mmd", "prior": {"name": "uniform", "low": -2}},
                {"prior": {"name": "laplace"}},
                {"name": "mmd", "prior": {"name": "laplace"}},
            ),
            (
                "data",
                {"name": "cifar10", "root": "data", "size": 32, "batch_size": 8},
                {"name": "sprites", "images": 9},
                {"batch_size": 8, "name": "sprites", "images": 9},
            ),
            (
                "data",
                {"name": "cifar10", "root": "data", "batch_size": 8},
                {"target": "mine:data"},
                {"batch_size": 8, "target": "mine:data"},
            ),
            (
                "model",
                {"name": "conv", "channels": [8], "latent_dim": 4, "linear_skip": True},
                {"name": "mlp", "hidden": [4]},
                {"latent_dim": 4, "linear_skip": True, "name": "mlp", "hidden": [4]},
            ),
            (
                "model",
                {"name": "conv", "channels": [8], "latent_dim": 4},
                {"encoder": {"name": "mlp"}, "decoder": {"name": "mlp"}},
                {"latent_dim": 4, "encoder": {"name": "mlp"}, "decoder": {"name": "mlp"}},
            ),
            (
                "model",
                {"encoder": "mlp", "decoder": "conv", "latent_dim": 4},
                {"name": "resnet"},
                {"latent_dim": 4, "name": "resnet"},
            ),
            # A base that names no part leaves its arguments to the one that does.
            ("model", {"hidden": [4]}, {"name": "mlp"}, {"hidden": [4], "name": "mlp"}),
        ],
    )
    def test_sections(self, write, key, base, over, merged):
        write("base.yaml", {key: base})
        assert read_layers(write("x.yaml", {"base": "base.yaml", key: over})).content == {key: merged}

    def test_several_levels_and_several_bases(self, write):
        write("a.yaml", {"seed": 1, "trainer": {"steps": 1, "log_every": 1}})
        write("folder/b.yaml", {"base": "../a.yaml", "trainer": {"steps": 2}})
        write("c.yaml", {"seed": 3, "evaluation": {"every": 3}})
        layers = read_layers(write("x.yaml", {"base": ["folder/b.yaml", "c.yaml"], "name": "x"}))
        assert layers.content == {
            "seed": 3,
            "trainer": {"steps": 2, "log_every": 1},
            "evaluation": {"every": 3},
            "name": "x",
        }

    def test_overrides_come_last_and_the_resolved_config_needs_no_base(self, write):
        write("base.yaml", SMALL)
        config = load_config(write("x.yaml", {"base": "base.yaml", "name": "x"}), ["trainer.steps=7"])
        assert (config.name, config.trainer.steps) == ("x", 7)
        assert "base" not in config.to_dict()

    def test_targets_are_looked_up_next_to_the_file_that_names_them(self, write):
        write("shared/mine.py", "def prior(n, dim):\n    raise RuntimeError\n")
        write("shared/base.yaml", changed("regularizer.prior", {"target": "mine.py:prior"}))
        config = load_config(write("x.yaml", {"base": "shared/base.yaml"}))
        prior = config.slots["regularizer"].arguments["prior"]
        assert prior.target.endswith("shared/mine.py:prior")

    def test_a_shipped_config_can_be_a_base(self, write):
        config = load_config(write("x.yaml", {"base": "cifar10/vae", "model": {"latent_dim": 8}}))
        assert config.model.latent_dim == 8
        assert config.regularizer.penalty.name == "kl"


class TestMistakes:
    @pytest.mark.parametrize(
        ("base", "over", "message"),
        [
            ({"trainer": {"stpes": 1}}, {}, "base.yaml: trainer.stpes: unknown key; did you mean 'steps'?"),
            ({}, {"trainer": {"stpes": 1}}, "x.yaml: trainer.stpes: unknown key"),
            ({"data": {"batch_size": "x"}}, {}, "base.yaml: data.batch_size: 'x' received"),
            (
                {"regularizer": {"prior": {"name": "uniform", "low": "x"}}},
                {"regularizer": {"prior": {"high": 2.0}}},
                "base.yaml: regularizer.prior.low: 'x' received",
            ),
            (
                {"regularizer": {"prior": {"name": "uniform", "low": -1.0}}},
                {"regularizer": {"prior": {"hihg": 2.0}}},
                "x.yaml: regularizer.prior.hihg: unknown key; did you mean 'high'?",
            ),
            ({1: 2}, {}, "base.yaml: config: key 1 received; give strings as keys"),
            ("a: [1", {}, "x.yaml: base: base.yaml: line 1: not YAML"),
            ("- a", {}, "x.yaml: base: base.yaml: list received; give a mapping of sections"),
            ("!!python/object/apply:os.system [id]", {}, "base.yaml: line 1: not YAML"),
            ("name: &a {b: *a}", {}, "nested too deeply, or an anchor that contains itself"),
        ],
    )
    def test_errors_name_the_file_of_the_value(self, write, base, over, message):
        if isinstance(base, dict):
            merged = {**SMALL, **base}
            for key in base.keys() & SMALL.keys():
                merged[key] = {**SMALL[key], **base[key]} if isinstance(base[key], dict) else base[key]
            base = merged
        write("base.yaml", base)
        with pytest.raises(InputError) as error:
            load_config(write("x.yaml", {"base": "base.yaml", **over}))
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"x": "x.yaml"}, "x.yaml: base: a cycle, x.yaml -> x.yaml; remove one of them"),
            ({"x": "./x.yaml"}, "a cycle, x.yaml -> x.yaml"),
            ({"x": "y.yaml", "y": "x.yaml"}, "x.yaml: base: a cycle, x.yaml -> y.yaml -> x.yaml"),
            ({"x": "y.yaml", "y": "z.yaml", "z": "y.yaml"}, "a cycle, x.yaml -> y.yaml -> z.yaml -> y.yaml"),
            ({"x": "gone.yaml"}, "x.yaml: base: gone.yaml: no such file"),
            ({"x": "quickstrat"}, "did you mean 'quickstart'?"),
            ({"x": 3}, "x.yaml: base: 3 received; give a YAML file, or a list of them"),
            ({"x": [3]}, "x.yaml: base: [3] received"),
            ({"x": {}}, "x.yaml: base: {} received"),
            ({"x": "$NO_SUCH_PLACE/x.yaml"}, "set the environment variable NO_SUCH_PLACE"),
        ],
    )
    def test_bases(self, write, files, message):
        for name, base in files.items():
            write(f"{name}.yaml", {"base": base})
        with pytest.raises(InputError) as error:
            load_config("x.yaml")
        assert message in str(error.value)


class TestShipped:
    def test_names(self):
        names = shipped_names()
        assert {"quickstart", "cifar10/vae", "paper/cifar10_d32"} <= {*names}
        assert not any(name.endswith("base") for name in names)

    def test_runs_of_a_data_set_state_only_what_differs(self):
        for name in ("cifar10", "tiny_imagenet", "sprites", "dsprites", "beamsynthesis"):
            vae = yaml.safe_load((shipped_folder() / name / "vae.yaml").read_text())
            assert vae == {
                "base": "base.yaml",
                "name": f"{name}/vae",
                "model": {"posterior": "gaussian"},
                "regularizer": {"name": "kl", "weight": 1.0},
            }
            mmd = yaml.safe_load((shipped_folder() / name / "mmd_gaussian.yaml").read_text())
            assert mmd.keys() == {"base", "name", "regularizer"}

    def test_commands_take_their_names(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert main(["train", "quickstart", "--dry-run", "data.images=600", "trainer.device=cpu"]) == 0
        assert "config    quickstart, seed 0" in capsys.readouterr().out
        assert len(read_plan("dsprites/study", ["trainer.steps=1"]).runs) > 3
        assert view_prior("sprites/mmd_uniform").prior.dim == 10
        assert main(["train", "cifar10/vea"]) == 2
        assert "did you mean 'cifar10/vae'?" in capsys.readouterr().err

    def test_a_file_comes_before_a_shipped_config(self, write):
        write("quickstart", SMALL)
        assert load_config("quickstart").name == "small"

    def test_plans_take_them(self, write):
        plan = read_plan(write("plan.yaml", {"name": "p", "runs": {"a": "quickstart", "b": "sprites/vae"}}))
        assert [run.load().model.latent_dim for run in plan.runs] == [3, 10]


class TestPaths:
    @pytest.mark.parametrize("place", ["$PLACE", "${PLACE}", "~"])
    def test_paths_of_data_and_of_samples(self, place, write, tmp_path, monkeypatch):
        monkeypatch.setenv("PLACE", str(tmp_path))
        monkeypatch.setenv("HOME", str(tmp_path))
        rng = pytest.importorskip("numpy").random.default_rng(0)
        pytest.importorskip("numpy").save(tmp_path / "z.npy", rng.normal(size=(90, 4)))
        raw = changed("data", {"name": "arrays", "path": f"{place}/z.npy", "batch_size": 8})
        raw["regularizer"]["prior"] = {"name": "samples", "path": f"{place}/z.npy"}
        config = load_config(write("x.yaml", raw))
        assert len(open_splits(config.slots["data"], config.data).train) > 50
        assert Builder(config, read_assets(config)).intended_prior().sample(3).shape == (3, 4)
        assert config.to_dict()["data"]["path"] == f"{place}/z.npy"  # as written: other machines differ

    def test_a_variable_that_is_not_set(self, write):
        raw = changed("data", {"name": "arrays", "path": "$NO_SUCH_PLACE/z.npy", "batch_size": 8})
        config = load_config(write("x.yaml", raw))
        with pytest.raises(
            InputError, match=r"data.path: '\$NO_SUCH_PLACE/z.npy' received; set the environment"
        ):
            open_splits(config.slots["data"], config.data)

    @pytest.mark.parametrize("name", ["a$b", "$HOME_IS_NOT", "100%", "~b", "$"])
    def test_files_with_such_names(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / name).touch()
        assert expand(name) == name

    def test_targets(self, write, tmp_path, monkeypatch):
        monkeypatch.setenv("TOYS", str(TOYS.parent))
        config = load_config(write("x.yaml", changed("regularizer.prior", {"target": "$TOYS/toys.py:wide"})))
        assert Path(config.slots["regularizer"].arguments["prior"].target.rpartition(":")[0]) == TOYS
