"""Codes in array and tensor files; tests/scoring has the tables and the other formats."""

import gzip
import tarfile

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.data.codes import read_codes


def test_codes(tmp_path):
    z = np.random.default_rng(0).normal(size=(40, 3))
    np.save(tmp_path / "z.npy", z)
    np.savez(tmp_path / "z.npz", mean=z, labels=np.zeros(40))
    torch.save(torch.from_numpy(z), tmp_path / "z.pt")
    for name in ("z.npy", "z.npz", "z.pt"):
        np.testing.assert_array_equal(read_codes(str(tmp_path / name)), z)
    with gzip.open(tmp_path / "bad.pt", "wb") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="not a plain tensor"):
        read_codes(str(tmp_path / "bad.pt"))
    with tarfile.open(tmp_path / "bad.npy", "w"):
        pass
    with pytest.raises(InputError, match=r"bad\.npy"):
        read_codes(str(tmp_path / "bad.npy"))
