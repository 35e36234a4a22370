"""Splits and subsets."""

import pytest
import torch
from helpers.images import numbered

from mmdprior import InputError
from mmdprior.data import Source, make_splits, thin


def test_splits_partition_the_images_and_repeat():
    splits = make_splits(Source(numbered(100)), validation=0.2, test=15, seed=1)
    rows = [part.rows.tolist() for part in (splits.train, splits.validation, splits.test)]
    assert [len(r) for r in rows] == [65, 20, 15]
    assert sorted(sum(rows, [])) == list(range(100))
    again = make_splits(Source(numbered(100)), validation=0.2, test=15, seed=1)
    assert torch.equal(again.train.rows, splits.train.rows)


def test_test_images_of_a_source_are_the_test_split():
    own = numbered(7)
    splits = make_splits(Source(numbered(50), own), validation=5, limit=30)
    assert splits.test is own
    assert len(splits.train) == 30


def test_rejects_test_images_of_another_shape():
    with pytest.raises(InputError, match="give both one shape"):
        make_splits(Source(numbered(50), numbered(50, (1, 8, 8))))


@pytest.mark.parametrize("settings", [{"validation": 0}, {"validation": 60, "test": 45}, {"limit": 99}])
def test_rejects_impossible_splits(settings):
    with pytest.raises(InputError, match="data"):
        make_splits(Source(numbered(100)), **settings)


def test_thin_takes_evenly_spaced_rows():
    assert thin(numbered(100), 4).rows.tolist() == [0, 25, 50, 75]
    assert len(thin(numbered(3), 4)) == 3
