"""Everything that needs a GPU, in the order of importance, within one time limit.

python scripts/bench.py gpu --out runs/gpu.json                  # 8 minutes on one card, synthetic images
python scripts/bench.py gpu --data data/cifar10 --seconds 300
python scripts/bench.py gpu --device cpu --small                 # the same parts in seconds, without a GPU

Each part runs in a process of its own. A part that fails or exceeds its limit leaves the others as they are.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from benches.device import parts
from benches.device.sizes import FULL, SMALL

LIMITS = {
    "tests": 120.0,
    "loop": 60.0,
    "loader": 40.0,
    "penalties": 45.0,
    "memory": 40.0,
    "lps": 90.0,
    "step": 120.0,
    "training": 120.0,
}
"""Parts in order, with the most seconds that each may take."""

LEAST = 12.0
"""Seconds below which no further part is started."""

Row = dict[str, Any]


def run_part(name: str, options: argparse.Namespace, limit: float) -> Row:
    """Run one part in a process of its own.

    Returns:
        Its seconds, and either its rows or the reason why there are none.
    """
    begun = time.perf_counter()
    command = [sys.executable, sys.argv[0], "gpu", "--part", name, "--device", options.device]
    command += ["--small"] if options.small else []
    command += ["--data", options.data] if options.data else []
    environment = {**os.environ, "GPU_SECONDS": str(limit)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
        rows, error = _rows(done.stdout), "" if done.returncode == 0 else _last_line(done.stderr)
    except subprocess.TimeoutExpired as stopped:
        rows, error = _rows(_text(stopped.stdout)), f"stopped after {limit:.0f} s"
    return {"seconds": round(time.perf_counter() - begun, 1), "rows": rows, "error": error}


def _rows(output: str) -> list[Row]:
    """Return the rows that a part printed, one JSON object per line, up to where it stopped."""
    rows = []
    for line in output.splitlines():
        with contextlib.suppress(ValueError):
            if line.startswith("{"):
                rows.append(json.loads(line))
    return rows


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "ended without a message"


def print_part(name: str, part: Row) -> None:
    """Print one part as a table."""
    state = part["error"] or "done"
    print(f"\n{name}: {part['seconds']:.0f} s, {state}")
    for row in part["rows"]:
        print(
            "  "
            + f"{row['what']:44s} "
            + "  ".join(_cell(*item) for item in row.items() if item[0] != "what")
        )
    sys.stdout.flush()


def _cell(name: str, value: Any) -> str:
    return f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"


def machine(device: str) -> Row:
    """Return the card, the number of CPU threads and the version of torch."""
    name = "CPU"
    if device == "cuda":
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        with contextlib.suppress(OSError):
            name = subprocess.run(asked, capture_output=True, text=True).stdout.strip() or "unknown card"
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bench.py gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--seconds", type=float, default=480.0, help="most seconds for all parts (480)")
    parser.add_argument("--parts", nargs="+", choices=list(LIMITS), default=list(LIMITS), metavar="PART")
    parser.add_argument("--data", help="folder of images to train on; synthetic images without it")
    parser.add_argument("--small", action="store_true", help="small sizes, to try the parts")
    parser.add_argument("--out", help="JSON file of the results, written after each part")
    parser.add_argument("--part", choices=list(LIMITS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        getattr(parts, options.part)(SMALL if options.small else FULL, options.device, options.data)
        return 0
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device is available; give --device cpu --small to try the parts without one")
        return 1
    begun, found = time.perf_counter(), machine(options.device)
    print(", ".join(f"{key} {value}" for key, value in found.items()))
    results: Row = {"machine": found, "parts": {}}
    for name in options.parts:
        left = options.seconds - (time.perf_counter() - begun)
        if left < LEAST:
            results["parts"][name] = {"seconds": 0.0, "rows": [], "error": "not started: no time was left"}
        else:
            results["parts"][name] = run_part(name, options, min(LIMITS[name], left))
        print_part(name, results["parts"][name])
        if options.out:
            Path(options.out).parent.mkdir(parents=True, exist_ok=True)
            Path(options.out).write_text(json.dumps(results, indent=1) + "\n")
    return 0
