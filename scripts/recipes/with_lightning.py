"""Lightning: a module with an MMD penalty, and a callback that scores the codes with LPS.

Start it with ``python scripts/recipes/with_lightning.py``, after ``pip install "mmdprior[clients]"``.
"""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mmdprior import MMD, lps
from mmdprior.priors import Uniform


class Model(lightning.LightningModule):
    """An autoencoder whose codes follow a uniform prior."""

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(8, 2), nn.Linear(2, 8)
        self.penalty = MMD(Uniform(2), seed=0)
        self.weight = weight

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        (x,) = batch
        z = self.encoder(x)
        # all_gather with gradients: the penalty is over the codes of all ranks.
        codes = self.all_gather(z, sync_grads=True).reshape(-1, z.shape[-1])
        penalty = self.penalty(codes, step=self.global_step)
        self.log("penalty/value", penalty)
        return (self.decoder(z) - x).square().mean() + self.weight * penalty

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class Scores(lightning.Callback):
    """Logs LPS of the codes of some held-out rows after every epoch."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        codes = module.encoder(self.rows.to(module.device))
        module.log("lps/linear", lps(codes, "linear").score)


def train(epochs: int = 3) -> tuple[Model, dict[str, float]]:
    """Return the trained module and what it logged."""
    x = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = Model()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        callbacks=[Scores(x[:256])],
        logger=False,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(TensorDataset(x), batch_size=64))
    return model, {name: float(value) for name, value in trainer.callback_metrics.items()}


if __name__ == "__main__":
    print(train()[1])
