"""Forward and backward of every form of the MMD penalty, beside a plain two-sample RBF of torch.cdist."""

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
MOST_PAIRS = 2**30
"""Pairs times dimensions up to which ANOVA-3 is run; beyond it takes minutes."""
PAIRWISE_DIM = 3
"""Dimensions of ANOVA-3 in the run for memory at large n."""
PLAIN = "plain two-sample RBF (torch.cdist)"


def plain(z: Tensor) -> Tensor:
    """What a user writes by hand: three Gram matrices."""
    n, d = z.shape
    y = torch.randn(n, d, device=z.device)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(a, b).square() / (2 * d))

    def within(gram: Tensor) -> Tensor:
        return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))

    return within(kernel(z, z)) + within(kernel(y, y)) - 2 * kernel(z, y).mean()


def forms(dim: int, device: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """Every form of the penalty against N(0, I)."""
    prior = Gaussian(dim).to(device)
    return {
        PLAIN: plain,
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
    """Median seconds of forward plus backward, forms taken in turn; slow ones fewer times."""
    z = torch.randn(n, dim, device=device, requires_grad=True)
    seconds: dict[str, list[float]] = {}
    # On one thread the processor's time is the time of a machine that does nothing else.
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    chosen = {name: form for name, form in forms(dim, device).items() if name == PLAIN or only in name}
    for turn in range(repeats + 1):
        for name, form in chosen.items():
            taken = seconds.setdefault(name, [])
            if turn > 1 and sum(taken) > budget:
                continue
            if "pairs" in name and n * n * dim > MOST_PAIRS:
                continue
            started = clock()
            form(z).backward()
            if device != "cpu":
                torch.cuda.synchronize()
            if turn or n > 2048:
                taken.append(clock() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items() if taken}


def peak(name: str, n: int, dim: int, device: str) -> float:
    """MiB above what was held before, in a process of its own."""
    command = [sys.executable, sys.argv[0], "mmd", "--one", name, str(n), str(dim), "--device", device]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def one(name: str, n: int, dim: int, device: str) -> float:
    """Run one form once and return its extra memory in MiB."""
    form = forms(dim, device)[name]
    warm = torch.randn(64, dim, device=device, requires_grad=True)
    form(warm).backward()
    z = torch.randn(n, dim, device=device, requires_grad=True)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        form(z).backward()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # Not getrusage: its high-water mark is inherited from the process that started this one.
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    form(z).backward()
    return memory("VmHWM") - before


def memory(kind: str) -> float:
    """MiB that Linux counts for this process: resident now, or at most since the mark was cleared."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(kind))


def _size(text: str) -> tuple[int, int]:
    n, dim = text.split("x")
    return int(n), int(dim)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench.py mmd", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--budget", type=float, default=20.0, help="seconds a form and size")
    parser.add_argument(
        "--sizes", nargs="*", type=_size, default=SIZES, metavar="NxD", help="none: large alone"
    )
    parser.add_argument("--only", default="", help="forms whose name has this")
    parser.add_argument("--large", nargs=2, type=int, default=[32768, 64], metavar=("N", "D"))
    parser.add_argument("--skip-large", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(one(given.one[0], int(given.one[1]), int(given.one[2]), given.device))
        return
    print(f"{torch.__version__}, {given.device}, {torch.get_num_threads()} threads")
    for n, dim in given.sizes:
        taken = times(n, dim, given.device, given.repeats, given.budget, given.only)
        print(f"\nn = {n}, d = {dim}: forward + backward, peak extra memory")
        for name, seconds in taken.items():
            ratio = seconds / taken[PLAIN]
            memory = peak(name, n, dim, given.device)
            print(f"  {name:36s} {1e3 * seconds:10.2f} ms  x{ratio:6.2f}  {memory:8.0f} MiB", flush=True)
    if not given.skip_large:
        n, dim = given.large
        print(f"\nn = {n}, d = {dim}: peak extra memory")
        for name in forms(dim, given.device):
            if name == PLAIN or given.only not in name:
                continue
            # Dimensions are taken one by one there, so that memory does not grow with d; minutes do.
            d = min(dim, PAIRWISE_DIM) if "pairs" in name else dim
            label = name if d == dim else f"{name}, at d = {d}"
            print(f"  {label:36s} {peak(name, n, d, given.device):8.0f} MiB", flush=True)
