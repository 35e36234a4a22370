"""Hugging Face Trainer: a model that returns its loss, with an MMD penalty in it.

Start it with ``python scripts/recipes/with_transformers.py``, after ``pip install "mmdprior[clients]"``.
"""

import tempfile

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from mmdprior import MMD
from mmdprior.priors import Uniform


class Model(nn.Module):
    """An autoencoder that returns a dict with its loss, as the trainer expects."""

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(8, 2), nn.Linear(2, 8)
        self.penalty = MMD(Uniform(2), seed=0)
        self.weight = weight

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        z = self.encoder(x)
        penalty = self.penalty(z)
        return {"loss": (self.decoder(z) - x).square().mean() + self.weight * penalty, "codes": z}


class Rows(Dataset[dict[str, torch.Tensor]]):
    """Vectors as dicts."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index]}


def train(steps: int = 30) -> tuple[Model, list[float]]:
    """Return the model and its logged losses."""
    x = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=64,
            learning_rate=1e-2,
            logging_steps=10,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=Rows(x))
        trainer.train()
    return model, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


if __name__ == "__main__":
    print(train()[1])
