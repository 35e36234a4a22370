"""Trains tiny models in float64 or float32, in one process or under torchrun; saves losses and weights.

torchrun --nproc-per-node 2 tests/helpers/together.py OUT.pt CASE:DTYPE[:PARTS] ... [-- ARGUMENTS]

With ARGUMENTS, the same processes then run ``scripts/train.py ARGUMENTS``.
"""

import runpy
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from helpers.baseline_catalogue import BASELINES

from mmdprior import KL, MMD
from mmdprior.data import Augmentation, Batch, InMemory, ResidentBatches, Subset
from mmdprior.kernels import ANOVA
from mmdprior.models import QLAE, Autoencoder, GaussianPosterior, UniformQuantiser
from mmdprior.priors import Factors, Gaussian
from mmdprior.regularizers import ConditionalMMD, LinearHead, Predictability, Regularizer, SumOfPenalties
from mmdprior.training import Constant, Logger, Numerics, Target, Trainer, join

ROOT = Path(__file__).parents[2]
DIM, SIDE, STEPS, FEW_STEPS = 4, 6, 20, 5


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(DIM, 16), nn.GELU(), nn.Linear(16, SIDE**2))

    def forward(self, codes):
        return self.layers(codes).unflatten(1, (1, SIDE, SIDE))


class PerProcess(Regularizer):
    """The usual mistake: each rank penalises its own codes, and the gradients are averaged."""

    def __init__(self, penalty, world):
        super().__init__()
        self.penalty = penalty
        self.world = world

    def forward(self, latent, *, step=0, labels=None):
        rows = self.world.rows(len(latent.sample))
        local = self.penalty(latent.sample[rows], step=step)
        # The value is the mean over ranks, the gradient that of this rank's penalty.
        return self.world.sum(local.detach()) / self.world.size + (local - local.detach())


class ConvertedBatches(ResidentBatches):
    """Images in the dtype of the model."""

    def __init__(self, *arguments, dtype, **keywords):
        super().__init__(*arguments, **keywords)
        self.dtype = dtype

    def _batch(self, *arguments):
        batch = super()._batch(*arguments)
        return Batch(batch.images.to(self.dtype), batch.labels, batch.indices)


class LossRecorder(Logger):
    def __init__(self):
        self.values = []

    def scalars(self, values, step):
        self.values.append([values["loss/total"], values["loss/reconstruction"]])


def penalty(case, world):
    if case in ("kl", "target"):
        return KL()
    if case in BASELINES:
        return BASELINES[case](DIM)
    if case == "labelled":
        prior = Factors(DIM, {"label_0": {"dims": [1], "kind": "continuous", "low": 0, "high": 95}})
        parts = [MMD(prior, seed=0), ConditionalMMD(prior, seed=0), LinearHead(prior, seed=0)]
        return SumOfPenalties(parts)
    if case == "learned":
        return SumOfPenalties([Predictability(DIM, [8], seed=0), MMD(Gaussian(DIM), seed=0)])
    mmd = MMD(Gaussian(DIM), ANOVA(), seed=0, queue=8 if case == "queue" else 0)
    return PerProcess(mmd, world) if case == "per_process" else mmd


QUANTISERS = {
    "qlae": lambda: QLAE(DIM, 4, quantisation=1.0, commitment=0.5),
    "noise": lambda: UniformQuantiser(DIM, 4, train="noise", bounds="robust"),
}


def train(case, dtype, parts, world, device):
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(5)
    images = InMemory(
        torch.randint(0, 256, (96, 1, SIDE, SIDE), dtype=torch.uint8, generator=g), torch.arange(96)[:, None]
    )
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 16), nn.GELU(), nn.Linear(16, 2 * DIM))
    quantiser = QUANTISERS[case]() if case in QUANTISERS else None
    model = Autoencoder(encoder, Decoder(), GaussianPosterior(), quantiser=quantiser).to(device, dtype)
    regularizer = penalty(case, world).to(device, dtype)
    learned = [p for module in regularizer.auxiliary_modules() for p in module.parameters()]
    shared = [p for p in regularizer.parameters() if all(p is not other for other in learned)]
    few = Subset(images, torch.arange(0, 96, 3)) if case == "labelled" else None
    losses = LossRecorder()
    trainer = Trainer(
        model=model,
        regularizer=regularizer,
        batches=ConvertedBatches(images, 32, 3, device, Augmentation(True, 2), world, dtype=dtype),
        optimizer=torch.optim.Adam([*model.parameters(), *shared], lr=1e-3, foreach=False),
        auxiliary_optimizer=torch.optim.Adam(learned, lr=1e-3) if learned else None,
        steps=FEW_STEPS if case in BASELINES or case in QUANTISERS or case == "labelled" else STEPS,
        device=device,
        weight=10.0,
        weight_schedule=Target("penalty/kl", 0.5, rate=0.1) if case == "target" else Constant(),
        gradient_clip=5.0,
        numerics=Numerics(accumulate=parts),
        world=world,
        labelled=few and ConvertedBatches(few, 8, 3, device, Augmentation(), world, dtype=dtype),
        logger=losses,
        log_every=1,
        progress=False,
    )
    trainer.run()
    state = [*model.state_dict().values(), *regularizer.state_dict().values()]
    tensors = [t.detach().double().flatten().cpu() for t in state if isinstance(t, torch.Tensor)]
    return {"losses": torch.tensor(losses.values, dtype=torch.float64), "weights": torch.cat(tensors)}


def run(cases, device="cpu"):
    """Return the world, and losses and weights by case."""
    world, place = join(torch.device(device))
    results = {}
    for name in cases:
        case, dtype, *parts = name.split(":")
        results[name] = train(case, getattr(torch, dtype), int(parts[0]) if parts else 1, world, place)
    return world, results


if __name__ == "__main__":
    torch.set_num_threads(1)
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    out, cases, arguments = sys.argv[1], sys.argv[2:end], sys.argv[end + 1 :]
    world, results = run([c for c in cases if c != "--cuda"], "cuda" if "--cuda" in cases else "cpu")
    sums = torch.stack([result["weights"].sum() for result in results.values()])
    sums = world.gather(sums[None])  # one row per rank
    if world.main:
        torch.save({**results, "weight sums": sums}, out)
    if arguments:
        sys.argv = ["train.py", *arguments]
        runpy.run_path(str(ROOT / "scripts" / "train.py"), run_name="__main__")
