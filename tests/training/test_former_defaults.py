"""Checkpoints of earlier versions keep the numbers of their time where a default has changed."""

import pytest

from mmdprior.training import read_checkpoint, write_checkpoint

MMD = {"name": "mmd", "prior": {"name": "gaussian"}}
RBF = {"kernel": {"name": "rbf"}}


@pytest.mark.parametrize(
    ("version", "regularizer", "expected"),
    [
        (2, MMD, MMD | RBF),
        (
            2,
            {"name": "sum", "penalties": [MMD | {"weight": 2.0}]},
            {"name": "sum", "penalties": [MMD | {"weight": 2.0} | RBF]},
        ),
        (2, MMD | {"kernel": None}, MMD | RBF),
        (2, MMD | {"kernel": {"name": "imq"}}, MMD | {"kernel": {"name": "imq"}}),
        (2, {"name": "kl"}, {"name": "kl"}),
        (3, MMD, MMD),
    ],
)
def test_an_mmd_without_a_kernel_had_an_rbf(tmp_path, version, regularizer, expected):
    content = {"config": {"regularizer": regularizer}, "image_shape": [1, 8, 8], "step": 7, "model": {}}
    write_checkpoint({"format_version": version, **content}, tmp_path / "last.pt")
    assert read_checkpoint(tmp_path / "last.pt")["config"] == {"regularizer": expected}
