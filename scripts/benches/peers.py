"""Images per second, loss after equal steps, and peak memory: mmdprior, pythae and a plain PyTorch loop.

All three train the same network from the same weights on the same images with Adam, each with its own default
settings, and each in a process of its own. Rounds alternate between them, so that other load on the machine
affects all equally.

python scripts/bench.py peers                          # sprites, batch 64, 4 rounds of 20 steps
python scripts/bench.py peers --install                # puts pythae into a temporary folder first
"""

import argparse
import contextlib
import importlib.util
import io
import logging
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mmdprior.config.load import make_config
from mmdprior.data import sprites
from mmdprior.models import Autoencoder, ConvDecoder, ConvEncoder
from mmdprior.runs import assemble

DIM, RATE, HELD_OUT = 10, 1e-3, 512
PEER_PACKAGES = ("pythae", "cloudpickle", "dill", "imageio")
"""What pythae imports at training time, except torch and pydantic, which are installed."""

Rounds = Callable[[], None]


def training_images(count: int) -> Tensor:
    """Return rendered sprites as (n, 1, 64, 64) uint8."""
    # In small chunks: rendering must not determine the peak memory of the process.
    return torch.cat([images for images, _ in sprites(images=count + HELD_OUT).train.chunks(64)])


def ours(
    start: Autoencoder, images: Tensor, size: int, steps: int, folder: Path
) -> tuple[Autoencoder, Rounds]:
    """Return the model and a round of the package, as a YAML config without any further setting."""
    path = folder / "images.npz"
    np.savez(path, images=images.numpy())
    raw = {
        "name": "peers",
        "data": {"name": "arrays", "path": str(path), "batch_size": size, "validation": 8, "test": 8},
        "model": {"name": "conv", "latent_dim": DIM},
        "regularizer": {"name": "none"},
        "trainer": {"steps": 10**9, "learning_rate": RATE, "device": "cpu"},
        "evaluation": {"pictures": False},
    }
    trainer = assemble(make_config(raw), progress=False).trainer
    trainer.validate = None
    trainer.model.load_state_dict(start.state_dict())

    def run() -> None:
        trainer.steps = trainer.step + steps
        trainer.run()

    return trainer.model, run


def plain(model: Autoencoder, images: Tensor, size: int) -> Rounds:
    """Return a round of the loop that a user would write: a DataLoader over floats in memory, and Adam."""
    loader = DataLoader(TensorDataset(images.float() / 255), size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def run() -> None:
        model.train()
        for (x,) in loader:
            output = model.decoder(model.encoder(x))
            loss = (output - x).square().flatten(1).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return run


def pythae(model: Autoencoder, images: Tensor, size: int, folder: Path) -> Rounds:
    """Return an epoch of pythae's `BaseTrainer` on the same encoder and decoder."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import AE, AEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    logging.disable(logging.INFO)

    class Encoder(BaseEncoder):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> ModelOutput:
            return ModelOutput(embedding=self.network(x))

    class Decoder(BaseDecoder):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.network(z))

    config = AEConfig(input_dim=tuple(images.shape[1:]), latent_dim=DIM)
    trainer = BaseTrainer(
        model=AE(config, Encoder(model.encoder), Decoder(model.decoder)),
        train_dataset=BaseDataset(images.float() / 255, torch.zeros(len(images))),
        training_config=BaseTrainerConfig(
            output_dir=str(folder), per_device_train_batch_size=size, learning_rate=RATE, no_cuda=True
        ),
    )
    trainer.prepare_training()
    epochs = iter(range(1, 10**9))

    def run() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            trainer.train_step(next(epochs))

    return run


def held_out_loss(model: Autoencoder, images: Tensor) -> float:
    """Return the mean squared error per image, summed over pixels, on images outside the training set."""
    x = images.float() / 255
    with torch.no_grad():
        output = model.eval().decoder(model.encoder(x))
    model.train()
    return float((output - x).square().flatten(1).sum(1).mean())


def installed() -> list[str]:
    """Return the names of the contenders that can run."""
    return ["mmdprior", "plain loop"] + ["pythae"] * (importlib.util.find_spec("pythae") is not None)


def prepare(name: str, size: int, steps: int, folder: Path) -> tuple[Autoencoder, Rounds, Tensor]:
    """Return the model of a contender, its round, and held-out images; all have the same first weights."""
    images = training_images(size * steps)
    train, held_out = images[HELD_OUT:][: size * steps], images[:HELD_OUT]
    torch.manual_seed(0)
    shape = tuple(images.shape[1:])
    model = Autoencoder(ConvEncoder(shape, DIM), ConvDecoder(shape, DIM))
    if name == "mmdprior":
        # It takes its test and validation images from the file, too: these are additional ones.
        return *ours(model, torch.cat([train, held_out[:16]]), size, steps, folder), held_out
    run = plain(model, train, size) if name == "plain loop" else pythae(model, train, size, folder)
    return model, run, held_out


def serve(name: str, size: int, steps: int, connection: Connection) -> None:
    """Run one round per message, in a process of this contender alone; send times, loss and peak memory."""
    warnings.simplefilter("ignore", UserWarning)
    with tempfile.TemporaryDirectory() as folder:
        model, run, held_out = prepare(name, size, steps, Path(folder))
        connection.send(held_out_loss(model, held_out))
        while connection.recv():
            started, used = time.perf_counter(), time.process_time()
            run()
            times = time.perf_counter() - started, time.process_time() - used
            connection.send((*times, held_out_loss(model, held_out), peak_memory()))


def compare(options: argparse.Namespace) -> None:
    """Print images per second, losses, peak memory and ratios."""
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    contenders: dict[str, Connection] = {}
    rounds: dict[str, list[tuple[float, float, float, int]]] = {}
    for name in options.only or installed():
        contenders[name], other_end = context.Pipe()
        arguments = (name, options.batch, options.steps, other_end)
        processes.append(context.Process(target=serve, args=arguments, daemon=True))
        processes[-1].start()
        rounds[name] = []
    print("before    " + ", ".join(f"{name} {peer.recv():.1f}" for name, peer in contenders.items()))
    for repeat in range(options.repeats + 1):
        for name, peer in contenders.items():
            peer.send(True)
            result = peer.recv()
            if repeat:  # the first round warms up
                rounds[name].append(result)
    for peer in contenders.values():
        peer.send(False)
    for process in processes:
        process.join()
    images = options.batch * options.steps
    for name, results in rounds.items():
        wall, cpu = (statistics.median(result[i] for result in results) for i in (0, 1))
        *_, loss, memory = results[-1]
        print(
            f"{name:10} {images / wall:7.0f} images/s, {images / cpu:7.0f} per CPU second; peak memory "
            f"{memory} MiB; held-out loss after {(options.repeats + 1) * options.steps} steps {loss:.2f}"
        )
    for name in [name for name in rounds if name != "mmdprior" and "mmdprior" in rounds]:
        for label, i in (("time", 0), ("CPU time", 1)):
            ratios = sorted(b[i] / a[i] for a, b in zip(rounds["mmdprior"], rounds[name], strict=True))
            print(
                f"{name} / mmdprior, {label}: {statistics.median(ratios):.2f} "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} rounds)"
            )


def peak_memory() -> int:
    """Return the peak memory of this process in MiB, without that of the process that started it."""
    status = Path("/proc/self/status")  # getrusage reports the larger of both
    if status.is_file():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench.py peers", description=__doc__)
    parser.add_argument("--batch", type=int, default=64, help="images per step (64)")
    parser.add_argument("--steps", type=int, default=20, help="steps per round (20)")
    parser.add_argument("--repeats", type=int, default=4, help="rounds of each, after one to warm up (4)")
    parser.add_argument("--only", nargs="+", help="contenders to run: mmdprior, 'plain loop', pythae")
    parser.add_argument("--install", action="store_true", help="install pythae into a temporary folder first")
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        if options.install:
            target = stack.enter_context(tempfile.TemporaryDirectory())
            pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target]
            subprocess.run([*pip, *PEER_PACKAGES], check=True)
            sys.path.insert(0, target)
        print(f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}, batch {options.batch}")
        if "pythae" not in installed():
            print("pythae is not installed; give --install, or pip install pythae")
        compare(options)
