"""Progress on a terminal and off one, and the evaluation before the first step."""

import json
import re
import time

import pytest
from helpers.small_runs import experiment, run_directory

from mmdprior.training.progress import Progress


class TestOffATerminal:
    @pytest.mark.parametrize(("steps", "start"), [(100, 0), (1000, 400), (50, 48)])
    def test_a_line_has_step_rate_loss_and_remaining_time(self, steps, start, capsys, monkeypatch):
        clock = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        progress = Progress(steps, start, shown=True, seconds=60.0)
        progress.update(start)
        assert capsys.readouterr().err == ""
        progress.loss(0.25)
        clock[0] = 60.0
        progress.update(start + 1)
        line = capsys.readouterr().err
        rate, rest = 1 / 60, (steps - start - 1) * 60
        assert line.startswith(f"step {start + 1}/{steps}, {rate:.3g} steps/s, loss 0.25, ")
        numbers = [int(text) for text in re.findall(r"\d+", line.split("loss 0.25, ")[1])]
        assert sum(n * 60**k for k, n in enumerate(reversed(numbers))) == rest
        clock[0] = 119.0
        progress.update(start + 2)
        assert capsys.readouterr().err == ""

    def test_the_last_step_and_hidden_progress_have_no_line(self, capsys):
        for shown, step in ((True, 10), (False, 5)):
            progress = Progress(10, 0, shown=shown, seconds=0.0)
            progress.update(step)
            progress.close()
        assert capsys.readouterr().err == ""


def test_curves_start_at_step_0_and_only_there(tmp_path):
    directory = run_directory(tmp_path)
    run = experiment(directory, trainer__steps=2, evaluation__every=2)
    run.run()
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "reconstruction/psnr" in line] == [0, 2]
