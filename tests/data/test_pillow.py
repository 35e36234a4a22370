"""Decoded files show what an image viewer shows: orientation, transparency, bit depths, frames."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from helpers.images import save_image
from PIL import Image

from mmdprior import InputError
from mmdprior.data import image_folder

RNG = np.random.default_rng(0)


def decoded(folder, **settings):
    """Return the images of a folder as an array (n, H, W, C)."""
    train = image_folder(str(folder), **{"size": 8, **settings}).train
    return train.gather(torch.arange(len(train)))[0].permute(0, 2, 3, 1).numpy()


def save(folder, images):
    """Write arrays and Pillow images by file name."""
    for name, image in images.items():
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(folder / name)


# What is drawn for each EXIF orientation, in terms of NumPy (CIPA DC-008, section 4.6.5).
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.T,
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].T,
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_exif_orientation_is_applied(tmp_path, orientation, suffix):
    pixels = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(pixels).save(tmp_path / f"x.{suffix}", exif=exif, **lossless)
    (image,) = decoded(tmp_path, channels=1)
    np.testing.assert_allclose(image[..., 0], UPRIGHT[orientation](pixels).astype(float), atol=1)


def test_damaged_exif_data_are_ignored(tmp_path):
    pixels = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=b"Exif\x00\x00II*\x00junk")
    np.testing.assert_array_equal(decoded(tmp_path, channels=1)[0, ..., 0], pixels)


class TestTransparency:
    """Black ink at one pixel on a transparent ground that is stored as black."""

    ink = np.zeros((8, 8, 4), np.uint8)
    ink[2, 3, 3] = 255

    def expected(self, colour):
        image = np.full((8, 8, 3), colour, np.uint8)
        image[2, 3] = 0
        return image

    @pytest.mark.parametrize(
        ("background", "colour"),
        [("white", 255), (0, 0), ("#ff0000", (255, 0, 0)), ([1, 2, 3], (1, 2, 3)), (7, 7)],
    )
    def test_backgrounds(self, tmp_path, background, colour):
        save(tmp_path, {"rgba.png": self.ink})
        (image,) = decoded(tmp_path, background=background)
        np.testing.assert_array_equal(image, self.expected(colour))

    def test_modes_with_transparency(self, tmp_path):
        rgba = Image.fromarray(self.ink)
        palette = Image.fromarray(np.where(self.ink[..., 3] > 0, 1, 0).astype(np.uint8)).convert("P")
        palette.putpalette([9, 9, 9, 0, 0, 0])
        grey = Image.fromarray(np.where(self.ink[..., 3] > 0, 0, 9).astype(np.uint8))
        deep = Image.fromarray(np.where(self.ink[..., 3] > 0, 0, 60_000).astype(np.uint16))
        save(tmp_path, {"a.png": rgba, "b.png": rgba.convert("LA"), "c.webp": rgba, "d.tif": rgba})
        palette.save(tmp_path / "e.png", transparency=0)
        palette.save(tmp_path / "f.gif", transparency=0)
        grey.save(tmp_path / "g.png", transparency=9)
        grey.convert("RGB").save(tmp_path / "h.png", transparency=(9, 9, 9))
        deep.save(tmp_path / "i.png", transparency=60_000)
        images = decoded(tmp_path)
        assert len(images) == 9
        for image in images:
            np.testing.assert_allclose(image.astype(float), self.expected(255).astype(float), atol=2)
        assert "composited" in image_folder(str(tmp_path), size=8).summary

    def test_partly_transparent_pixels_are_mixed(self, tmp_path):
        save(tmp_path, {"x.png": np.full((8, 8, 4), (255, 0, 0, 102), np.uint8)})
        assert decoded(tmp_path)[0, 0, 0].tolist() == [255, 153, 153]

    @pytest.mark.parametrize("background", ["wite", [1, 2], [0, 0, 256], -1])
    def test_rejects_what_is_no_colour(self, tmp_path, background):
        save_image(tmp_path / "x.png", 0)
        with pytest.raises(InputError, match="background: .* give a colour|Type-check"):
            image_folder(str(tmp_path), size=8, background=background)


class TestRanges:
    @pytest.mark.parametrize("suffix", ["png", "tif"])
    @pytest.mark.parametrize("bits", [10, 12, 14, 16])
    def test_files_of_16_bits_are_scaled_by_the_bits_in_use(self, tmp_path, suffix, bits):
        white = (1 << bits) - 1
        stored = RNG.integers(0, white + 1, (3, 8, 8)).astype(np.uint16)
        stored[0, 0, 0] = white
        save(tmp_path, {f"{i}.{suffix}": image for i, image in enumerate(stored)})
        np.testing.assert_allclose(decoded(tmp_path, channels=1)[..., 0], stored / white * 255, atol=0.51)

    def test_files_of_0_and_1_are_black_and_white(self, tmp_path):
        bits = (RNG.random((3, 8, 8)) < 0.5).astype(np.uint8)
        save(tmp_path, {f"{i}.png": image for i, image in enumerate(bits)})
        np.testing.assert_array_equal(decoded(tmp_path, channels=1)[..., 0], 255 * bits)
        assert "1 is white in files of 8 bits" in image_folder(str(tmp_path), size=8).summary

    def test_a_dark_file_among_ordinary_ones_is_not_scaled(self, tmp_path):
        save(tmp_path, {"0.png": np.ones((8, 8), np.uint8), "1.png": RNG.integers(0, 256, (8, 8), np.uint8)})
        assert (decoded(tmp_path, channels=1)[0] == 1).all()

    def test_class_labels_are_refused_unless_the_range_is_given(self, tmp_path):
        labels = RNG.integers(0, 8, (3, 8, 8)).astype(np.uint8)
        save(tmp_path, {f"{i}.png": image for i, image in enumerate(labels)})
        with pytest.raises(InputError, match="may be class labels; give value_range"):
            image_folder(str(tmp_path), size=8)
        scaled = decoded(tmp_path, channels=1, value_range=[0, 7])[..., 0]
        np.testing.assert_allclose(scaled, labels / 7 * 255, atol=0.51)

    def test_files_of_32_bits_need_a_range(self, tmp_path):
        stored = RNG.integers(-100, 900, (8, 8)).astype(np.int32)
        save(tmp_path, {"x.tif": stored})
        with pytest.raises(InputError, match=r"int32 values from .* give value_range"):
            image_folder(str(tmp_path), size=8)
        scaled = decoded(tmp_path, channels=1, value_range=[-100, 900])[0, ..., 0]
        np.testing.assert_allclose(scaled, (stored + 100) / 1000 * 255, atol=0.51)

    def test_floats_and_portable_grey_maps_have_a_range(self, tmp_path):
        deep = RNG.integers(0, 4096, (8, 8))
        (tmp_path / "a.pgm").write_bytes(b"P5\n8 8\n4095\n" + deep.astype(">u2").tobytes())
        save(tmp_path, {"b.tif": (deep / 4095).astype(np.float32)})
        for image in decoded(tmp_path, channels=1)[..., 0]:
            np.testing.assert_allclose(image, deep / 4095 * 255, atol=0.51)

    def test_an_image_outside_the_range_of_the_sample_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr("mmdprior.data.probe._FILES", 1)
        deep = {"0.png": np.full((8, 8), 4095, np.uint16), "1.png": np.full((8, 8), 9000, np.uint16)}
        save(tmp_path, deep)
        with pytest.raises(
            InputError, match=r"1\.png: values from 9000 to 9000 received, where .* white 4095"
        ):
            decoded(tmp_path, channels=1)


def test_palettes_cmyk_and_bitmaps_are_converted(tmp_path):
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 255, 128, 0])
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    bitmap = Image.fromarray(np.ones((8, 8), bool))
    save(tmp_path, {"a.png": palette, "b.jpg": cmyk, "c.tif": cmyk, "d.pbm": bitmap, "e.png": bitmap})
    red, white = [255, 0, 0], [255, 255, 255]
    images = decoded(tmp_path)[:, 0, 0].astype(int)
    np.testing.assert_allclose(images, [[255, 128, 0], red, red, white, white], atol=2)


def test_the_first_frame_of_animated_and_multi_page_files_is_read(tmp_path):
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (255, 0, 90)]
    for name in ("a.gif", "b.png", "c.tif", "d.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert (decoded(tmp_path) == 255).all()
    assert "only the first frame or page" in image_folder(str(tmp_path), size=8).summary


def png_header(width, height):
    """Return a PNG file of a few bytes that claims a size."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


def jpeg():
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (jpeg()[:900], "truncated"),
        (b"hello", "unknown format"),
        (png_header(30_000, 30_000), "900000000 pixels"),
        (png_header(0, 8), "not a readable image"),
        (b"GIF89a\x08\x00\x08\x00", "not a readable image"),
    ],
)
def test_damaged_files_are_one_line_with_their_name(tmp_path, content, message):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.png: not a readable image .*; repair or remove it") as caught:
        decoded(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "_io" not in str(caught.value)


def test_the_content_counts_and_not_the_suffix(tmp_path):
    (tmp_path / "a.png").write_bytes(jpeg())
    save_image(tmp_path / "b.bmp", 1)
    (tmp_path / "b.bmp").rename(tmp_path / "b.jpg")
    assert len(decoded(tmp_path)) == 2


def test_a_crop_larger_than_an_image_is_refused(tmp_path):
    save_image(tmp_path / "x.png", 0, size=(20, 30))
    with pytest.raises(InputError, match=r"x\.png: crop 25 received; the image has 30 x 20 pixels"):
        decoded(tmp_path, crop=25)
