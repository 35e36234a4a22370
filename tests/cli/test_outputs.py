"""Outputs that cannot be written are found before anything is computed."""

import numpy as np
import pytest

from mmdprior.cli.main import main


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        ("score --codes codes.npy", "--json", "x.json"),
        ("score --codes codes.npy", "--rows", "x.jsonl"),
        ("score --codes codes.npy", "--figures", "x"),
        ("encode run", "--out", "x.npz"),
        ("sample run", "--out", "x.png"),
        ("prior gaussian", "--out", "x.png"),
        ("sculpt codes.npy", "--out", "x.pt"),
        ("sculpt codes.npy --out map.pt", "--json", "x.json"),
        ("quantise codes.npy --levels 4", "--out", "x.npz"),
        ("compare run", "--out", "x"),
        ("compare run", "--json", "x.json"),
    ],
)
def test_a_file_in_place_of_a_folder(command, option, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("codes.npy", np.zeros((4, 2), np.float32))  # too few: any later step would fail
    (tmp_path / "taken").write_text("")
    assert main([*command.split(), option, f"taken/{name}"]) == 2
    expected = f"error: {option}: taken/{name} cannot be written ({tmp_path}/taken is not a folder)"
    assert capsys.readouterr().err.strip() == f"{expected}; give another path"


def test_new_folders_are_made(tmp_path, capsys):
    assert main(["prior", "gaussian", "--n", "50", "--out", str(tmp_path / "a" / "b" / "prior.png")]) == 0
    assert (tmp_path / "a" / "b" / "prior.png").is_file()


def test_an_error_of_the_system_has_no_number(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["traverse", "run", "--out", str(tmp_path / "taken")]) == 2
    assert capsys.readouterr().err.strip() == f"error: File exists: '{tmp_path / 'taken'}'"
