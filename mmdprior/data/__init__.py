"""Images: sources, splits and batches."""

from mmdprior.data.arrays import arrays
from mmdprior.data.augmentation import Augmentation
from mmdprior.data.batches import Batch, Batches, ResidentBatches, StreamingBatches
from mmdprior.data.image_folder import image_folder
from mmdprior.data.source import ImageSet, InMemory, Source, Splits, Subset, make_splits, thin
from mmdprior.data.sprites import sprites
from mmdprior.data.tiny_imagenet import tiny_imagenet
from mmdprior.data.torchvision_sets import torchvision_set

__all__ = [
    "Augmentation",
    "Batch",
    "Batches",
    "ImageSet",
    "InMemory",
    "ResidentBatches",
    "Source",
    "Splits",
    "StreamingBatches",
    "Subset",
    "arrays",
    "image_folder",
    "make_splits",
    "sprites",
    "thin",
    "tiny_imagenet",
    "torchvision_set",
]
