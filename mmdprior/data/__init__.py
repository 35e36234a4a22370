"""Images: sources, splits and batches.

Sources to open, each a function that returns a `Source`:

    ===================  ===================================================================
    `sprites`            procedural shapes with five known factors; no download
    `dsprites`           dSprites: five factors, one image per combination; downloads
    `shapes3d`           Shapes3D: six factors, one image per combination; downloads
    `cars3d`             Cars3D: three factors, one image per combination; downloads
    `smallnorb`          Small NORB: five factors, one image per combination; downloads
    `mpi3d`              MPI3D: seven factors, one image per combination; downloads
    `image_folder`       a folder of image files, with first-level folders as classes
    `arrays`             images, signals or vectors in ``.npy``, ``.npz`` or ``.csv`` files
    `shards`             tar or Parquet files of many images each, for data larger than memory
    `tiny_imagenet`      Tiny ImageNet-200; downloads
    `torchvision_set`    CIFAR-10, CIFAR-100, MNIST, Fashion-MNIST, KMNIST, SVHN, CelebA; downloads
    ===================  ===================================================================

`make_splits` holds out validation and test images. `ResidentBatches` keeps all images on the training
device; `StreamingBatches` reads them with worker processes.

For your own data, write a function that returns a `Source`, or subclass `ImageSet` if the images do not fit
in memory. Name the function in the config, as ``data: {target: "my_data.py:circles", images: 2000}``.
`mmdprior.testing.check_source` checks it.

Example:
    >>> import torch
    >>> from mmdprior.data import InMemory, ResidentBatches, Source, make_splits
    >>> from mmdprior.testing import check_source
    >>> def circles(images: int = 200) -> Source:
    ...     radius = torch.rand(images, 1)
    ...     x = torch.linspace(-1, 1, 32)
    ...     inside = x[:, None] ** 2 + x**2 < radius[:, :, None]
    ...     return Source(InMemory(inside[:, None].float(), radius, ("radius",)))
    >>> check_source(circles())
    >>> splits = make_splits(circles())
    >>> batch = next(ResidentBatches(splits.train, batch_size=64, seed=0).stream())
    >>> batch.images.shape, batch.labels.shape
    (torch.Size([64, 1, 32, 32]), torch.Size([64, 1]))
"""

from mmdprior.data.arrays import arrays
from mmdprior.data.augmentation import Augmentation
from mmdprior.data.batches import Batch, Batches, ResidentBatches, StreamingBatches
from mmdprior.data.cars3d import cars3d
from mmdprior.data.dsprites import dsprites
from mmdprior.data.factor_images import FactorImages
from mmdprior.data.factor_table import FactorTable
from mmdprior.data.image_folder import image_folder
from mmdprior.data.known_factors import KnownFactors
from mmdprior.data.labelled import labelled_subset
from mmdprior.data.mpi3d import mpi3d
from mmdprior.data.shapes3d import shapes3d
from mmdprior.data.shards import shards
from mmdprior.data.smallnorb import smallnorb
from mmdprior.data.source import (
    Concatenated,
    ImageSet,
    InMemory,
    Source,
    Subset,
    thin,
)
from mmdprior.data.splits import Splits, make_splits
from mmdprior.data.sprites import sprites
from mmdprior.data.tiny_imagenet import tiny_imagenet
from mmdprior.data.torchvision_sets import torchvision_set

__all__ = [
    "Augmentation",
    "Batch",
    "Batches",
    "Concatenated",
    "FactorImages",
    "FactorTable",
    "ImageSet",
    "InMemory",
    "KnownFactors",
    "ResidentBatches",
    "Source",
    "Splits",
    "StreamingBatches",
    "Subset",
    "arrays",
    "cars3d",
    "dsprites",
    "image_folder",
    "labelled_subset",
    "make_splits",
    "mpi3d",
    "shapes3d",
    "shards",
    "smallnorb",
    "sprites",
    "thin",
    "tiny_imagenet",
    "torchvision_set",
]
