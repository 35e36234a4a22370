"""Resident and streaming batches are one function of the seed."""

import pytest
import torch
from helpers.images import numbered

from mmdprior import InputError
from mmdprior.data import ResidentBatches, StreamingBatches


@pytest.mark.parametrize("make", [ResidentBatches, StreamingBatches])
def test_epochs_are_permutations_and_streams_start_at_any_step(make):
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


def test_workers_deliver_the_same_batches():
    resident = ResidentBatches(numbered(22), 5, seed=3).stream(2)
    streamed = StreamingBatches(numbered(22), 5, seed=3, workers=2).stream(2)
    for _ in range(6):
        a, b = next(resident), next(streamed)
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.indices, b.indices)


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_draws_nothing_from_the_global_generator(workers):
    before = torch.get_rng_state()
    next(StreamingBatches(numbered(22), 5, seed=3, workers=workers).stream(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_rejects_a_batch_larger_than_the_data():
    with pytest.raises(InputError, match=r"data\.batch_size: 30"):
        ResidentBatches(numbered(22), 30, seed=0)
