"""The profile of a run: trace and table."""

import json

from mmdprior.cli.main import main
from mmdprior.training.profiling import PHASES, table


def test_profile_writes_a_trace_and_a_table(tmp_path, capsys):
    changes = ["evaluation.pictures=false", "model.linear_skip=false", "data.images=400"]
    changes += ["data.batch_size=16", "model.channels=[4, 4, 4, 4]", "trainer.steps=9", "trainer.device=cpu"]
    changes += ["evaluation.final_predictors=[linear]", "evaluation.match_samples=32"]
    assert main(["train", "configs/quickstart.yaml", *changes, "--runs", str(tmp_path), "--profile"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{phase} " in out for phase in (*PHASES, "all"))
    (trace,) = tmp_path.glob("*/*/profile/trace.json")
    names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert {f"step/{phase}" for phase in PHASES} <= names


def test_profile_table_adds_up():
    text = table([("data", 1.0), ("encoder", 2.0), ("data", 1.0)], steps=2)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()[1:]}
    assert rows["data"] == ["1000.000", "50.0%"]
    assert rows["all"] == ["2000.000", "100.0%"]
