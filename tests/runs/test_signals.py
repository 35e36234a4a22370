"""StopSignals: the first signal asks the run to stop, the second ends the process."""

import os
import signal

import pytest

from mmdprior.runs.signals import StopSignals


def status_of(act):
    """Return the exit status of a forked process that runs ``act``; 77 for KeyboardInterrupt."""
    process = os.fork()
    if process == 0:
        try:
            os._exit(act() or 0)
        except KeyboardInterrupt:
            os._exit(77)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(number):
    lines = []
    with StopSignals(lines.append) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
    assert stop.status == 128 + number
    assert lines == [f"{number.name}: stopping after this step; a second signal stops at once"]

    def twice():
        with StopSignals():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
        return 5

    assert status_of(twice) == -number


def test_workers_ignore_ctrl_c_and_end_on_sigterm():
    lines = []
    with StopSignals(lines.append) as stop:

        def worker(number):
            os.kill(os.getpid(), number)
            return 5 if not lines and not stop() else 1

        assert status_of(lambda: worker(signal.SIGINT)) == 5
        assert status_of(lambda: worker(signal.SIGTERM)) == 143


def test_a_signal_after_the_last_step_still_ends_the_run():
    def late():
        with StopSignals():
            os.kill(os.getpid(), signal.SIGINT)
        return 5

    assert status_of(late) == 77
