"""Image folders: classes, crops, bit depths and unreadable files."""

import numpy as np
import pytest
import torch
from helpers.images import save_image
from PIL import Image

from mmdprior import InputError
from mmdprior.data import image_folder
from mmdprior.data.source import load_into_memory


def test_train_and_test_folders_with_classes(tmp_path):
    for split in ("train", "test"):
        for i, name in enumerate(("ant", "bee")):
            for j in range(3):
                expected = save_image(tmp_path / split / name / f"{j}.png", 10 * i + j)
    source = image_folder(str(tmp_path), size=8)
    images, labels = source.test.gather(torch.arange(6))
    assert images.shape == (6, 3, 8, 8)
    assert labels.tolist() == [[0]] * 3 + [[1]] * 3
    assert source.train.label_names == ("class",)
    np.testing.assert_array_equal(images[5].permute(1, 2, 0), expected)


def test_images_of_any_depth_size_and_mode(tmp_path):
    save_image(tmp_path / "a" / "b" / "wide.png", 0, size=(40, 20))
    save_image(tmp_path / "grey.bmp", 1, size=(9, 30), mode="L")
    source = image_folder(str(tmp_path), size=16, channels=1)
    assert source.test is None
    images, labels = source.train.gather(torch.arange(2))
    assert images.shape == (2, 1, 16, 16)
    assert labels.shape == (2, 0)


def test_the_centre_is_cropped_before_resizing(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[8:12, 18:22] = 200
    Image.fromarray(pixels).save(tmp_path / "x.png")
    images, _ = image_folder(str(tmp_path), size=4, crop=4).train.gather(torch.tensor([0]))
    assert (images == 200).all()


def test_sixteen_bit_images_keep_their_range(tmp_path):
    pixels = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    images, _ = image_folder(str(tmp_path), size=8, channels=1).train.gather(torch.tensor([0]))
    np.testing.assert_allclose(images[0, 0], pixels / 257, atol=0.51)


def test_rejects_an_empty_or_missing_folder_and_a_broken_file(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        image_folder(str(tmp_path), size=8)
    with pytest.raises(InputError, match="is not a folder"):
        image_folder(str(tmp_path / "nowhere"), size=8)
    (tmp_path / "broken.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"broken\.png: not a readable image"):
        load_into_memory(image_folder(str(tmp_path), size=8).train)
