"""Run directories that the tests of the comparison share."""

import pytest
from helpers.run_directories import write_two_groups


@pytest.fixture
def runs(tmp_path):
    """Two configurations with two seeds each, which the test may change."""
    return write_two_groups(tmp_path / "runs")


@pytest.fixture(scope="session")
def shared_runs(tmp_path_factory):
    """The same runs, only to read."""
    return write_two_groups(tmp_path_factory.mktemp("shared") / "runs")
