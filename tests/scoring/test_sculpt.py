"""mmdprior sculpt: checkpoints that all commands understand, maps of plain codes, and one-line mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmdprior.build.restore import load_model, open_checkpoint
from mmdprior.cli.main import main
from mmdprior.config.load import make_config
from mmdprior.evaluation import encode
from mmdprior.flows import Bijection, FlowSettings, load_bijection
from mmdprior.metrics import PriorMatch
from mmdprior.priors import Gaussian
from mmdprior.runs.assembly import assemble
from mmdprior.scoring.code_scores import CodeScores
from mmdprior.scoring.sculpt import Sculptor
from mmdprior.training import read_checkpoint

TINY = FlowSettings(layers=2, hidden=[8], steps=10, batch_size=64)
SHORT = ["--steps", "5", "--layers", "2", "--predictor", "linear", "--device", "cpu"]


@pytest.fixture(scope="module", autouse=True)
def _short_null():
    """Simulate the null distribution of the match from 10 batches instead of 200."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PriorMatch, "_DRAWS", 10)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    raw = {
        "name": "small",
        "data": {"name": "sprites", "images": 400, "batch_size": 32, "validation": 60, "test": 60},
        "model": {"name": "mlp", "hidden": [16], "latent_dim": 3, "posterior": "gaussian"},
        "regularizer": {"name": "none"},
        "trainer": {"steps": 10, "device": "cpu", "average": 0.5},
        "evaluation": {"final_predictors": ["linear"], "pictures": False},
    }
    experiment = assemble(
        make_config(raw, Path(), "test"), runs=tmp_path_factory.mktemp("runs"), progress=False
    )
    experiment.run()
    return experiment


@pytest.fixture(scope="module")
def sculpted(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sculpted")
    files = [str(folder / name) for name in ("sculpted.pt", "scores.json", "draws.png")]
    options = [
        "--prior",
        "{name: uniform, low: 0}",
        "--out",
        files[0],
        "--json",
        files[1],
        "--figure",
        files[2],
    ]
    assert main(["sculpt", str(run.directory), *options, *SHORT]) == 0
    return folder


def codes_file(path, n=300, d=3):
    g = np.random.default_rng(0).standard_normal((n, d))
    g[:, 1] += g[:, 0] ** 2
    np.save(path, g)
    return str(path)


def test_reconstruction_does_not_change(run, sculpted):
    before, after = load_model(run.directory), load_model(sculpted / "sculpted.pt")
    codes, mapped = (encode(model, run.splits.test).latent for model in (before, after))
    assert torch.equal(mapped.base.sample, codes.sample)
    assert (after.decode(mapped.sample) - before.decode(codes.sample)).abs().max() < 1e-4
    scores = json.loads((sculpted / "scores.json").read_text())
    assert scores["before"]["psnr"] == scores["after"]["psnr"]
    assert (sculpted / "draws.png").stat().st_size > 1000


def test_codes_follow_the_prior(run, sculpted):
    z = encode(load_model(sculpted / "sculpted.pt"), run.splits.train).latent.sample
    assert -0.01 < z.min() < 0.2
    assert 0.8 < z.max() < 1.01
    assert torch.allclose(z.mean(0), torch.full((3,), 0.5), atol=0.15)


def test_the_intended_prior_is_the_new_one(sculpted):
    trained = open_checkpoint(sculpted / "sculpted.pt", device="cpu")
    assert type(trained.prior).__name__ == "Uniform"
    assert trained.prior.low.tolist() == [0.0] * 3
    assert trained.content["sculpted"]["prior"]["name"] == "uniform"


@pytest.mark.parametrize(
    "command",
    [
        ["score", "FILE", "--predictor", "linear", "--device", "cpu"],
        ["encode", "FILE", "--out", "codes.npz", "--device", "cpu"],
        ["sample", "FILE", "--out", "samples.png", "--n", "4", "--device", "cpu"],
    ],
)
def test_other_commands_understand_the_checkpoint(command, sculpted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = str(sculpted / "sculpted.pt")
    assert main([file if word == "FILE" else word for word in command]) == 0


def test_a_sculpted_checkpoint_can_be_sculpted_again(run, sculpted, tmp_path):
    result, content = Sculptor("laplace", TINY, predictors=["linear"], device="cpu").checkpoint(
        str(sculpted / "sculpted.pt")
    )
    assert content["config"]["evaluation"]["prior"]["name"] == "laplace"
    codes = encode(result.model, run.splits.test).latent
    assert torch.allclose(codes.base.sample, encode(load_model(run.directory), run.splits.test).latent.sample)


def test_the_checkpoint_holds_no_code_and_no_optimizer(sculpted):
    content = read_checkpoint(sculpted / "sculpted.pt")
    assert "optimizer" not in content
    assert content["config"]["model"]["flow"]["name"] == "saved"


def test_plain_codes(tmp_path):
    codes = codes_file(tmp_path / "codes.npy")
    out = tmp_path / "map.pt"
    assert main(["sculpt", codes, "--prior", "laplace", "--out", str(out), *SHORT[:-2]]) == 0
    bijection = load_bijection(out)
    h = torch.from_numpy(np.load(codes)).float()
    assert isinstance(bijection, Bijection)
    assert (bijection.inverse(bijection(h)) - h).abs().max() < 1e-4


def test_scores_before_and_after(tmp_path):
    settings = FlowSettings(layers=4, hidden=[32], steps=80, batch_size=256, learning_rate=5e-3, dropout=0.0)
    sculptor = Sculptor("gaussian", settings, predictors=["linear", "additive"])
    result = sculptor.codes(codes_file(tmp_path / "codes.npy", n=3000))
    assert result.after["lps additive"] < 0.5 * result.before["lps additive"]
    assert result.after["match"] < result.before["match"]
    assert result.after["worst marginal"] < 0.15
    assert "before" in str(result)
    assert json.loads(result.to_json())["after"]["match"] == pytest.approx(result.after["match"])


def test_order_of_the_codes_does_not_change_the_match():
    """Codes sorted by class, here by their first dimension, follow the prior as a whole."""
    codes = torch.randn(2560, 3)
    ordered = codes[codes[:, 0].argsort()]
    judge = CodeScores(Gaussian(3), ["linear"], seed=0)
    assert abs(judge.scores(ordered)["match"]) < 3


def test_a_constant_dimension_has_no_correlation(tmp_path):
    codes = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    np.save(tmp_path / "c.npy", np.hstack([codes, np.ones((200, 1), np.float32)]))
    fit = Sculptor(None, TINY, predictors=["linear"]).codes(str(tmp_path / "c.npy")).fit
    assert np.isnan(fit.correlation).tolist() == [False, False, True]
    assert fit.inverse_error < 1e-3
    assert "nan" not in str(fit)


@pytest.mark.parametrize("spatial", ["channels", "flatten"])
def test_spatial_codes(spatial, tmp_path):
    array = np.random.default_rng(0).standard_normal((150, 3, 2, 2)).astype(np.float32)
    np.save(tmp_path / "spatial.npy", array)
    fit = (
        Sculptor(None, TINY, predictors=["linear"], spatial=spatial).codes(str(tmp_path / "spatial.npy")).fit
    )
    codes = torch.from_numpy(array)
    codes = codes if spatial == "channels" else codes.flatten(1)
    z = fit.bijection(codes)
    assert z.shape == codes.shape
    assert (fit.bijection.inverse(z) - codes).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["codes.npy", "--out", "map.npz"], "--out: map.npz received"),
        (["codes.npy", "--out", "map.pt", "--prior", "{name: unifrom}"], "--prior.name: 'unifrom' received"),
        (["codes.npy", "--out", "map.pt", "--prior", "bernoulli"], "--dequantize"),
        (["codes.npy", "--out", "map.pt", "--prior", "two_moons"], "--prior: dim 2 received"),
        (["spatial.npy", "--out", "map.pt"], "--spatial channels or --spatial flatten"),
        (["missing.pt", "--out", "map.pt"], "missing.pt: no such file"),
        (["few.npy", "--out", "map.pt"], "few.npy: 30 rows received; give at least 100"),
        (["nan.npy", "--out", "map.pt"], "nan.npy: NaN or infinity in 1 of 200 rows, the first at row 7"),
        (["codes.npy", "--out", "map.pt", "--json", "codes.npy"], "--json: codes.npy received"),
        (["codes.pt", "--out", "codes.pt"], "--out: codes.pt received, which is an input"),
        (["run", "--out", "run/checkpoints/last.pt"], "which is an input"),
    ],
)
def test_mistakes_give_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    codes_file("codes.npy")
    np.save("spatial.npy", np.zeros((10, 2, 2, 2)))
    np.save("few.npy", np.zeros((30, 2)))
    broken = np.random.default_rng(0).standard_normal((200, 2))
    broken[7, 1] = np.nan
    np.save("nan.npy", broken)
    (tmp_path / "run").mkdir()
    assert main(["sculpt", *arguments, "--steps", "1"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1]


PAIR = """
from torch import nn


def encoder(outputs=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(4096, outputs))


def decoder():
    return nn.Sequential(nn.Linear(3, 4096), nn.Sigmoid(), nn.Unflatten(1, (1, 64, 64)))
"""
PAIR_DATA = "{name: sprites, images: 200, validation: 40, test: 40}"


@pytest.fixture
def pair(tmp_path):
    """Return the options of an encoder and a decoder, and their joint state dict."""
    (tmp_path / "pair.py").write_text(PAIR)
    options = ["--encoder", f"{tmp_path}/pair.py:encoder", "--decoder", f"{tmp_path}/pair.py:decoder"]
    options += ["--data", PAIR_DATA, "--latent-dim", "3", "--out", f"{tmp_path}/out.pt"]
    torch.manual_seed(0)
    both = torch.nn.ModuleDict(
        {
            "encoder": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4096, 3)),
            "decoder": torch.nn.Sequential(torch.nn.Linear(3, 4096)),
            "discriminator": torch.nn.Linear(3, 1),
        }
    )
    return options, both.state_dict()


def test_an_encoder_and_a_decoder_from_elsewhere(pair, tmp_path):
    options, state = pair
    torch.save(state, tmp_path / "both.pt")
    assert main(["sculpt", *options, "--weights", f"{tmp_path}/both.pt", *SHORT]) == 0
    model = load_model(tmp_path / "out.pt", trust=True)
    images = torch.rand(5, 1, 64, 64)
    h = images.flatten(1) @ state["encoder.1.weight"].T + state["encoder.1.bias"]
    z = model.encode(images).sample
    assert torch.allclose(z, model.flow(h), atol=1e-5)
    right = torch.sigmoid(h @ state["decoder.0.weight"].T + state["decoder.0.bias"]).view(5, 1, 64, 64)
    assert torch.allclose(model.decode(z), right, atol=1e-4)
    assert main(["score", f"{tmp_path}/out.pt", "--predictor", "linear", "--trust"]) == 0


def test_two_files_of_weights(pair, tmp_path):
    options, state = pair
    for part in ("encoder", "decoder"):
        own = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(part)}
        torch.save(own, tmp_path / f"{part}.pt")
    files = [f"{tmp_path}/encoder.pt", f"{tmp_path}/decoder.pt"]
    assert main(["sculpt", *options, "--weights", *files, *SHORT]) == 0
    model = load_model(tmp_path / "out.pt", trust=True)
    assert torch.equal(model.encoder[1].weight, state["encoder.1.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--latent-dim", "4"], "model.encoder"),
        (["--data", "folder"], "--data: 'folder' received; give YAML"),
        (["--weights", "missing.pt"], "--weights: missing.pt: no such file"),
        (["--weights", "a.pt", "b.pt", "c.pt"], "--weights"),
        (["--encoder", "{width: 3}"], "--encoder"),
        (["--posterior", "gaussian"], "model.encoder"),
    ],
)
def test_mistakes_in_a_pair(pair, change, message, capsys):
    assert main(["sculpt", *pair[0], *change, *SHORT]) == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error")]
    assert message in line


def test_weights_of_another_layout(pair, tmp_path, capsys):
    options, state = pair
    torch.save({f"net.{key}": value for key, value in state.items()}, tmp_path / "net.pt")
    assert main(["sculpt", *options, "--weights", f"{tmp_path}/net.pt", *SHORT]) == 0
    model = load_model(tmp_path / "out.pt", trust=True)
    assert torch.equal(model.encoder[1].weight, state["encoder.1.weight"])
    torch.save({key.replace(".", "_"): value for key, value in state.items()}, tmp_path / "other.pt")
    assert main(["sculpt", *options, "--weights", f"{tmp_path}/other.pt", *SHORT]) == 2
    assert "no keys that start with 'encoder.'" in capsys.readouterr().err
    torch.save({**state, "encoder.1.weight": torch.zeros(7, 7)}, tmp_path / "bad.pt")
    assert main(["sculpt", *options, "--weights", f"{tmp_path}/bad.pt", *SHORT]) == 2
    assert "--weights: not those of --encoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--out", "a.pt"], ["codes.npy", "--encoder", "a:B", "--out", "a.pt"], ["--encoder", "a:B"]]
)
def test_exactly_one_source(arguments, capsys):
    assert main(["sculpt", *arguments, *(["--out", "a.pt"] if "--out" not in arguments else [])]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_folder_becomes_a_run_that_compare_reads(run, tmp_path, capsys):
    out = tmp_path / "sculpted"
    assert main(["sculpt", str(run.directory), "--prior", "gaussian", "--out", str(out), *SHORT]) == 0
    assert main(["compare", str(run.directory), str(out), "--out", str(tmp_path / "page")]) == 0
    assert "flow=saved prior=" in capsys.readouterr().out
    before, after = (json.loads((path / "report" / "test.json").read_text()) for path in (run.directory, out))
    psnr = before["reconstruction"]["psnr"]
    assert after["reconstruction"]["psnr"] == pytest.approx(psnr, abs=1e-3)
    assert "mmdprior sculpt" in (out / "commands.txt").read_text()
    assert main(["sculpt", str(run.directory), "--out", str(out), *SHORT]) == 2
    assert "not empty; give a new one" in capsys.readouterr().err


def test_a_map_of_codes_is_no_run(tmp_path, capsys):
    codes = codes_file(tmp_path / "codes.npy")
    assert main(["sculpt", codes, "--out", str(tmp_path / "folder"), *SHORT]) == 2
    assert "needs a .pt file" in capsys.readouterr().err
    assert not (tmp_path / "folder").exists()
