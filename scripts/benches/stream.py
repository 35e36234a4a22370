"""Time and memory of the stateful linear LPS on rows that are drawn as they are scored.

python scripts/bench.py stream --rows 100_000_000 --dim 64
"""

import argparse
import resource
import time

import torch

from mmdprior.metrics import LPS


def main(arguments):
    parser = argparse.ArgumentParser("bench.py stream", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="number of rows (1000000)")
    parser.add_argument("--dim", type=int, default=64, help="number of dimensions (64)")
    parser.add_argument("--block", type=int, default=100_000, help="rows per update (100000)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    generator, metric, seconds = torch.Generator().manual_seed(0), LPS("linear"), 0.0
    mix = torch.eye(options.dim) + 0.5 * torch.diag(torch.ones(options.dim - 1), 1)  # a chain
    before = peak()
    for _ in range(options.rows // options.block):
        block = torch.randn(options.block, options.dim, generator=generator) @ mix
        start = time.process_time()
        metric.update(block)
        seconds += time.process_time() - start
    result = metric.compute()
    covariance = mix.T.double() @ mix.double()
    exact = 1 - 1 / (torch.linalg.inv(covariance).diagonal() * covariance.diagonal())
    print(f"{metric.rows:,} rows of {options.dim}: {seconds:.1f} CPU s in update, peak {peak():.0f} MiB")
    print(f"{before:.0f} MiB before the first row; LPS {result.score:.6f}, closed form {exact.mean():.6f}")


def peak():
    """Return the largest memory of the process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
