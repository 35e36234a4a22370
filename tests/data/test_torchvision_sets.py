"""Data sets of torchvision on small files in their original formats."""

import pickle
import struct

import numpy as np
import pytest
import torch
from torchvision import datasets

from mmdprior import InputError
from mmdprior.data import torchvision_set
from mmdprior.testing import check_source


def test_cifar10_files(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    batch = {"data": pixels, "labels": [3, 1, 0, 2]}
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcd")}))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", None]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", None]])
    monkeypatch.setattr(
        datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": None}
    )
    source = torchvision_set("cifar10", str(tmp_path), download=False)
    images, labels = source.train.gather(torch.arange(4))
    np.testing.assert_array_equal(images.flatten(1), pixels)
    assert labels.flatten().tolist() == [3, 1, 0, 2]
    assert len(source.test) == 4
    check_source(source.train)


def test_mnist_files_are_resized(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        header = struct.pack(">IIII", 2051, 5, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        labels = struct.pack(">II", 2049, 5) + bytes([1, 2, 3, 4, 5])
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    source = torchvision_set("mnist", str(tmp_path), download=False)
    images, labels = source.test.gather(torch.arange(5))
    assert images.shape == (5, 1, 32, 32)
    assert labels.flatten().tolist() == [1, 2, 3, 4, 5]
    check_source(source.test)


def test_rejects_missing_files(tmp_path):
    with pytest.raises(InputError, match="root: svhn not found"):
        torchvision_set("svhn", str(tmp_path), download=False)
