"""Tensors, arrays and data sets of others as sources."""

import numpy as np
import pytest
import torch
from helpers.configs import SMALL, changed
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from mmdprior.build.data import open_splits
from mmdprior.config.load import make_config
from mmdprior.data import InMemory, Source
from mmdprior.data.convert import ItemSet, as_source
from mmdprior.errors import InputError
from mmdprior.testing import check_source

BYTES = torch.arange(200 * 64).remainder(251).to(torch.uint8).reshape(200, 1, 8, 8)
LABELS = torch.arange(200) % 3


class Items(Dataset):
    """A data set that makes an item of every image and label."""

    def __init__(self, make, images=BYTES):
        self.make, self.images = make, images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.make(self.images[index], int(LABELS[index]))


def picture(image, mode="L"):
    return Image.fromarray(image[0].numpy()).convert(mode)


def image_only(image, label):
    return image


def pair(image, label):
    return image, label


def two_labels(image, label):
    return image, torch.tensor([label, 1])


def picture_pair(image, label):
    return picture(image), label


def record(image, label):
    return {"image": picture(image), "label": label}


def other_record(image, label):
    return {"img": image, "id": label, "text": "a"}


def floats(image, label):
    return {"pixel_values": image.float() / 255}


@pytest.mark.parametrize(
    ("data", "label_names"),
    [
        (BYTES, ()),
        (BYTES.numpy(), ()),
        (BYTES.float() / 255, ()),
        ((BYTES, LABELS), ("label",)),
        ((BYTES.numpy(), LABELS.numpy()), ("label",)),
        (TensorDataset(BYTES), ()),
        (TensorDataset(BYTES, LABELS), ("label",)),
        (TensorDataset(BYTES, torch.stack([LABELS, LABELS], 1)), ("label_0", "label_1")),
        (Items(image_only), ()),
        (Items(pair), ("label",)),
        (Items(two_labels), ("label_0", "label_1")),
        (Items(picture_pair), ("label",)),
        (Items(record), ("label",)),
        (Items(other_record), ("id",)),
        (Items(floats), ()),
        ([(image, int(label)) for image, label in zip(BYTES, LABELS, strict=True)], ("label",)),
    ],
)
def test_every_form_has_the_images_and_labels(data, label_names):
    source = as_source(data)
    check_source(source)
    images, labels = source.train.gather(torch.tensor([7, 2]))
    scale = 1 if images.dtype == torch.uint8 else 255
    assert torch.equal((images * scale).round().to(torch.uint8), BYTES[[7, 2]])
    assert source.train.label_names == label_names
    if label_names:
        assert labels[:, 0].tolist() == LABELS[[7, 2]].tolist()


def test_colour_pictures_and_arrays_with_channels_last():
    array = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    for item in (Image.fromarray(array), array, torch.from_numpy(array).permute(2, 0, 1)):
        images, _ = ItemSet([item]).gather(torch.tensor([0]))
        assert np.array_equal(images[0].permute(1, 2, 0).numpy(), array)


def test_sources_stay_as_they_are():
    source = Source(InMemory(BYTES))
    assert as_source(source) is source
    assert as_source(source.train).train is source.train


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("cifar10", "str returned; return a Source"),
        ({"x": BYTES}, "dict returned"),
        (None, "NoneType returned"),
        ([], "data: an empty data set received"),
        (Items(lambda image, label: "a"), "data: str received; give images as tensors"),
        (Items(lambda image, label: {"text": "a"}), "data: items with text received; give the image the key"),
    ],
)
def test_other_values(data, message):
    with pytest.raises(InputError, match=message):
        as_source(data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda image, label: image.float() / 127 - 1, "floats from .* received; give images in"),
        (lambda image, label: image[:, : 8 - label], "images of shapes .* received; give all one shape"),
    ],
)
def test_images_that_do_not_fit(make, message):
    with pytest.raises(InputError, match=message):
        as_source(Items(make)).train.gather(torch.arange(20))


def test_a_function_in_a_config_returns_a_data_set(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\n\n"
        "def images(n: int = 90):\n"
        "    return TensorDataset(torch.rand(n, 1, 8, 8), torch.arange(n))\n"
    )
    raw = changed("data", {"target": "mine.py:images", "n": 100, "batch_size": 8}, SMALL)
    config = make_config(raw, tmp_path, "x.yaml")
    splits = open_splits(config.slots["data"], config.data)
    assert splits.train.image_shape == (1, 8, 8)
    assert len(splits.train) == 80


def test_hugging_face_data_sets():
    datasets = pytest.importorskip("datasets", reason="an optional package")
    pictures = [picture(image) for image in BYTES[:20]]
    data = datasets.Dataset.from_dict(
        {"image": pictures, "label": LABELS[:20].tolist()},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")}),
    )
    images, labels = as_source(data).train.gather(torch.tensor([3]))
    assert torch.equal(images[0], BYTES[3])
    assert labels.tolist() == [[0]]
