"""Stored values of black and white: those of training are used for other images of the same type."""

import numpy as np
import pytest
import torch
from helpers.small_runs import experiment, run_directory
from PIL import Image

from mmdprior import InputError
from mmdprior.build.data import images_from
from mmdprior.build.restore import open_checkpoint
from mmdprior.data import arrays
from mmdprior.data.source import to_float
from mmdprior.training import read_checkpoint

SIZE = 8
"""Pixels per side."""


def trained(folder, data):
    """Return the content of the checkpoint of one step."""
    directory = run_directory(folder)
    experiment(directory, data={"batch_size": 16, **data}, trainer__steps=1).trainer.run()
    return directory / "checkpoints" / "last.pt"


def pixels(path, data):
    """Return the images that a command reads for a checkpoint."""
    run = open_checkpoint(path, device="cpu")
    images = images_from(data, "all", (1, SIZE, SIZE), run.config)
    return to_float(images.gather(torch.arange(len(images)))[0])


@pytest.fixture(scope="module")
def stored():
    """Return images of 12 bits, the first ten of them dark enough for 10 bits."""
    images = np.random.default_rng(0).integers(0, 4096, (80, SIZE, SIZE)).astype(np.uint16)
    images[:10] //= 8
    return images


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, stored):
    folder = tmp_path_factory.mktemp("arrays")
    np.save(folder / "all.npy", stored)
    return trained(folder, {"name": "arrays", "path": str(folder / "all.npy")})


def test_dark_images_are_read_with_the_range_of_training(checkpoint, stored, tmp_path):
    dark = stored[:10]
    np.save(tmp_path / "dark.npy", dark)
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(dark):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number}.png")
    expected = torch.from_numpy(dark / 4095).float()
    for data in (
        str(tmp_path / "dark.npy"),
        f"{{name: arrays, path: {tmp_path / 'dark.npy'}}}",
        str(tmp_path / "photos"),
        f"{{name: image_folder, root: {tmp_path / 'photos'}, size: {SIZE}, channels: 1}}",
    ):
        assert torch.allclose(pixels(checkpoint, data)[:, 0], expected, atol=1 / 255)
    given = f"{{name: arrays, path: {tmp_path / 'dark.npy'}, value_range: [0, 511]}}"
    assert torch.allclose(pixels(checkpoint, given)[:, 0], torch.from_numpy(dark / 511).float(), atol=1 / 255)


def test_other_types_have_their_own_range_and_values_outside_are_refused(checkpoint, tmp_path):
    np.save(tmp_path / "other.npy", np.full((10, SIZE, SIZE), 255, np.uint8))
    assert torch.equal(pixels(checkpoint, str(tmp_path / "other.npy")), torch.ones(10, 1, SIZE, SIZE))
    np.save(tmp_path / "light.npy", np.full((10, SIZE, SIZE), 5000, np.uint16))
    with pytest.raises(InputError, match="those of the training images are from 0 to 4095; give"):
        pixels(checkpoint, str(tmp_path / "light.npy"))
    given = f"{{name: arrays, path: {tmp_path / 'light.npy'}, value_range: [0, 5000]}}"
    assert torch.equal(pixels(checkpoint, given), torch.ones(10, 1, SIZE, SIZE))


def test_masks_keep_their_range(tmp_path):
    (tmp_path / "train").mkdir()
    for number in range(40):
        image = 255 * np.random.default_rng(number).integers(0, 2, (SIZE, SIZE)).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "train" / f"{number}.png")
    data = {"name": "image_folder", "root": str(tmp_path / "train"), "size": SIZE, "channels": 1}
    path = trained(tmp_path, data)
    # Without the range of training, values up to 3 could be class labels.
    dark = np.random.default_rng(0).integers(0, 4, (10, SIZE, SIZE)).astype(np.uint8)
    np.save(tmp_path / "dark.npy", dark)
    expected = torch.from_numpy(dark[:, None] / 255).float()
    assert torch.allclose(pixels(path, str(tmp_path / "dark.npy")), expected)


def test_checkpoints_without_a_range_and_the_run_itself(checkpoint, tmp_path):
    content = read_checkpoint(checkpoint)
    assert content["value_ranges"] == {"uint16": [0.0, 4095.0]}
    assert content["config"]["data"]["value_range"] is None
    del content["value_ranges"]
    run = open_checkpoint(checkpoint, device="cpu")
    assert run.config.slots["data"].arguments["value_range"] == {"uint16": [0.0, 4095.0]}
    assert len(run.images(split="all")) == 80


def test_wrong_ranges_are_one_line(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((10, SIZE, SIZE), np.uint8))
    for value, text in [
        ({"int": [0, 1]}, "value_range: 'int' received; give one of bool"),
        ({"uint8": [3]}, "[3]"),
    ]:
        with pytest.raises(InputError) as caught:
            arrays(str(tmp_path / "x.npy"), value_range=value)
        assert text in str(caught.value)
