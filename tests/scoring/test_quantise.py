"""mmdprior quantise: rows against independent computations, packed indices, kinds of cells, and mistakes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.build.restore import open_checkpoint
from mmdprior.cli.main import main
from mmdprior.config.load import make_config
from mmdprior.evaluation import encode
from mmdprior.models import UniformQuantiser
from mmdprior.runs.assembly import assemble
from mmdprior.scoring.packed_codes import pack_indices, unpack_indices
from mmdprior.scoring.quantise import CodeQuantiser, decode_packed

D = 3
BOX = {"name": "mmd", "prior": {"name": "uniform", "low": -2.0, "high": 2.0}, "weight": 10.0}


def train(folder, steps=3, regularizer=None, **model):
    raw = {
        "name": "small",
        "data": {"name": "sprites", "images": 200, "batch_size": 32, "validation": 20, "test": 60},
        "model": {"name": "mlp", "hidden": [8], "latent_dim": D, **model},
        "regularizer": regularizer or {"name": "none"},
        "trainer": {"steps": steps, "device": "cpu"},
        "evaluation": {"final_predictors": ["linear"], "pictures": False, "match_samples": 16},
    }
    experiment = assemble(make_config(raw, Path(), "test"), runs=folder, progress=False)
    experiment.trainer.run()
    return str(experiment.directory)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {
        "gaussian": train(folder / "a", posterior="gaussian"),
        "box": train(folder / "b", regularizer=BOX),
        "fsq": train(folder / "c", quantiser={"name": "fsq", "levels": [5, 4, 7]}),
    }


def quantiser(**settings):
    return CodeQuantiser(**{"predictors": ["linear"], "limit": 60, "device": "cpu", **settings})


def entropy(column):
    counts = np.unique(column, return_counts=True)[1] / len(column)
    return float(-(counts * np.log2(counts)).sum())


@pytest.mark.parametrize("kind", ["lloyd", "uniform", "quantile", "allocated"])
def test_rows_are_those_of_an_independent_computation(runs, kind):
    run = open_checkpoint(runs["gaussian"], device="cpu")
    result = quantiser(levels=[3, 8], bins=[kind]).run(run)
    images = run.images(limit=60, split="test")
    pixels = torch.cat([chunk for chunk, _ in images.chunks(100)]).float() / 255
    codes = encode(run.model, images).latent.mean
    assert result.continuous.mse == pytest.approx(
        float((run.model.decode(codes) - pixels).square().mean()), rel=1e-4
    )
    train_codes = encode(run.model, run.images(limit=120, split="train")).latent.mean
    for row, levels in zip(result.rows, (3, 8), strict=True):
        cells = quantiser().quantiser(run, train_codes, kind, levels)
        indices = cells.indices(codes).numpy()
        values = cells.table[np.arange(D), indices]
        entropies = [entropy(column) for column in indices.T]
        assert row.levels == levels
        assert row.index_bits == pytest.approx(sum(entropies), rel=1e-9)
        assert row.entropy_bits == pytest.approx(np.mean(entropies), rel=1e-9)
        assert row.level_bits == pytest.approx(sum(math.log2(n) for n in cells.levels))
        used = sum(len(np.unique(column)) for column in indices.T)
        assert row.usage == pytest.approx(used / sum(cells.levels))
        assert row.code_mse == pytest.approx(float((values - codes).square().mean()), rel=1e-5)
        with torch.no_grad():
            mse = float((run.model.likelihood.mean(run.model.decoder(values)) - pixels).square().mean())
        assert row.reconstruction.mse == pytest.approx(mse, rel=1e-4)
        assert row.reconstruction.psnr == pytest.approx(-10 * math.log10(mse), abs=1e-3)
        assert set(row.lps) == {"linear"}
        if kind != "allocated":
            assert cells.levels == (levels,) * D
    assert run.model.quantiser is None


def test_a_box_is_divided_between_its_sides(runs):
    row = quantiser(levels=[4], bins=["box"]).checkpoint(runs["box"]).rows[0]
    assert row.cell_mse == pytest.approx(1.0 / 12, rel=1e-6)
    run = open_checkpoint(runs["box"], device="cpu")
    codes = encode(run.model, run.images(limit=60, split="test")).latent.mean
    expected = UniformQuantiser(D, 4, low=-2.0, high=2.0).eval()
    assert row.code_mse == pytest.approx(float((expected(codes) - codes).square().mean()), rel=1e-5)


def test_a_model_with_a_quantiser_is_scored_with_its_own(runs):
    run = open_checkpoint(runs["fsq"], device="cpu")
    own = run.model.quantiser
    (row,) = quantiser().run(run).rows
    assert (row.bins, row.levels) == ("own", [5, 4, 7])
    assert run.model.quantiser is own
    images = run.images(limit=60, split="test")
    pixels = torch.cat([chunk for chunk, _ in images.chunks(100)]).float() / 255
    codes = encode(run.model, images).latent.mean
    assert row.reconstruction.mse == pytest.approx(
        float((run.model.decode(codes) - pixels).square().mean()), rel=1e-4
    )
    # Many cells of other kinds come close to the reconstruction of the continuous codes.
    result = quantiser(levels=[40], bins=["uniform"]).run(run)
    assert result.rows[0].reconstruction.mse == pytest.approx(result.continuous.mse, rel=0.02)


@pytest.mark.parametrize(
    ("name", "options"),
    [("gaussian", ["--levels", "5"]), ("fsq", []), ("gaussian", ["--levels", "2", "--bins", "allocated"])],
)
def test_packed_indices_decode_to_the_reconstructions(runs, tmp_path, capsys, name, options):
    codes, decoded = tmp_path / "codes.npz", tmp_path / "images.npy"
    shared = ["--limit", "60", "--device", "cpu"]
    assert main(["quantise", runs[name], *options, *shared, "--out", str(codes)]) == 0
    assert "bits per image" in capsys.readouterr().out
    assert (
        main(["quantise", runs[name], "--decode", str(codes), "--out", str(decoded), "--device", "cpu"]) == 0
    )
    run = open_checkpoint(runs[name], device="cpu")
    images = run.images(limit=60, split="test")
    kinds = options[3:] or None
    row = quantiser(levels=[int(options[1])] if options else None, bins=kinds).run(run).rows[0]
    pixels = torch.cat([chunk for chunk, _ in images.chunks(100)]).float() / 255
    mse = float((torch.from_numpy(np.load(decoded)) - pixels).square().mean())
    assert mse == pytest.approx(row.reconstruction.mse, rel=1e-5)
    with np.load(codes) as file:  # NumPy only
        assert file["packed"].dtype == np.uint8
        assert len(file["packed"]) == -(-int(file["rows"]) * int(file["bits"].sum()) // 8)


@pytest.mark.parametrize("levels", [2, 3, 8, [2, 9, 5], [300, 2, 17]])
@pytest.mark.parametrize("n", [1, 13])
def test_packing_is_lossless(tmp_path, levels, n):
    q = UniformQuantiser(D, levels)
    g = np.random.default_rng(0)
    indices = torch.from_numpy(np.stack([g.integers(0, count, n) for count in q.levels], axis=1))
    bits = pack_indices(tmp_path / "x.npz", indices, q)
    assert bits == sum(math.ceil(math.log2(count)) for count in q.levels)
    back, values = unpack_indices(tmp_path / "x.npz")
    assert torch.equal(back, indices)
    assert torch.equal(values, q.values(indices))


def test_rows_are_written_as_json(runs, tmp_path, capsys):
    out = tmp_path / "rows" / "out.json"
    options = ["--levels", "2", "4", "--predictor", "linear", "--limit", "60", "--device", "cpu"]
    assert main(["quantise", runs["gaussian"], *options, "--json", str(out)]) == 0
    content = json.loads(out.read_text())
    assert [row["levels"] for row in content["rows"]] == [2, 4]
    assert {"entropy_bits", "index_bits", "level_bits", "usage", "psnr", "mse", "code_mse", "lps"} <= set(
        content["rows"][0]
    )
    assert content["rows"][0]["cell_mse"] is None
    assert content["continuous"]["psnr"] > content["rows"][0]["psnr"] - 0.5
    assert "levels bins" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "name", "text"),
    [
        ({"bins": ["own"]}, "gaussian", "--bins: 'own' received for a model without a quantiser"),
        (
            {"bins": ["box"]},
            "gaussian",
            "--bins: 'box' received, but the prior is Gaussian; it needs a uniform",
        ),
        ({"bins": ["vq"]}, "gaussian", "--bins: 'vq' received; expected some of lloyd, uniform"),
        ({"levels": [1]}, "gaussian", "levels: 1 received; give at least 2"),
    ],
)
def test_wrong_settings(runs, settings, name, text):
    with pytest.raises(InputError, match=text):
        quantiser(**settings).checkpoint(runs[name])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--levels", "1"], "--levels: 1 received; give at least 2"),
        (["--out", "x.npy"], "--out: x.npy received; give a file that ends in .npz"),
        (["--out", "x.npz", "--json", "y"], "--json: received with --out"),
        (["--decode", "x.npz"], "--decode: needs --out"),
        (["--out", "x.npz"], "--out: one kind of cells and one number of levels needed"),
        (["--bins", "vq"], "--bins: invalid choice: 'vq'"),
    ],
)
def test_wrong_options_end_in_one_line(runs, capsys, tmp_path, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    assert main(["quantise", runs["gaussian"], "--device", "cpu", *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert text in error[-1]


def test_files_that_hold_no_packed_indices(runs, tmp_path):
    run = open_checkpoint(runs["gaussian"], device="cpu")
    np.savez(tmp_path / "a.npz", packed=np.zeros(3, np.uint8))
    (tmp_path / "b.npz").write_text("no archive")
    pack_indices(tmp_path / "d.npz", torch.zeros(4, 2, dtype=torch.long), UniformQuantiser(2, 4))
    for name in ("a", "b", "c"):
        with pytest.raises(InputError, match=r"no packed indices"):
            unpack_indices(tmp_path / f"{name}.npz")
    with pytest.raises(InputError, match=r"2 dimensions; the codes of the model have 3"):
        decode_packed(run, tmp_path / "d.npz")
