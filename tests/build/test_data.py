"""Images named on the command line: which split of which data, and what is printed about them."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.images import save_image

from mmdprior import InputError
from mmdprior.build.data import images_from, open_splits, split_to_score
from mmdprior.config.load import make_config
from mmdprior.config.schema import DataSection

TOYS = Path(__file__).parents[1] / "helpers" / "toys.py"


def write(root, counts, size=(8, 8)):
    """Write grey images: number of images by folder."""
    for k, (folder, count) in enumerate(counts.items()):
        for i in range(count):
            save_image(root / folder / f"{i}.png", 1000 * k + i, size=size, mode="L")
    return root


def config(**data):
    return make_config(
        {
            "name": "x",
            "data": data,
            "model": {"name": "mlp", "hidden": [4], "latent_dim": 2},
            "regularizer": {"name": "mmd", "prior": "gaussian"},
            "trainer": {"steps": 1},
        }
    )


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return write(tmp_path_factory.mktemp("flat"), {"a": 20, "b": 20})


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return write(tmp_path_factory.mktemp("split"), {"train/a": 20, "val/a": 3, "test/a": 5})


@pytest.fixture
def lines(caplog):
    """Return a function that returns the lines logged since its last call."""
    caplog.set_level(logging.INFO, "mmdprior.data")

    def read():
        texts = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return texts

    return read


def section(root, more=""):
    return f"{{name: image_folder, root: {root}, size: 8, channels: 1{more}}}"


class TestEncodersTrainedElsewhere:
    @pytest.mark.parametrize(
        ("more", "name", "count", "line"),
        [
            ("", None, 40, "used: all 40 images"),
            ("", "all", 40, "used: all 40 images"),
            ("", "test", 4, "used: the test split, 4 images"),
            ("", "train", 32, "used: the training split, 32 images"),
            (", test: 10", None, 10, "used: the test split, 10 images"),
            (", validation: 6", "validation", 6, "used: the validation split, 6 images"),
        ],
    )
    def test_a_section_without_own_test_images(self, flat, lines, more, name, count, line):
        assert len(images_from(section(flat, more), name)) == count
        (text,) = lines()
        assert text == f"data: {flat}: 40 images in 2 classes; {line}"

    @pytest.mark.parametrize(
        ("name", "count"), [(None, 5), ("test", 5), ("validation", 3), ("train", 20), ("all", 28)]
    )
    def test_a_section_with_own_splits(self, split, name, count):
        assert len(images_from(section(split), name)) == count

    @pytest.mark.parametrize(("name", "count"), [(None, 40), ("test", 40), ("all", 40), ("validation", 40)])
    def test_folders_and_arrays_without_the_split_are_used_whole(self, tmp_path, flat, lines, name, count):
        np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8))
        for data in (flat, tmp_path / "x.npy"):
            assert len(images_from(str(data), name, (1, 8, 8))) == count
            assert "used: all 40 images" in lines()[0]

    def test_a_folder_with_splits(self, split):
        counts = [len(images_from(str(split), name, (1, 8, 8))) for name in (None, "validation", "train")]
        assert counts == [5, 3, 20]

    def test_sources_that_return_splits(self):
        data = f"{{target: '{TOYS}:own_splits'}}"
        assert [len(images_from(data, name)) for name in (None, "train", "all")] == [4, 10, 17]


class TestCheckpoints:
    def test_own_data(self, flat, lines):
        own = config(name="image_folder", root=str(flat), size=8, channels=1, test=7)
        counts = [len(split_to_score(own, None, name, (1, 8, 8))) for name in (None, "test", "train", "all")]
        assert counts == [7, 7, 29, 40]
        assert lines()[0] == (
            f"data: 29 training, 4 validation and 7 test images of 1 x 8 x 8; {flat}: 40 images in 2 classes"
        )

    def test_moved_data_keep_the_test_split(self, flat, tmp_path):
        stored = {"name": "image_folder", "root": "gone", "size": 8, "channels": 1, "test": 7}
        own = config(**stored, split_seed=3)
        here = config(**{**stored, "root": str(flat)}, split_seed=3)
        expected = split_to_score(here, None, "test", (1, 8, 8)).rows
        assert torch.equal(split_to_score(own, section(flat), None, (1, 8, 8)).rows, expected)
        assert torch.equal(split_to_score(own, str(flat), "test", (1, 8, 8), moved=True).rows, expected)
        other = split_to_score(own, str(flat), None, (1, 8, 8))
        assert len(other) == 40  # other images than those of the run

    def test_other_sections_are_split_because_they_may_hold_training_images(self, flat):
        own = config(name="sprites", images=100)
        assert len(split_to_score(own, section(flat), None, (1, 8, 8))) == 4

    def test_folders_are_read_with_the_arguments_of_the_checkpoint(self, tmp_path):
        write(tmp_path, {"a": 5}, size=(20, 20))
        own = config(name="image_folder", root="gone", size=8, channels=1, crop=8)
        images, _ = split_to_score(own, str(tmp_path), None, (1, 8, 8)).gather(torch.tensor([0]))
        stored = save_image(tmp_path / "again.png", 0, size=(20, 20), mode="L")
        np.testing.assert_array_equal(images[0, 0], stored[6:14, 6:14])

    def test_images_of_another_shape_are_one_line(self, flat):
        own = config(name="sprites", images=100)
        with pytest.raises(InputError, match=r"--data: images of shape \(1, 8, 8\) received"):
            split_to_score(own, section(flat), None, (1, 64, 64))
        with pytest.raises(InputError, match=r"data: images of shape \(1, 64, 64\) received"):
            split_to_score(own, None, None, (1, 8, 8))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("bits", "data.images: uint8 images with no value above 1"),
        ("BitsOnRead", "data: uint8 images with no value above 1"),
        ("own_splits_of_bits", "data.images: uint8 images with no value above 1"),
    ],
)
def test_bits_of_a_users_own_source_are_refused(target, message):
    settings = DataSection.model_validate({"target": f"{TOYS}:{target}"})
    with pytest.raises(InputError, match=message):
        open_splits(settings.source.at("data"), settings)
