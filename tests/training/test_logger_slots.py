"""`trainer.loggers` and `trainer.callbacks`: shipped ones without their services, and the user's own."""

import json
import sys
from types import SimpleNamespace

import pytest
from helpers.small_runs import experiment, raw_config, run_directory
from helpers.toys import RECORDED

from mmdprior.config.load import make_config
from mmdprior.errors import InputError
from mmdprior.runs import assemble
from mmdprior.runs.start import difference
from mmdprior.training import Callback, JSONLines, Logger, Loggers, MLflow, WandB, read_checkpoint

TOYS = "helpers.toys"


class Recorder:
    """A stand-in for a client: records every call by its name."""

    def __init__(self):
        self.calls = []
        self.summary = {}

    def __getattr__(self, name):
        def call(*arguments, **options):
            self.calls.append((name, arguments, options))
            return self

        return call

    def named(self, name):
        return [(arguments, options) for called, arguments, options in self.calls if called == name]


@pytest.fixture
def client(monkeypatch):
    recorder = Recorder()
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, recorder)
    return recorder


class TestShipped:
    def test_wandb(self, client, tmp_path):
        directory = run_directory(tmp_path)
        loggers = ["tensorboard", {"name": "wandb", "mode": "offline", "project": "p"}]
        experiment(directory, trainer__loggers=loggers, trainer__steps=4).run()
        ((_, options),) = client.named("init")
        assert (options["project"], options["mode"], options["name"]) == ("p", "offline", "small")
        assert options["config"]["trainer"]["steps"] == 4
        logged = [arguments[0] for arguments, _ in client.named("log")]
        assert {"loss/total", "step"} <= logged[1].keys()
        assert [entry["step"] for entry in logged if "reconstruction/psnr" in entry] == [0, 3, 4]
        assert len(client.named("update")) == 0  # the summary is a plain dict here
        assert client.summary["test/reconstruction/psnr"] > 0
        assert len(client.named("finish")) == 1
        assert list(directory.glob("events.*"))

    def test_a_resumed_run_continues_the_run_of_wandb(self, client, tmp_path):
        for start in (WandB(tmp_path, "a", {}), WandB(tmp_path, "a", {}), WandB(tmp_path / "b", "a", {})):
            start.close()
        first, second, other = (options["id"] for _, options in client.named("init"))
        assert first == second != other

    def test_mlflow(self, client, tmp_path):
        loggers = [{"name": "mlflow", "tracking_uri": "sqlite:///x.db"}]
        directory = run_directory(tmp_path)
        experiment(directory, trainer__loggers=loggers, trainer__steps=4).run()
        assert client.named("set_tracking_uri") == [(("sqlite:///x.db",), {})]
        steps = [options["step"] for _, options in client.named("log_metrics")]
        assert steps == sorted(steps)
        assert {0, 2, 4} <= {*steps}
        assert client.named("log_params")[0][0][0]["penalty"] == "mmd"
        assert len(client.named("end_run")) == 1
        assert not list(directory.glob("events.*"))

    @pytest.mark.parametrize(
        ("name", "make"),
        [("wandb", lambda path: WandB(path, "a", {})), ("mlflow", lambda path: MLflow("a", {}))],
    )
    def test_a_missing_client_is_one_line(self, name, make, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InputError, match=rf"'{name}' is not installed; pip install {name}"):
            make(tmp_path)

    def test_a_missing_client_is_found_before_the_run_has_a_directory(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "wandb", None)
        config = make_config(raw_config(trainer__loggers=["tensorboard", "wandb"]), tmp_path, "x")
        with pytest.raises(InputError, match=r"trainer\.loggers\.1: 'wandb' is not installed"):
            assemble(config, runs=tmp_path / "runs")
        assert not (tmp_path / "runs").exists()

    def test_without_loggers_only_the_lines_are_written(self, tmp_path):
        directory = run_directory(tmp_path)
        experiment(directory, trainer__loggers=None, trainer__steps=2).run()
        assert not list(directory.glob("events.*"))
        assert (directory / "metrics.jsonl").read_text().count("\n") >= 2


class TestOwn:
    def test_a_logger_of_the_user(self, tmp_path):
        RECORDED.clear()
        own = {"target": f"{TOYS}:Recording", "word": "mine"}
        experiment(run_directory(tmp_path), trainer__loggers=["tensorboard", own], trainer__steps=2).run()
        assert ("mine", "scalars", 2) in RECORDED
        assert RECORDED[-1] == ("mine", "close", None)

    def test_a_callback_is_called_at_every_event(self, tmp_path):
        RECORDED.clear()
        directory = run_directory(tmp_path)
        changes = {
            "trainer__callbacks": [{"target": f"{TOYS}:Watching", "stop_at": 4}],
            "evaluation__every": 3,
        }
        experiment(directory, **changes).run()
        assert [
            *(("start", 0), ("step", 1), ("step", 2), ("step", 3), ("validation", 3), ("step", 4), ("end", 4))
        ] == RECORDED
        content = read_checkpoint(directory / "checkpoints" / "last.pt")
        assert content["step"] == 4
        RECORDED.clear()
        config = make_config(content["config"])
        assemble(config, directory, content, progress=False).run()
        assert RECORDED[0] == ("start", 4)

    @pytest.mark.parametrize("steps", [0, 2])
    def test_a_callback_starts_before_it_ends_without_steps_too(self, steps, tmp_path):
        directory = run_directory(tmp_path)
        watching = {"target": f"{TOYS}:Watching", "stop_at": 9}
        changes = {"trainer__callbacks": [watching], "trainer__steps": steps}
        experiment(directory, **changes).run()
        content = read_checkpoint(directory / "checkpoints" / "last.pt")
        RECORDED.clear()
        experiment(directory, content, **changes).run()  # as after a crash in the final scores
        assert RECORDED[0] == ("start", steps)
        assert RECORDED[-1] == ("end", steps)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("loggers", ["tensorbord"], "trainer.loggers.0.name: 'tensorbord' received; did you mean"),
            ("loggers", "tensorboard", "trainer.loggers: 'tensorboard' received; give a list of loggers"),
            ("loggers", [{"name": "wandb", "mod": "x"}], "trainer.loggers.0.mod: unknown key; did you mean"),
            ("loggers", [{"name": "wandb", "mode": "x"}], "trainer.loggers.0.mode: 'x' received"),
            ("callbacks", [{"name": "x"}], "trainer.callbacks.0.name: 'x' received; give target"),
            ("callbacks", [], "trainer.callbacks: [] received; give a list of callbacks"),
            ("callbacks", [{"target": "math:sqrt"}], "trainer.callbacks.0"),
        ],
    )
    def test_mistakes(self, key, value, message, tmp_path):
        with pytest.raises(InputError) as error:
            experiment(run_directory(tmp_path), **{f"trainer__{key}": value})
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_several_loggers_receive_everything(tmp_path):
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    both = Loggers([JSONLines(file) for file in files])
    assert not both.pictures
    both.scalars({"x": float("nan")}, 1)
    both.scalars({"x": 2.0}, 2)
    both.close()
    assert [json.loads(line)["x"] for line in files[0].read_text().splitlines()] == [None, 2.0]
    assert files[0].read_text() == files[1].read_text()
    JSONLines(files[0], start=1)
    assert files[0].read_text().count("\n") == 1


def test_base_classes_do_nothing():
    for method in ("start", "end"):
        getattr(Callback(), method)(SimpleNamespace())
    Callback().step(None, None)
    Callback().validation(None, {})
    assert not Logger().pictures


def test_runs_of_earlier_releases_have_the_same_config():
    config = make_config(
        {
            "name": "x",
            "data": {"name": "sprites"},
            "model": {"name": "mlp", "hidden": [8], "latent_dim": 3},
            "regularizer": {"name": "none"},
            "trainer": {"steps": 1},
        }
    ).to_dict()
    old = {
        **config,
        "trainer": {k: v for k, v in config["trainer"].items() if k not in ("loggers", "callbacks")},
    }
    assert difference(config, old) is None
