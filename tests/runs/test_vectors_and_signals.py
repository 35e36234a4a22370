"""Tables and signals from a YAML file to scores, pictures and comparisons."""

import json
import warnings

import numpy as np
import pytest
import torch
from helpers.small_runs import experiment, raw_config, run_directory
from PIL import Image

import mmdprior
from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.comparison import read_runs
from mmdprior.config.load import make_config
from mmdprior.errors import InputWarning
from mmdprior.runs import assemble

RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(300, 3))
TABLE = (CODES @ RNG.normal(size=(3, 6)) + 0.1 * RNG.normal(size=(300, 6))) * [1, 1e4, 1e-3, 1, 5, 1] + 300
TIME = np.linspace(0, 6, 41)
SIGNALS = np.stack([np.sin(TIME + CODES[:, :1]), 50 * CODES[:, 1:2] * np.exp(-TIME)], 1)
SMALL = {"batch_size": 32, "validation": 60, "test": 60}
PAIRS = {
    "vectors": {"name": "mlp", "hidden": [16], "latent_dim": 3},
    "signals": {"name": "conv", "channels": [4, 4], "hidden": 16, "latent_dim": 3, "linear_skip": True},
}


def config(kind, path, **changes):
    data = {"name": "arrays", "path": str(path), "kind": kind, **SMALL}
    evaluation = {"every": 6, "final_predictors": ["linear"], "match_samples": 32, "pictures": False}
    return raw_config(
        **{"name": kind, "data": data, "model": PAIRS[kind], "evaluation": evaluation, **changes}
    )


def trained(raw, root):
    """Train in a new run directory, with pictures only at the end; return the experiment."""
    built = assemble(make_config(raw), run_directory(root), progress=False)
    built.trainer.validate.pictures = False
    built.run()
    return built


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run per kind."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {}
    for kind, rows in (("vectors", TABLE), ("signals", SIGNALS)):
        np.save(folder / f"{kind}.npy", rows)
        raw = config(kind, folder / f"{kind}.npy")
        raw["evaluation"]["pictures"] = True
        runs[kind] = trained(raw, folder / kind)
    return runs


@pytest.mark.parametrize(("kind", "rows"), [("vectors", TABLE), ("signals", SIGNALS)])
class TestRuns:
    def test_scores_and_pictures(self, runs, kind, rows):
        scores = json.loads((runs[kind].directory / "report" / "test.json").read_text())
        assert set(scores["reconstruction"]) == {"mse", "r2", "loss"}
        assert 1 - scores["reconstruction"]["mse"] < scores["reconstruction"]["r2"] + 0.5
        logged = [
            json.loads(line) for line in (runs[kind].directory / "metrics.jsonl").read_text().splitlines()
        ]
        tags = {tag for line in logged for tag in line}
        assert "reconstruction/r2" in tags
        assert not {"reconstruction/psnr", "test/reconstruction/ssim"} & tags
        assert (runs[kind].directory / "checkpoints" / "best.pt").is_file()  # chosen by R2
        for name in ("reconstructions.png", "prior_samples.png", "traversals.png", "traversals_moving.gif"):
            with Image.open(runs[kind].directory / "report" / name) as picture:
                assert np.asarray(picture.convert("RGB")).std() > 1

    def test_units_are_those_of_the_training_split(self, runs, kind, rows):
        model = mmdprior.load(runs[kind].directory)
        train = runs[kind].splits.train
        axes = (0,) if kind == "vectors" else (0, 2)
        expected = train.images.double().mean(axes)
        units = model.likelihood.units
        assert torch.allclose(units.centre.double().flatten(), expected, rtol=1e-6)
        assert not torch.allclose(expected, torch.from_numpy(rows).mean(axes), rtol=1e-6)
        decoded = model.decode(model.encode(torch.from_numpy(rows).float()).mean)
        assert decoded.shape == rows.shape

    def test_commands_read_other_data_in_the_units_of_the_checkpoint(
        self, runs, kind, rows, tmp_path, capsys
    ):
        run, data = str(runs[kind].directory), str(tmp_path / "new.npy")
        np.save(data, rows[:80] if kind == "vectors" else rows[:80].astype(np.float32))
        assert main(["encode", run, "--data", data, "--out", str(tmp_path / "z.npz")]) == 0
        model = mmdprior.load(runs[kind].directory)
        with torch.no_grad():
            expected = model.encode(torch.from_numpy(rows[:80]).float()).mean
        np.testing.assert_allclose(np.load(tmp_path / "z.npz")["mean"], expected, atol=1e-5)
        assert main(["score", run, "--data", data, "--predictor", "linear"]) == 0
        assert "reconstruction: R2" in capsys.readouterr().out
        assert main(["traverse", run, "--out", str(tmp_path / "t")]) == 0
        assert main(["sample", run, "--n", "5", "--out", str(tmp_path / "s.png")]) == 0
        assert (tmp_path / "s.png").is_file()
        other = {"vectors": SIGNALS, "signals": TABLE[:, None, :3]}[kind]
        np.save(data, other)
        assert main(["score", run, "--data", data]) == 2
        assert kind in capsys.readouterr().err


def test_runs_are_compared_by_r2(runs):
    comparison = read_runs([built.directory for built in runs.values()])
    text = str(comparison)
    assert "R2" in text
    assert " dB" not in text
    assert all(group.value("reconstruction/r2").n == 1 for group in comparison.groups)


def test_a_table_of_text_is_assembled(tmp_path):
    lines = ["a,b,c,label", *(f"{a},{b},{c},{i % 2}" for i, (a, b, c) in enumerate(CODES))]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    raw = config("vectors", tmp_path / "table.csv")
    raw["data"]["drop"] = ["label"]
    assert assemble(make_config(raw), progress=False).splits.train.image_shape == (3,)


def test_a_source_of_ones_own_trains(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom mmdprior.data import InMemory, Source\n"
        "def rows(n: int = 300) -> Source:\n    return Source(InMemory(7 + 100 * torch.randn(n, 4)))\n"
    )
    raw = config("vectors", "x", data={"target": f"{tmp_path}/mine.py:rows", "n": 200, **SMALL})
    built = trained(raw, tmp_path)
    assert built.trainer.model.likelihood.units.scale.mean() == pytest.approx(100, rel=0.3)
    weights = mmdprior.load(built.directory, trust=True).state_dict()
    assert torch.equal(weights["likelihood.units.scale"], built.trainer.model.likelihood.units.scale)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("vectors", {"data__flip": True}, "data.flip: true received; only images"),
        ("signals", {"data__shift": 2}, "data.shift: 2 received; only images"),
        (
            "vectors",
            {"trainer__channels_last": True},
            "channels_last: true received; give false, because only images",
        ),
        (
            "vectors",
            {"model__likelihood": "bernoulli"},
            "model.likelihood: 'bernoulli' .* data.standardise: false",
        ),
        ("signals", {"model__name": "resnet", "model__hidden": None}, "signals received; .* conv or mlp"),
        ("vectors", {"model__name": "conv"}, "vectors received; .* give model.name: mlp"),
        ("vectors", {"data__batch_size": 256}, "there are 180 training vectors"),
    ],
)
def test_settings_of_images_are_one_line_errors(runs, kind, changes, message):
    raw = json.loads(json.dumps(config(kind, runs[kind].config.slots["data"].arguments["path"])))
    for key, value in changes.items():
        section, _, field = key.partition("__")
        raw[section][field] = value
    raw["model"] = {key: value for key, value in raw["model"].items() if value is not None}
    if raw["model"]["name"] == "resnet":
        raw["model"] = {"name": "resnet", "latent_dim": 3}
    if raw["model"]["name"] == "conv" and kind == "vectors":
        raw["model"] = {"name": "conv", "latent_dim": 3}
    with pytest.raises(InputError, match=message) as caught:
        assemble(make_config(raw), progress=False)
    assert "\n" not in str(caught.value)


def test_data_in_the_unit_interval_may_stay_as_they_are(tmp_path):
    np.save(tmp_path / "bits.npy", RNG.random((200, 8)) < 0.3)
    changes = {"data__standardise": False, "model__likelihood": "bernoulli"}
    raw = config("vectors", tmp_path / "bits.npy")
    for key, value in changes.items():
        section, _, field = key.partition("__")
        raw[section] = {**raw[section], field: value}
    built = assemble(make_config(raw), progress=False)
    assert built.trainer.validate(0)["reconstruction/r2"] < 1
    assert not any("units" in key for key in built.trainer.model.state_dict())
    np.save(tmp_path / "bits.npy", 2 * RNG.random((200, 8)))
    with pytest.raises(InputError, match="model.likelihood: 'bernoulli' received for values from .* to 1.9"):
        assemble(make_config(raw), progress=False)


def test_images_of_old_configs_are_not_standardised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        built = experiment()
    assert not any("units" in key for key in built.trainer.model.state_dict())
