"""Tables with columns that are no codes: refused with the option, or left out by --columns and --drop."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.columns import Columns
from mmdprior.data.codes import read_latent
from mmdprior.scoring import Scorer

TOYS = Path(__file__).parents[1] / "helpers" / "toys.py"
Z = np.random.default_rng(0).normal(size=(200, 3)).round(4)


def write(path, header, *columns):
    """Write the codes with further columns to a CSV file."""
    rows = zip(*(column.tolist() if hasattr(column, "tolist") else column for column in columns), strict=True)
    path.write_text("\n".join([",".join(header), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(path)


def labels():
    return (Z[:, 0] > 0).astype(int)


@pytest.mark.parametrize(
    "name",
    ["label", "Class", "target", "id", "index", "Unnamed: 0", "time", "shape", "split", "image_id", "y"],
)
def test_a_column_that_is_no_code_by_its_name_is_refused_with_the_option(tmp_path, name):
    path = write(tmp_path / "z.csv", ["z0", "z1", "z2", name], *Z.T, labels())
    with pytest.raises(
        InputError, match=rf"columns \['{name}'\] received.*give --drop '?{name}'?, or --columns"
    ):
        read_latent(path)
    expected = torch.from_numpy(Z)
    for columns in (
        Columns(drop=[name]),
        Columns(keep=["z0", "z1", "z2"]),
        Columns(keep=["0-2"]),
        Columns(drop=["3"]),
    ):
        assert torch.equal(read_latent(path, columns=columns).mean, expected)
    assert read_latent(path, columns=Columns(keep=["0", name])).mean.shape == (200, 2)


@pytest.mark.parametrize(
    "column",
    [
        np.arange(200),
        np.arange(200)[::-1] + 7,
        np.random.default_rng(0).permutation(200),
        np.linspace(0, 1, 200),
    ],
)
@pytest.mark.parametrize("header", [["a", "b", "c", "d"], None])
def test_a_column_that_numbers_the_rows_is_refused(tmp_path, column, header):
    np.savetxt(
        tmp_path / "z.csv", np.c_[column, Z], delimiter=",", header=",".join(header or []), comments=""
    )
    name = "a" if header else "0"
    with pytest.raises(InputError, match=f"column {name} numbers the rows.*--drop {name}, or --columns"):
        read_latent(tmp_path / "z.csv")
    assert torch.equal(read_latent(tmp_path / "z.csv", columns=Columns(drop=["0"])).mean, torch.from_numpy(Z))


def test_columns_of_text_may_be_left_out(tmp_path):
    path = write(tmp_path / "z.csv", ["file", "z0", "z1", "z2"], ['"a, b.png"'] * 200, *Z.T)
    assert torch.equal(read_latent(path, columns=Columns(drop=["file"])).mean, torch.from_numpy(Z))
    with pytest.raises(InputError, match=r"columns \['file'\]"):
        read_latent(path)
    plain = write(tmp_path / "plain.csv", ["a", "b", "c", "d"], ["x"] * 200, *Z.T)
    with pytest.raises(InputError, match="line 2, column 1: 'x' received; give a number.*--drop"):
        read_latent(plain)


@pytest.mark.parametrize("suffix", ["npy", "npz", "pt"])
def test_columns_of_arrays_are_chosen_by_position(tmp_path, suffix):
    path = tmp_path / f"z.{suffix}"
    if suffix == "pt":
        torch.save(torch.from_numpy(Z), path)
    elif suffix == "npz":
        np.savez(path, mean=Z, sample=Z, log_var=Z)
    else:
        np.save(path, Z)
    assert torch.equal(read_latent(path, columns=Columns(drop=["1"])).mean, torch.from_numpy(Z[:, [0, 2]]))
    assert read_latent(path, limit=50, columns=Columns(keep=["0-1"])).sample.shape == (50, 2)
    with pytest.raises(InputError, match="--columns: '7' received.*its columns are 0 to 2"):
        read_latent(path, columns=Columns(keep=["7"]))
    with pytest.raises(InputError, match="no column is left"):
        read_latent(path, columns=Columns(drop=["0-2"]))


def test_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"z0": Z[:, 0], "z1": Z[:, 1], "z2": Z[:, 2]}
    parquet.write_table(arrow.table(columns), tmp_path / "z.parquet")
    assert torch.equal(read_latent(tmp_path / "z.parquet").mean, torch.from_numpy(Z))
    more = columns | {"label": labels(), "name": ["x"] * 200}
    parquet.write_table(arrow.table(more), tmp_path / "more.parquet")
    with pytest.raises(InputError, match=r"columns \['label', 'name'\] received.*--drop label name"):
        read_latent(tmp_path / "more.parquet")
    scores, _ = Scorer(["linear"], columns=Columns(drop=["label", "name"])).file(
        str(tmp_path / "more.parquet")
    )
    assert scores.dim == 3
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_latent(tmp_path / "bad.parquet")


def test_the_options_of_the_command(tmp_path, capsys):
    path = write(tmp_path / "z.csv", ["z0", "z1", "z2", "label"], *Z.T, labels())
    out = tmp_path / "out.json"
    assert main(["score", path, "--predictor", "linear"]) == 2
    assert "give --drop label" in capsys.readouterr().err
    for options in (["--drop", "label"], ["--columns", "0-2"], ["--columns", "z0", "z1", "z2"]):
        assert main(["score", path, "--predictor", "linear", *options, "--json", str(out)]) == 0
        content = json.loads(out.read_text())
        assert content["dim"] == 3
        assert content["lps"][0]["score"] < 0.05


@pytest.mark.parametrize(
    ("outputs", "options", "noted"),
    [
        (6, [], True),
        (5, [], False),
        (6, ["--posterior", "deterministic"], False),
        (6, ["--posterior", "gaussian"], False),
    ],
)
def test_a_line_says_how_the_outputs_of_an_encoder_are_read(capsys, outputs, options, noted):
    target = f"{{target: '{TOYS}:ForeignEncoder', width: {outputs}}}"
    data = ["--data", "{name: sprites, images: 300}", "--predictor", "linear", "--factors", "none"]
    assert main(["score", "--encoder", target, *data, *options]) == 0
    line = f"{outputs} outputs read as {outputs} deterministic codes; give --posterior gaussian"
    assert (line in capsys.readouterr().out) == noted


def test_groups_and_columns_are_chosen_together(tmp_path):
    patients = np.arange(200) // 4
    path = write(tmp_path / "z.csv", ["z0", "z1", "z2", "label", "patient"], *Z.T, labels(), patients)
    scores, _ = Scorer(["linear"], columns=Columns(drop=["label"]), groups="patient").file(path)
    assert scores.dim == 3
    assert scores.lps["mean", "linear"].groups == 50
    with pytest.raises(InputError, match=r"columns \['label'\]"):
        Scorer(["linear"], groups="patient").file(path)
