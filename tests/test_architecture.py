"""The arrows between rooms, and what a plain import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mmdprior"
LEAVES = {"errors", "latent", "seeding", "world"}
MAY_IMPORT = {
    "priors": set(),
    "kernels": {"priors"},
    "predictors": set(),
    "regularizers": {"priors", "kernels", "predictors"},
    "models": set(),
    "data": set(),
    "evaluation": {"models", "data", "predictors", "priors", "kernels", "regularizers"},
}
MAY_IMPORT["reporting"] = {"evaluation", "models", "priors", "data"}
MAY_IMPORT["training"] = {*MAY_IMPORT}
MAY_IMPORT["config"] = {*MAY_IMPORT}
MAY_IMPORT["cli"] = {"config", "training", "evaluation", "reporting", "data"}


def imported_rooms(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            names += [f"{node.module}.{alias.name}" for alias in node.names if node.module == "mmdprior"]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "mmdprior" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_rooms_import_only_what_they_may(room):
    files = list((PACKAGE / room).glob("*.py"))
    assert files
    allowed = MAY_IMPORT[room] | LEAVES | {room}
    for file in files:
        assert set(imported_rooms(file)) <= allowed, file


def test_every_folder_is_a_known_room():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(MAY_IMPORT)


def test_leaves_import_no_room():
    for leaf in LEAVES:
        assert set(imported_rooms(PACKAGE / f"{leaf}.py")) <= LEAVES


def test_plain_import_needs_no_config_figures_or_tensorboard():
    code = (
        "import sys, mmdprior; "
        "print([m for m in ('pydantic', 'matplotlib', 'tensorboard', 'yaml') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_commands_stay_short():
    for file in (PACKAGE / "cli").glob("*.py"):
        assert len(file.read_text().splitlines()) < 60, file
