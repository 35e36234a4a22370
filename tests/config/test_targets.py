"""Targets in files import their neighbours, and every file gets its own."""

import sys

import pytest

from mmdprior import InputError
from mmdprior.config.targets import import_target


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_neighbours_are_imported(tmp_path):
    write(tmp_path / "a", model="from utils import WIDTH\nvalue = WIDTH\n", utils="WIDTH = 3\n")
    path = list(sys.path)
    assert import_target(f"{tmp_path}/a/model.py:value") == 3
    assert sys.path == path


def test_every_file_gets_its_own_neighbours(tmp_path):
    for folder, width in (("a", 3), ("b", 4), ("c", 5)):
        write(tmp_path / folder, model="import utils, parts.one\nvalue = utils.WIDTH, parts.one.N\n")
        write(tmp_path / folder, utils=f"WIDTH = {width}\n")
        write(tmp_path / folder / "parts", __init__="", one=f"N = {-width}\n")
    assert [import_target(f"{tmp_path}/{folder}/model.py:value") for folder in "abca"] == [
        *((3, -3), (4, -4), (5, -5), (3, -3))
    ]


def test_files_of_a_package_may_import_relatively_and_by_its_name(tmp_path):
    write(tmp_path / "pack", __init__="")
    write(tmp_path / "pack" / "nets", __init__="", layers="N = 7\n")
    write(tmp_path / "pack" / "nets", relative="from .layers import N\n")
    write(tmp_path / "pack" / "nets", absolute="from pack.nets.layers import N\n")
    for name in ("relative", "absolute"):
        assert import_target(f"{tmp_path}/pack/nets/{name}.py:N") == 7


def test_installed_packages_are_not_replaced_by_folders_of_their_name(tmp_path):
    import torch

    write(tmp_path / "torch", __init__="")
    write(tmp_path, model="import torch\nvalue = torch.__version__\n")
    assert import_target(f"{tmp_path}/model.py:value") == torch.__version__
    assert sys.modules["torch"] is torch


def test_a_neighbour_that_fails_is_named(tmp_path):
    write(tmp_path, model="import broken_part\n", broken_part="1 / 0\n")
    path = list(sys.path)
    with pytest.raises(InputError, match="cannot be imported .ZeroDivisionError"):
        import_target(f"{tmp_path}/model.py:value")
    assert sys.path == path
    with pytest.raises(InputError, match="No module named 'gone'"):
        import_target(f"{write(tmp_path / 'd', model='import gone')}/model.py:value")
