"""Tiny ImageNet on a small copy of its folder layout."""

import pytest
import torch
from helpers.images import save_image

from mmdprior import InputError
from mmdprior.data import tiny_imagenet
from mmdprior.testing import check_source


def tree(root):
    top = root / "tiny-imagenet-200"
    for k, wnid in enumerate(("n02", "n01")):
        for i in range(3):
            save_image(top / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 10 * k + i, (64, 64))
    lines = []
    for i, wnid in enumerate(("n01", "n02", "n01", "n02")):
        save_image(top / "val" / "images" / f"val_{i}.JPEG", 50 + i, (64, 64))
        lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t62\t62\n")
    (top / "val" / "val_annotations.txt").write_text("".join(lines))
    (top / "wnids.txt").write_text("n02\nn01\n")
    return top


def test_reads_the_original_folder_layout(tmp_path):
    top = tree(tmp_path)
    for root in (tmp_path, top):
        source = tiny_imagenet(str(root), download=False)
        assert len(source.train) == 6
        assert source.train.gather(torch.arange(6))[1].flatten().tolist() == [0, 0, 0, 1, 1, 1]
        images, labels = source.test.gather(torch.arange(4))
        assert images.shape == (4, 3, 64, 64)
        assert labels.flatten().tolist() == [0, 1, 0, 1]
        check_source(source)


def test_downloads_a_missing_folder_with_its_checksum(tmp_path, monkeypatch):
    download = {}

    def fake(url, root, md5):
        download.update(url=url, md5=md5)
        tree(tmp_path)

    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", fake)
    assert len(tiny_imagenet(str(tmp_path)).train) == 6
    assert download["url"].endswith("tiny-imagenet-200.zip")
    assert len(download["md5"]) == 32


def test_rejects_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"wnids\.txt"):
        tiny_imagenet(str(tmp_path), download=False)
