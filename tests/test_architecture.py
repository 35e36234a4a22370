"""Which package may import which, no import cycles, and what a plain import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mmdprior"
LEAVES = {
    "atoms",
    "choices",
    "columns",
    "deprecation",
    "errors",
    "files",
    "latent",
    "naming",
    "precision",
    "results",
    "seeding",
    "torch_files",
    "tracing",
    "world",
}
SLOTS = {"data", "flows", "kernels", "models", "priors", "regularizers", "training"}
LIBRARY = {
    "priors": set(),
    "kernels": {"priors"},
    "predictors": set(),
    "models": {"flows"},  # only its contract: test_models_import_only_the_contract_of_flows
    "data": set(),
    "regularizers": {"priors", "kernels", "predictors"},
    "flows": {"priors", "kernels", "regularizers"},
    "metrics": {"predictors", "priors", "kernels", "regularizers"},
    "evaluation": {"models", "data", "metrics"},
    "figures": {"metrics", "priors", "models", "data", "evaluation"},
}
LIBRARY["training"] = {*LIBRARY}
MAY_IMPORT = {
    **LIBRARY,
    "config": SLOTS,
    "build": {*LIBRARY, "config"},
    "runs": {*LIBRARY, "config", "build"},  # plans are YAML; an experiment has the types of all its parts
    "scoring": {
        *("flows", "priors", "build", "config", "training", "evaluation", "metrics", "figures", "data"),
        "models",
    },
    "comparison": {"runs", "figures", "metrics"},
    "cli": {
        "__init__",
        *LIBRARY,
        "config",
        "build",
        "runs",
        "scoring",
        "comparison",
    },  # __init__: the version
    "reporting": set(),
}
FACES = {"experts": {"predictors"}}  # files next to the packages
MAY_IMPORT["testing"] = {*MAY_IMPORT} - {"cli", "reporting"}


def imported_modules(file):
    """Yield the mmdprior modules that a file imports, whether at its top or inside a function."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mmdprior":
            for alias in node.names:
                yield resolve(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "mmdprior":
                    yield resolve(alias.name)


def resolve(name):
    """Return the file of a dotted name, or of the module that defines its last part."""
    parts = name.split(".")[1:]
    for k in range(len(parts), -1, -1):
        place = PACKAGE.joinpath(*parts[:k])
        if place.with_suffix(".py").is_file() and k:
            return place.with_suffix(".py")
        if (place / "__init__.py").is_file():
            return place / "__init__.py"
    raise AssertionError(name)


def package_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_import_only_what_they_may(package):
    files = list((PACKAGE / package).rglob("*.py"))
    assert files
    allowed = MAY_IMPORT[package] | LEAVES | {package}
    for file in files:
        assert {package_of(module) for module in imported_modules(file)} <= allowed, file


@pytest.mark.parametrize("face", FACES)
def test_faces_import_only_what_they_may(face):
    packages = {package_of(module) for module in imported_modules(PACKAGE / f"{face}.py")}
    assert packages <= FACES[face] | LEAVES


CONTRACTS = {
    "data/source.py",
    "flows/bijection.py",
    "kernels/kernel.py",
    "models/likelihood.py",
    "models/posterior.py",
    "models/quantiser.py",
    "priors/prior.py",
    "regularizers/estimators.py",
    "regularizers/regularizer.py",
    "regularizers/sum.py",
    "training/logger.py",
    "training/schedules.py",
}


def test_only_the_catalogue_imports_the_parts_that_fill_the_slots():
    for file in (PACKAGE / "config").glob("*.py"):
        modules = {str(module.relative_to(PACKAGE)) for module in imported_modules(file)}
        outside = {module for module in modules if package_of(PACKAGE / module) not in LEAVES | {"config"}}
        if file.name != "catalogue.py":
            assert outside <= CONTRACTS, file


def test_models_import_only_the_contract_of_flows():
    for file in (PACKAGE / "models").glob("*.py"):
        modules = {str(module.relative_to(PACKAGE)) for module in imported_modules(file)}
        assert {module for module in modules if module.startswith("flows/")} <= {"flows/bijection.py"}, file


def test_every_folder_is_a_known_package():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(MAY_IMPORT)


def test_leaves_import_only_leaves():
    assert {path.stem for path in PACKAGE.glob("*.py")} == LEAVES | {"__init__", "__main__", *FACES}
    for leaf in LEAVES:
        assert {package_of(module) for module in imported_modules(PACKAGE / f"{leaf}.py")} <= LEAVES


def test_no_cycles_between_files():
    """Inside a package, files import one another directly, never through the package's face."""
    graph = {file: set(imported_modules(file)) - {file} for file in PACKAGE.rglob("*.py")}
    done, path = set(), []

    def visit(file):
        assert file not in path, [str(f.relative_to(PACKAGE)) for f in [*path[path.index(file) :], file]]
        if file not in done:
            path.append(file)
            for module in sorted(graph[file]):
                visit(module)
            path.pop()
            done.add(file)

    for file in sorted(graph):
        visit(file)


def test_no_cycles_between_packages():
    edges = {package: MAY_IMPORT[package] - {package} for package in MAY_IMPORT}
    while free := [package for package, needs in edges.items() if not needs & edges.keys()]:
        for package in free:
            del edges[package]
    assert not edges


HEAVY = ("torchvision", "pydantic", "matplotlib", "tensorboard", "sklearn", "scipy", "yaml", "PIL")


@pytest.mark.parametrize(
    "statement",
    [
        "import mmdprior",
        "from mmdprior import KL, MMD, Latent, lps, independence, kernels, priors",
        "import mmdprior.models, mmdprior.data, mmdprior.evaluation",
    ],
)
def test_imports_of_the_pieces_load_no_heavy_packages(statement):
    code = f"import sys; {statement}; print([m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


RUN_FILES = {"config.yaml", "commands.txt", "metrics.jsonl", "test.json", "run.json", "codes.npz"}
CHECKPOINT_FILES = {"last.pt", "previous.pt", "best.pt", "nonfinite.json"}


def strings_in_code(file):
    """Yield the string constants of a file, without docstrings and with the parts of f-strings."""
    tree = ast.parse(file.read_text())
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def test_files_of_a_run_directory_are_named_in_one_place():
    for file in PACKAGE.rglob("*.py"):
        place = str(file.relative_to(PACKAGE))
        constants = set(strings_in_code(file))
        if place != "runs/directory.py":
            assert not constants & RUN_FILES, (place, constants & RUN_FILES)
        if place != "training/retention.py":
            assert not constants & CHECKPOINT_FILES, (place, constants & CHECKPOINT_FILES)


def test_commands_stay_short():
    for file in (PACKAGE / "cli").glob("*.py"):
        assert len(file.read_text().splitlines()) < 60, file
