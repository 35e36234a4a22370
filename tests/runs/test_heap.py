"""Freed memory stays in the process, measured by page faults in processes of their own."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from mmdprior.config.load import make_config
from mmdprior.runs import assembly, heap
from mmdprior.runs.heap import keep_freed_memory
from mmdprior.world import World

FAULTS = """
import resource, sys
import torch
from mmdprior.runs.heap import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults = []
for _ in range(15):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    a, b = torch.ones(2**24), torch.ones(2**23)  # 64 and 32 MiB
    del a, b
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(max(faults[-5:]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is a function of glibc")
def test_memory_is_cleared_once_and_not_at_every_allocation():
    environment = {name: value for name, value in os.environ.items() if name not in heap._SETTINGS}

    def faults(mode):
        command = [sys.executable, "-c", FAULTS, mode]
        return int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)

    assert faults("keep") < 500 < 10_000 < faults("default")


def test_settings_of_the_user_are_kept(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "100000")
    assert not keep_freed_memory()


@pytest.mark.parametrize("library", [object(), None])
def test_other_c_libraries_are_left_alone(monkeypatch, library):
    for name in heap._SETTINGS:
        monkeypatch.delenv(name, raising=False)
    if library is None:
        monkeypatch.setattr(heap.os, "name", "nt")
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: library)
    assert not keep_freed_memory()


@pytest.mark.parametrize(("device", "expected"), [("cpu", 1), ("meta", 0)])
def test_runs_on_a_cpu_keep_freed_memory(monkeypatch, device, expected):
    calls = []
    monkeypatch.setattr(assembly, "choose_device", lambda name: torch.device(device))
    monkeypatch.setattr(assembly, "join", lambda device: (World(), device))
    monkeypatch.setattr(assembly, "keep_freed_memory", lambda: calls.append(1))
    monkeypatch.setattr(assembly, "_build", lambda *arguments: 1 / 0)  # nothing else is needed
    parts = {
        "data": {"name": "sprites"},
        "model": {"name": "mlp", "latent_dim": 2},
        "regularizer": {"name": "none"},
    }
    config = make_config({"name": "small", **parts, "trainer": {"steps": 1}})
    with pytest.raises(ZeroDivisionError):
        assembly.assemble(config)
    assert len(calls) == expected
