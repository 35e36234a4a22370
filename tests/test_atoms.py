"""Atoms and cells of columns: where they are found, and where not."""

import numpy as np
import pytest
import torch

from mmdprior.atoms import Cells, find_atoms


def draws(seed=0, n=4800):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator=generator), torch.rand(n, generator=generator)


def atoms_of(column, cells=16):
    return find_atoms(column[None, :, None], cells).values[0, 0].tolist()


NORMAL, UNIFORM = draws()
LEVELS = torch.bucketize(UNIFORM, torch.tensor([0.6, 0.8, 0.95])).float()
WITHOUT_ATOMS = {
    "float32": NORMAL,
    "float64": NORMAL.double(),
    "uniform": UNIFORM,
    "bfloat16": NORMAL.bfloat16().float(),
    "bfloat16, one octave": (1 + UNIFORM).bfloat16().float(),
    "float16 with an offset": (10 + NORMAL).half().float(),
    "two decimals": (100 * NORMAL).round() / 100,
    "one decimal": (10 * NORMAL).round() / 10,
    "40 levels": (40 * UNIFORM).floor(),
    "256 grey levels": (256 * UNIFORM).floor(),
}
WITH_ATOMS = {
    "bit of 1 %": ((UNIFORM < 0.01).float(), [0.0, 1.0]),
    "bit of 0.1 %": ((UNIFORM < 0.001).float(), [0.0]),
    "ReLU": (NORMAL.relu(), [0.0]),
    "clipped": (NORMAL.clamp(-1, 1), [-1.0, 1.0]),
    "saturated": (torch.tanh(100 * NORMAL), [-1.0, 1.0]),
    "2 % zeros": (NORMAL * (UNIFORM > 0.02), [0.0]),
    "integers": (NORMAL.round(), [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]),
    "unequal levels": (
        torch.bucketize(UNIFORM, torch.tensor([0.6, 0.8, 0.95])).float(),
        [0.0, 1.0, 2.0, 3.0],
    ),
    "saturated grey levels": ((400 * UNIFORM - 72).floor().clamp(0, 255), [0.0, 255.0]),
}


@pytest.mark.parametrize("name", WITHOUT_ATOMS)
def test_continuous_rounded_and_ordinal_columns_have_no_atoms(name):
    assert atoms_of(WITHOUT_ATOMS[name]) == []


@pytest.mark.parametrize("name", WITH_ATOMS)
def test_repeated_values_are_atoms(name):
    column, expected = WITH_ATOMS[name]
    assert atoms_of(column) == expected


def test_atoms_of_many_rows_are_those_of_all_rows():
    normal, uniform = draws(n=50_000)
    assert atoms_of(normal) == []
    assert atoms_of(torch.where(uniform < 0.012, 0.5, normal)) == [0.5]


def test_few_rows_have_no_atoms():
    assert atoms_of(torch.arange(40.0).repeat_interleave(2)) == []
    assert atoms_of(torch.tensor([0.0] * 9 + [1.0] * 9)) == []


def test_cells_without_atoms_are_quantile_cells():
    cells = Cells(NORMAL[None, :, None], 16)(NORMAL[None, :, None])[0, :, 0]
    edges = np.sort(NORMAL.numpy())[np.arange(1, 16) * len(NORMAL) // 16]
    np.testing.assert_array_equal(cells, np.digitize(NORMAL.numpy(), edges))


@pytest.mark.parametrize("name", WITH_ATOMS)
def test_every_atom_has_a_cell_and_the_rest_is_binned_by_its_own_quantiles(name):
    column, expected = WITH_ATOMS[name]
    cells = Cells(column[None, :, None], 16)(column[None, :, None])[0, :, 0].numpy()
    values = column.numpy()
    for atom in expected:
        (cell,) = np.unique(cells[values == atom])
        assert (values[cells == cell] == atom).all()
    others = ~np.isin(values, expected)
    left = max(1, min(16 - len(expected), others.sum() // 20))
    edges = np.sort(values[others])[np.arange(1, left) * others.sum() // left]
    np.testing.assert_array_equal(cells[others], np.digitize(values[others], edges))


def test_unseen_values_have_a_cell():
    bits = (UNIFORM < 0.05).float()[None, :, None]
    cells = Cells(bits, 16)
    assert cells(torch.tensor([[[0.0], [1.0], [2.0], [-5.0], [0.5]]])).flatten().tolist() == [15, 14, 0, 0, 0]


def test_columns_and_problems_do_not_affect_one_another():
    columns = torch.stack([NORMAL, NORMAL.relu(), (UNIFORM < 0.05).float()], 1)
    both = torch.stack([columns, columns.flip(1)])
    together = Cells(both, 16)(both)
    for q in range(2):
        for i in range(3):
            single = both[q : q + 1, :, i : i + 1]
            assert torch.equal(Cells(single, 16)(single)[0, :, 0], together[q, :, i])


def test_row_order_does_not_matter():
    column = NORMAL.clamp(-1, 1)
    assert atoms_of(column) == atoms_of(column.sort().values) == [-1.0, 1.0]
