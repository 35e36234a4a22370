"""The labelled part of a training set."""

import pytest
import torch

from mmdprior import InputError
from mmdprior.data import InMemory, Subset, labelled_subset
from mmdprior.data.labelled import labelled_rows, labels_of


def classes(*counts):
    return torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])[:, None]


@pytest.mark.parametrize(("counts", "count"), [((50, 30, 20), 10), ((500, 300, 200), 100), ((7, 90, 3), 50)])
def test_stratified_rows_have_the_shares_of_the_classes(counts, count):
    labels = classes(*counts)[torch.randperm(sum(counts))]
    rows = labelled_rows(labels, count)
    chosen = labels[rows, 0].bincount(minlength=3).double()
    expected = torch.tensor(counts, dtype=torch.float64) * count / sum(counts)
    assert len(rows.unique()) == count
    assert ((chosen - expected).abs() <= 1).all()


def test_rows_follow_the_seed_and_skip_rows_without_labels():
    labels = classes(50, 50)
    labels[::2] = -1
    assert (labelled_rows(labels, 20) % 2 == 1).all()
    assert torch.equal(labelled_rows(labels, 20), labelled_rows(labels, 20))
    assert not torch.equal(labelled_rows(labels, 20), labelled_rows(labels, 20, seed=1))
    assert len(labelled_rows(labels, None)) == 50
    floats = torch.tensor([[torch.nan, torch.nan], [0.5, torch.nan], [0.1, -1.0]])
    assert labelled_rows(floats, 2, stratify=False).tolist() == [1, 2]


def test_subset_of_a_split_has_the_labels_of_its_images():
    images = InMemory(
        torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1), torch.arange(60)[:, None], ("i",)
    )
    split = Subset(images, torch.arange(10, 50))
    few = labelled_subset(split, fraction=0.25, seed=3)
    assert len(few) == 10
    pixels, labels = few.gather(torch.arange(10))
    assert torch.equal(pixels.flatten().long(), labels[:, 0])
    assert torch.equal(labels_of(few), labels)


def test_mistakes():
    images = InMemory(torch.rand(10, 1, 2, 2), classes(4, 6), ("class",))
    with pytest.raises(InputError, match=r"count: 11 received; 10 training images have labels"):
        labelled_subset(images, 11)
    with pytest.raises(InputError, match="count and fraction received"):
        labelled_subset(images, 5, 0.5)
    with pytest.raises(InputError, match="the images have no labels"):
        labelled_subset(InMemory(torch.rand(10, 1, 2, 2)), 5)
