"""Kill a short run at random moments, resume it, and compare its weights with those of an undisturbed run.

Every run is a forked process, so that the imports are paid once.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

# The training imports these on first use. Imported here, they are loaded once for all forked runs, and these
# share the state of NumPy's global generator, which is seeded on import.
import numpy.random  # noqa: F401
import torch
import torch._dynamo  # imported by the optimizer
import torch.utils.tensorboard

import mmdprior.cli.train  # noqa: F401
from mmdprior.cli.main import main as command
from mmdprior.errors import InputError
from mmdprior.training import newest_checkpoint, read_checkpoint

CONFIG = """
name: short
data: {name: sprites, images: 400, batch_size: 16}
model: {name: mlp, hidden: [8], latent_dim: 4, posterior: gaussian, likelihood: bernoulli}
regularizer: {name: mmd, prior: gaussian, weight: 10.0}
trainer: {steps: 60, device: cpu, log_every: 10, checkpoint_every: 2, keep_every: 20, keep_last: 1}
evaluation: {every: 20, final_predictors: [linear], match_samples: 32, pictures: false}
"""
EXPECTED = {signal.SIGKILL: {-9}, signal.SIGTERM: {-15, 143}}
"""Exit status per signal: 143 from the command, -15 before it has installed its signal handlers."""


def main(arguments):
    parser = argparse.ArgumentParser("bench.py kills", description=__doc__)
    parser.add_argument("--number", type=int, default=50, help="number of kills (50)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments and signals (0)")
    options = parser.parse_args(arguments)
    choose = random.Random(options.seed)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "short.yaml"
        config.write_text(CONFIG)
        whole = folder / "whole"
        began = time.monotonic()
        assert finish(start(config, whole)) == 0, log(whole)
        seconds = time.monotonic() - began
        expected = read_checkpoint(whole / "checkpoints" / "last.pt")
        results, late = [], 0
        while len(results) < options.number:
            right = kill_once(config, folder / f"{len(results) + late}", expected, seconds, choose)
            if right is None:
                late += 1
            else:
                results.append(right)
    wrong = results.count(False)
    print(
        f"{options.number} kills of a run of {seconds:.2f} s, each resumed; {wrong} ended wrongly; "
        f"{late} more signals came after the end of the run"
    )
    return 1 if wrong else 0


def kill_once(config, directory, expected, seconds, choose):
    """Kill and resume one run; return whether it ended correctly, None if it finished first."""
    number = choose.choice([signal.SIGKILL, signal.SIGTERM])
    moment = choose.uniform(0, seconds)
    process = start(config, directory)
    time.sleep(moment)
    os.kill(process, number)
    status = finish(process)
    if status == 0:
        return None
    step = step_of(directory)
    again = finish(start(config, directory))
    final = read_checkpoint(directory / "checkpoints" / "last.pt")
    equal = same(final["model"], expected["model"]) and same(final["random"], expected["random"])
    lines = [line for line in (directory / "metrics.jsonl").read_text().splitlines() if "test/" not in line]
    right = status in EXPECTED[number] and step != "unreadable" and again == 0 and equal
    line = (
        f"{number.name} after {moment:.2f} s: status {status}, step {step}; then status {again}, "
        f"weights {'equal' if equal else 'DIFFERENT'}, {len(lines)} lines of metrics"
    )
    print(line if right else f"{line}\n{log(directory)}", flush=True)
    return right


def start(config, directory):
    """Fork a process that trains in a directory, or resumes the run there; return its id."""
    process = os.fork()
    if process > 0:
        return process
    status = 1
    try:
        with log_file(directory).open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        status = command(["train", str(config), "--directory", str(directory)])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def finish(process):
    """Wait for a process and return its status, negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def step_of(directory):
    """Return the step of the newest checkpoint; damage or a fallback to an older one is unreadable."""
    if not (directory / "checkpoints" / "last.pt").is_file():
        return "none"
    messages = []
    try:
        _, content = newest_checkpoint(directory, messages.append)
    except InputError:
        return "unreadable"
    return "unreadable" if messages else content["step"]


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def log_file(directory):
    return directory.with_name(f"{directory.name}.log")


def log(directory):
    return log_file(directory).read_text()
