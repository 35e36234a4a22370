"""Run directories: new ones, and the lock."""

import os
import signal
import time

import pytest

from mmdprior import InputError
from mmdprior.runs import create_run_directory
from mmdprior.runs.directory import RunDirectory


def test_every_run_gets_a_new_directory(tmp_path):
    directories = {create_run_directory(tmp_path, "a/b") for _ in range(5)}
    assert len(directories) == 5
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        create_run_directory(tmp_path / "file", "a")


def test_a_directory_holds_a_run_once_it_has_config_and_metrics(tmp_path):
    run = RunDirectory(tmp_path)
    run.metrics.write_text("")
    assert not run.exists
    run.config.write_text("")
    assert run.exists
    assert not run.finished
    run.create().scores.write_text("{}")
    assert run.finished


def child(act, ready):
    """Return the id of a forked process that runs ``act``, writes a file and then waits to be killed."""
    process = os.fork()
    if process == 0:
        held = act()  # noqa: F841, the lock file must stay open
        ready.write_text("")
        time.sleep(60)
        os._exit(0)
    while not ready.exists():
        time.sleep(0.01)
    return process


def kill(process):
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def test_death_releases_the_lock(tmp_path):
    run = RunDirectory(tmp_path)
    process = child(run.claim, tmp_path / "ready")
    with pytest.raises(InputError, match="writes there"):
        run.claim()
    kill(process)
    run.claim().close()


def test_a_worker_that_outlives_its_run_holds_no_lock(tmp_path):
    run = RunDirectory(tmp_path)
    lock = run.claim()
    worker = child(lambda: None, tmp_path / "ready")
    lock.close()
    run.claim().close()
    kill(worker)
