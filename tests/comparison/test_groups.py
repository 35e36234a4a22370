"""Runs of one configuration form a group; scores are means over its seeds."""

import statistics

import pytest
from helpers.run_directories import write_run

from mmdprior.comparison import read_runs
from mmdprior.comparison.quantities import seed_statistics


def test_seed_statistics_are_mean_and_standard_deviation():
    values = [20.0, 20.4, 21.0]
    statistic = seed_statistics([*values, float("nan")])
    assert statistic.mean == pytest.approx(statistics.mean(values))
    assert statistic.sd == pytest.approx(statistics.stdev(values))
    assert seed_statistics([3.0]).text(".1f") == "3.0"
    assert seed_statistics([]).text() == ""


def test_runs_of_one_config_are_a_group(runs):
    comparison = read_runs([runs])
    assert [(group.label, group.seeds) for group in comparison.groups] == [("mmd", (0, 1)), ("vae", (0, 1))]
    assert comparison.groups[1].value("reconstruction/psnr").mean == pytest.approx(20.2)


def test_runs_named_by_their_seed_are_a_group(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / str(seed), seed=seed, name=f"set/vae/seed_{seed}")
    assert [group.label for group in read_runs([tmp_path]).groups] == ["vae"]


def test_labels_of_configs_with_one_name_have_the_settings_that_differ(tmp_path):
    for weight in (1.0, 4.0):
        write_run(tmp_path / str(weight), regularizer={"name": "kl", "weight": weight})
    assert [group.label for group in read_runs([tmp_path]).groups] == ["vae weight=1", "vae weight=4"]
