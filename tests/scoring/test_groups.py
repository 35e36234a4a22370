"""Groups of dependent rows in files, in the labels of images, on the command line and in configs."""

import json

import numpy as np
import pytest
import torch
from helpers.small_runs import experiment

from mmdprior import InputError, Latent
from mmdprior.cli.main import main
from mmdprior.data import InMemory
from mmdprior.data.codes import read_labels, read_latent
from mmdprior.evaluation import Codes, score_codes
from mmdprior.scoring.groups import groups_of_images

NAMES = [f"patient, {i // 4}" for i in range(240)]


@pytest.fixture
def z():
    return np.random.default_rng(0).normal(size=(60, 3)).repeat(4, 0)


@pytest.fixture
def folder(tmp_path, z, monkeypatch):
    """Return a folder with the codes and their labels in files of several kinds."""
    monkeypatch.chdir(tmp_path)
    rows = [",".join(map(str, row)) for row in z.tolist()]
    lines = ["z0,patient,z1,z2"]
    for row, name in zip(rows, NAMES, strict=True):
        first, _, others = row.partition(",")
        lines.append(f'{first},"{name}",{others}')
    (tmp_path / "z.csv").write_text("\n".join(lines) + "\n")
    np.save("z.npy", z)
    np.savez("z.npz", codes=z, patient=np.array(NAMES))
    torch.save({"codes": torch.from_numpy(z), "patient": torch.arange(240) // 4}, "z.pt")
    (tmp_path / "labels.txt").write_text("\n".join(NAMES).replace(",", "") + "\n")
    np.save("labels.npy", np.arange(240) // 4)
    np.save("short.npy", np.arange(239))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("z.csv", "--groups", "patient"),
        ("z.npz", "--groups", "patient"),
        ("z.pt", "--groups", "patient"),
        ("z.npy", "--groups", "labels.txt"),
        ("z.npy", "--groups", "labels.npy"),
        ("z.npz", "--groups", "labels.txt", "--limit", "120"),
    ],
    ids=lambda arguments: " ".join(arguments[::2]),
)
def test_groups_of_files(folder, arguments, capsys):
    assert main(["score", *arguments, "--predictor", "linear", "--json", "out.json"]) == 0
    result = json.loads((folder / "out.json").read_text())
    assert result["dim"] == 3
    assert result["lps"][0]["groups"] == result["independence"]["mean"]["groups"] == 60
    assert result["lps"][0]["test_groups"] == 12
    assert not result["lps"][0]["warnings"]
    assert "duplicate" not in capsys.readouterr().out


def test_blocks_and_warnings_on_the_command_line(folder, capsys):
    options = ["z.npy", "--predictor", "linear", "--json", "out.json"]
    assert main(["score", *options, "--groups", "blocks", "--block-length", "8"]) == 0
    assert json.loads((folder / "out.json").read_text())["lps"][0]["block_length"] == 8
    assert main(["score", *options]) == 0
    assert "warning: duplicate rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--groups", "doctor"], "'doctor' received; z.npy has no column or array of that name"),
        (["--groups", "short.npy"], "groups: 239 labels received for 240 rows"),
        (["--block-length", "8"], "--block-length: needs --groups blocks"),
        (["--groups", "z.csv"], "z.csv: several columns received"),
    ],
)
def test_groups_that_are_not_there(folder, capsys, options, message):
    assert main(["score", "z.npy", *options]) != 0
    assert message in capsys.readouterr().err


def test_labels_of_files(folder, z):
    assert read_labels("z.csv", "patient") == NAMES
    assert read_labels("z.csv", "doctor") is None
    assert read_labels("z.npz", "doctor") is None
    np.testing.assert_allclose(read_latent("z.csv", leave_out="patient").mean, z)
    with pytest.raises(InputError, match="z.csv: no column 'doctor'"):
        read_latent("z.csv", leave_out="doctor")
    with pytest.raises(InputError, match="labels of shape"):
        read_labels("z.npy")


def test_groups_of_images(folder):
    images = InMemory(torch.zeros(240, 1, 2, 2), torch.arange(240)[:, None] // 4, ("video",))
    assert groups_of_images("video", images, None) == "video"
    assert groups_of_images("labels.npy", images, 60).tolist() == list(range(60))
    with pytest.raises(InputError, match="'patient' received; the labels of the images are video"):
        groups_of_images("patient", images, None)
    with pytest.raises(InputError, match=r"short\.npy: 239 labels for 240 images"):
        groups_of_images("short.npy", images, None)


def test_scores_of_images_use_a_label_by_name(z):
    codes = torch.from_numpy(z)
    labelled = Codes(Latent(codes, codes), torch.arange(240)[:, None] // 4, ("video",))
    result = score_codes(labelled, ["linear"], groups="video")
    assert result.lps["mean", "linear"].groups == 60
    with pytest.raises(InputError, match="groups: 'patient' received"):
        score_codes(labelled, ["linear"], groups="patient")
    few = Codes(labelled.latent, torch.arange(240)[:, None] // 120, ("video",))
    with pytest.warns(UserWarning, match="no scores: 2 groups; LPS needs at least 3"):
        assert np.isnan(score_codes(few, ["linear"], groups="video").lps["mean", "linear"].score)


def test_a_config_names_the_label():
    built = experiment(evaluation__groups="scale", data__images=300, trainer__steps=2)
    assert built.run().lps["mean", "linear"].groups == 6
    message = "evaluation.groups: 'patient' received; the labels of the images are shape, scale"
    with pytest.raises(InputError, match=message):
        experiment(evaluation__groups="patient")
