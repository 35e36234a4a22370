"""Every command and every Python block of every README runs, on small data in a scratch folder."""

import argparse
import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from mmdprior.cli.main import COMMANDS
from mmdprior.cli.main import main as mmdprior

ROOT = Path(__file__).parents[1]
README_FILES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("README.md")
    if not {"runs", "node_modules", ".venv"} & set(path.relative_to(ROOT).parts[:1])
    and not path.relative_to(ROOT).parts[0].startswith(".")
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMALL = [
    "data={name: sprites, images: 120, batch_size: 16, validation: 34, test: 34}",
    "trainer.steps=1",
    "trainer.device=cpu",
    "trainer.compile=false",
    "evaluation.predictors=[linear]",
    "evaluation.final_predictors=[linear]",
    "evaluation.match_samples=16",
    "evaluation.pictures=false",
]
EXECUTED = set()
MODULES = """
import torch

class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 4)

    def forward(self, x):
        return self.layer(x.mean((2, 3)))
"""
PRIORS = """
import torch

def half_normal(n, dim):
    return torch.randn(n, dim).abs()
"""


def blocks(readme):
    return [(language, body) for language, body in BLOCK.findall((ROOT / readme).read_text())]


def commands(readme):
    """Yield the words of every shell command, without comments and continuation lines."""
    for language, body in blocks(readme):
        if language == "sh":
            for line in body.replace("\\\n", " ").splitlines():
                for part in shlex.join(shlex.split(line, comments=True)).split(" '&&' "):
                    if part:
                        yield shlex.split(part)


def write_images(folder, n):
    folder.mkdir(parents=True)
    for i in range(n):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:04}.png")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Return a folder with everything that the READMEs name: configs, runs, codes, images, modules."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("configs", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "my_models.py").write_text(MODULES)
    (folder / "my_priors.py").write_text(PRIORS)
    encoder = {"layer.weight": torch.randn(4, 3), "layer.bias": torch.zeros(4)}
    save_file(encoder, folder / "w.safetensors")
    torch.save(encoder, folder / "w.pt")
    shapes = {"encoder.1": (20, 12288), "decoder.0": (12288, 10)}
    pair = {f"{key}.weight": torch.randn(shape) / shape[1] for key, shape in shapes.items()}
    pair |= {f"{key}.bias": torch.zeros(shape[0]) for key, shape in shapes.items()}
    torch.save(pair, folder / "model.pt")
    codes = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    np.save(folder / "codes.npy", codes)
    np.savetxt(folder / "other.csv", codes, delimiter=",")
    factors = np.random.default_rng(1).integers(0, 3, (300, 2))
    np.savetxt(folder / "factors.csv", factors, fmt="%d", delimiter=",", header="shape,size", comments="")
    np.savez(folder / "arrays.npz", latents_classes=factors, factor_names=np.array(["shape", "orientation"]))
    for split, n in (("train", 60), ("test", 20)):
        for label in ("cat", "dog"):
            write_images(folder / "cifar10" / split / label, n)
    (folder / "DIR").symlink_to(folder / "cifar10")
    config = {"vae": ["regularizer={name: kl}", "model.posterior=gaussian"], "mmd_gaussian": []}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, overrides in config.items():
            place = ["--directory", f"runs/cifar10/{name}/DATE_TIME", f"name=cifar10/{name}"]
            small = [
                *SMALL,
                "model={name: mlp, hidden: [8], latent_dim: 4, likelihood: bernoulli}",
                *overrides,
            ]
            assert mmdprior(["train", "configs/sprites/mmd_gaussian.yaml", *small, *place]) == 0
    (folder / "CHECKPOINT").symlink_to(folder / "runs/cifar10/vae/DATE_TIME/checkpoints/last.pt")
    return folder


@pytest.fixture
def cwd(scratch, monkeypatch):
    monkeypatch.chdir(scratch)
    monkeypatch.syspath_prepend(str(scratch))
    return scratch


def named_file(body):
    """Return the file name that a block's first line gives as a comment, or None."""
    match = re.match(r"# (\w+\.(?:py|yaml))\b", body)
    return match.group(1) if match else None


@pytest.mark.parametrize("readme", README_FILES, ids=str)
def test_python_blocks(readme, cwd):
    namespace = {"__name__": "readme"}
    torch.manual_seed(0)
    for language, body in blocks(readme):
        if language in ("python", "yaml") and named_file(body) is not None:
            (cwd / named_file(body)).write_text(body)
        if language == "python":
            exec(compile(body, str(readme), "exec"), namespace)
        if language == "yaml":
            assert yaml.safe_load(body) is not None
        assert language in ("python", "yaml", "sh", "text"), f"{readme}: block of {language!r}"


@pytest.mark.parametrize("readme", README_FILES, ids=str)
def test_commands(readme, cwd, monkeypatch):
    for language, body in blocks(readme):
        if language in ("python", "yaml") and named_file(body) is not None:
            (cwd / named_file(body)).write_text(body)
    for words in commands(readme):
        if tuple(words) in EXECUTED:  # another README has the same command
            continue
        try:
            status = execute(words, monkeypatch)
        except SystemExit as stop:
            status = stop.code
        assert not status, f"{readme}: {shlex.join(words)}"
        EXECUTED.add(tuple(words))


def execute(words, monkeypatch):
    """Run one command of a README; long trainings and benchmarks are cut short, never their parsing."""
    program = Path(words[0]).name
    arguments = words[1:]
    if program in ("python", "python3") and arguments[:1] != ["-m"]:
        program, arguments = Path(arguments[0]).name, arguments[1:]
    if program in ("torchrun",):
        place = next(i for i, word in enumerate(arguments) if word.endswith(".py"))
        program, arguments = Path(arguments[place]).name, arguments[place + 1 :]
    if program == "mmdprior" or program.removesuffix(".py") in COMMANDS:
        if program != "mmdprior":
            arguments = [program.removesuffix(".py"), *arguments]
        return mmdprior(shortened(arguments))
    if program == "bench.py":
        return parse_bench(arguments, monkeypatch)
    if program in ("pytest", "ruff", "mypy"):
        return 0 if program in (ROOT / ".ci" / "run").read_text() else 1
    if program == "tensorboard":
        return subprocess.run(
            [sys.executable, "-m", "tensorboard.main", "--version_tb"], check=False
        ).returncode
    return 0 if program in ("python3", "pip", ".", "cd", "kill") and shutil.which("python3") else 1


def shortened(arguments):
    """Return the arguments of a command with settings that end it in a second."""
    command = arguments[0]
    if command == "train" and "--schema" not in arguments and "--resume" not in arguments:
        return [*arguments, *SMALL]
    if command == "score":
        short = {"--predictor": "linear", "--scores": "mig"}
        return [*arguments, *(word for pair in short.items() if pair[0] not in arguments for word in pair)]
    if command == "prior" and "--power" in arguments:
        return [*arguments, "--repeats", "5"]
    if command == "sculpt":
        return [*arguments, "--steps", "2", "--predictor", "linear"]
    if command in ("study", "sweep") and not {"--emit", "--table"} & set(arguments):
        return [*arguments, "--emit"]
    return arguments


def parse_bench(arguments, monkeypatch):
    """Parse a benchmark's options and stop there: its name and every option must exist."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, given=None, namespace=None):
        parse(parser, given, namespace)
        raise SystemExit(0)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        return importlib.import_module(f"benches.{arguments[0]}").main(arguments[1:])


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1500


def test_links_lead_somewhere():
    for readme in README_FILES:
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / readme).read_text()):
            assert target.startswith("http") or (ROOT / readme).parent.joinpath(target).exists(), (
                readme,
                target,
            )
