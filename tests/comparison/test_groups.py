"""Runs of one configuration form a group; scores are means over its seeds."""

import os
import statistics

import pytest
from helpers.run_directories import write_run

from mmdprior.comparison import read_runs
from mmdprior.comparison.groups import separated_best
from mmdprior.comparison.quantities import seed_statistics
from mmdprior.config.load import make_config
from mmdprior.errors import InputWarning
from mmdprior.runs.directory import RunDirectory


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


def test_one_run_per_seed_counts_and_the_newest_is_used(tmp_path):
    for folder, psnr in [("old", 20.0), ("new", 21.0), ("other", 25.0)]:
        write_run(tmp_path / folder, seed=int(folder == "other"), psnr=psnr)
    os.utime(RunDirectory(tmp_path / "old").scores, (1, 1))
    with pytest.warns(InputWarning, match=f"seed 0: 2 runs; {tmp_path / 'new'} is used"):
        (group,) = read_runs([tmp_path]).groups
    assert group.seeds == (0, 1)
    assert group.numbers("reconstruction/psnr") == [21.0, 25.0]


def test_image_folders_are_compared_by_their_last_part(tmp_path):
    for number, root in enumerate(["a/cats", "b/cats/", "a/dogs"]):
        data = {"name": "image_folder", "root": root, "batch_size": 8}
        write_run(tmp_path / str(number), seed=number, data=data)
    groups = {group.label: group.seeds for group in read_runs([tmp_path]).groups}
    assert groups == {"vae root=cats": (0, 1), "vae root=dogs": (2,)}


def test_labels_of_configs_with_one_name_have_the_settings_that_differ(tmp_path):
    for weight in (1.0, 4.0):
        write_run(tmp_path / str(weight), regularizer={"name": "kl", "weight": weight})
    assert [group.label for group in read_runs([tmp_path]).groups] == ["vae weight=1", "vae weight=4"]


class TestSeparatedBest:
    def best(self, folder, better="high", **values):
        for name, seeds in values.items():
            for seed, psnr in enumerate(seeds):
                write_run(
                    folder / name / str(seed), name=name, seed=seed, psnr=psnr, regularizer={"name": name}
                )
        group = separated_best(read_runs([folder]).groups, "reconstruction/psnr", better)
        return None if group is None else group.label

    @pytest.mark.parametrize(
        ("values", "better", "best"),
        [
            ({"a": [20.0, 20.4], "b": [19.0, 19.9]}, "high", "a"),
            ({"a": [20.0, 20.4], "b": [19.0, 20.1]}, "high", None),  # the seeds overlap
            ({"a": [20.0, 20.4], "b": [19.0, 19.9]}, "low", "b"),
            ({"a": [20.0, 20.4], "b": [19.0]}, "high", None),  # one seed without an interval
            ({"a": [20.0, 20.4], "b": [20.0, 20.4]}, "high", None),
            ({"a": [20.0, 20.4]}, "high", None),
            ({"a": [20.0, 20.4], "b": [19.0, 19.9]}, None, None),
        ],
    )
    def test_seeds(self, values, better, best, tmp_path):
        assert self.best(tmp_path, better, **values) == best

    @pytest.mark.parametrize(("scores", "best"), [((0.1, 0.2), "a"), ((0.1, 0.11), None)])
    def test_intervals_of_single_seeds(self, scores, best, tmp_path):
        for name, score in zip("ab", scores, strict=True):
            write_run(tmp_path / name, name=name, lps=score, regularizer={"name": name})
        group = separated_best(read_runs([tmp_path]).groups, "lps/mlp", "low")
        assert (None if group is None else group.label) == best


def test_runs_of_an_earlier_release_join_those_of_this_one(tmp_path):
    raw = {
        "name": "x",
        "data": {"name": "sprites", "images": 400},
        "model": {"name": "mlp", "hidden": [8], "latent_dim": 3},
        "regularizer": {"name": "mmd", "prior": {"name": "gaussian"}},
        "trainer": {"steps": 1},
    }
    resolved = make_config(raw).to_dict()
    for seed, config in enumerate((raw, resolved)):
        sections = {key: value for key, value in config.items() if key not in ("name", "seed")}
        write_run(tmp_path / str(seed), seed=seed, name="x", **sections)
    (group,) = read_runs([tmp_path]).groups
    assert group.seeds == (0, 1)


@pytest.mark.parametrize(("count", "head"), [(3, "setting"), (9, "configuration")])
def test_tables_of_many_groups_have_a_row_per_group(count, head, tmp_path):
    for weight in range(count):
        write_run(
            tmp_path / str(weight), name=f"w{weight}", regularizer={"name": "kl", "weight": weight + 1.0}
        )
    table = read_runs([tmp_path]).differences()
    assert table.columns[0].text == head
    texts = {cell.text for row in table.rows for cell in row}
    assert {f"{weight + 1}" for weight in range(count)} <= texts
