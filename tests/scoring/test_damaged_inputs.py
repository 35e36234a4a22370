"""Damaged checkpoints and files to score: never a traceback, a wrong number or executed code."""

from benches.faults import main


def test_damaged_checkpoints_and_inputs_are_refused_or_scored_correctly(capsys):
    status = main(["--checkpoints", "8", "--inputs", "48"])
    assert status == 0, capsys.readouterr().out
