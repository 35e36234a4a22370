"""Images in NumPy files."""

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.data import arrays


def test_layouts_types_and_factors(tmp_path):
    uint8 = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=uint8, factors=np.arange(12).reshape(6, 2))
    train = arrays(str(tmp_path / "a.npz")).train
    assert train.image_shape == (3, 8, 8)
    np.testing.assert_array_equal(train.images.permute(0, 2, 3, 1), uint8)
    assert train.labels.tolist() == np.arange(12).reshape(6, 2).tolist()
    np.save(tmp_path / "b.npy", (uint8[..., 0] / 255).astype(np.float64))
    source = arrays(str(tmp_path / "a.npz"), str(tmp_path / "b.npy"))
    assert source.test.image_shape == (1, 8, 8)
    assert source.test.dtype == torch.float32
    np.save(tmp_path / "c.npy", uint8.transpose(0, 3, 1, 2))
    assert torch.equal(arrays(str(tmp_path / "c.npy")).train.images, train.images)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.full((3, 4, 4), np.nan), "NaN or infinity in 3 of 3 images"),
        (np.full((3, 4, 4), 7.0), "values from 7 to 7"),
        (np.zeros((3, 4, 4), np.int64), "int64"),
        (np.zeros((3, 4)), r"shape \(3, 4"),
        (np.array([{"a": 1}], dtype=object), "not a plain"),
    ],
)
def test_rejects_images(tmp_path, content, message):
    np.save(tmp_path / "x.npy", content)
    with pytest.raises(InputError, match=message):
        arrays(str(tmp_path / "x.npy"))


def test_rejects_files_without_arrays(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        arrays(str(tmp_path / "x.npy"))
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(InputError, match=r"x\.npz"):
        arrays(str(tmp_path / "x.npz"))
    np.savez(tmp_path / "y.npz", pictures=np.zeros((3, 4, 4)))
    with pytest.raises(InputError, match="name the images 'images'"):
        arrays(str(tmp_path / "y.npz"))
