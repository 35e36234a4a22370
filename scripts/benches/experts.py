"""Mixtures of experts: EM against gradient descent, EM's rate, and inverted MNIST.

bench.py experts configs/experts/rates.yaml --rows rows.jsonl       # measured and predicted linear rates
bench.py experts configs/experts/inverted_mnist.yaml --data DIR --rows rows.jsonl --device cuda
bench.py experts --rows rows.jsonl --table --figure experts.png     # of the rows so far

Every finished setting is a line of the file of rows. Settings that have a row are not run again.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from benches.mixtures import inverted, rates, report, several, synthetic

EXPERIMENTS = {
    "rates": rates.run,
    "symmetric": synthetic.run,
    "several": several.run,
    "inverted_mnist": inverted.run,
}


def settings(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the settings of a file: every point of its grid, or every run, with its common values."""
    content = yaml.safe_load(path.read_text())
    common = {"experiment": content["experiment"], **content["common"]}
    if "runs" in content:
        yield from (common | each for each in content["runs"])
    else:
        grid = content["grid"]
        for values in itertools.product(*grid.values()):
            yield common | dict(zip(grid, values, strict=True))


def read_rows(path: Path | None) -> list[dict[str, Any]]:
    """Return the rows of a file; none for a missing file."""
    if path is None or not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def run_setting(setting: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one setting."""
    device = torch.device(options.device)
    begun = time.process_time(), time.perf_counter()
    result = EXPERIMENTS[setting["experiment"]]({**setting, "data": options.data}, device)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else "1 CPU thread"
    spent = {
        "cpu": round(time.process_time() - begun[0], 1),
        "wall": round(time.perf_counter() - begun[1], 1),
    }
    return {"setting": setting, "result": result, "machine": machine, "spent": spent}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench.py experts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="*", type=Path, help="files of settings, configs/experts/*.yaml")
    parser.add_argument("--rows", type=Path, help="file of rows to read, and to add to")
    parser.add_argument("--device", default="cpu", help="device of the computations (cpu)")
    parser.add_argument("--data", default=".", help="folder of mnist_train.npz and mnist_test.npz")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="values for all settings")
    parser.add_argument("--table", action="store_true", help="print tables of the rows")
    parser.add_argument("--figure", type=Path, help="file to which a figure of the rows is written")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    changed = {key: yaml.safe_load(value) for key, value in (pair.split("=", 1) for pair in options.set)}
    rows = read_rows(options.rows)
    for path in options.config:
        for setting in settings(path):
            setting |= changed
            if any(row["setting"] == setting for row in rows):
                continue
            row = run_setting(setting, options)
            rows.append(row)
            line = json.dumps(row, separators=(",", ":"))
            if options.rows is None:
                print(line, flush=True)
            else:
                print(report.title(setting), row["spent"], flush=True)
                with options.rows.open("a") as file:
                    file.write(line + "\n")
    if options.table:
        print(report.tables(rows))
    if options.figure:
        report.figure(rows, options.figure)
