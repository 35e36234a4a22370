"""Small neural network per dimension, all trained together."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.predictors.inputs import NetworkInputs
from mmdprior.predictors.network_trainer import NetworkTrainer
from mmdprior.predictors.networks import BatchedMLP, InputsAndTargets, check_widths
from mmdprior.predictors.outcome import Regression
from mmdprior.predictors.predictor import Fitted, Predictor

__all__ = ["MLPPredictor"]


class MLPPredictor(Predictor):
    """Predict the mean of every dimension by a small network: the kind of regressor that the paper uses.

    AdamW minimises the squared error. Every network is stopped early by its own validation error. The
    network of epoch 0, which predicts the training mean, is a candidate too, so independent codes score
    about zero, not below. In columns where many rows share a value among other values, the networks also see
    the indicator of that value and the ranks of the codes.

    Args:
        hidden: widths of the hidden layers.
        epochs: largest number of epochs.
        patience: epochs without a better validation error before a network stops.
        batch_size: rows per step.
        learning_rate: learning rate of AdamW.
        weight_decay: decoupled weight decay of AdamW.

    Raises:
        InputError: a setting is not positive, or ``weight_decay`` is negative.

    Example:
        >>> import torch
        >>> from mmdprior import lps
        >>> from mmdprior.predictors import MLPPredictor
        >>> z = torch.randn(1000, 2)
        >>> z[:, 1] = z[:, 0].square() + 0.1 * z[:, 1]
        >>> predictor = MLPPredictor(hidden=[32], epochs=20, batch_size=64)
        >>> bool(lps(z, "linear").r2[1] < 0.2), bool(lps(z, predictor, null=0).r2[1] > 0.8)
        (True, True)
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
        self.hidden = check_widths(hidden)
        self.trainer = NetworkTrainer(epochs, patience, batch_size, learning_rate, weight_decay)

    def fit(
        self,
        train: Float[Tensor, "p n d"],
        validation: Float[Tensor, "p m d"],
        generators: Sequence[torch.Generator],
    ) -> Fitted:
        """Train all networks together; keep the best epoch of each."""
        # Inference tensors cannot enter autograd; cloning them outside the mode makes normal tensors.
        with torch.inference_mode(False):
            train, validation = train.clone().float(), validation.clone().float()
            mean = train.mean(1)[:, :, None].cpu()
            inputs = NetworkInputs(train)
            model = BatchedMLP(train.shape[2], self.hidden, generators, mean, inputs.groups).to(train.device)
            data, held_out = (InputsAndTargets(inputs(z), z) for z in (train, validation))
            self.trainer.fit(model, data, held_out, _squared_error, generators)

        def outcome(z: Tensor) -> Regression:
            with torch.autocast(z.device.type, enabled=False):
                return Regression(z, model.predict(inputs(z.float())).squeeze(3))

        return outcome


def _squared_error(output: Tensor, target: Tensor) -> Tensor:
    return (output.squeeze(2) - target).square()
