"""Models of run directories, and what they accept."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.build import load_model
from mmdprior.build.assets import read_assets
from mmdprior.build.restore import checkpoint_file
from mmdprior.cli.main import main
from mmdprior.config.slots import check_slot
from mmdprior.errors import InputWarning

RUN = Path(__file__).parents[1] / "fixtures" / "earlier_run" / "undisturbed"
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def model():
    return load_model(RUN)


def test_a_run_directory_stands_for_its_last_checkpoint(model):
    images = torch.rand(5, *SHAPE)
    for path in (str(RUN), RUN / "checkpoints" / "last.pt"):
        assert torch.equal(load_model(path).encode(images).mean, model.encode(images).mean)
    assert checkpoint_file(RUN) == RUN / "checkpoints" / "last.pt"


def test_commands_and_priors_take_run_directories(tmp_path, monkeypatch, capsys):
    shutil.copytree(RUN.parent, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    assert main(["score", "undisturbed", "--predictor", "linear", "--limit", "32"]) == 0
    out = capsys.readouterr().out
    assert "data: 40 training, 30 validation and 90 test images of 1 x 8 x 8" in out
    assert "limit: 32 of 90 images are scored, evenly spaced" in out
    slot = check_slot("prior", {"name": "samples", "path": "undisturbed"})
    assert read_assets(slot)["undisturbed"].shape == (40, 3)


@pytest.mark.parametrize("folder", ["empty", "checkpoints"])
def test_other_folders_are_one_line(tmp_path, folder):
    (tmp_path / folder).mkdir()
    message = r"a folder without checkpoints.last\.pt; give a run directory, or a checkpoint"
    with pytest.raises(InputError, match=message):
        load_model(tmp_path)
    assert main(["score", str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.rand(5, 1, 9, 9),
            r"shape \(5, 1, 9, 9\) received; give floats in \[0, 1\] of shape \(n, 1, 8, 8\)",
        ),
        (torch.rand(5, 3, 8, 8), r"shape \(5, 3, 8, 8\)"),
        (torch.rand(5, 8, 8, 1), r"shape \(5, 8, 8, 1\)"),
        (255 * torch.rand(5, 1, 8, 8), "values from .* to .* received; give floats in"),
        (torch.full((5, 1, 8, 8), torch.nan), "values from nan"),
    ],
)
def test_images_that_do_not_fit_are_one_line(model, images, message):
    with pytest.raises(InputError, match=f"images: {message}") as caught:
        model.encode(images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "images", [torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.rand(8, 8), np.zeros((5, 1, 8, 8)), [[1.0]]]
)
def test_images_of_another_type_are_one_line(model, images):
    encode = type(model).encode
    encode = getattr(encode, "__wrapped__", encode)  # without the checks of the test suite
    with pytest.raises(InputError, match="images: .* received; give floats in"):
        encode(model, images)


def test_images_slightly_outside_are_accepted_with_a_warning(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        model.encode(1.4 * torch.rand(5, *SHAPE) - 0.2)  # as unclipped reconstructions are
    with pytest.warns(InputWarning, match="values from -"):
        model.encode(2 * torch.rand(5, *SHAPE) - 1)


def test_the_check_does_not_stop_transforms(model):
    images = torch.rand(5, *SHAPE)
    gradient = torch.func.grad(lambda x: model.encode(x).mean.square().sum())(images)
    assert gradient.shape == images.shape
    codes = torch.func.vmap(lambda x: model.encode(x[None]).mean[0], randomness="same")(images)
    assert torch.allclose(codes, model.encode(images).mean, atol=1e-5)
