"""Sizes of the parts of `bench.py gpu`."""

from dataclasses import dataclass

__all__ = ["FULL", "SMALL", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of every part.

    Attributes:
        tests: files that pytest collects.
        models: networks that are timed, names of `benches.loop`.
        batch: images per step where steps are timed.
        steps: steps per measurement.
        repeats: measurements, of which the median is reported.
        compiled: whether compiled steps are timed; their first step takes about a minute.
        images: images of the loaders.
        penalty: codes and dimensions of the timed penalties.
        memory: codes and dimensions of the memory measurement.
        lps: codes and dimensions of the LPS.
        looped: dimensions that scikit-learn fits; its time is scaled to all of them.
        train_model: ``model.name`` of the training runs.
        train_batches: batch sizes of the training runs.
        train_steps: most steps per training run.
    """

    tests: tuple[str, ...]
    models: tuple[str, ...]
    batch: int
    steps: int
    repeats: int
    compiled: bool
    images: int
    penalty: tuple[int, int]
    memory: tuple[int, int]
    lps: tuple[int, int]
    looped: int
    train_model: str
    train_batches: tuple[int, ...]
    train_steps: int


FULL = Sizes(
    tests=("tests",),
    models=("conv", "resnet"),
    batch=1024,
    steps=20,
    repeats=5,
    compiled=True,
    images=8192,
    penalty=(1024, 128),
    memory=(32768, 64),
    lps=(50_000, 64),
    looped=2,
    train_model="resnet",
    train_batches=(1024, 4096),
    train_steps=2000,
)

SMALL = Sizes(
    tests=("tests/priors/test_contract.py",),
    models=("conv",),
    batch=16,
    steps=2,
    repeats=1,
    compiled=False,
    images=64,
    penalty=(64, 4),
    memory=(128, 4),
    lps=(300, 3),
    looped=1,
    train_model="conv",
    train_batches=(32,),
    train_steps=4,
)
