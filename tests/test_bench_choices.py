"""Which codes and runs the benches choose."""

import pytest
import torch
from benches import quantisation
from benches.copying import alignments
from benches.sculpt import name_of, some_of


@pytest.mark.parametrize(("size", "count"), [(0, 100), (10, 10), (30, 30), (500, 100)])
def test_some_codes_are_of_all_classes(size, count):
    codes = torch.arange(10.0).repeat_interleave(10)[:, None]  # sorted by class
    chosen = some_of(codes, size)
    assert len(chosen) == count
    assert len(chosen.unique()) == 10


def test_alignments_are_fitted_to_pairs_of_all_classes():
    rows = torch.arange(100.0)
    mine = torch.stack([rows, rows.square()], 1)
    theirs = mine.clone()
    theirs[:50] *= -1  # the first pairs say otherwise than all pairs
    (*_, (name, count, align)) = alignments(mine, theirs, [100])
    (*_, (_, _, few)) = alignments(mine, theirs, [50])
    assert (name, count) == ("linear map", 100)
    torch.testing.assert_close(few(mine), align(mine), rtol=0.1, atol=150)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/ae_d32_s0", "ae_d32_s0"),
        ("runs/ae_d32_s0/checkpoints/last.pt", "ae_d32_s0"),
        ("runs/study/ae/seed_3", "ae_s3"),
        ("runs/study/ae/seed_3/checkpoints/best.pt", "ae_s3"),
    ],
)
def test_rows_are_named_by_run_and_seed(path, name):
    assert name_of(path) == name
    start, seed = name.rsplit("_", 1)
    refined = f"{start}_refined10_{seed}" if "study" in path else f"{name}_refined10"
    assert name_of(path, 10) == refined


def test_an_unknown_run_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        quantisation.main(["--rows", str(tmp_path / "rows"), "--only", "ae", "data.root=x"])
    assert "--only: data.root=x received; give runs of" in capsys.readouterr().err
