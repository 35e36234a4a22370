"""The commands on good input, and on bad input: one line and status 2."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import mmdprior
from mmdprior.cli.main import COMMANDS, main
from mmdprior.training import read_checkpoint, write_checkpoint

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "helpers" / "toys.py"
QUICKSTART = str(ROOT / "configs" / "quickstart.yaml")
SHORT = [
    *("trainer.steps=2", "data.images=600", "data.batch_size=32", "trainer.device=cpu"),
    *("model.latent_dim=4", "evaluation.final_predictors=[linear]", "evaluation.match_samples=16"),
    "evaluation.pictures=false",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    assert main(["train", QUICKSTART, *SHORT, "model.posterior=gaussian", "--runs", str(runs)]) == 0
    (path,) = runs.rglob("last.pt")
    return path


def fails(capsys, *arguments):
    """Run a command that must fail with status 2 and one line; return the line."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


class TestGoodInput:
    def test_train_prints_the_scores_and_the_run_directory(self, tmp_path, capsys):
        assert main(["train", QUICKSTART, *SHORT, "--runs", str(tmp_path)]) == 0
        out = capsys.readouterr().out
        assert "mean     linear" in out
        assert "PSNR" in out
        assert str(tmp_path) in out

    def test_resuming_a_finished_run_reports_it_again(self, checkpoint, capsys):
        assert main(["train", "--resume", str(checkpoint.parents[1])]) == 0
        assert "step 2" in capsys.readouterr().out

    def test_score_of_a_checkpoint(self, checkpoint, tmp_path, capsys):
        out = tmp_path / "out.json"
        arguments = ["score", str(checkpoint), "--predictor", "linear", "--json", str(out), "--limit", "60"]
        arguments += ["--scores", "mig"]
        assert main(arguments) == 0
        report = json.loads(out.read_text())
        assert [entry["representation"] for entry in report["lps"]] == ["mean", "sample"]
        assert report["lps"][0]["n_train"] + report["lps"][0]["n_test"] == 60
        assert "reconstruction" in report
        assert main(arguments) == 0
        assert json.loads(out.read_text()) == report
        assert "sample   linear" in capsys.readouterr().out

    def test_encode_then_score_the_codes(self, checkpoint, tmp_path, capsys):
        out = tmp_path / "codes.npz"
        assert main(["encode", str(checkpoint), "--out", str(out), "--split", "validation"]) == 0
        content = np.load(out)
        assert content["mean"].shape == content["sample"].shape == content["log_var"].shape == (60, 4)
        assert content["labels"].shape == (60, 5)
        assert content["label_names"].tolist() == ["shape", "scale", "orientation", "x", "y"]
        assert main(["score", "--codes", str(out), "--predictor", "linear"]) == 0
        np.save(tmp_path / "z.npy", np.random.default_rng(0).normal(size=(100, 3)))
        assert main(["score", "--codes", str(tmp_path / "z.npy")]) == 0
        assert "active 3 of 3" in capsys.readouterr().out

    def test_other_images(self, checkpoint, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 64), dtype=np.uint8)
        np.save(tmp_path / "x.npy", pixels)
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(tmp_path / f"{i}.png")
        for data in (tmp_path / "x.npy", tmp_path, "{name: sprites, images: 500, test: 50}"):
            assert main(["score", str(checkpoint), "--predictor", "linear", "--data", str(data)]) == 0

    def test_foreign_encoders(self, tmp_path):
        sys.path.insert(0, str(TOYS.parent))
        from helpers.toys import ForeignEncoder

        sys.path.pop(0)
        net = ForeignEncoder(width=6)
        torch.save(net.state_dict(), tmp_path / "w.pt")
        save_file(net.state_dict(), tmp_path / "w.safetensors")
        results = []
        wrapped = {f"module.{key}": value for key, value in net.state_dict().items()}
        torch.save({"state_dict": wrapped}, tmp_path / "ddp.pt")
        for weights in ("w.pt", "w.safetensors", "ddp.pt"):
            arguments = ["--encoder", f"{{target: {TOYS}:ForeignEncoder, width: 6}}"]
            arguments += ["--weights", str(tmp_path / weights), "--data", "{name: sprites, images: 400}"]
            arguments += ["--scores", "mig"]
            out = tmp_path / "out.json"
            assert main(["score", *arguments, "--predictor", "linear", "--json", str(out)]) == 0
            results.append(json.loads(out.read_text()))
        assert results[0] == results[1] == results[2]
        assert results[0]["dim"] == 6

    def test_targets_in_a_file(self, tmp_path):
        own = [
            f"regularizer.prior={{target: '{TOYS}:wide', factor: 1.5}}",
            f"regularizer.kernel={{target: '{TOYS}:Linear'}}",
            f"model.encoder={{target: '{TOYS}:Encoder', width: 4}}",
            "model.decoder={name: mlp, hidden: [8]}",
        ]
        config = tmp_path / "own.yaml"
        config.write_text(
            "name: own\ndata: {name: sprites}\nmodel: {latent_dim: 4}\n"
            "regularizer: {name: mmd}\ntrainer: {steps: 2}\n"
        )
        arguments = [a for a in SHORT if not a.startswith("model")]
        assert main(["train", str(config), *arguments, *own, "--runs", str(tmp_path)]) == 0
        (path,) = tmp_path.rglob("last.pt")
        assert main(["score", str(path), "--trust", "--predictor", "linear", "--scores", "mig"]) == 0

    def test_schema_and_help(self, capsys):
        assert main(["train", "--schema"]) == 0
        assert json.loads(capsys.readouterr().out)["title"] == "mmdprior config"
        assert main(["--help"]) == 0
        assert main([]) == 2

    def test_scripts_run_from_anywhere(self, tmp_path):
        code = (
            "import runpy, sys\n"
            "for path in sys.argv[1:]:\n"
            "    sys.argv = [path, '--help']\n"
            "    try: runpy.run_path(path, run_name='__main__')\n"
            "    except SystemExit as stop: assert stop.code == 0\n"
        )
        scripts = [str(ROOT / "scripts" / f"{name}.py") for name in COMMANDS]
        result = subprocess.run(
            [sys.executable, "-c", code, *scripts], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert all(f"usage: mmdprior {name}" in result.stdout for name in COMMANDS)


class TestBadInput:
    def test_configs(self, capsys, tmp_path):
        assert "no such file" in fails(capsys, "train", tmp_path / "gone.yaml")
        assert "did you mean 'steps'" in fails(capsys, "train", QUICKSTART, "trainer.step=3")
        assert "'many' received" in fails(capsys, "train", QUICKSTART, "trainer.steps=many")
        line = fails(capsys, "train", QUICKSTART, *SHORT, "regularizer.prior.dim=3", "--runs", tmp_path)
        assert "regularizer.prior: dim 3 received; the latent has 4" in line
        line = fails(capsys, "train", QUICKSTART, *SHORT, "regularizer={name: kl}", "--runs", tmp_path)
        assert "needs model.posterior: gaussian" in line
        assert "give either a config or --resume" in fails(capsys, "train")
        assert "not a folder" in fails(capsys, "train", "--resume", tmp_path / "gone")

    def test_failed_starts_leave_no_run_directory(self, capsys, tmp_path):
        fails(capsys, "train", QUICKSTART, *SHORT, "regularizer.prior.dim=3", "--runs", tmp_path)
        assert not list(tmp_path.rglob("*.yaml"))
        assert not list(tmp_path.rglob("checkpoints"))

    def test_images(self, capsys, tmp_path):
        np.save(tmp_path / "nan.npy", np.full((50, 64, 64), np.nan, np.float32))
        arrays = f"data={{name: arrays, path: {tmp_path / 'nan.npy'}}}"
        assert "NaN" in fails(capsys, "train", QUICKSTART, arrays, "--runs", tmp_path / "r")
        (tmp_path / "empty").mkdir()
        folder = f"data={{name: image_folder, root: {tmp_path / 'empty'}, size: 64}}"
        assert "holds no images" in fails(capsys, "train", QUICKSTART, folder, "--runs", tmp_path / "r")

    def test_checkpoints(self, capsys, tmp_path, checkpoint):
        assert "no such file" in fails(capsys, "score", tmp_path / "gone.pt")
        (tmp_path / "cut.pt").write_bytes(checkpoint.read_bytes()[:5000])
        assert "damaged" in fails(capsys, "score", tmp_path / "cut.pt")
        torch.save({"config": Path("x")}, tmp_path / "object.pt")
        assert "pickled objects" in fails(capsys, "score", tmp_path / "object.pt")
        content = read_checkpoint(checkpoint)
        content["config"]["regularizer"] = {"target": f"{TOYS}:Predicting"}
        write_checkpoint(content, tmp_path / "target.pt")
        for command in (["score"], ["encode", "--out", tmp_path / "x.npz"]):
            line = fails(capsys, *command, tmp_path / "target.pt")
            assert "toys.py:Predicting" in line
            assert "--trust" in line
        assert not (tmp_path / "x.npz").exists()

    @pytest.mark.parametrize(
        ("codes", "message"),
        [
            (np.full((50, 3), np.nan), "NaN or infinity"),
            (np.full((50, 3), np.inf), "NaN or infinity"),
            (np.zeros((50, 1)), "1 column"),
            (np.zeros((50, 3, 3)), "two axes"),
            (np.zeros(50), "two axes"),
            (np.array([["a", "b"]] * 50), "give real numbers"),
            (np.array([[{}, 1]] * 50, dtype=object), "not a plain"),
            (np.random.default_rng(0).normal(size=(29, 3)), "29 rows"),
            (np.random.default_rng(0).normal(size=(41, 40)), "at least 42"),
        ],
    )
    def test_codes(self, capsys, tmp_path, codes, message):
        np.save(tmp_path / "z.npy", codes)
        assert message in fails(capsys, "score", "--codes", tmp_path / "z.npy")

    def test_scores(self, capsys, tmp_path, checkpoint):
        assert "exactly one" in fails(capsys, "score")
        assert "exactly one" in fails(capsys, "score", checkpoint, "--codes", "x.npy")
        assert "ends in .json" in fails(capsys, "score", checkpoint, "--json", checkpoint)
        assert "ends in .json" in fails(capsys, "score", checkpoint, "--json", tmp_path)
        same = tmp_path / "codes"
        assert "is an input" in fails(capsys, "score", "--codes", same, "--json", same)
        assert "cannot be combined with --data or --weights" in fails(
            capsys, "score", "--codes", "z.npy", "--weights", "w.pt"
        )
        assert "a checkpoint contains its weights" in fails(capsys, "score", checkpoint, "--weights", "w.pt")
        assert "give an integer of at least 1" in fails(capsys, "score", checkpoint, "--limit", "0")
        assert "'few' received" in fails(capsys, "score", checkpoint, "--limit", "few")
        assert "--data: missing" in fails(capsys, "score", "--encoder", f"{TOYS}:ForeignEncoder")
        data = ["--data", "{name: sprites, images: 400}"]
        foreign = ["score", "--encoder", f"{TOYS}:ForeignEncoder", *data]
        torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "w.pt")
        assert "does not fit" in fails(capsys, *foreign, "--weights", tmp_path / "w.pt")
        torch.save({1: torch.zeros(1)}, tmp_path / "i.pt")
        assert "no state dict" in fails(capsys, *foreign, "--weights", tmp_path / "i.pt")
        torch.save({"a": Path("x")}, tmp_path / "o.pt")
        assert "no state dict" in fails(capsys, *foreign, "--weights", tmp_path / "o.pt")
        torch.save(torch.nn.Linear(2, 2), tmp_path / "o.pt")
        assert "holds pickled objects" in fails(capsys, *foreign, "--weights", tmp_path / "o.pt")
        (tmp_path / "b.safetensors").write_bytes(b"junk")
        assert "damaged" in fails(capsys, *foreign, "--weights", tmp_path / "b.safetensors")
        np.save(tmp_path / "small.npy", np.zeros((40, 32, 32), np.uint8))
        assert "(1, 64, 64), as the model expects" in fails(
            capsys, "score", checkpoint, "--data", tmp_path / "small.npy"
        )
        assert "--data.images: 'x' received" in fails(
            capsys, "score", checkpoint, "--data", "{name: sprites, images: x}"
        )
        assert "--data.limit: -1 received" in fails(
            capsys, "score", checkpoint, "--data", "{name: sprites, limit: -1}"
        )
        assert "give a folder" in fails(capsys, "score", checkpoint, "--data", tmp_path / "gone")
        assert "not available" in fails(capsys, "score", checkpoint, "--device", "tpu9")
        assert "--out" in fails(capsys, "encode", checkpoint, "--out", tmp_path / "x.csv")


def test_the_installed_command_exists():
    from importlib.metadata import entry_points

    names = {e.name: e.value for e in entry_points(group="console_scripts")}
    assert names["mmdprior"] == "mmdprior.cli.main:main"
    assert mmdprior.load


@pytest.mark.parametrize("option", ["--help", "--version", "nonsense"])
def test_top_level_options_do_not_import_torch(option):
    run = f"from mmdprior.cli.main import main; main([{option!r}])"
    code = f"import sys; {run}; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mmdprior" in done.stdout + done.stderr
