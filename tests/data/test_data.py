"""Every source on small files of its own format; splits, batches and what is refused."""

import gzip
import pickle
import struct
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from mmdprior import InputError
from mmdprior.data import (
    InMemory,
    ResidentBatches,
    Source,
    StreamingBatches,
    arrays,
    image_folder,
    make_splits,
    sprites,
    thin,
    tiny_imagenet,
    torchvision_set,
)
from mmdprior.data.codes import read_codes
from mmdprior.data.source import load_into_memory
from mmdprior.data.sprites import FACTOR_SIZES, factors_of, render


def save_image(path, seed, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


class TestSprites:
    def test_factors_invert_the_grid_index(self):
        indices = torch.tensor([0, 1, 31, 32, 737_279, 123_456])
        assert np.ravel_multi_index(factors_of(indices).T.numpy(), FACTOR_SIZES).tolist() == indices.tolist()
        assert len(sprites(None).train) == 737_280

    def test_images_are_anti_aliased_deterministic_and_inside(self):
        factors = factors_of(torch.randint(737_280, (300,)))
        images = render(factors)
        assert images.shape == (300, 1, 64, 64)
        assert images.dtype == torch.uint8
        assert torch.equal(images, render(factors))
        assert (images.flatten(1).max(1).values == 255).all()
        edge = (images > 0) & (images < 255)
        assert 0 < edge.float().mean() < 0.02
        border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], -1)
        assert border.max() == 0

    @pytest.mark.parametrize("factor", range(5))
    def test_every_factor_value_changes_the_image(self, factor):
        values = torch.arange(FACTOR_SIZES[factor])
        factors = torch.tensor([2, 5, 3, 16, 16]).repeat(len(values), 1)
        factors[:, factor] = values
        flat = render(factors).flatten(1).float()
        assert torch.cdist(flat, flat).add(1e9 * torch.eye(len(values))).min() > 0

    def test_position_and_scale_mean_what_they_say(self):
        base = torch.tensor([[1, 5, 0, 0, 16], [1, 5, 0, 31, 16], [1, 0, 0, 16, 16], [1, 5, 0, 16, 16]])
        images = render(base)[:, 0].double() / 255
        columns = torch.arange(64, dtype=torch.float64)
        centres = (images.sum(1) * columns).sum(1) / images.sum((1, 2))
        assert centres[1] - centres[0] == pytest.approx(2 * 0.6 * 32, abs=0.1)
        assert images[3].sum() / images[2].sum() == pytest.approx(4, rel=0.02)

    def test_a_seeded_subset(self):
        first, again = sprites(50, seed=3).train, sprites(50, seed=3).train
        assert torch.equal(first.indices, again.indices)
        assert len(first.indices.unique()) == 50
        images, labels = first.gather(torch.tensor([4, 7]))
        assert images.shape == (2, 1, 64, 64)
        assert torch.equal(labels, factors_of(first.indices[[4, 7]]))

    @pytest.mark.parametrize("images", [0, 737_281])
    def test_refuses_numbers_off_the_grid(self, images):
        with pytest.raises(InputError, match=f"images: {images}"):
            sprites(images)


class TestImageFolder:
    def test_train_and_test_folders_with_classes(self, tmp_path):
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

    def test_any_depth_shape_and_mode(self, tmp_path):
        save_image(tmp_path / "a" / "b" / "wide.png", 0, size=(40, 20))
        save_image(tmp_path / "grey.bmp", 1, size=(9, 30), mode="L")
        source = image_folder(str(tmp_path), size=16, channels=1)
        assert source.test is None
        images, labels = source.train.gather(torch.arange(2))
        assert images.shape == (2, 1, 16, 16)
        assert labels.shape == (2, 0)

    def test_the_centre_is_cut_before_resizing(self, tmp_path):
        pixels = np.zeros((20, 40, 3), np.uint8)
        pixels[8:12, 18:22] = 200
        Image.fromarray(pixels).save(tmp_path / "x.png")
        images, _ = image_folder(str(tmp_path), size=4, crop=4).train.gather(torch.tensor([0]))
        assert (images == 200).all()

    def test_sixteen_bit_images_keep_their_range(self, tmp_path):
        pixels = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / "deep.png")
        images, _ = image_folder(str(tmp_path), size=8, channels=1).train.gather(torch.tensor([0]))
        np.testing.assert_allclose(images[0, 0], pixels / 257, atol=0.51)

    def test_an_empty_folder_a_missing_one_and_a_broken_file(self, tmp_path):
        with pytest.raises(InputError, match="holds no images"):
            image_folder(str(tmp_path), size=8)
        with pytest.raises(InputError, match="is not a folder"):
            image_folder(str(tmp_path / "nowhere"), size=8)
        (tmp_path / "broken.png").write_bytes(b"not an image")
        with pytest.raises(InputError, match=r"broken\.png: not a readable image"):
            load_into_memory(image_folder(str(tmp_path), size=8).train)


class TestTinyImageNet:
    def tree(self, root):
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

    def test_the_genuine_tree(self, tmp_path):
        top = self.tree(tmp_path)
        for root in (tmp_path, top):
            source = tiny_imagenet(str(root), download=False)
            assert len(source.train) == 6
            assert source.train.gather(torch.arange(6))[1].flatten().tolist() == [0, 0, 0, 1, 1, 1]
            images, labels = source.test.gather(torch.arange(4))
            assert images.shape == (4, 3, 64, 64)
            assert labels.flatten().tolist() == [0, 1, 0, 1]

    def test_downloads_with_checksum_when_absent(self, tmp_path, monkeypatch):
        asked = {}

        def fake(url, root, md5):
            asked.update(url=url, md5=md5)
            self.tree(tmp_path)

        monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", fake)
        assert len(tiny_imagenet(str(tmp_path)).train) == 6
        assert asked["url"].endswith("tiny-imagenet-200.zip")
        assert len(asked["md5"]) == 32

    def test_an_absent_tree(self, tmp_path):
        with pytest.raises(InputError, match=r"wnids\.txt"):
            tiny_imagenet(str(tmp_path), download=False)


class TestTorchvision:
    def test_cifar10_files(self, tmp_path, monkeypatch):
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

    def test_mnist_files_are_resized(self, tmp_path):
        raw = tmp_path / "MNIST" / "raw"
        raw.mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
        for part in ("train", "t10k"):
            header = struct.pack(">IIII", 2051, 5, 28, 28)
            (raw / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
            labels = struct.pack(">II", 2049, 5) + bytes([1, 2, 3, 4, 5])
            (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)
        images, labels = torchvision_set("mnist", str(tmp_path), download=False).test.gather(torch.arange(5))
        assert images.shape == (5, 1, 32, 32)
        assert labels.flatten().tolist() == [1, 2, 3, 4, 5]

    def test_absent_files(self, tmp_path):
        with pytest.raises(InputError, match="root: svhn not found"):
            torchvision_set("svhn", str(tmp_path), download=False)


class TestArrays:
    def test_layouts_types_and_factors(self, tmp_path):
        uint8 = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
        np.savez(tmp_path / "a.npz", images=uint8, factors=np.arange(12).reshape(6, 2))
        train = arrays(str(tmp_path / "a.npz")).train
        assert train.image_shape == (3, 8, 8)
        np.testing.assert_array_equal(train.images.permute(0, 2, 3, 1), uint8)
        assert train.labels.tolist() == np.arange(12).reshape(6, 2).tolist()
        np.save(tmp_path / "b.npy", (uint8[..., 0] / 255).astype(np.float64))
        source = arrays(str(tmp_path / "a.npz"), str(tmp_path / "b.npy"))
        assert source.test.image_shape == (1, 8, 8)
        assert source.test.dtype == torch.float32
        np.save(tmp_path / "c.npy", uint8.transpose(0, 3, 1, 2))
        assert torch.equal(arrays(str(tmp_path / "c.npy")).train.images, train.images)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (np.full((3, 4, 4), np.nan), "NaN or infinity in 3 of 3 images"),
            (np.full((3, 4, 4), 7.0), "values from 7 to 7"),
            (np.zeros((3, 4, 4), np.int64), "int64"),
            (np.zeros((3, 4)), r"shape \(3, 4"),
            (np.array([{"a": 1}], dtype=object), "not a plain"),
        ],
    )
    def test_refuses(self, tmp_path, content, message):
        np.save(tmp_path / "x.npy", content)
        with pytest.raises(InputError, match=message):
            arrays(str(tmp_path / "x.npy"))

    def test_refuses_files_that_are_no_arrays(self, tmp_path):
        with pytest.raises(InputError, match="no such file"):
            arrays(str(tmp_path / "x.npy"))
        (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 not a zip")
        with pytest.raises(InputError, match=r"x\.npz"):
            arrays(str(tmp_path / "x.npz"))
        np.savez(tmp_path / "y.npz", pictures=np.zeros((3, 4, 4)))
        with pytest.raises(InputError, match="name the images 'images'"):
            arrays(str(tmp_path / "y.npz"))

    def test_codes(self, tmp_path):
        z = np.random.default_rng(0).normal(size=(40, 3))
        np.save(tmp_path / "z.npy", z)
        np.savez(tmp_path / "z.npz", mean=z, labels=np.zeros(40))
        torch.save(torch.from_numpy(z), tmp_path / "z.pt")
        for name in ("z.npy", "z.npz", "z.pt"):
            np.testing.assert_array_equal(read_codes(str(tmp_path / name)), z)
        with gzip.open(tmp_path / "bad.pt", "wb") as file:
            file.write(b"x")
        with pytest.raises(InputError, match="not a plain tensor"):
            read_codes(str(tmp_path / "bad.pt"))
        with tarfile.open(tmp_path / "bad.npy", "w"):
            pass
        with pytest.raises(InputError, match=r"bad\.npy"):
            read_codes(str(tmp_path / "bad.npy"))


def numbered(n, shape=(1, 4, 4)):
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, *shape).contiguous()
    return InMemory(images, torch.arange(n)[:, None])


class TestSplitsAndBatches:
    def test_splits_are_disjoint_whole_and_repeatable(self):
        splits = make_splits(Source(numbered(100)), validation=0.2, test=15, seed=1)
        rows = [part.rows.tolist() for part in (splits.train, splits.validation, splits.test)]
        assert [len(r) for r in rows] == [65, 20, 15]
        assert sorted(sum(rows, [])) == list(range(100))
        again = make_splits(Source(numbered(100)), validation=0.2, test=15, seed=1)
        assert torch.equal(again.train.rows, splits.train.rows)

    def test_a_source_keeps_its_own_test_images(self):
        own = numbered(7)
        splits = make_splits(Source(numbered(50), own), validation=5, limit=30)
        assert splits.test is own
        assert len(splits.train) == 30

    def test_test_images_of_another_shape(self):
        with pytest.raises(InputError, match="give both one shape"):
            make_splits(Source(numbered(50), numbered(50, (1, 8, 8))))

    @pytest.mark.parametrize("settings", [{"validation": 0}, {"validation": 60, "test": 45}, {"limit": 99}])
    def test_impossible_splits(self, settings):
        with pytest.raises(InputError, match="data"):
            make_splits(Source(numbered(100)), **settings)

    @pytest.mark.parametrize("make", [ResidentBatches, StreamingBatches])
    def test_epochs_are_permutations_and_any_step_can_be_entered(self, make):
        batches = make(numbered(22), 5, seed=3)
        assert batches.steps_per_epoch == 4
        stream = batches.stream()
        first = [next(stream) for _ in range(11)]
        epoch = torch.cat([b.indices for b in first[:4]])
        assert len(epoch.unique()) == 20
        assert not torch.equal(torch.cat([b.indices for b in first[4:8]]), epoch)
        for batch in first:
            assert torch.equal((batch.images[:, 0, 0, 0] * 255).round().long(), batch.indices)
            assert torch.equal(batch.labels[:, 0], batch.indices)
        entered = batches.stream(9)
        assert torch.equal(next(entered).images, first[9].images)
        assert torch.equal(next(entered).images, first[10].images)

    def test_workers_deliver_the_same_batches(self):
        resident = ResidentBatches(numbered(22), 5, seed=3).stream(2)
        streamed = StreamingBatches(numbered(22), 5, seed=3, workers=2).stream(2)
        for _ in range(6):
            a, b = next(resident), next(streamed)
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.indices, b.indices)

    def test_batch_larger_than_the_data(self):
        with pytest.raises(InputError, match=r"data\.batch_size: 30"):
            ResidentBatches(numbered(22), 30, seed=0)

    def test_thinning_is_even(self):
        assert thin(numbered(100), 4).rows.tolist() == [0, 25, 50, 75]
        assert len(thin(numbered(3), 4)) == 3
