"""`check_source` accepts every shipped source and names what is wrong with broken ones."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmdprior import InputError
from mmdprior.data import ImageSet, InMemory, Source, Subset, arrays, image_folder, make_splits, sprites
from mmdprior.testing import check_source


def numbered(n=60):
    """Images that differ, with their row number as label."""
    generator = torch.Generator().manual_seed(n)
    images = torch.randint(0, 256, (n, 1, 4, 4), dtype=torch.uint8, generator=generator)
    return InMemory(images, torch.arange(n)[:, None], ("row",))


class TestShippedSources:
    def test_sprites(self):
        check_source(sprites(images=100))

    def test_in_memory_subsets_and_splits(self):
        check_source(numbered())
        check_source(InMemory(torch.rand(1, 3, 4, 5)))
        splits = make_splits(Source(numbered()))
        check_source(Source(splits.train, splits.test))

    def test_image_folder(self, tmp_path):
        for split in ("train", "test"):
            (tmp_path / split / "a").mkdir(parents=True)
            for i in range(5):
                noise = np.random.default_rng([i, split == "test"]).integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(noise).save(tmp_path / split / "a" / f"{i}.png")
        check_source(image_folder(str(tmp_path), size=8))

    def test_arrays(self, tmp_path):
        np.savez(tmp_path / "x.npz", images=np.random.rand(30, 6, 6), factors=np.ones((30, 2)))
        check_source(arrays(str(tmp_path / "x.npz")))


class Wrapped(ImageSet):
    """A set that behaves well until a subclass changes one thing."""

    image_shape = (1, 4, 4)
    label_names = ("row",)

    def __init__(self):
        self.parent = numbered()

    def __len__(self):
        return len(self.parent)

    def gather(self, indices):
        return self.parent.gather(indices)


class Empty(Wrapped):
    def __len__(self):
        return 0


class NoShape(Wrapped):
    image_shape = (4, 4)


class WrongShape(Wrapped):
    image_shape = (3, 4, 4)


class Float64(Wrapped):
    dtype = torch.float64


class WrongType(Wrapped):
    dtype = torch.float32


class OutOfRange(Wrapped):
    dtype = torch.float32

    def gather(self, indices):
        images, labels = self.parent.gather(indices)
        return images.float(), labels


class OneLabelTooMany(Wrapped):
    label_names = ("row", "class")


class RepeatedNames(Wrapped):
    label_names = ("row", "row")


class NameIsText(Wrapped):
    label_names = "row"


class BadLabels(Wrapped):
    def gather(self, indices):
        images, labels = self.parent.gather(indices)
        return images, labels * float("nan")


class OnlyImages(Wrapped):
    def gather(self, indices):
        return self.parent.gather(indices)[0], None


class Augmented(Wrapped):
    def gather(self, indices):
        images, labels = self.parent.gather(indices)
        return images + torch.randint(1, 99, (1,), dtype=torch.uint8), labels


class Sorted(Wrapped):
    def gather(self, indices):
        return self.parent.gather(indices.sort().values)


class Unique(Wrapped):
    def gather(self, indices):
        return self.parent.gather(torch.tensor(list(dict.fromkeys(indices.tolist()))))


class OtherItem(Wrapped):
    def __getitem__(self, index):
        images, labels = self.gather(torch.tensor([0]))
        return images[0], labels[0]


class Reversed(Wrapped):
    def chunks(self, size=1024):
        for images, labels in super().chunks(size):
            yield images.flip(0), labels.flip(0)


class Unpicklable(Wrapped):
    def __init__(self):
        super().__init__()
        self.open = lambda: None


class ForgetfulPickle(Wrapped):
    def __getstate__(self):
        return {}

    def __setstate__(self, state):
        self.parent = InMemory(torch.zeros(60, 1, 4, 4, dtype=torch.uint8), torch.zeros(60, 1))


class Raises(Wrapped):
    def gather(self, indices):
        raise KeyError("no such\nfile")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (Empty, "train: no images"),
        (NoShape, r"train: image_shape is \(4, 4\)"),
        (
            WrongShape,
            r"train: images of shape \(24, 1, 4, 4\) returned for 24 indices; return \(24, 3, 4, 4\)",
        ),
        (Float64, "train: dtype is torch.float64"),
        (WrongType, "train: images of torch.uint8 returned; dtype is torch.float32"),
        (OutOfRange, "train: images from .* to .*; scale them"),
        (OneLabelTooMany, r"train: labels of shape \(24, 1\) returned for 24 indices; return \(24, 2\)"),
        (RepeatedNames, "repeat a name"),
        (NameIsText, "label_names is 'row'"),
        (BadLabels, "labels are not finite"),
        (OnlyImages, "gather returned Tensor and NoneType"),
        (Augmented, "two calls of gather differ"),
        (Sorted, "does not return rows in the order"),
        (Unique, "does not repeat a row"),
        (OtherItem, "indexing and gather differ"),
        (Reversed, "chunks and gather differ|labels"),
        (Unpicklable, "not picklable"),
        (ForgetfulPickle, "its pickled copy returns other images"),
        (Raises, "train: KeyError raised"),
    ],
)
def test_violations_are_named_in_one_line(images, message):
    with pytest.raises(InputError, match=message) as caught:
        check_source(images())
    assert "\n" not in str(caught.value)


def test_well_behaved_subclass():
    check_source(Wrapped())


def test_threads_that_share_state(monkeypatch):
    """A set that keeps its position in an attribute, as one that shares an open file does."""

    class Positioned(Wrapped):
        def gather(self, indices):
            self.rows = []
            for index in indices.tolist():
                self.rows.append(index)
                torch.randn(2000).sort()  # lets the other threads run
            return self.parent.gather(torch.tensor(self.rows[: len(indices)]))

    monkeypatch.setattr("mmdprior.testing.sources.pickle.dumps", lambda subset: subset)
    monkeypatch.setattr("mmdprior.testing.sources.pickle.loads", lambda subset: subset)
    with pytest.raises(InputError, match="gather differs between threads|raised"):
        check_source(Positioned())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: Source(numbered(), sprites(images=10).train), "give both one shape"),
        (lambda: Source(numbered(60), numbered(60)), "60 of 60 images read are also in train"),
        (
            lambda: Source(Subset(IMAGES, torch.arange(50)), Subset(IMAGES, torch.arange(45, 60))),
            "test: 5 rows are also in train",
        ),
    ],
)
def test_bad_sources(source, message):
    with pytest.raises(InputError, match=message):
        check_source(source())


IMAGES = numbered(60)


def test_the_same_set_twice():
    with pytest.raises(InputError, match="the same object as train"):
        check_source(Source(IMAGES, IMAGES))


def test_other_objects():
    with pytest.raises(Exception, match="source: list received|Type-check|violates type hint"):
        check_source([1, 2])
