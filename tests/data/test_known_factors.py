"""Factors of users' own data: arrays, folders of images, celeba attributes, and sets made of them."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmdprior.data import (
    Concatenated,
    InMemory,
    KnownFactors,
    Subset,
    arrays,
    image_folder,
    make_splits,
    sprites,
)
from mmdprior.data.source import load_into_memory
from mmdprior.data.torchvision_sets import _TorchvisionImages
from mmdprior.errors import InputError
from mmdprior.evaluation import Codes, FactorScores
from mmdprior.latent import Latent
from mmdprior.testing import check_source

N = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with images as arrays and files, and their factors."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (N, 8, 8), dtype=np.uint8)
    factors = rng.integers(0, 3, (N, 2))
    names = np.array(["hue", "size"])
    np.savez(folder / "all.npz", images=images, labels=factors[:, :1], mine=factors, factor_names=names)
    np.savez(folder / "test.npz", images=images[:10], mine=factors[:10], factor_names=names)
    np.savez(folder / "plain.npz", images=images, factors=factors)
    np.save(folder / "images.npy", images)
    np.save(folder / "both.npy", np.concatenate([factors, factors[:10]]))
    with (folder / "text.csv").open("w", newline="") as file:
        rows = [[h, ("small", "", "large")[s]] for h, s in factors]
        csv.writer(file).writerows([["hue", "size"], *rows])
    for split, count in (("train", 20), ("test", 10)):
        for index in range(count):
            (folder / "files" / split / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
            image = images[index + 20 * (split == "test")]
            Image.fromarray(image).save(folder / "files" / split / "ab"[index % 2] / f"{index}.png")
    return folder


def factors_of(images):
    """Return the labels that are factors by name."""
    labels = images.gather(torch.arange(len(images)))[1]
    return {
        name: column.tolist() for name, column in images.factors.columns(labels, images.label_names).items()
    }


class TestArrays:
    def test_a_key_names_factors_with_their_names(self, folder):
        source = arrays(str(folder / "all.npz"), str(folder / "test.npz"), factors="mine")
        stored = np.load(folder / "all.npz")["mine"]
        assert factors_of(source.train) == {"hue": stored[:, 0].tolist(), "size": stored[:, 1].tolist()}
        assert factors_of(source.test)["size"] == stored[:10, 1].tolist()
        assert source.train.factors == source.test.factors == KnownFactors({"hue": None, "size": None})
        check_source(arrays(str(folder / "all.npz"), factors="mine"))

    def test_factors_are_known_by_their_usual_name_and_labels_are_not(self, folder):
        assert list(factors_of(arrays(str(folder / "plain.npz")).train)) == ["factors_0", "factors_1"]
        assert arrays(str(folder / "all.npz")).train.factors is None
        assert arrays(str(folder / "images.npy")).train.factors is None

    def test_another_file_has_the_rows_of_both_files(self, folder):
        path = str(folder / "both.npy")
        source = arrays(str(folder / "images.npy"), str(folder / "test.npz"), factors=path)
        stored = np.load(path)
        assert factors_of(source.train)["factor_1"] == stored[:N, 1].tolist()
        assert factors_of(source.test)["factor_1"] == stored[N:, 1].tolist()

    def test_text_is_discrete_and_empty_cells_are_missing(self, folder):
        train = arrays(str(folder / "images.npy"), factors=str(folder / "text.csv")).train
        sizes = np.load(folder / "all.npz")["mine"][:, 1]
        # Alphabetical order: large 0, small 1.
        np.testing.assert_array_equal(factors_of(train)["size"], np.array([1, np.nan, 0])[sizes])
        assert train.factors.kinds == {"hue": None, "size": "discrete"}
        check_source(arrays(str(folder / "images.npy"), factors=str(folder / "text.csv")))

    @pytest.mark.parametrize(
        ("factors", "message"),
        [
            ("both.npy", r"\[40\] rows for \[30\] samples; give one row per sample"),
            ("text.csv:hues", "no column 'hues'"),
            ("missing.csv", "there is no file"),
            ("all.npz:images", "give numbers"),
        ],
    )
    def test_a_wrong_table_is_one_line(self, folder, factors, message):
        with pytest.raises(InputError, match=f"^factors: .*{message}"):
            arrays(str(folder / "images.npy"), factors=str(folder / factors))


class TestImageFolder:
    def write(self, folder, rows, name="factors.csv"):
        with (folder / "files" / name).open("w", newline="") as file:
            csv.writer(file).writerows([["size", "File", "shape"], *rows])
        return name

    def rows(self):
        names = [
            f"{split}/{'ab'[i % 2]}/{i}.png" for split, n in (("train", 20), ("test", 10)) for i in range(n)
        ]
        return [[i % 4 or "", name, ("disc", "square", "")[i % 3]] for i, name in enumerate(names)]

    def test_rows_in_any_order_go_to_their_files(self, folder):
        name = self.write(folder, self.rows()[::-1])
        source = image_folder(str(folder / "files"), size=8, factors=name)
        assert source.train.label_names == ("class", "size", "shape")
        assert source.train.factors.kinds == {"size": None, "shape": "discrete"}
        expected = {row[1]: (row[0] or np.nan, ("disc", "square", "").index(row[2])) for row in self.rows()}
        for images in (source.train, source.test):
            values = factors_of(images)
            for row, file in enumerate(images.files):
                size, shape = expected[file.relative_to(folder / "files").as_posix()]
                np.testing.assert_equal(values["size"][row], float(size))
                np.testing.assert_equal(values["shape"][row], float("nan") if shape == 2 else float(shape))
        check_source(source)

    def test_columns_and_short_names(self, folder):
        rows = [[i, f"{i}.png", "x"] for i in range(20)]
        name = self.write(folder, rows, "short.csv")
        train = image_folder(
            str(folder / "files" / "train"), size=8, factors=f"{folder}/files/{name}:size"
        ).train
        assert factors_of(train) == {"size": [int(file.stem) for file in train.files]}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda rows: rows[1:], "1 of 30 images have no row, such as train/a/0.png; add one"),
            (
                lambda rows: [*rows, [1, "train/a/99.png", ""]],
                "file 'train/a/99.png' in row 31 is no image of",
            ),
            (
                lambda rows: [[1, "train/a/0.jpg", ""], *rows[1:]],
                "row 1 is no image of {folder}/files; did you mean 'train/a/0.png'? Otherwise remove the row",
            ),
            (
                lambda rows: [[1, "/x/cat_picture", ""], *rows[1:]],
                "is no image of {folder}/files; remove the row",
            ),
            (lambda rows: [*rows, rows[3]], "file 'train/b/3.png' has two rows; remove one"),
            (lambda rows: [[1, "0.png", ""], *rows[1:]], "file '0.png' in row 1 is in several folders"),
        ],
    )
    def test_unknown_and_missing_files_are_one_line(self, folder, change, message):
        name = self.write(folder, change(self.rows()), "wrong.csv")
        with pytest.raises(InputError) as error:
            image_folder(str(folder / "files"), size=8, factors=name)
        assert message.replace("{folder}", str(folder)) in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "form",
        [
            lambda path: str(path),
            lambda path: str(path.parent / ".." / path.parent.name / path.name),
            lambda path: path.stem,
            lambda path: f"{path.parent.name}/{path.stem}",
            lambda path: f"{path.stem}.PNG",
            lambda path: f"{path.parent.name}/{path.stem}.Png",
            lambda path: f"./{path.parent.name}/{path.name}",
        ],
    )
    def test_other_names_of_the_same_files(self, folder, form, monkeypatch):
        top = folder / "files" / "train"
        rows = [[i, form(top / "ab"[i % 2] / f"{i}.png"), "x"] for i in range(20)]
        name = self.write(folder, rows, "other.csv")
        train = image_folder(str(top), size=8, factors=f"{folder}/files/{name}:size").train
        assert factors_of(train) == {"size": [int(file.stem) for file in train.files]}
        monkeypatch.chdir(top.parent)
        train = image_folder("train", size=8, factors=f"{folder}/files/{name}:size").train
        assert factors_of(train) == {"size": [int(file.stem) for file in train.files]}

    def test_the_suffix_decides_between_two_files(self, tmp_path):
        for i, name in enumerate(("a.png", "a.bmp", "b.png")):
            Image.fromarray(np.eye(8, dtype=np.uint8) * (255 - i)).save(tmp_path / name)
        table = tmp_path / "f.csv"
        table.write_text("file,size\na.png,1\na.bmp,2\nb,3\n")
        assert len(image_folder(str(tmp_path), size=8, factors="f.csv").train) == 3
        table.write_text("file,size\na,1\na.bmp,2\nb,3\n")
        with pytest.raises(
            InputError, match="file 'a' in row 1 is the name of several files of .*; give its suffix"
        ):
            image_folder(str(tmp_path), size=8, factors="f.csv")

    def test_spaces_after_commas_and_tables_without_factors(self, folder):
        name = self.write(folder, self.rows())
        source = image_folder(str(folder / "files"), size=8, factors=f"{name}:size, shape")
        assert source.train.label_names == ("class", "size", "shape")
        (folder / "files" / "bare.csv").write_text("\n".join(["file", *(row[1] for row in self.rows())]))
        with pytest.raises(InputError, match="bare.csv: only column 'file' received; add one per factor"):
            image_folder(str(folder / "files"), size=8, factors="bare.csv")

    @pytest.mark.parametrize(
        ("location", "message"),
        [
            ("none.csv", "there is no such file"),
            ("factors.csv:colour", "column ['colour'] received; its factors are size, shape"),
            ("train/a/0.png", "give a .csv"),
        ],
    )
    def test_a_wrong_location_is_one_line(self, folder, location, message):
        self.write(folder, self.rows())
        with pytest.raises(InputError) as error:
            image_folder(str(folder / "files"), size=8, factors=location)
        assert message in str(error.value)


def test_parts_of_a_set_keep_its_factors():
    known = KnownFactors({"radius": "continuous"})
    images = InMemory(torch.rand(12, 1, 8, 8), torch.rand(12, 2), ("radius", "class"), factors=known)
    splits = make_splits(sprites(images=40))
    assert splits.test.factors == load_into_memory(splits.test).factors == sprites(images=40).train.factors
    for part in (Subset(images, torch.arange(3)), images.to("cpu"), Concatenated([images, images])):
        assert part.factors == known
        assert list(factors_of(part)) == ["radius"]
    other = InMemory(torch.rand(12, 1, 8, 8), torch.rand(12, 2), ("radius", "class"))
    assert Concatenated([images, other]).factors is None


def test_celeba_attributes_are_factors():
    names = [f"attribute_{i}" for i in range(40)]
    dataset = [(Image.new("RGB", (178, 218)), torch.arange(40) % 2)] * 3
    images = _TorchvisionImages("celeba", SimpleNamespace(attr_names=[*names, ""], __len__=len), 32)
    images.dataset = dataset
    assert set(images.factors.kinds) == set(names)
    assert factors_of(images)["attribute_1"] == [1, 1, 1]
    assert not images.factors.grid
    assert _TorchvisionImages("mnist", SimpleNamespace(), 32).factors is None


def test_infinite_values_are_refused(folder):
    rows = "\n".join(["size", *["1"] * (N - 1), "inf"])
    (folder / "infinite.csv").write_text(rows)
    with pytest.raises(InputError, match="factors: infinity in 'size'"):
        arrays(str(folder / "images.npy"), factors=str(folder / "infinite.csv"))


def test_missing_values_are_left_out_of_the_scores():
    size = torch.arange(400) % 4
    labels = torch.where(torch.arange(400) % 7 == 0, torch.nan, size.double())[:, None]
    z = torch.stack([size + 0.01 * torch.randn(400), torch.randn(400)], 1)
    codes = Codes(Latent(z, z), labels, ("size",), KnownFactors({"size": None}))
    result = FactorScores(["sap_r2"], chance=0)(codes)
    assert (result.factors[0].missing, result.factors[0].levels) == (58, 4)
    assert result.scores["sap_r2"] > 0.95
