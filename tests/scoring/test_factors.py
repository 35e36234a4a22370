"""Supervised scores of the score command: factors from files, and those of the data."""

import csv
import json

import h5py
import numpy as np
import pytest
import torch
from helpers.small_runs import experiment, run_directory

from mmdprior import disentanglement
from mmdprior.cli.main import main
from mmdprior.data.factor_files import encode_columns, read_factors, to_column
from mmdprior.data.table import read_table
from mmdprior.errors import InputError

QUICK = ["--predictor", "linear", "--scores", "mig", "sap_r2"]
N = 240


@pytest.fixture(scope="module")
def factors():
    return np.random.default_rng(0).integers(0, 4, (N, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, factors):
    """Return a folder with codes, and the same factors in every format."""
    folder = tmp_path_factory.mktemp("factors")
    codes = np.c_[factors + 0.1 * np.random.default_rng(1).normal(size=(N, 2)), np.arange(N) % 7]
    np.save(folder / "z.npy", codes)
    np.save(folder / "f.npy", factors)
    images, pickled = np.zeros((N, 2, 2), np.uint8), np.array({"a": 1}, dtype=object)
    names = np.array(["hue", "size"])
    np.savez(folder / "f.npz", images=images, metadata=pickled, factors=factors, factor_names=names)
    np.savez(folder / "encoded.npz", mean=codes, labels=factors, label_names=names)
    np.savez(folder / "two.npz", one=factors, other=factors[:, :1])
    torch.save({"targets": torch.tensor(factors), "step": 3}, folder / "f.pt")
    with h5py.File(folder / "f.h5", "w") as file:
        file["imgs"], file["latents/classes"] = images, factors
    with (folder / "f.csv").open("w", newline="") as file:
        rows = [[f"{i}.png", *values] for i, values in enumerate(factors)]
        csv.writer(file).writerows([["file", "hue", "size"], *rows])
    return folder


def score(folder, *arguments):
    """Run a command that must succeed; return the JSON that it wrote."""
    out = folder / "out.json"
    assert main(["score", *map(str, arguments), *QUICK, "--json", str(out)]) == 0
    return json.loads(out.read_text())


def fails(capsys, *arguments):
    """Run a command that must fail with status 2 and one line; return the line."""
    capsys.readouterr()
    assert main(["score", *map(str, arguments), *QUICK[:2]]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


class TestFiles:
    @pytest.mark.parametrize(
        ("location", "names"),
        [
            ("f.npy", ["factor_0", "factor_1"]),
            ("f.npz", ["hue", "size"]),
            ("f.npz:factors", ["hue", "size"]),
            ("encoded.npz:labels", ["hue", "size"]),
            ("two.npz:one", ["one_0", "one_1"]),
            ("f.pt", ["targets_0", "targets_1"]),
            ("f.h5:latents/classes", ["latents/classes_0", "latents/classes_1"]),
            ("f.csv:hue,size", ["hue", "size"]),
        ],
    )
    def test_every_format_gives_the_same_factors(self, folder, factors, location, names):
        table = read_factors(str(folder / location))
        assert list(table) == names
        np.testing.assert_array_equal(np.stack(list(table.values()), 1), factors)

    def test_scores_are_those_of_the_function(self, folder, factors, capsys):
        report = score(folder, folder / "z.npy", "--factors", f"{folder}/f.npz:factors")
        codes = np.load(folder / "z.npy")
        with pytest.warns(UserWarning, match="240 rows for a protocol"):
            expected = disentanglement(codes, factors, scores=["mig", "sap_r2"], names=["hue", "size"])
        assert report["disentanglement"] == expected.to_dict()
        printed = capsys.readouterr().out
        assert "disentanglement, mean codes" in printed
        assert f"mig{expected.scores['mig']:26.4f}" in printed

    def test_limited_rows_keep_their_factors(self, folder, factors):
        report = score(folder, folder / "z.npy", "--factors", folder / "f.npy", "--limit", 100)
        rows = np.arange(100) * N // 100
        np.save(folder / "thin.npy", factors[rows])
        assert report == score(folder, folder / "z.npy", "--factors", folder / "thin.npy", "--limit", 100)
        assert report["disentanglement"]["scores"]["mig"] > 0.8

    def test_several_files_have_one_table(self, folder, capsys):
        np.save(folder / "noise.npy", np.random.default_rng(2).normal(size=(N, 2)))
        report = score(folder, folder / "z.npy", folder / "noise.npy", "--factors", folder / "f.npy")
        results = [report[str(folder / name)]["disentanglement"] for name in ("z.npy", "noise.npy")]
        good, bad = (result["scores"] for result in results)
        assert good["mig"] > 0.8 > 0.2 > bad["mig"]
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("mig "))
        assert line.split() == ["mig", f"{good['mig']:.4f}", f"{bad['mig']:.4f}"]

    def test_kinds_and_probe_are_used(self, folder):
        report = score(
            folder,
            folder / "z.npy",
            "--factors",
            folder / "f.npz",
            "--kinds",
            "hue=circular",
            "--probe",
            "logistic",
        )
        assert [factor["kind"] for factor in report["disentanglement"]["factors"]] == ["circular", "ordinal"]
        assert report["disentanglement"]["protocol"]["probe"] == "logistic"

    def test_digits_with_underscores_are_text(self, folder):
        assert to_column(["1_0", "2_0", ""]).tolist() == ["1_0", "2_0", ""]
        (folder / "runs.csv").write_text("1_0,2_0\n3,4\n5,6\n")
        assert read_table(folder / "runs.csv").tolist() == [[3, 4], [5, 6]]
        (folder / "cell.csv").write_text("a,b\n3,4\n5,6_0\n")
        with pytest.raises(InputError, match="line 3, column 2: '6_0' received; give a number"):
            read_table(folder / "cell.csv")

    def test_cells_without_a_value_are_missing(self):
        np.testing.assert_array_equal(to_column(["1", "", "2.5", "NA"]), [1, np.nan, 2.5, np.nan])
        assert to_column(["red", "", "nan"]).tolist() == ["red", "", ""]
        np.testing.assert_array_equal(to_column(["1", "None", "null"]), [1, np.nan, np.nan])
        assert to_column(["hat", " none", "null", "NA", "1"]).tolist() == ["hat", "none", "null", "", "1"]
        table, texts = encode_columns({"a": np.array(["x", "", "b"]), "b": np.array([1.0, 2.0, 3.0])})
        np.testing.assert_array_equal(table, [[1, 1], [np.nan, 2], [0, 3]])
        assert texts == ("a",)

    @pytest.mark.parametrize(
        ("location", "message"),
        [
            ("absent.npy", "there is no file"),
            ("f.npz:facs", "no array 'facs'; its arrays are images, metadata, factors, factor_names"),
            ("f.npz:metadata", "pickled objects are never read"),
            ("f.npz:images", "images: shape (240, 2, 2)"),
            ("two.npz", "arrays one, other received; name one"),
            ("f.npy:key", "file of one array; leave the key out"),
            ("f.csv", "every row has another value in column 'file'"),
            ("f.csv:hue,sise", "no column 'sise'; its columns are file, hue, size"),
            ("f.h5", "arrays imgs, latents/classes received; name one"),
            ("cut.npy", "240 rows"),
            ("no_header.csv", "give a header"),
            ("ragged.csv", "line 3: 1 cells where the header has 2"),
            ("broken.npz", "no plain numbers"),
        ],
    )
    def test_a_wrong_file_is_one_line(self, folder, capsys, factors, location, message):
        np.save(folder / "cut.npy", factors[:100])
        (folder / "no_header.csv").write_text("1,2\n3,4\n")
        (folder / "ragged.csv").write_text("a,b\n1,2\n3\n")
        (folder / "broken.npz").write_bytes(b"PK\x03\x04junk")
        if location == "cut.npy":
            message = "100 rows for 240 codes; give one row per code"
        assert message in fails(capsys, folder / "z.npy", "--factors", folder / location)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--scores", "migg"], "--scores: 'migg' received; expected some of beta_vae"),
            (["--kinds", "hue"], "--kinds: 'hue' received; give FACTOR=KIND"),
            (["--kinds", "hue=round"], "--kinds: 'hue=round' received"),
            (["--kinds", "hu=ordinal"], "'hu' received; give one of ['hue', 'size']"),
        ],
    )
    def test_a_wrong_choice_is_one_line(self, folder, capsys, arguments, message):
        assert message in fails(capsys, folder / "z.npy", "--factors", folder / "f.npz", *arguments)

    def test_a_file_may_have_a_colon_in_its_name(self, folder, factors):
        np.save(folder / "a:b.npy", factors)
        assert list(read_factors(str(folder / "a:b.npy"))) == ["factor_0", "factor_1"]

    def test_errors_name_the_setting(self):
        with pytest.raises(InputError, match="^data.factors: 'x.csv' received"):
            read_factors("x.csv", "data.factors")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a finished run on sprites without supervised scores."""
    directory = run_directory(tmp_path_factory.mktemp("runs"))
    experiment(directory, trainer__steps=1).run()
    return directory


class TestData:
    def test_a_grid_of_factors_is_scored_whole(self, run, tmp_path):
        report = score(tmp_path, run, "--limit", 390)["disentanglement"]
        assert report["n"] == 390
        kinds = ["discrete", "ordinal", "circular", "ordinal", "ordinal"]
        assert [factor["kind"] for factor in report["factors"]] == kinds
        assert [factor["name"] for factor in report["factors"]] == ["shape", "scale", "orientation", "x", "y"]

    def test_a_split_restricts_the_scores(self, run, tmp_path):
        kinds = ["--kinds", *(f"{name}=ordinal" for name in ("shape", "scale", "orientation", "x", "y"))]
        held_out = score(tmp_path, run, "--split", "test", *kinds)
        assert held_out["disentanglement"]["n"] == 40
        assert main(["encode", str(run), "--out", str(tmp_path / "z.npz"), "--split", "test"]) == 0
        same = score(tmp_path, run, "--split", "test", "--factors", f"{tmp_path}/z.npz:labels", *kinds)
        assert same["disentanglement"]["scores"] == held_out["disentanglement"]["scores"]

    def test_supervised_scores_can_be_left_out(self, run, tmp_path):
        assert "disentanglement" not in score(tmp_path, run, "--factors", "none")

    def test_factors_for_another_split_name_the_remedy(self, run, folder, capsys):
        line = fails(capsys, run, "--factors", folder / "f.npy")
        assert "240 rows for 40 codes; give one row per code, in their order, or score --split all" in line

    def test_an_encoder_of_data_with_factors_is_scored(self, tmp_path):
        (tmp_path / "net.py").write_text(
            "import torch\n\n\nclass Mean(torch.nn.Module):\n    def forward(self, x):\n"
            "        return torch.stack([x.mean((1, 2, 3)), x[:, 0].mean(1).argmax(1) * 1.0], 1)\n"
        )
        data = "{name: sprites, images: 300}"
        report = score(tmp_path, "--encoder", f"{tmp_path}/net.py:Mean", "--data", data)
        assert report["disentanglement"]["n"] == 300
