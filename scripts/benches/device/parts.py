"""The parts of `bench.py gpu`. Each prints its rows as lines of JSON, as soon as they are measured."""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benches import loop as loops
from benches import mmd
from benches.device.sizes import Sizes
from benches.device.steps import MODES, Step
from benches.scores.speed import looped, regression

from mmdprior import lps as score
from mmdprior.config import load_config
from mmdprior.runs import Experiment, assemble

ROOT = Path(__file__).parents[3]
TEST_LINES = ("FAILED", "ERROR", "SKIPPED")


def emit(what: str, **values: Any) -> None:
    """Print one row."""
    print(json.dumps({"what": what, **values}), flush=True)


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def tests(sizes: Sizes, device: str, data: str | None) -> None:
    """Run the tests that are marked `gpu`, and print those that failed or were skipped."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rfEs", "-p", "no:cacheprovider", *sizes.tests]
    wide = {**os.environ, "COLUMNS": "200"}  # room for the reason of a failure
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=wide)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    for line in lines:
        if line.startswith(TEST_LINES):
            emit(line[:200])
    emit("pytest -m gpu", status=done.returncode, summary=lines[-1] if lines else done.stderr[-200:])


def _loop_options(sizes: Sizes, device: str, model: str) -> argparse.Namespace:
    return argparse.Namespace(
        model=model, device=device, precision="bfloat16", steps=sizes.steps, repeats=sizes.repeats
    )


def loop(sizes: Sizes, device: str, data: str | None) -> None:
    """Time the trainer against a bare loop, then count host syncs and sample the use of the card."""
    for model in sizes.models:
        options = _loop_options(sizes, device, model)
        with contextlib.redirect_stdout(sys.stderr):
            found = loops.compare(options, sizes.batch)
        emit(f"trainer and bare loop, {model}, batch {sizes.batch}", **found)
        trainer = loops.make_trainer(options, sizes.batch, 10**9)
        trainer.steps = 2
        trainer.run()
        with utilisation(device) as used, host_syncs(device) as syncs:
            trainer.steps = 2 + sizes.steps * sizes.repeats
            trainer.run()
            synchronise(device)
        counted = {"steps": sizes.steps * sizes.repeats, "host_syncs": len(syncs)}
        emit(f"trainer, {model}", **counted, median_use_percent=statistics.median(used) if used else None)


@contextlib.contextmanager
def host_syncs(device: str) -> Iterator[list[str]]:
    """Collect a line per operation that makes the host wait for the card, including those of logged steps."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    found += [str(warning.message) for warning in caught if "synchroniz" in str(warning.message)]


@contextlib.contextmanager
def utilisation(device: str) -> Iterator[list[float]]:
    """Sample nvidia-smi's utilisation of the first card every 0.2 s."""
    found: list[float] = []
    if device != "cuda":
        yield found
        return
    asked = [
        "nvidia-smi",
        "--query-gpu=utilization.gpu",
        "--format=csv,noheader,nounits",
        "-lms",
        "200",
        "-i",
        "0",
    ]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as process:
        lines = process.stdout
        assert lines is not None
        reader = threading.Thread(target=lambda: found.extend(float(line) for line in lines if line.strip()))
        reader.start()
        try:
            yield found
        finally:
            process.terminate()
            reader.join()


def loader(sizes: Sizes, device: str, data: str | None) -> None:
    """Measure images per second of the resident loader and of a DataLoader."""
    options = _loop_options(sizes, device, sizes.models[0])
    with contextlib.redirect_stdout(sys.stderr):
        found = loops.loaders(options, sizes.batch, sizes.images)
    emit(f"loaders, batch {sizes.batch}", **found)


def penalties(sizes: Sizes, device: str, data: str | None) -> None:
    """Time forward and backward of every penalty against the KL."""
    n, dim = sizes.penalty
    found = mmd.times(n, dim, device, max(sizes.repeats, 7), budget=3.0, only="")
    for name, seconds in found.items():
        emit(f"{name}, n {n}, d {dim}", ms=1e3 * seconds, times_kl=seconds / found[mmd.KL])


def memory(sizes: Sizes, device: str, data: str | None) -> None:
    """Measure the peak extra memory of every penalty, all in this process."""
    n, dim = sizes.memory
    for name in mmd.forms(dim, device):
        if name == mmd.PLAIN:
            continue
        d = min(dim, mmd.PAIRWISE_DIM) if "pairs" in name else dim
        emit(f"{name}, n {n}, d {d}", peak_mib=mmd.one(name, n, d, device))
        if device == "cuda":
            torch.cuda.empty_cache()


def lps(sizes: Sizes, device: str, data: str | None) -> None:
    """Time the LPS by `mlp` with its null and 5 folds, and scikit-learn's loop on the CPU."""
    from sklearn.neural_network import MLPRegressor

    n, dim = sizes.lps
    z = torch.randn(n, dim, generator=torch.Generator().manual_seed(0))
    z[:, 0] = z[:, 1] * z[:, 2] + 0.3 * z[:, 0]
    score(z[:200].to(device), "mlp", null=0, folds=1)
    durations = []
    for _ in range(min(sizes.repeats, 3)):
        begun = time.perf_counter()
        result = score(z.to(device), "mlp", folds=5, null=1)
        durations.append(time.perf_counter() - begun)
    ours = statistics.median(durations)
    emit(
        f"lps mlp, 5 folds and null, n {n}, d {dim}", seconds=ours, score=result.score, r2_first=result.r2[0]
    )
    begun = time.perf_counter()
    single = score(z.to(device), "mlp", folds=1, null=0, permutations=0, bootstrap=0)
    once = time.perf_counter() - begun
    emit("lps mlp, one split", seconds=once, r2_first=single.r2[0])
    settings = {"hidden_layer_sizes": (64, 64), "early_stopping": True}
    dims, r2, theirs = looped(
        z.numpy(), regression(lambda i: MLPRegressor(**settings, random_state=i)), sizes.looped
    )
    emit(
        f"scikit-learn MLPRegressor, one split, {len(dims)} of {dim} dimensions scaled",
        seconds=theirs,
        times_ours=theirs / once,
        r2_first=float(np.asarray(r2)[0]),
    )


def step(sizes: Sizes, device: str, data: str | None) -> None:
    """Time one training step by precision, memory format, compilation and CUDA graph."""
    for model in sizes.models:
        base = None
        for name, mode in MODES.items():
            if mode.compiled and not sizes.compiled:
                continue
            try:
                begun = time.perf_counter()
                run = Step(mode, model, sizes.batch, device)
                for _ in range(3):
                    run()
                synchronise(device)
                prepared = time.perf_counter() - begun
                durations = []
                for _ in range(sizes.repeats):
                    begun = time.perf_counter()
                    for _ in range(sizes.steps):
                        run()
                    synchronise(device)
                    durations.append((time.perf_counter() - begun) / sizes.steps)
                ms = 1e3 * statistics.median(durations)
                base = base or ms
                values = {
                    "ms": ms,
                    "times_faster": base / ms,
                    "prepared_s": prepared,
                    "loss": float(run.loss),
                }
                emit(f"{model}, batch {sizes.batch}, {name}", **values)
            except Exception as error:  # one mode that fails leaves the others as they are
                emit(f"{model}, batch {sizes.batch}, {name}", error=str(error).splitlines()[0][:160])


def training(sizes: Sizes, device: str, data: str | None) -> None:
    """Train the CIFAR-10 config at large batches, on a folder of images or on synthetic sprites."""
    limit = float(os.environ.get("GPU_SECONDS", "120"))
    source: dict[str, Any] = {"name": "image_folder", "root": data, "size": 32, "validation": 2000}
    if not data:
        images = max(32 * sizes.train_steps, 8 * max(sizes.train_batches))
        source = {"name": "sprites", "images": images, "validation": 64}
    for size in sizes.train_batches:
        train(sizes, device, {**source, "batch_size": size}, limit / len(sizes.train_batches))


def train(sizes: Sizes, device: str, source: dict[str, Any], limit: float) -> None:
    """Train with one batch size for about half of the time limit, and print its speed and PSNR."""
    overrides = {
        "data": source,
        "model": {"name": sizes.train_model, "latent_dim": loops.DIM, "posterior": "deterministic"},
        "trainer.precision": "bfloat16",
        "trainer.channels_last": True,
        "trainer.device": device,
        "evaluation.pictures": False,
        "evaluation.final_predictors": ["linear"],
    }

    def experiment(steps: int) -> Experiment:
        chosen = {**overrides, "trainer.steps": steps, "evaluation.every": steps}
        lines = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
        config = load_config(ROOT / "configs" / "cifar10" / "mmd_gaussian.yaml", lines)
        return assemble(config, progress=False)

    trial = experiment(min(10, sizes.train_steps)).trainer
    trial.run()
    steps = min(sizes.train_steps, max(1, int(0.5 * limit * trial.steps_per_second)))
    run = experiment(steps)
    with contextlib.redirect_stdout(sys.stderr):
        scores = run.run()
    assert scores is not None
    emit(
        f"training, batch {source['batch_size']}",
        steps=steps,
        images_per_s=run.trainer.steps_per_second * source["batch_size"],
        psnr=scores.scalars()["reconstruction/psnr"],
        lps_linear=scores.scalars()["lps/linear"],
    )
