"""Image folders: splits, classes, what is left out, copies and links."""

import os
import shutil
import warnings

import numpy as np
import pytest
import torch
from helpers.images import save_image
from PIL import Image

from mmdprior import InputError
from mmdprior.data import image_folder, make_splits
from mmdprior.data.source import load_into_memory
from mmdprior.errors import InputWarning
from mmdprior.testing import check_source


def tree(root, *paths):
    """Write one image per path, each with other pixels."""
    for seed, path in enumerate(paths):
        save_image(root / path, seed)
    return root


def names(images):
    return ["/".join(file.parts[-3:]) for file in images.files]


def opened(root, **settings):
    return image_folder(str(root), **{"size": 8, **settings})


class TestClean:
    """Folders in which nothing is unusual are read as by earlier versions: same order, labels and pixels."""

    def test_train_and_test_folders_with_classes(self, tmp_path):
        for split in ("train", "test"):
            for i, name in enumerate(("ant", "bee")):
                for j in range(3):
                    expected = save_image(tmp_path / split / name / f"{j}.png", 10 * i + j + 99 * len(split))
        source = opened(tmp_path)
        images, labels = source.test.gather(torch.arange(6))
        assert images.shape == (6, 3, 8, 8)
        assert labels.tolist() == [[0]] * 3 + [[1]] * 3
        assert source.train.label_names == ("class",)
        np.testing.assert_array_equal(images[5].permute(1, 2, 0), expected)
        assert source.summary == f"{tmp_path}: 6 training, 6 test images in 2 classes"
        check_source(source)

    @pytest.mark.parametrize(
        "paths",
        [
            ("b/10.png", "b/9.png", "a-b/x.png", "a/b/x.png", "a/B.png"),
            ("10.png", "9.png", "A.JPG", "a.jpg", "a/0.png", "é.png", "_.png"),
        ],
    )
    def test_files_are_in_the_order_of_their_paths(self, tmp_path, paths):
        tree(tmp_path, *paths)
        expected = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        assert opened(tmp_path).train.files == expected

    def test_images_of_any_depth_size_and_mode(self, tmp_path):
        save_image(tmp_path / "a" / "b" / "wide.png", 0, size=(40, 20))
        save_image(tmp_path / "grey.bmp", 1, size=(9, 30), mode="L")
        source = opened(tmp_path, size=16, channels=1)
        assert source.test is None
        images, labels = source.train.gather(torch.arange(2))
        assert images.shape == (2, 1, 16, 16)
        assert labels.shape == (2, 0)

    def test_the_centre_is_cropped_before_resizing(self, tmp_path):
        pixels = np.zeros((20, 40, 3), np.uint8)
        pixels[8:12, 18:22] = 200
        Image.fromarray(pixels).save(tmp_path / "x.png")
        images, _ = opened(tmp_path, size=4, crop=4).train.gather(torch.tensor([0]))
        assert (images == 200).all()


class TestSplits:
    @pytest.mark.parametrize(
        ("train", "test"), [("Train", "Test"), ("training", "testing"), ("TRAIN", "val"), ("train", "Dev")]
    )
    def test_names_of_the_folders(self, tmp_path, train, test):
        source = opened(tree(tmp_path, f"{train}/a/0.png", f"{train}/b/1.png", f"{test}/b/2.png"))
        assert (len(source.train), len(source.test), source.validation) == (2, 1, None)
        assert source.test.labels.tolist() == [[1]]
        assert (f"{test} is the test split" in source.summary) == (test.lower() in ("val", "dev"))

    @pytest.mark.parametrize("name", ["val", "valid", "Validation", "dev"])
    def test_a_validation_folder_is_the_validation_split(self, tmp_path, name):
        source = opened(tree(tmp_path, *(f"{s}/a/{i}.png" for s in ("train", name, "test") for i in "0123")))
        splits = make_splits(source)
        assert names(splits.validation) == [f"{name}/a/{i}.png" for i in range(4)]
        assert (len(splits.train), len(splits.test)) == (4, 4)
        check_source(source)

    def test_two_folders_of_one_split_are_refused(self, tmp_path):
        with pytest.raises(InputError, match="val and valid in .* are both the validation split"):
            opened(tree(tmp_path, "train/0.png", "val/1.png", "valid/2.png"))

    def test_only_a_train_folder(self, tmp_path):
        source = opened(tree(tmp_path, "train/a/0.png", "train/b/1.png"))
        assert source.train.labels.tolist() == [[0], [1]]
        assert source.test is None

    def test_a_class_may_be_called_train(self, tmp_path):
        source = opened(tree(tmp_path, "bus/0.png", "car/1.png", "train/2.png"))
        assert (len(source.train), source.test) == (3, None)
        assert source.train.labels.flatten().tolist() == [0, 1, 2]

    def test_test_folders_without_train_are_one_set(self, tmp_path):
        with pytest.warns(InputWarning, match="holds dev and test but no train"):
            source = opened(tree(tmp_path, "dev/a.png", "test/b.png"))
        assert (len(source.train), source.test) == (2, None)

    @pytest.mark.parametrize(
        "paths",
        [
            ("photos/train/a/0.png", "photos/test/a/1.png"),
            ("images/train/0.png", "images/val/1.png"),
            ("x/y/Training/a/0.png", "x/y/Testing/a/1.png"),
        ],
    )
    def test_splits_inside_the_only_folder_are_used(self, tmp_path, paths):
        (tmp_path / "labels").mkdir()
        (tmp_path / "labels" / "0.txt").write_text("0")
        source = opened(tree(tmp_path, *paths))
        assert (len(source.train), len(source.test)) == (1, 1)

    def test_splits_inside_classes_are_reported(self, tmp_path):
        paths = [f"{name}/{split}/x.png" for name in ("bottle", "cable") for split in ("train", "test")]
        with pytest.warns(InputWarning, match=r"2 folders such as .*bottle hold train and test"):
            assert len(opened(tree(tmp_path, *paths)).train) == 4

    def test_a_split_without_images_is_refused(self, tmp_path):
        (tmp_path / "test").mkdir()
        (tmp_path / "test" / "x.txt").write_text("x")
        with pytest.raises(InputError, match=r"test holds no images .*; left out: 1 \.txt"):
            opened(tree(tmp_path, "train/a/0.png"))


class TestClasses:
    def test_one_stray_image_does_not_remove_the_labels(self, tmp_path):
        paths = [f"{name}/{i}.png" for name in "ab" for i in range(6)]
        source = opened(tree(tmp_path, *paths, "cover.png"))
        assert source.train.labels.flatten().tolist() == [0] * 6 + [1] * 6
        assert "left out: 1 in no class folder (cover.png)" in source.summary

    def test_many_strays_are_reported(self, tmp_path):
        with pytest.warns(InputWarning, match="2 of 6 images of .* are in no class folder and left out"):
            source = opened(tree(tmp_path, "a/0.png", "a/1.png", "b/2.png", "b/3.png", "4.png", "5.png"))
        assert len(source.train) == 4

    def test_a_majority_of_strays_has_no_labels(self, tmp_path):
        source = opened(tree(tmp_path, "a/0.png", "1.png", "2.png"))
        assert (len(source.train), source.train.label_names) == (3, ())
        assert "no labels, because 2 images" in source.summary

    def test_classes_are_numbered_over_all_splits_and_empty_folders_are_none(self, tmp_path):
        (tmp_path / "train" / "aa_empty").mkdir(parents=True)
        source = opened(tree(tmp_path, "train/c/0.png", "test/b/1.png", "test/c/2.png"))
        assert source.train.labels.tolist() == [[1]]
        assert source.test.labels.tolist() == [[0], [1]]
        flat = opened(tree(tmp_path / "flat", "train/c/3.png", "test/4.png"))
        assert (flat.train.label_names, flat.test.label_names) == (("class",), ())


class TestLeftOut:
    def test_hidden_and_system_files(self, tmp_path):
        tree(tmp_path, "a/0.png", "b/1.png", "a/.ipynb_checkpoints/0.png", ".ipynb_checkpoints/x.png")
        tree(tmp_path, "a/.hidden.png", ".git/c/2.png", "@eaDir/0.png")
        for name in ("a/._0.png", "__MACOSX/b/._1.png", "b/Thumbs.db", ".DS_Store", "b/desktop.ini"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"junk")
        source = opened(tmp_path)
        assert names(source.train) == [f"{tmp_path.name}/a/0.png", f"{tmp_path.name}/b/1.png"]
        assert source.train.labels.tolist() == [[0], [1]]
        summary = "2 images in 2 classes; left out: 10 hidden (.DS_Store, ._0.png, ...)"
        assert source.summary == f"{tmp_path}: {summary}"

    def test_a_hidden_root_is_read(self, tmp_path):
        assert len(opened(tree(tmp_path / ".cache", "a/0.png", "a/1.png")).train) == 2

    def test_counts_and_reasons(self, tmp_path):
        tree(tmp_path, "train/a/0.png", "test/a/1.png", "extra/2.png", "cover.png")
        (tmp_path / "train" / "a" / "empty.png").write_bytes(b"")
        for name in ("notes.txt", "more.TXT", "x.heic", "README"):
            (tmp_path / "train" / name).write_bytes(b"x")
        assert opened(tmp_path).summary == (
            f"{tmp_path}: 1 training, 1 test images in 1 class; left out: 2 next to the folders of the "
            "splits (cover.png, extra), 1 empty (empty.png), 1 without a suffix (README), 2 .txt, 1 .heic"
        )

    @pytest.mark.parametrize(
        "suffix", ["jfif", "jpe", "pgm", "ppm", "jp2", "webp", "tif", "gif", "BMP", "avif"]
    )
    def test_suffixes_that_are_read(self, tmp_path, suffix):
        save_image(tmp_path / "x.png", 0)
        made = {"jfif": "jpeg", "jpe": "jpeg", "jp2": "jpeg2000", "pgm": "ppm", "tif": "tiff"}
        with Image.open(tmp_path / "x.png") as image:
            grey = image.convert("L")
        try:
            grey.save(tmp_path / f"y.{suffix}", made.get(suffix, suffix.lower()))
        except (KeyError, OSError):
            pytest.skip(f"this Pillow does not write {suffix}")
        assert len(load_into_memory(opened(tmp_path).train)) == 2


class TestLinks:
    def test_a_cycle_is_read_once(self, tmp_path):
        tree(tmp_path, "a/0.png", "b/1.png")
        (tmp_path / "a" / "up").symlink_to("..")
        (tmp_path / "a" / "again").symlink_to("../b")
        (tmp_path / "b" / "copy.png").symlink_to("../a/0.png")
        (tmp_path / "self").symlink_to("self")
        source = opened(tmp_path)
        assert names(source.train) == [f"{tmp_path.name}/a/0.png", f"{tmp_path.name}/b/1.png"]
        assert source.train.labels.tolist() == [[0], [1]]
        assert "3 read already (again, copy.png, ...)" in source.summary
        assert "1 broken (self)" in source.summary

    def test_links_to_other_places_are_followed_once(self, tmp_path):
        store = tree(tmp_path / "store", "s/0.png", "s/1.png", "t/2.png")
        root = tree(tmp_path / "root", "a/3.png")
        (root / "b").symlink_to(store / "s")
        (root / "c").symlink_to(store / "s")
        (root / "a" / "4.png").symlink_to(store / "t" / "2.png")
        (root / "a" / "5.png").symlink_to(store / "t" / "2.png")
        (store / "s" / "back").symlink_to(root)
        source = opened(root)
        assert [file.name for file in source.train.files] == ["3.png", "4.png", "0.png", "1.png"]
        assert source.train.labels.flatten().tolist() == [0, 0, 1, 1]

    def test_splits_may_be_links_but_not_to_one_folder(self, tmp_path):
        store = tree(tmp_path / "store", "a/0.png", "b/1.png")
        root = tmp_path / "root"
        root.mkdir()
        (root / "train").symlink_to(store / "a")
        (root / "test").symlink_to(store / "b")
        assert len(opened(root).test) == 1
        (root / "test").unlink()
        (root / "test").symlink_to("train")
        with pytest.raises(InputError, match=r"test holds no images .*; left out: 1 read already \(test\)"):
            opened(root)

    def test_folders_around_the_root_are_not_entered(self, tmp_path):
        tree(tmp_path, "private/0.png", "root/a/1.png")
        (tmp_path / "root" / "a" / "out").symlink_to(tmp_path)
        assert len(opened(tmp_path / "root").train) == 1


class TestCopies:
    def test_copies_across_splits_are_reported(self, tmp_path):
        tree(tmp_path, "train/a/0.png", "train/b/1.png", "test/a/2.png", "val/a/3.png")
        shutil.copy(tmp_path / "train" / "a" / "0.png", tmp_path / "test" / "a" / "other.png")
        shutil.copy(tmp_path / "train" / "b" / "1.png", tmp_path / "val" / "a" / "other.png")
        with pytest.warns(InputWarning) as caught:
            opened(tmp_path)
        texts = [str(warning.message) for warning in caught]
        assert len(texts) == 2
        assert any("test images that are copies of train images: 1, such as" in text for text in texts)
        assert any("validation images that are copies of train images: 1" in text for text in texts)

    def test_copies_in_a_folder_that_is_split_at_random_are_reported(self, tmp_path):
        tree(tmp_path, "a/0.png", "b/1.png")
        shutil.copy(tmp_path / "a" / "0.png", tmp_path / "b" / "2.png")
        os.link(tmp_path / "a" / "0.png", tmp_path / "b" / "3.png")
        with pytest.warns(InputWarning, match="copies of others: 2, such as"):
            opened(tmp_path)

    def test_files_of_equal_size_or_start_are_no_copies(self, tmp_path):
        for split, last in (("train", 1), ("test", 2)):
            pixels = np.zeros((64, 64), np.uint8)
            pixels[-1, -1] = 100 * last
            (tmp_path / split).mkdir()
            Image.fromarray(pixels).save(tmp_path / split / "x.bmp")
        with warnings.catch_warnings():
            warnings.simplefilter("error", InputWarning)
            opened(tmp_path)

    def test_of_many_files_a_part_is_compared(self, tmp_path, monkeypatch):
        monkeypatch.setattr("mmdprior.data.copies._MAX_COMPARED", 4)
        for i in range(10):
            for split in ("train", "test"):
                save_image(tmp_path / split / f"{i}.bmp", i, size=(4, 4 + i))
        with pytest.warns(InputWarning, match=r"copies of train images: [1-9],") as caught:
            opened(tmp_path)
        assert len(caught) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": "32"}, "size: '32' received; give an integer"),
        ({"size": 0}, "size: 0 received"),
        ({"size": 2.5}, "size: 2.5 received"),
        ({"size": True}, "size: True received"),
        ({"crop": -1}, "crop: -1 received"),
        ({"channels": 2}, "channels: 2 received; give 3 for RGB or 1 for grey"),
        ({"value_range": [1]}, "value_range"),
    ],
)
def test_rejects_arguments(tmp_path, settings, message):
    tree(tmp_path, "0.png")
    with pytest.raises(Exception, match=f"{message}|Type-check|violates type hint"):
        opened(tmp_path, **settings)


class TestFloats:
    """TIFF files of 32 bits."""

    def write(self, folder, count=12, **changed):
        for i in range(count):
            pixels = np.random.default_rng(i).random((8, 8)).astype(np.float32)
            pixels[2, 2] = changed.get(f"f{i}", 0.5)
            Image.fromarray(pixels).save(folder / f"f{i:03}.tif")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_the_first_file_with_nan_or_infinity_is_named(self, tmp_path, value):
        self.write(tmp_path, f7=value, f9=np.nan, f10=1e9)
        with pytest.raises(
            InputError, match=r"^root: .*f007\.tif: NaN or infinity received; remove or repair"
        ):
            image_folder(str(tmp_path), size=8)

    def test_the_file_of_an_outlier_is_named(self, tmp_path):
        self.write(tmp_path, f3=300.0, f5=5.0)
        with pytest.raises(
            InputError,
            match=r"^root: float32 values from .* to 300 received; .*; the largest is in .*f003\.tif$",
        ):
            image_folder(str(tmp_path), size=8)

    def test_a_file_outside_the_sample_is_named_when_it_is_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr("mmdprior.data.probe._FILES", 4)
        self.write(tmp_path, f7=np.nan)
        train = image_folder(str(tmp_path), size=8).train
        with pytest.raises(
            InputError, match=r"f007\.tif: NaN or infinity received; remove or repair the image"
        ):
            train.gather(torch.arange(12))


def test_rejects_an_empty_or_missing_folder_and_a_broken_file(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        opened(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        opened(tmp_path / "nowhere")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"broken\.png: not a readable image"):
        load_into_memory(opened(tmp_path).train)
