"""The parts of ``scripts/bench.py gpu`` in their CPU mode, and its answers to parts that fail."""

import argparse
import json
import sys

import pytest
from benches import gpu
from benches.device import parts
from benches.device.sizes import SMALL


@pytest.mark.parametrize("name", [name for name in gpu.LIMITS if name != "tests"])
def test_every_part_prints_rows(name, capfd):
    getattr(parts, name)(SMALL, "cpu", None)
    rows = gpu._rows(capfd.readouterr().out)
    assert rows
    assert all("error" not in row for row in rows), rows
    assert all(isinstance(row["what"], str) for row in rows)


def options(**changes):
    return argparse.Namespace(**{"device": "cpu", "small": True, "data": None, **changes})


def test_a_part_that_exceeds_its_limit_keeps_the_rows_before(monkeypatch, tmp_path):
    script = tmp_path / "slow.py"
    script.write_text('import time\nprint(\'{"what": "first"}\', flush=True)\ntime.sleep(60)\n')
    monkeypatch.setattr(sys, "argv", [str(script)])
    part = gpu.run_part("loop", options(), 5.0)
    assert part["error"] == "stopped after 5 s"
    assert part["rows"] == [{"what": "first"}]


def test_a_part_that_fails_is_reported_and_leaves_the_others(monkeypatch, tmp_path, capsys):
    script = tmp_path / "failing.py"
    script.write_text(
        "import sys\n"
        "if 'loop' in sys.argv: raise ValueError('no card')\n"
        'print(\'{"what": "row", "ms": 1.5}\')\n'
    )
    monkeypatch.setattr(sys, "argv", [str(script)])
    out = tmp_path / "gpu.json"
    assert gpu.main(["--device", "cpu", "--small", "--parts", "loop", "lps", "--out", str(out)]) == 0
    written = json.loads(out.read_text())["parts"]
    assert written["loop"]["error"] == "ValueError: no card"
    assert written["lps"]["rows"] == [{"what": "row", "ms": 1.5}]
    assert "ms 1.5" in capsys.readouterr().out


def test_no_part_starts_without_time(capsys):
    assert gpu.main(["--device", "cpu", "--small", "--seconds", "1", "--parts", "loop"]) == 0
    assert "not started: no time was left" in capsys.readouterr().out
