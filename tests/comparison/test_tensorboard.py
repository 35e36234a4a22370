"""A comparison as TensorBoard runs."""

import numpy as np
import pytest
from helpers.run_directories import write_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmdprior import InputError
from mmdprior.comparison import read_runs, write_tensorboard
from mmdprior.comparison.tensorboard import mean_curve


def test_runs_have_overlays_and_means_over_seeds(runs, tmp_path):
    folder = write_tensorboard(read_runs([runs]), tmp_path / "tb")
    both = EventAccumulator(str(folder / "comparison"), size_guidance={"images": 0}).Reload()
    assert "overlays/frontier" in both.Tags()["images"]
    assert "custom_scalars__config__" in both.Tags()["tensors"]
    own = EventAccumulator(str(folder / "vae")).Reload()
    assert [event.value for event in own.Scalars("loss/total")] == pytest.approx([1 / 50, 1 / 100])
    assert own.Scalars("test/reconstruction/psnr")[0].value == pytest.approx(20.2)
    again = write_tensorboard(read_runs([runs]), folder)
    assert len(list((again / "vae").iterdir())) == 1


def test_groups_with_similar_names_get_separate_folders(tmp_path):
    for name in ("a b", "a?b", "comparison"):
        write_run(tmp_path / "runs" / name, name=f"set/{name}")
    folder = write_tensorboard(read_runs([tmp_path / "runs"]), tmp_path / "tb")
    events = {path.name: len(list(path.iterdir())) for path in folder.iterdir() if path.is_dir()}
    assert events == {"comparison": 1, "a_b": 1, "a_b_2": 1, "comparison_2": 1}


def test_other_files_are_never_overwritten(runs):
    with pytest.raises(InputError, match="contains other files"):
        write_tensorboard(read_runs([runs]), runs)


def test_mean_is_over_common_steps():
    first = (np.array([1, 2, 3]), np.array([1.0, np.nan, 3.0]))
    steps, values = mean_curve([first, (np.array([2, 3, 4]), np.array([5.0, 5.0, 5.0]))])
    assert (steps.tolist(), values.tolist()) == ([3], [4.0])
    assert len(mean_curve([])[0]) == 0
