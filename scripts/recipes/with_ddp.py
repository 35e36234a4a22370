"""Plain DistributedDataParallel: the penalty is over the codes of all ranks.

Start it with ``torchrun --nproc-per-node 2 scripts/recipes/with_ddp.py``. The gather is differentiable and
DDP averages gradients, so the update is that of one process with the whole batch.
"""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmdprior import MMD
from mmdprior.priors import Uniform
from mmdprior.training import join
from mmdprior.world import World


class Model(nn.Module):
    """Encoder and decoder of small vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(8, 2), nn.Linear(2, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = self.encoder(x)
        return z, self.decoder(z)


def train(x: torch.Tensor, world: World, steps: int = 10) -> nn.Module:
    """Return the model after some steps on the global batch ``x``, of which each rank has its rows."""
    torch.manual_seed(0)
    model = Model()
    network = DistributedDataParallel(model) if world.size > 1 else model
    penalty = MMD(Uniform(2), seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mine = x[world.rows(len(x))]
    for step in range(steps):
        z, output = network(mine)
        # Every rank computes the same penalty, on the codes of all ranks.
        loss = (output - mine).square().mean() + penalty(world.gather(z), step=step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


if __name__ == "__main__":
    world, _ = join(torch.device("cpu"))
    trained = train(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), world)
    if world.main:
        print({name: value.flatten()[:3].tolist() for name, value in trained.state_dict().items()})
