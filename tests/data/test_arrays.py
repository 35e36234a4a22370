"""Images in NumPy files: layouts, types, ranges and damaged files."""

import warnings

import numpy as np
import pytest
import torch
from helpers.shape_checks import no_checks

from mmdprior import InputError
from mmdprior.data import InMemory, arrays
from mmdprior.data.codes import read_latent
from mmdprior.errors import InputWarning

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def saved(folder, images, name="x.npy"):
    np.save(folder / name, images)
    return str(folder / name)


def test_layouts_types_and_factors(tmp_path):
    np.savez(tmp_path / "a.npz", images=BYTES, factors=np.arange(12).reshape(6, 2))
    train = arrays(str(tmp_path / "a.npz")).train
    assert train.image_shape == (3, 8, 8)
    np.testing.assert_array_equal(train.images.permute(0, 2, 3, 1), BYTES)
    assert train.labels.tolist() == np.arange(12).reshape(6, 2).tolist()
    grey = saved(tmp_path, (BYTES[..., 0] / 255).astype(np.float64), "b.npy")
    test = arrays(grey).train
    assert test.image_shape == (1, 8, 8)
    assert test.dtype == torch.float32
    assert torch.equal(arrays(saved(tmp_path, BYTES.transpose(0, 3, 1, 2))).train.images, train.images)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ((6, 8, 8), (1, 8, 8)),
        ((6, 8, 8, 1), (1, 8, 8)),
        ((6, 8, 8, 4), (4, 8, 8)),
        ((6, 4, 8, 8), (4, 8, 8)),
        ((6, 8, 8, 2), (2, 8, 8)),
        ((6, 16, 16, 13), (13, 16, 16)),
        ((6, 13, 16, 16), (13, 16, 16)),
        ((6, 4, 4, 3), (3, 4, 4)),
        ((6, 3, 9, 4), (3, 9, 4)),
        ((6, 12, 13, 5), (5, 12, 13)),
        ((6, 5, 12, 13), (5, 12, 13)),
        ((6, 32, 20, 24), (32, 20, 24)),
        ((6, 9, 12, 3), (3, 9, 12)),
    ],
)
def test_the_axis_of_the_channels(tmp_path, stored, expected):
    source = arrays(saved(tmp_path, np.zeros(stored, np.uint8)))
    assert source.train.image_shape == expected
    assert ("channels are kept" in source.summary) == (expected[0] in (2, 4))


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((6, 12, 13, 5), "5 channels with 12 x 13 pixels"),
        ((6, 32, 20, 24), "32 channels with 20 x 24 pixels"),
        ((6, 3, 9, 4), "3 channels with 9 x 4 pixels"),
        ((6, 5, 12, 13), None),
        ((6, 4, 4, 3), None),
        ((6, 3, 4, 4), None),
        ((6, 16, 16, 13), None),
        ((6, 13, 16, 16), None),
        ((6, 9, 12, 3), None),
        ((6, 1, 9, 12), None),
        ((6, 9, 12), None),
    ],
)
def test_ambiguous_axes_give_a_warning(tmp_path, shape, text):
    path = saved(tmp_path, np.zeros(shape, np.uint8))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        arrays(path)
    expected = [] if text is None else [f"data: {path}: shape {shape} is read as images of {text}; pad them"]
    assert len(caught) == len(expected)
    assert all(str(w.message).startswith(start) for w, start in zip(caught, expected, strict=True))


def test_one_colour_image_gives_a_warning(tmp_path):
    for image in (RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), RNG.random((64, 64, 3))):
        path = saved(tmp_path, image)
        with pytest.warns(InputWarning, match="x.npy is read as images of 64 x 3; give kind: signals if"):
            arrays(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            arrays(path, kind="images")
            arrays(saved(tmp_path, RNG.integers(0, 256, (64, 28, 20), dtype=np.uint8)))


class TestRanges:
    def test_bits_are_black_and_white(self, tmp_path):
        bits = RNG.random((9, 8, 8)) < 0.1
        for dtype in (bool, np.uint8, np.uint16):
            source = arrays(saved(tmp_path, bits.astype(dtype)))
            np.testing.assert_array_equal(source.train.images[:, 0], 255 * bits)
        assert "1 is white" in source.summary

    @pytest.mark.parametrize("bits", [10, 12, 14, 16])
    def test_bit_depths(self, tmp_path, bits):
        white = (1 << bits) - 1
        stored = RNG.integers(0, white + 1, (9, 8, 8)).astype(np.uint16)
        stored[0, 0, 0] = white
        images = arrays(saved(tmp_path, stored)).train.images
        np.testing.assert_allclose(images[:, 0], stored / white, atol=1e-6)

    @pytest.mark.parametrize(
        ("stored", "value_range"),
        [
            (RNG.integers(0, 10, (9, 8, 8)).astype(np.uint8), [0, 9]),
            (RNG.integers(-1000, 3000, (9, 8, 8)).astype(np.int16), [-1024, 3071]),
            (RNG.integers(0, 256, (9, 8, 8)), [0, 255]),
            (RNG.integers(0, 256, (9, 8, 8)).astype(np.float32), [0, 255]),
            (RNG.uniform(-1, 1, (9, 8, 8)), [-1, 1]),
        ],
    )
    def test_other_ranges_are_given(self, tmp_path, stored, value_range):
        path = saved(tmp_path, stored)
        with pytest.raises(InputError, match="give value_range"):
            arrays(path)
        images = arrays(path, value_range=value_range).train.images[:, 0]
        images = images / 255 if images.dtype == torch.uint8 else images
        black, white = value_range
        np.testing.assert_allclose(images, (stored - black) / (white - black), atol=0.5 / 255)

    def test_one_decision_for_train_and_test(self, tmp_path):
        dark = saved(tmp_path, np.ones((3, 8, 8), np.uint8), "dark.npy")
        source = arrays(saved(tmp_path, BYTES[..., 0]), dark)
        assert source.test.images.unique().tolist() == [1]
        mixed = BYTES[..., 0].copy()
        mixed[2] = 1
        np.testing.assert_array_equal(arrays(saved(tmp_path, mixed)).train.images[:, 0], mixed)
        half = saved(tmp_path, np.full((3, 8, 8), 2000, np.uint16), "half.npy")
        full = saved(tmp_path, np.full((3, 8, 8), 65535, np.uint16))
        assert float(arrays(full, half).test.images.max()) == pytest.approx(2000 / 65535)

    def test_alpha_is_composited_over_a_background(self, tmp_path):
        ink = np.zeros((2, 5, 5, 4), np.uint8)
        ink[:, 1, 1] = (100, 0, 0, 255)
        ink[:, 2, 2] = (0, 0, 0, 51)
        images = arrays(saved(tmp_path, ink), background="white").train.images
        assert images[0, :, 0, 0].tolist() == [255] * 3
        assert images[0, :, 1, 1].tolist() == [100, 0, 0]
        assert images[0, :, 2, 2].tolist() == [204] * 3
        grey = arrays(saved(tmp_path, ink[..., [0, 3]] / 255), background=[255, 0, 0]).train.images
        assert float(grey[0, 0, 0, 0]) == pytest.approx(0.299)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.full((3, 4, 4), np.nan), "NaN or infinity in 3 of 3 images"),
        (np.full((3, 4, 4), -np.inf), "NaN or infinity in 3 of 3 images"),
        (np.full((3, 4, 4), 7.0), "values from 7 to 7"),
        (np.zeros((3, 4, 4), np.int64), "int64"),
        (np.zeros((0, 4, 4)), r"shape \(0, "),
        (np.zeros((3, 4, 4), complex), "type complex128"),
        (np.array([{"a": 1}], dtype=object), "not a plain"),
    ],
)
def test_rejects_images(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        arrays(saved(tmp_path, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 50, 128, 200])
def test_a_truncated_file_is_damaged(tmp_path, size):
    path = saved(tmp_path, BYTES)
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:size])
    for read in (arrays, read_latent):
        with pytest.raises(
            InputError, match=r"x\.npy: damaged or truncated \(.*\); copy the file again$"
        ) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_an_unknown_kind_names_the_kinds(tmp_path):
    for make in (
        lambda: arrays(saved(tmp_path, BYTES), kind="sound"),
        lambda: InMemory(torch.zeros(3, 4), kind="sound"),
    ):
        with (
            no_checks(),
            pytest.raises(InputError, match="^kind: 'sound' received; give images, vectors or sig"),
        ):
            make()


def test_rejects_files_without_arrays(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        arrays(str(tmp_path / "x.npy"))
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(InputError, match=r"x\.npz"):
        arrays(str(tmp_path / "x.npz"))
    np.savez(tmp_path / "y.npz", pictures=np.zeros((3, 4, 4)))
    with pytest.raises(InputError, match="name the images 'images'"):
        arrays(str(tmp_path / "y.npz"))
