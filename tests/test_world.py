"""Collective operations in two processes over Gloo, and their one-process shortcuts."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmdprior import InputError
from mmdprior.world import World


def in_two_processes(function, tmp_path):
    """Run ``function(world)`` on two ranks; an assertion that fails on either rank fails the test."""
    mp.start_processes(_run, (function, f"file://{tmp_path / 'store'}"), nprocs=2, start_method="fork")


def _run(rank, function, store):
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    try:
        function(World(rank, 2, rank))
    finally:
        dist.destroy_process_group()


def _rows_and_sums(world):
    x = torch.full((2, 3), float(world.rank))
    assert torch.equal(world.gather(x)[:, 0], torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert world.gather(torch.empty(2, 0)).shape == (4, 0)
    ragged = world.gather_ragged(torch.full((1 + world.rank,), world.rank))
    assert ragged.tolist() == [0, 1, 1]
    before = x.clone()
    assert torch.equal(world.sum(x), torch.ones(2, 3))
    assert torch.equal(x, before)
    assert world.any(world.rank == 1)
    assert not world.any(False)


def _gradients(world):
    """Each rank computes the same loss of all rows; the mean over ranks is the gradient of that loss."""
    weight = torch.tensor(2.0, requires_grad=True)
    x = torch.arange(4.0)[world.rows(4)]
    rows = world.gather((weight * x)[:, None])
    rows.square().sum().backward()
    mean = world.sum(weight.grad) / world.size
    assert mean.item() == pytest.approx(2 * 2.0 * (torch.arange(4.0) ** 2).sum().item())


def _from_main(world):
    assert world.from_main(lambda: f"made on {world.rank}") == "made on 0"

    def fail():
        raise InputError("data.root: missing")

    with pytest.raises(InputError, match="data.root: missing"):
        world.from_main(fail)


def _local_main_first(world):
    assert world.local_main_first(lambda: world.rank) == world.rank

    def fail_on_main():
        if world.rank == 0:
            raise OSError("download failed")
        return "not reached"

    expected = OSError if world.rank == 0 else InputError
    with pytest.raises(expected, match="failed"):
        world.local_main_first(fail_on_main)
    assert world.local_main_first(lambda: 1) == 1  # neither rank is left waiting


@pytest.mark.parametrize("function", [_rows_and_sums, _gradients, _from_main, _local_main_first])
def test_two_processes(function, tmp_path):
    in_two_processes(function, tmp_path)


def test_one_process_communicates_nothing():
    world, x = World(), torch.randn(3, 2)
    assert world.gather(x) is x
    assert world.gather_ragged(x) is x
    assert world.sum(x) is x
    assert world.any(True)
    assert world.from_main(lambda: 5) == world.local_main_first(lambda: 5) == 5
    assert world.main


def test_rows_partition_the_batch():
    rows = [range(12)[World(rank, 3).rows(12)] for rank in range(3)]
    assert [row for part in rows for row in part] == list(range(12))


def test_world_from_the_environment(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert World.from_environment() == World()
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert World.from_environment() == World(3, 4, 1)
