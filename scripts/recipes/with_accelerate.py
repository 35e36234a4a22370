"""Accelerate: the same loop on one device or several.

Start it with ``accelerate launch scripts/recipes/with_accelerate.py``, after
``pip install "mmdprior[clients]"``.
"""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mmdprior import MMD
from mmdprior.priors import Uniform
from mmdprior.world import World


def train(epochs: int = 3) -> tuple[nn.Module, list[float]]:
    """Return the encoder and the penalty at every step."""
    x = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(8, 2), nn.Linear(2, 8)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
    loader = DataLoader(TensorDataset(x), batch_size=64, shuffle=True)
    accelerator = Accelerator(cpu=True)
    encoder, decoder, optimizer, loader = accelerator.prepare(encoder, decoder, optimizer, loader)
    penalty = MMD(Uniform(2), seed=0).to(accelerator.device)
    # accelerator.gather passes no gradient on; World.gather does.
    world = World(accelerator.process_index, accelerator.num_processes)
    values = []
    for epoch in range(epochs):
        for index, (rows,) in enumerate(loader):
            z = encoder(rows)
            value = penalty(world.gather(z), step=epoch * len(loader) + index)
            accelerator.backward((decoder(z) - rows).square().mean() + 10 * value)
            optimizer.step()
            optimizer.zero_grad()
            values.append(float(value.detach()))
    return accelerator.unwrap_model(encoder), values


if __name__ == "__main__":
    print([round(value, 4) for value in train()[1]])
