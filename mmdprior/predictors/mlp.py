"""One small network a dimension, all trained together."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmdprior.errors import InputError
from mmdprior.predictors.predictor import Predict, Predictor

__all__ = ["BatchedMLP", "MLPPredictor"]


class BatchedMLP(nn.Module):
    """d networks (d -> hidden -> ... -> 1) under batched products; network i never sees input i.

    The last layer starts at zero, so an untrained network predicts the mean of standardised codes.

    Args:
        dim: d, both the number of inputs and of networks.
        hidden: widths of the hidden layers.
        generator: seeds the start.
    """

    def __init__(self, dim: int, hidden: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for before, after in zip([dim, *hidden], [*hidden, 1], strict=True):
            bound = math.sqrt(6 / before)
            uniform = torch.rand(dim, before, after, generator=generator, dtype=torch.float32)
            self.weights.append(nn.Parameter((2 * uniform - 1) * bound))
            self.biases.append(nn.Parameter(torch.zeros(dim, 1, after, dtype=torch.float32)))
        nn.init.zeros_(self.weights[-1])
        self.register_buffer("mask", 1 - torch.eye(dim, dtype=torch.float32)[:, :, None], persistent=False)
        self.mask: Tensor

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Predict every dimension from the others."""
        dim = z.shape[1]
        first = (self.weights[0] * self.mask).permute(1, 0, 2).flatten(1)
        hidden = (z @ first).view(len(z), dim, -1).transpose(0, 1) + self.biases[0]
        for weight, bias in zip(list(self.weights)[1:], list(self.biases)[1:], strict=True):
            hidden = torch.baddbmm(bias, functional.relu(hidden), weight)
        return hidden.squeeze(2).T


class MLPPredictor(Predictor):
    """The paper's kind of regressor: one network a dimension, stopped early dimension by dimension.

    AdamW at a constant rate on the summed squared error of all dimensions; after every epoch each
    dimension keeps its weights if its validation error is the best so far, and training ends
    when no dimension has improved for ``patience`` epochs. Epoch 0, which predicts the mean, counts:
    independent codes score zero, not below.

    Args:
        hidden: widths of the hidden layers.
        epochs: at most.
        patience: epochs without improvement in any dimension before the end.
        batch_size: rows a step.
        learning_rate: of Adam.
        weight_decay: decoupled, per step and relative to the learning rate.

    Raises:
        InputError: a setting that is not positive.
    """

    uses_validation = True

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        epochs: int = 100,
        patience: int = 8,
        batch_size: int = 256,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.1,
    ) -> None:
        settings = {
            "hidden": min(hidden, default=0),
            "epochs": epochs,
            "patience": patience,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
        }
        for name, value in settings.items():
            if value <= 0:
                raise InputError(f"{name}: {value} received; give a positive number")
        self.hidden = tuple(hidden)
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def fit(
        self,
        train: Float[Tensor, "n d"],
        validation: Float[Tensor, "m d"],
        generator: torch.Generator,
    ) -> Predict:
        """Train all networks; the best weights of each are returned, dimension by dimension."""
        with _training_modes(train.device.type):
            model = self._train(train.clone().float(), validation.clone().float(), generator)

        def predict(z: Tensor) -> Tensor:
            with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
                return torch.cat([model(part) for part in z.float().split(8192)])

        return predict

    def _train(self, train: Tensor, validation: Tensor, generator: torch.Generator) -> BatchedMLP:
        model = BatchedMLP(train.shape[1], self.hidden, generator).to(train.device)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
        best = _Best(model, validation)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(train), generator=generator).split(self.batch_size):
                batch = train[rows.to(train.device)]
                loss = (model(batch) - batch).square().mean(0).sum()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            if best.update() > self.patience:
                break
        best.restore()
        return model


@contextmanager
def _training_modes(device_type: str) -> Iterator[None]:
    """Train whatever the caller's modes are: scores are often taken under no_grad or autocast."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device_type, enabled=False),
    ):
        yield


class _Best:
    """The best weights so far of every network, by validation error."""

    def __init__(self, model: BatchedMLP, validation: Tensor) -> None:
        self.model = model
        self.validation = validation
        self.error = self._errors()
        self.waited = torch.zeros_like(self.error, dtype=torch.long)
        self.parameters = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def _errors(self) -> Tensor:
        parts = self.validation.split(8192)
        return sum((self.model(p) - p).square().sum(0) for p in parts) / len(self.validation)

    @torch.no_grad()
    def update(self) -> int:
        """Keep what improved; return the epochs that the most recently improved network has waited."""
        error = self._errors()
        improved = error < self.error
        self.error = torch.where(improved, error, self.error)
        self.waited = torch.where(improved, 0, self.waited + 1)
        for kept, current in zip(self.parameters, self.model.parameters(), strict=True):
            kept[improved] = current.detach()[improved]
        return int(self.waited.min())

    @torch.no_grad()
    def restore(self) -> None:
        """Put the best weights back."""
        for kept, current in zip(self.parameters, self.model.parameters(), strict=True):
            current.copy_(kept)
