"""Steps per second of the trainer against a bare loop, and images per second of the resident data loader.

python scripts/bench.py loop                           # conv networks, batch 64 and 256, on the CPU
python scripts/bench.py loop --model resnet --device cuda --batches 1024 --precision bfloat16
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from mmdprior import MMD
from mmdprior.data import Augmentation, InMemory, ResidentBatches
from mmdprior.kernels import WAE_IMQ
from mmdprior.models import Autoencoder
from mmdprior.models.conv import ConvDecoder, ConvEncoder
from mmdprior.models.resnet import ResNetDecoder, ResNetEncoder
from mmdprior.priors import Gaussian
from mmdprior.training import Logger, Numerics, Trainer

DIM, SHAPE, CROP = 32, (3, 32, 32), 4


def make_model(name: str, device: str) -> Autoencoder:
    """Build the networks of the CIFAR-10 configs, or the residual ones."""
    torch.manual_seed(0)
    if name == "resnet":
        return Autoencoder(ResNetEncoder(SHAPE, DIM), ResNetDecoder(SHAPE, DIM)).to(device)
    sizes = {"channels": [32, 64, 64], "hidden": 256}
    encoder, decoder = ConvEncoder(SHAPE, DIM, **sizes), ConvDecoder(SHAPE, DIM, **sizes)
    return Autoencoder(encoder, decoder).to(device)


def images(n: int) -> InMemory:
    g = torch.Generator().manual_seed(0)
    return InMemory(torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8, generator=g))


def bare(model: nn.Module, penalty: nn.Module, x: Tensor, steps: int, bfloat16: bool) -> None:
    """Train as a user would write it, on one fixed batch of floats that is already on the device."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    for _ in range(steps):
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            latent, output = model(x)
        loss = (output - x).square().flatten(1).sum(1).mean() + 100.0 * penalty(latent.sample)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def make_trainer(options: argparse.Namespace, size: int, steps: int) -> Trainer:
    """Build the package's trainer: resident uint8 images, normalised, checked for NaN, logged."""
    model = make_model(options.model, options.device)
    return Trainer(
        model=model,
        regularizer=MMD(Gaussian(DIM), WAE_IMQ(), seed=0).to(options.device),
        batches=ResidentBatches(images(8 * size), size, 0, options.device),
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-4, fused=True),
        steps=steps,
        device=torch.device(options.device),
        weight=100.0,
        numerics=Numerics(precision=options.precision),
        logger=Logger(),
        progress=False,
    )


def seconds(run: Callable[[], None], device: str) -> tuple[float, float]:
    """Return wall and CPU seconds. On a busy machine only the latter are reliable."""
    started, used = time.perf_counter(), time.process_time()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, time.process_time() - used


def compare(options: argparse.Namespace, size: int) -> dict[str, float]:
    """Time both loops in alternation, so that other load on the machine affects both equally.

    Returns:
        Steps per second of both, and the medians of the ratios of wall and of CPU time.
    """
    model = make_model(options.model, options.device)
    penalty = MMD(Gaussian(DIM), WAE_IMQ(), seed=0).to(options.device)
    x = images(size).images.float().div_(255).to(options.device)
    trainer = make_trainer(options, size, 10**9)
    bfloat16 = options.precision == "bfloat16"

    def with_trainer() -> None:
        trainer.steps = trainer.step + options.steps
        trainer.run()

    def by_hand() -> None:
        bare(model, penalty, x, options.steps, bfloat16)

    by_hand(), with_trainer()
    pairs = []
    for _ in range(options.repeats):
        pairs.append((seconds(by_hand, options.device), seconds(with_trainer, options.device)))
    hand, ours = (statistics.median(pair[i][0] for pair in pairs) / options.steps for i in (0, 1))
    wall, used = (statistics.median(h[i] / e[i] for h, e in pairs) for i in (0, 1))
    print(
        f"{options.model}, batch {size:5d}: bare {1 / hand:8.2f} steps/s, trainer {1 / ours:8.2f} steps/s, "
        f"ratio {wall:.3f}, ratio of CPU time {used:.3f} (median of {options.repeats} pairs of "
        f"{options.steps} steps)",
        flush=True,
    )
    return {"bare_steps_per_s": 1 / hand, "trainer_steps_per_s": 1 / ours, "ratio": wall, "cpu_ratio": used}


class _Transformed(Dataset[Tensor]):
    """Dataset that transforms one image at a time with torchvision."""

    def __init__(self, data: Tensor) -> None:
        self.data = data
        crop = v2.RandomCrop(SHAPE[1], padding=CROP, padding_mode="reflect")
        scale = v2.ToDtype(torch.float32, scale=True)
        self.transform = v2.Compose([v2.RandomHorizontalFlip(), crop, scale])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.data[index])


def loaders(options: argparse.Namespace, size: int, count: int) -> dict[str, float]:
    """Return and print images per second of both loaders, with flips, crops and normalisation."""
    data = images(count)
    resident = ResidentBatches(data, size, 0, options.device, Augmentation(flip=True, shift=CROP)).stream()
    loader = DataLoader(_Transformed(data.images), size, shuffle=True, num_workers=2, drop_last=True)
    theirs, ours = [], []
    for _ in range(3):
        iterator = iter(loader)
        next(iterator)
        started, seen = time.perf_counter(), 0
        for batch in iterator:
            seen += len(batch.to(options.device))
        theirs.append(seen / (time.perf_counter() - started))
        started = time.perf_counter()
        for _ in range(count // size):
            next(resident)
        if options.device == "cuda":
            torch.cuda.synchronize()
        ours.append((count // size) * size / (time.perf_counter() - started))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(
        f"loader, batch {size:5d}: resident {a:10.0f} images/s, DataLoader of 2 workers {b:8.0f} images/s, "
        f"{a / b:.1f} times (flip, crop {CROP}, normalise; median of 3)",
        flush=True,
    )
    return {"resident_images_per_s": a, "dataloader_images_per_s": b}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench.py loop", description=__doc__)
    parser.add_argument("--model", choices=["conv", "resnet"], default="conv")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--steps", type=int, default=20, help="steps per pair (20)")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of both loops (7)")
    parser.add_argument(
        "--images", type=int, default=4096, help="images in the data set of the loaders (4096)"
    )
    options = parser.parse_args(arguments)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {options.precision}")
    for size in options.batches:
        compare(options, size)
    for size in options.batches:
        loaders(options, size, options.images)
