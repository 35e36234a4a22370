"""Time and memory of every form of the MMD penalty, against a plain two-sample RBF with torch.cdist."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mmdprior import MMD
from mmdprior.kernels import ANOVA, RBF, WAE_IMQ, Sliced
from mmdprior.priors import Gaussian

SIZES = [(256, 32), (256, 128), (1024, 32), (1024, 128), (8192, 32), (8192, 128)]
LARGEST_ANOVA3 = 2**30
"""Largest n^2 d for which ANOVA-3 is timed; larger ones take minutes."""
PAIRWISE_DIM = 3
"""Dimensions of ANOVA-3 in the memory measurement at large n."""
PLAIN = "plain two-sample RBF (torch.cdist)"
KL = "KL of a VAE"


def plain(z: Tensor) -> Tensor:
    """Compute MMD^2 as a user would write it, from three Gram matrices."""
    n, d = z.shape
    y = torch.randn(n, d, device=z.device)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(a, b).square() / (2 * d))

    def within(gram: Tensor) -> Tensor:
        return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))

    return within(kernel(z, z)) + within(kernel(y, y)) - 2 * kernel(z, y).mean()


def kl(z: Tensor) -> Tensor:
    """Compute the KL penalty to N(0, I) of posteriors with mean z and variance exp(z), as a user would."""
    return 0.5 * (z.square() + z.exp() - 1 - z).sum(1).mean()


def forms(dim: int, device: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """Build every form of the penalty to N(0, I)."""
    prior = Gaussian(dim).to(device)
    return {
        PLAIN: plain,
        KL: kl,
        "RBF, two samples": MMD(prior, RBF(), estimator="unbiased"),
        "RBF, known prior": MMD(prior, RBF()),
        "RBF, blocks of 64": MMD(prior, RBF(), estimator="block"),
        "WAE-IMQ, known prior": MMD(prior, WAE_IMQ()),
        "sliced, whole sphere": MMD(prior, Sliced()),
        "ANOVA-2, exact": MMD(prior, ANOVA()),
        "ANOVA-2, 3 frequencies": MMD(prior, ANOVA(frequencies=3)),
        "ANOVA-2, 2 frequencies": MMD(prior, ANOVA(frequencies=2)),
        "ANOVA-2, 1 frequency": MMD(prior, ANOVA(frequencies=1)),
        "ANOVA-3, pairs": MMD(prior, ANOVA(order=3)),
    }


def times(n: int, dim: int, device: str, repeats: int, budget: float, only: str) -> dict[str, float]:
    """Return the median seconds of forward plus backward per form; forms are interleaved."""
    z = torch.randn(n, dim, device=device, requires_grad=True)
    seconds: dict[str, list[float]] = {}
    # With one thread, CPU time is the wall time of an idle machine.
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    selected = {
        name: form for name, form in forms(dim, device).items() if name in (PLAIN, KL) or only in name
    }
    for turn in range(repeats + 1):
        for name, form in selected.items():
            durations = seconds.setdefault(name, [])
            if turn > 1 and sum(durations) > budget:
                continue
            if "pairs" in name and n * n * dim > LARGEST_ANOVA3:
                continue
            started = clock()
            form(z).backward()
            if device != "cpu":
                torch.cuda.synchronize()
            if turn or n > 2048:
                durations.append(clock() - started)
    return {name: statistics.median(durations) for name, durations in seconds.items() if durations}


def peak(name: str, n: int, dim: int, device: str) -> float:
    """Return the peak extra memory of one forward and backward in MiB, measured in a separate process."""
    command = [sys.executable, sys.argv[0], "mmd", "--one", name, str(n), str(dim), "--device", device]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def one(name: str, n: int, dim: int, device: str) -> float:
    """Run one form once and return its peak extra memory in MiB."""
    form = forms(dim, device)[name]
    warm = torch.randn(64, dim, device=device, requires_grad=True)
    form(warm).backward()
    z = torch.randn(n, dim, device=device, requires_grad=True)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        form(z).backward()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # getrusage would include the peak of the parent process.
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    form(z).backward()
    return memory("VmHWM") - before


def memory(kind: str) -> float:
    """Return a memory counter of Linux for this process in MiB: VmRSS (now) or VmHWM (peak since reset)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(kind))


def _size(text: str) -> tuple[int, int]:
    n, dim = text.split("x")
    return int(n), int(dim)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench.py mmd", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=7, help="timed repetitions (7)")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds per form and size (20)")
    parser.add_argument(
        "--sizes",
        nargs="*",
        type=_size,
        default=SIZES,
        metavar="NxD",
        help="sizes to time; empty for the memory measurement only",
    )
    parser.add_argument("--only", default="", help="forms whose name contains this text")
    parser.add_argument(
        "--large", nargs=2, type=int, default=[32768, 64], metavar=("N", "D"), help="size for memory"
    )
    parser.add_argument("--skip-large", action="store_true", help="leave out the memory measurement")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(one(options.one[0], int(options.one[1]), int(options.one[2]), options.device))
        return
    print(f"{torch.__version__}, {options.device}, {torch.get_num_threads()} threads")
    for n, dim in options.sizes:
        medians = times(n, dim, options.device, options.repeats, options.budget, options.only)
        print(f"\nn = {n}, d = {dim}: forward + backward, peak extra memory")
        for name, seconds in medians.items():
            ratio = seconds / medians[PLAIN]
            memory = peak(name, n, dim, options.device)
            print(f"  {name:36s} {1e3 * seconds:10.2f} ms  x{ratio:6.2f}  {memory:8.0f} MiB", flush=True)
    if not options.skip_large:
        n, dim = options.large
        print(f"\nn = {n}, d = {dim}: peak extra memory")
        for name in forms(dim, options.device):
            if name in (PLAIN, KL) or options.only not in name:
                continue
            # ANOVA-3 loops over dimensions: its memory does not grow with d, its time does.
            d = min(dim, PAIRWISE_DIM) if "pairs" in name else dim
            label = name if d == dim else f"{name}, at d = {d}"
            print(f"  {label:36s} {peak(name, n, d, options.device):8.0f} MiB", flush=True)
