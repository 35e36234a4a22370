"""Which stored values are black and white, and their scaling."""

import numpy as np
import pytest

from mmdprior import InputError
from mmdprior.data.pixel_range import BYTES, PixelRange, infer_range


@pytest.mark.parametrize(
    ("dtype", "low", "high", "white"),
    [
        ("bool", 0.0, 1.0, 1),
        ("uint8", 0.0, 0.0, 255),
        ("uint8", 0.0, 1.0, 1),
        ("uint8", 1.0, 1.0, 1),
        ("uint8", 0.0, 32.0, 255),
        ("uint8", 3.0, 255.0, 255),
        ("uint16", 0.0, 1.0, 1),
        ("uint16", 0.0, 200.0, 255),
        ("uint16", 0.0, 256.0, 1023),
        ("uint16", 12.0, 4095.0, 4095),
        ("uint16", 0.0, 4096.0, 16383),
        ("uint16", 0.0, 16384.0, 65535),
        ("float16", 0.0, 1.0, 1),
        ("float32", -1e-7, 1 + 1e-7, 1),
        ("float64", 0.2, 0.4, 1),
    ],
)
def test_known_ranges(dtype, low, high, white):
    assert infer_range(np.dtype(dtype), low, high) == PixelRange(0.0, float(white))


@pytest.mark.parametrize(
    ("dtype", "low", "high", "remedy"),
    [
        ("uint8", 0.0, 2.0, r"value_range: \[0, 2\] if 2 is white, or \[0, 255\]"),
        ("uint8", 0.0, 31.0, r"\[0, 31\]"),
        ("uint16", 0.0, 20.0, r"\[0, 20\]"),
        ("int16", -1024.0, 3071.0, r"\[BLACK, WHITE\]"),
        ("int32", 0.0, 3000.0, r"\[0, 4095\]"),
        ("int64", 0.0, 255.0, r"\[0, 255\]"),
        ("uint32", 0.0, 1e6, r"\[BLACK, WHITE\]"),
        ("float32", 0.0, 255.0, r"scale them to \[0, 1\], or give value_range: \[0, 255\]"),
        ("float32", -1.0, 1.0, r"\[-1, 1\]"),
        ("float64", 0.0, 65535.0, r"\[0, 65535\]"),
        ("float32", float("nan"), float("nan"), "NaN or infinity"),
    ],
)
def test_unknown_ranges_are_refused_with_a_remedy(dtype, low, high, remedy):
    with pytest.raises(InputError, match=remedy) as caught:
        infer_range(np.dtype(dtype), low, high)
    assert "\n" not in str(caught.value)


def test_a_chosen_range_must_hold_the_values():
    assert infer_range(np.dtype("int16"), -1000.0, 2000.0, PixelRange(-1024.0, 3071.0)).black == -1024
    with pytest.raises(InputError, match="values from 0 to 255 received, where black is 0 and white 100"):
        infer_range(np.dtype("uint8"), 0.0, 255.0, PixelRange(0.0, 100.0))
    with pytest.raises(InputError, match="values from 0 to 5000"):
        PixelRange(0.0, 4095.0).to_uint8(np.array([0, 5000], np.uint16))
    for wrong in ([1], [2, 1], [0, float("inf")], [0, 1, 2]):
        with pytest.raises(InputError, match="two numbers in increasing order"):
            PixelRange.of(wrong)


def test_scaling_is_linear_to_the_last_bit_of_8():
    stored = np.arange(65536).astype(np.uint16)
    expected = np.round(stored.astype(np.float64) / 65535 * 255)
    np.testing.assert_array_equal(PixelRange(0.0, 65535.0).to_uint8(stored), expected)
    signed = np.linspace(-1, 1, 1001)
    np.testing.assert_allclose(PixelRange(-1.0, 1.0).to_float(signed), (signed + 1) / 2, atol=1e-7)
    assert PixelRange(0.0, 1.0).to_uint8(np.array([False, True])).tolist() == [0, 255]
    bytes_ = np.arange(256, dtype=np.uint8)
    assert BYTES.to_uint8(bytes_) is bytes_
