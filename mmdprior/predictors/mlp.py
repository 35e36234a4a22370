"""One small network a dimension, all trained together."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.predictors.networks import BatchedMLP, Descent, Rows
from mmdprior.predictors.outcome import Regression
from mmdprior.predictors.predictor import Fitted, Predictor

__all__ = ["MLPPredictor"]


class MLPPredictor(Predictor):
    """The paper's kind of regressor: one network a dimension, stopped early dimension by dimension.

    AdamW on the squared error (see `Descent`). Epoch 0, which predicts the training mean, counts:
    independent codes score zero, not below.

    Args:
        hidden: widths of the hidden layers.
        epochs: at most.
        patience: epochs a network waits for a better validation error.
        batch_size: rows a step.
        learning_rate: of AdamW.
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
        learning_rate: float = 4e-3,
        weight_decay: float = 0.1,
    ) -> None:
        if min(hidden, default=0) <= 0:
            raise InputError(f"hidden: {list(hidden)} received; give positive widths")
        self.hidden = tuple(hidden)
        self.descent = Descent(epochs, patience, batch_size, learning_rate, weight_decay)

    def fit(
        self,
        train: Float[Tensor, "p n d"],
        validation: Float[Tensor, "p m d"],
        generators: Sequence[torch.Generator],
    ) -> Fitted:
        """Train all networks; the best weights of each are kept, dimension by dimension."""
        with torch.inference_mode(False):
            train, validation = train.clone().float(), validation.clone().float()
            mean = train.mean(1)[:, :, None]
            model = BatchedMLP(train.shape[2], self.hidden, generators, mean.cpu()).to(train.device)
            self.descent.fit(
                model, Rows(train, train), Rows(validation, validation), _squared_error, generators
            )

        def outcome(z: Tensor) -> Regression:
            with torch.autocast(z.device.type, enabled=False):
                return Regression(z, model.predict(z).squeeze(3))

        return outcome


def _squared_error(output: Tensor, target: Tensor) -> Tensor:
    return (output.squeeze(2) - target).square()
