"""Kill a short run at random moments, continue it, and compare its weights with those of a run left alone.

Every run is a process forked from this one, which has imported everything and computed nothing.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

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
"""Status by signal: 143 from the command, -15 from the moment before it takes signals."""


def main(arguments):
    parser = argparse.ArgumentParser("bench.py kills", description=__doc__)
    parser.add_argument("--number", type=int, default=50, help="of kills (50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    given = parser.parse_args(arguments)
    choose = random.Random(given.seed)
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
        found, late = [], 0
        while len(found) < given.number:
            right = kill_once(config, folder / f"{len(found) + late}", expected, seconds, choose)
            if right is None:
                late += 1
            else:
                found.append(right)
    wrong = found.count(False)
    print(
        f"{given.number} kills of a run of {seconds:.2f} s, each continued; {wrong} went wrong; "
        f"{late} more came when the run was through"
    )
    return 1 if wrong else 0


def kill_once(config, directory, expected, seconds, choose):
    """Return whether it went well; None where the run was through before the signal came."""
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
    """Return the id of a process that trains in a directory, or continues what is there."""
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
    """Return the status of a process, negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def step_of(directory):
    """Return the step of the newest checkpoint; a damaged one, or a fallback, counts as unreadable."""
    if not (directory / "checkpoints" / "last.pt").is_file():
        return "none"
    told = []
    try:
        _, content = newest_checkpoint(directory, told.append)
    except InputError:
        return "unreadable"
    return "unreadable" if told else content["step"]


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
