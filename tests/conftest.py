"""Settings of the test suite: shapes in signatures are checked at run time, and torch uses one thread."""

import os

# Tensors in the tests are small. More threads would mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Otherwise every subprocess of a test compiles the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import signal

import torch
from helpers.shape_checks import check_annotations

check_annotations("mmdprior")

import pytest  # noqa: E402

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the processes of pytest-xdist
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(1234)
