"""Splits, subsets and concatenations."""

import pytest
import torch
from helpers.images import numbered

from mmdprior import InputError
from mmdprior.data import Concatenated, InMemory, Source, make_splits, sprites, thin
from mmdprior.testing import check_source


def test_splits_partition_the_images_and_repeat():
    splits = make_splits(Source(numbered(100)), validation=0.2, test=15, seed=1)
    rows = [part.rows.tolist() for part in (splits.train, splits.validation, splits.test)]
    assert [len(r) for r in rows] == [65, 20, 15]
    assert sorted(sum(rows, [])) == list(range(100))
    again = make_splits(Source(numbered(100)), validation=0.2, test=15, seed=1)
    assert torch.equal(again.train.rows, splits.train.rows)


def test_the_splits_of_a_seed_never_change():
    """Runs of earlier versions resume on the same images."""
    splits = make_splits(Source(numbered(20)), validation=3, test=3, seed=0)
    assert splits.validation.rows.tolist() == [1, 4, 7]
    assert splits.test.rows.tolist() == [0, 13, 15]


def test_own_splits_of_a_source_are_kept():
    own = numbered(7)
    splits = make_splits(Source(numbered(50), own), validation=5, limit=30)
    assert splits.test is own
    assert len(splits.train) == 30
    other = numbered(9)
    splits = make_splits(Source(numbered(50), own, other, summary="read"), validation=0, test=0)
    assert (splits.test, splits.validation, splits.summary) == (own, other, "read")
    assert splits.train.rows.tolist() == list(range(50))
    splits = make_splits(Source(numbered(50), validation=other), test=10)
    assert (len(splits.train), len(splits.test)) == (40, 10)


@pytest.mark.parametrize("own", ["test", "validation"])
def test_rejects_splits_of_another_shape(own):
    with pytest.raises(InputError, match=f"{own} images of .* give both one shape"):
        make_splits(Source(numbered(50), **{own: numbered(50, (1, 8, 8))}))


@pytest.mark.parametrize(
    "settings", [{"validation": 0}, {"validation": 60, "test": 45}, {"limit": 99}, {"test": float("nan")}]
)
def test_rejects_impossible_splits(settings):
    with pytest.raises(InputError, match="data"):
        make_splits(Source(numbered(100)), **settings)


def test_thin_takes_evenly_spaced_rows():
    assert thin(numbered(100), 4).rows.tolist() == [0, 25, 50, 75]
    assert len(thin(numbered(3), 4)) == 3


class TestConcatenated:
    def test_rows_are_those_of_the_parts_in_order(self):
        parts = [sprites(images=n, seed=n).train for n in (5, 1, 7)]
        both = Concatenated(parts)
        check_source(both)
        rows = torch.tensor([12, 0, 5, 6, 5, 4])
        images, labels = both.gather(rows)
        chunks = [part.gather(torch.arange(len(part))) for part in parts]
        assert torch.equal(images, torch.cat([chunk[0] for chunk in chunks])[rows])
        assert torch.equal(labels, torch.cat([chunk[1] for chunk in chunks])[rows])

    def test_parts_of_other_types_and_labels(self):
        floats = InMemory(torch.rand(3, 1, 4, 4), torch.arange(3)[:, None], ("class",))
        both = Concatenated([numbered(4), floats])
        assert (both.dtype, both.label_names) == (torch.float32, ())
        images, labels = both.gather(torch.tensor([3, 4]))
        assert float(images[0].max()) == pytest.approx(3 / 255)
        assert labels.shape == (2, 0)

    def test_parts_of_other_shapes_are_refused(self):
        with pytest.raises(InputError, match=r"shapes .* received; give all one shape"):
            Concatenated([numbered(4), numbered(4, (1, 8, 8))])
