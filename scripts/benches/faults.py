"""Damage checkpoints and files to score, and count tracebacks, wrong numbers and executed code.

Each case runs ``mmdprior score`` in this process. It must end with status 2 and one error line, or with
the right score: that of the undamaged checkpoint, or that of the values that NumPy or PyTorch read from the
file. Files that carry code write a marker when the code runs.
"""

import argparse
import contextlib
import io
import json
import math
import os
import random
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from mmdprior import InputError, lps
from mmdprior.cli.main import main as command
from mmdprior.training import read_checkpoint, write_checkpoint

CONFIG = """
name: short
data: {name: sprites, images: 300, batch_size: 16, validation: 40, test: 60}
model: {name: mlp, hidden: [8], latent_dim: 3, likelihood: bernoulli}
regularizer: {name: mmd, prior: gaussian, weight: 10.0}
trainer: {steps: 4, device: cpu, checkpoint_every: 2}
evaluation: {every: 100, final_predictors: [linear], match_samples: 32, pictures: false}
"""
ENCODER = """
import torch

class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(192, 3)

    def forward(self, images):
        return self.layer(images.flatten(1)[:, :192])
"""
TOLERANCE = 1e-4


class Hostile:
    """An object whose unpickling writes a marker file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (Path(self.marker),))


class Cases:
    """Scores files, and counts what happens."""

    def __init__(self, folder, seed):
        self.folder, self.choose = folder, random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.marker = folder / "executed"
        self.counts, self.failures = Counter(), []

    def score(self, *arguments):
        """Run the score command; return its status, its error output, and the linear score or None."""
        out = self.folder / "out.json"
        out.unlink(missing_ok=True)
        errors = io.StringIO()
        words = ["score", *map(str, arguments), "--predictor", "linear", "--json", str(out)]
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            try:
                status = command(words)
            except SystemExit as stop:
                status = stop.code
            except BaseException:
                status = "traceback"
                traceback.print_exc()
        result = json.loads(out.read_text()) if out.is_file() else None
        value = result["lps"][0]["score"] if result and result.get("lps") else None
        return status, errors.getvalue(), value

    def check(self, name, expected, *arguments):
        """Score one case. ``expected`` is the right score, NaN if it has none, or None for a refusal."""
        status, errors, value = self.score(*arguments)
        lines = [line for line in errors.splitlines() if line.startswith("error: ")]
        problem = None
        if self.marker.exists():
            problem = "code was executed"
            self.marker.unlink()
        elif status == 2 and (len(lines) != 1 or "Traceback" in errors):
            problem = "refused, but not in one line"
        elif status not in (0, 2):
            problem = f"status {status}"
        elif status == 0 and not right(value, expected):
            problem = f"score {value}, right is {expected}"
        self.counts["wrong" if problem else "scored" if status == 0 else "refused"] += 1
        if problem:
            self.failures.append(f"{name}: {problem}\n{errors}")
            print(self.failures[-1], flush=True)


def right(value, expected):
    if expected is None:
        return False
    if value is None or math.isnan(expected):
        return value is None and math.isnan(expected)
    return abs(value - expected) < TOLERANCE


def main(arguments):
    parser = argparse.ArgumentParser("bench.py faults", description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=200, help="number of damaged checkpoints (200)")
    parser.add_argument("--inputs", type=int, default=2000, help="number of changed score inputs (2000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the damages (0)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        for part, number in ((checkpoints, options.checkpoints), (inputs, options.inputs)):
            folder = Path(name) / part.__name__
            folder.mkdir()
            cases = Cases(folder, options.seed)
            part(cases, number)
            failed += len(cases.failures)
            print(f"{number} {part.__name__}: {dict(cases.counts)}")
    return 1 if failed else 0


# Checkpoints


def checkpoints(cases, number):
    """Damage the bytes or the content of a checkpoint, and score it."""
    config = cases.folder / "short.yaml"
    config.write_text(CONFIG)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert command(["train", str(config), "--directory", str(cases.folder / "run")]) == 0
    whole = cases.folder / "run" / "checkpoints" / "last.pt"
    content = whole.read_bytes()
    _, _, expected = cases.score(whole)
    path = cases.folder / "damaged.pt"
    for _ in range(number):
        if cases.choose.random() < 0.5:
            damage, changed = damaged_bytes(content, cases.choose)
            path.write_bytes(changed)
        else:
            damage = write_damaged_content(read_checkpoint(whole), path, cases)
        cases.check(f"checkpoint, {damage}", expected, path)


def damaged_bytes(content, choose):
    """Return the name of a damage and the damaged bytes."""
    kind = choose.choice(["flip", "block", "cut", "append", "twice", "zeros", "swap"])
    place, length = choose.randrange(len(content)), choose.choice([1, 8, 512])
    before, block, after = content[:place], content[place : place + length], content[place + length :]
    changed = {
        "flip": before + bytes([content[place] ^ (1 << choose.randrange(8))]) + content[place + 1 :],
        "block": before + bytes(255 - byte for byte in block) + after,
        "cut": before,
        "append": content + choose.randbytes(length),
        "twice": before + block + block + after,
        "zeros": before + (bytes(length) if any(block) else b"\1" * length) + after,
        "swap": after + before + block,
    }[kind]
    return f"{kind} of {length} bytes at {place}", changed


def write_damaged_content(content, path, cases):
    """Write a checkpoint with one entry removed, replaced or reshaped; return the name of the damage."""
    choose = cases.choose
    place = choose.choice(paths_of(content))
    kind = choose.choice(["removed", "replaced", "reshaped", "not finite", "hostile"])
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    value = holder[place[-1]]
    is_tensor = isinstance(value, torch.Tensor)
    if kind == "removed":
        del holder[place[-1]]
    elif kind == "hostile":
        holder[place[-1]] = Hostile(cases.marker)
        torch.save(content, path)
        return f"{place} hostile"
    elif kind == "reshaped" and is_tensor:
        holder[place[-1]] = torch.cat([value.reshape(-1), value.reshape(-1)[:1]])
    elif kind == "not finite" and is_tensor and value.is_floating_point():
        holder[place[-1]] = torch.full_like(value, math.nan)
    else:
        holder[place[-1]] = choose.choice([None, "x", 7, -1.5, [], {}, torch.zeros(2)])
    write_checkpoint(content, path)
    return f"{place} {kind}"


def paths_of(content, path=()):
    """Return the path of every entry that a score depends on; the rest does not change it."""
    found = []
    for key, value in content.items():
        if not path and key in ("random", "optimizers", "loader", "guard"):
            continue
        found.append((*path, key))
        if isinstance(value, dict) and len(path) < 3:
            found += paths_of(value, (*path, key))
    return found


# Score inputs


def inputs(cases, number):
    """Score codes, tables, images and weights with random changes."""
    torch.manual_seed(0)
    encoder = cases.folder / "my_encoder.py"
    encoder.write_text(ENCODER)
    parts = [codes_case, codes_case, table_case, archive_case, images_case, weights_case]
    for index in range(number):
        part = parts[index % len(parts)]
        folder = cases.folder / f"case_{index}"
        folder.mkdir()
        part(cases, folder)


def random_codes(cases):
    """Return codes with a random change, and the name of the change."""
    n, d = cases.choose.choice([(120, 3), (64, 2), (200, 5)])
    z = cases.numbers.normal(size=(n, d))
    z[:, 1] += z[:, 0]
    changes = {
        "none": lambda z: z,
        "NaN": lambda z: np.where(cases.numbers.random(z.shape) < 0.01, np.nan, z),
        "infinite": lambda z: np.where(cases.numbers.random(z.shape) < 0.01, np.inf, z),
        "constant column": lambda z: z * (np.arange(z.shape[1]) > 0),
        "all constant": lambda z: z * 0 + 3,
        "small": lambda z: z * 10.0 ** -cases.choose.randrange(300),
        "large": lambda z: z * 10.0 ** cases.choose.randrange(300),
        "outlier": lambda z: np.concatenate([z[:-1], z[-1:] * 1e8]),
        "scales": lambda z: z * 5000.0 ** np.arange(z.shape[1]),
        "shifted": lambda z: z + 1e6,
        "few rows": lambda z: z[: cases.choose.randrange(12)],
        "one column": lambda z: z[:, :1],
        "rows": lambda z: z[0],
        "images": lambda z: z[:, :, None, None],
        "no column": lambda z: z[:, :0],
        "scalar": lambda z: z[0, 0],
        "transposed": lambda z: z.T,
        "bits": lambda z: (z > 1.0).astype(float),
        "rounded": lambda z: z.round(1),
        "duplicate": lambda z: np.concatenate([z, z[:, :1]], 1),
        "repeated rows": lambda z: np.repeat(z, 4, 0),
    }
    name = cases.choose.choice(list(changes))
    return np.asarray(changes[name](z)), name


def expected_score(z):
    """Return the score of values as read by NumPy; NaN if they have none, None if they must be refused."""
    try:
        z = np.asarray(z)
        if z.dtype.kind not in "fiub" or z.ndim != 2 or not np.isfinite(z.astype(np.float64)).all():
            return None
        return lps(torch.from_numpy(z.astype(np.float64)), "linear").score
    except InputError:
        return None


def codes_case(cases, folder):
    """Codes as .npy with another dtype, order or byte order, or with damaged bytes."""
    z, change = random_codes(cases)
    dtype = cases.choose.choice(["<f8", "<f4", ">f8", ">f4", "<f2", "<i4", "|b1", "<c8", "|O", "<U8"])
    with np.errstate(all="ignore"):
        z = z.astype(dtype)
    if dtype == "|O" and z.ndim == 2 and z.size:
        z[0, 0] = Hostile(cases.marker)
    path = folder / f"codes{cases.choose.choice(['.npy', '.npy', '.txt', '.dat', ''])}"
    with path.open("wb") as file:
        np.save(file, np.asfortranarray(z) if cases.choose.random() < 0.3 else z, allow_pickle=True)
    damage = ""
    if cases.choose.random() < 0.3:
        damage, content = damaged_bytes(path.read_bytes(), cases.choose)
        path.write_bytes(content)
    try:
        with path.open("rb") as file:
            expected = expected_score(np.load(file, allow_pickle=False))
    except Exception:  # NumPy raises many types
        expected = None
    cases.check(f"{path.name}, {dtype}, {change}, {damage}", expected, path)


def table_case(cases, folder):
    """Codes as a table with other separators, headers, gaps or words in it."""
    z, change = random_codes(cases)
    z = np.atleast_1d(z)
    separator, suffix = cases.choose.choice([(",", ".csv"), ("\t", ".tsv"), (" ", ".txt"), (",", ".txt")])
    if z.ndim > 2:
        z = z.reshape(len(z), -1)
    lines = [separator.join(repr(float(v)) for v in np.atleast_1d(row)) for row in z]
    expected = expected_score(z)
    damage = cases.choose.choice(["", "", "header", "word", "ragged", "gap", "cut", "bytes", "end"])
    if damage == "header":
        lines.insert(0, separator.join(f"z{i}" for i in range(np.atleast_2d(z).shape[1])))
    elif damage == "word" and lines:
        lines[len(lines) // 2] = "x" + lines[len(lines) // 2]
        expected = None
    elif damage == "ragged" and lines:
        lines[-1] += f"{separator}1.0"
        expected = None
    elif damage == "gap" and lines:
        lines[-1] = separator + lines[-1].partition(separator)[2]
        expected = None
    elif damage == "end":
        lines += ["", ""]
    text = ("\r\n" if cases.choose.random() < 0.2 else "\n").join(lines) + "\n"
    content = text.encode()
    if damage == "cut":
        content = content[: len(text) // 2].rpartition(b"\n")[0] + b"\n"
        expected = expected_score(z[: content.count(b"\n")])
    elif damage == "bytes":
        content = content[: len(content) // 2] + b"\xff\xfe\0" + content[len(content) // 2 :]
        expected = None
    path = folder / f"codes{suffix}"
    path.write_bytes(content)
    cases.check(f"{path.name}, {change}, {damage}", expected, path)


def archive_case(cases, folder):
    """Codes as .npz or .pt, with further arrays, wrong keys, damaged bytes or objects with code."""
    z, change = random_codes(cases)
    kind = cases.choose.choice([".npz", ".pt"])
    key = cases.choose.choice(["codes", "mean", "z"])
    extra = cases.choose.choice([{}, {}, {"labels": np.arange(len(np.atleast_1d(z)))}])
    hostile = cases.choose.random() < 0.2
    path = folder / f"codes{kind}"
    if kind == ".npz":
        entry = {"extra": np.array([Hostile(cases.marker)], object)} if hostile else {}
        np.savez(path, **{key: z}, **extra, **entry)
    else:
        content = {key: torch.from_numpy(z.copy()), **{k: torch.from_numpy(v) for k, v in extra.items()}}
        torch.save({**content, "extra": Hostile(cases.marker)} if hostile else content, path)
    damage = ""
    if cases.choose.random() < 0.3:
        damage, content = damaged_bytes(path.read_bytes(), cases.choose)
        path.write_bytes(content)
    name = f"{path.name}, {key}, {sorted(extra)}, hostile {hostile}, {change}, {damage}"
    cases.check(name, expected_score(z), path)


def images_case(cases, folder):
    """Images in a folder or an array for an encoder; only the form of the result is known."""
    pixels = cases.numbers.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    kind = cases.choose.choice(["folder", "npy", "npz"])
    damage = cases.choose.choice(["", "cut", "size", "mode", "range", "junk", "nan", "constant", "few"])
    if damage == "constant":
        pixels[:] = 7
    elif damage == "few":
        pixels = pixels[: cases.choose.randrange(10)]
    if kind == "folder":
        path = folder / "images"
        path.mkdir()
        for i, image in enumerate(pixels):
            picture = Image.fromarray(image)
            if i == 30 and damage in ("size", "mode"):
                picture = picture.resize((9, 5)) if damage == "size" else picture.convert("L")
            picture.save(path / f"{i:03}.png")
        if damage == "cut" and len(pixels):
            file = path / "010.png"
            file.write_bytes(file.read_bytes()[:40])
        elif damage == "junk":
            (path / "._x.png").write_bytes(os.urandom(64))
            (path / "notes.txt").write_text("x")
    else:
        values = pixels.astype(np.float64) / 255 if damage in ("range", "nan") else pixels
        if damage == "range":
            values = values * 300 - 20
        elif damage == "nan" and len(values):
            values[0, 0, 0, 0] = np.nan
        elif damage == "size":
            values = values[:, :, :5]
        elif damage == "mode":
            values = values[..., 0]
        path = folder / f"images.{kind}"
        np.save(path, values) if kind == "npy" else np.savez(path, images=values)
        if damage == "cut":
            path.write_bytes(path.read_bytes()[: cases.choose.randrange(2000)])
    encoder = f"{cases.folder / 'my_encoder.py'}:Encoder"
    status, _, value = cases.score("--encoder", encoder, "--data", path)
    expected = value if status == 0 and value is not None else math.nan if status == 0 else None
    cases.check(f"images as {kind}, {damage}", expected, "--encoder", encoder, "--data", path)


def weights_case(cases, folder):
    """Weights of an encoder: other names, shapes, types, damaged bytes, objects with code."""
    state = {"layer.weight": torch.randn(3, 192) / 192**0.5, "layer.bias": torch.zeros(3)}
    damage = cases.choose.choice(
        ["", "name", "missing", "shape", "nan", "bytes", "hostile", "nested", "type"]
    )
    suffix = cases.choose.choice([".pt", ".safetensors"])
    pixels = cases.numbers.integers(0, 256, (60, 3, 8, 8), dtype=np.uint8)
    np.save(folder / "images.npy", pixels)
    z = pixels.reshape(60, -1) / 255.0 @ state["layer.weight"].double().numpy().T
    expected = expected_score(z.astype(np.float32))
    if damage == "name":
        state["layer.wieght"] = state.pop("layer.weight")
    elif damage == "missing":
        del state["layer.bias"]
    elif damage == "shape":
        state["layer.weight"] = state["layer.weight"][:, :9].clone()
    elif damage == "nan":
        state["layer.weight"][0, 0] = math.nan
    elif damage == "type":
        state["layer.weight"] = state["layer.weight"].long()
        expected = math.nan  # all weights are below 1, so no code is active
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        content = {"state_dict": state} if damage == "nested" else state
        torch.save({**content, "extra": Hostile(cases.marker)} if damage == "hostile" else content, path)
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[: cases.choose.randrange(2000)])
    if damage in ("name", "missing", "shape", "nan", "bytes") or (damage == "hostile" and suffix == ".pt"):
        expected = None
    encoder = f"{cases.folder / 'my_encoder.py'}:Encoder"
    arguments = ("--encoder", encoder, "--weights", path, "--data", folder / "images.npy")
    cases.check(f"{path.name}, {damage}", expected, *arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
