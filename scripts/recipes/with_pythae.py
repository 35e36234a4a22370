"""pythae: a custom model, an autoencoder with an MMD penalty to any prior.

Start it with ``python scripts/recipes/with_pythae.py``, after ``pip install pythae``.
"""

import tempfile

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import AE, AEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.trainers import BaseTrainer, BaseTrainerConfig

from mmdprior import MMD
from mmdprior.priors import Uniform


class PriorAE(AE):
    """pythae's autoencoder with a penalty on its codes."""

    def __init__(self, config: AEConfig, weight: float = 10.0) -> None:
        super().__init__(config)
        self.penalty = MMD(Uniform(config.latent_dim), seed=0)
        self.weight = weight

    def forward(self, inputs: BaseDataset, **settings: object) -> ModelOutput:
        x = inputs["data"]
        z = self.encoder(x).embedding
        output = self.decoder(z)["reconstruction"]
        reconstruction = (output - x).square().flatten(1).sum(1).mean()
        penalty = self.penalty(z)
        loss = reconstruction + self.weight * penalty
        return ModelOutput(loss=loss, reg_loss=penalty, recon_x=output, z=z)


def train(epochs: int = 3) -> tuple[PriorAE, list[float]]:
    """Return the trained model, and the penalty of all rows before and after training."""
    x = np.random.default_rng(0).random((256, 1, 4, 4)).astype(np.float32)
    torch.manual_seed(0)
    model = PriorAE(AEConfig(input_dim=(1, 4, 4), latent_dim=2))
    rows = {"data": torch.from_numpy(x)}
    with torch.no_grad():
        values = [float(model(rows).reg_loss)]
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            learning_rate=1e-3,
            per_device_train_batch_size=64,
            no_cuda=True,
        )
        data = BaseDataset(rows["data"], torch.zeros(len(x)))
        BaseTrainer(model=model, train_dataset=data, training_config=settings).train()
    with torch.no_grad():
        values.append(float(model(rows).reg_loss))
    return model, values


if __name__ == "__main__":
    print(train()[1])
