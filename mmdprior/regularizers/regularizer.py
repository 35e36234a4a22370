"""The contract of a regularizer: a penalty on the latent codes of a batch."""

import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError, InputWarning
from mmdprior.latent import Latent
from mmdprior.tracing import is_traced

__all__ = [
    "Labelled",
    "NoPenalty",
    "Regularizer",
    "check_codes",
    "codes_of",
    "loss_of_auxiliary",
    "penalty_of",
]


@dataclass(frozen=True)
class Labelled:
    """Codes of the labelled batch of a step, and their labels.

    Attributes:
        latent: codes.
        labels: (n, k) labels of the same rows; NaN, or negative in integer labels, where missing.
    """

    latent: Latent
    labels: Tensor


class Regularizer(nn.Module, ABC):
    """A scalar penalty on the latent codes of the global batch.

    The training loop adds ``weight * regularizer(latent, step=step, labels=labels)`` to the reconstruction
    loss. A subclass writes `forward` and, where they apply, the other methods:

    - ``forward(latent, *, step=0, labels=None)`` returns the penalty as a 0-dim tensor and stores its parts
      in ``terms``. ``latent`` holds the codes of the *global* batch: in distributed training, the loop
      gathers codes and labels of all processes differentiably, so that a penalty that is not a mean over
      rows, such as an MMD, is that of the whole batch. ``step`` is the training step; a regularizer does
      not count steps itself. ``labels`` are the labels of the same rows, or None.
    - ``terms`` maps names to detached 0-dim tensors: the parts of the last value, logged as
      ``penalty/<name>``.
    - ``describe()`` returns one line, which ``mmdprior train`` prints at the start.
    - ``check(dim=..., stochastic=...)`` raises `InputError` for latents that the penalty cannot take. It is
      called before training.
    - ``auxiliary_modules()``, ``auxiliary_loss(latent)`` and ``auxiliary_steps`` declare parts that are
      trained with a loss of their own, such as a discriminator. The loop has an optimizer for them, Adam with
      ``auxiliary_learning_rate`` and ``auxiliary_betas``: after every update of the model it updates them
      ``auxiliary_steps`` times on detached codes. It freezes them for the model's loss. An auxiliary loss
      that draws random numbers has the argument ``step``, which is another number in every update.
    - ``before_training(model=..., images=..., examples=...)`` receives the autoencoder and training images,
      for penalties on more than the codes.
    - ``set_labels(names, labels)`` receives the names of the label columns and the labels that training uses.
    - ``on_labelled = True`` marks a penalty on labelled codes: where a run has a labelled batch besides the
      unlabelled one (``data.labelled``), ``latent`` and ``labels`` are those of the labelled batch.

    A regularizer owns no optimizer and no device: the loop moves it with ``.to(device)``.
    `mmdprior.testing.check_regularizer` verifies all of this.

    Attributes:
        terms: parts of the last value by name, detached 0-dim tensors.
        on_labelled: whether the penalty is evaluated on the labelled batch of a step, if there is one.
        auxiliary_steps: updates of the auxiliary modules per update of the model.
        auxiliary_learning_rate: default step size of Adam for the auxiliary modules.
        auxiliary_betas: default decay rates of Adam for the auxiliary modules.

    Example:
        A penalty on the mean squared correlation between dimensions:

        >>> class Decorrelate(Regularizer):
        ...     def forward(self, latent, *, step=0, labels=None):
        ...         z = codes_of(latent)
        ...         correlation = torch.corrcoef(z.T)
        ...         off_diagonal = correlation - torch.diag(correlation.diagonal())
        ...         value = off_diagonal.square().mean()
        ...         self.terms = {"correlation_max": off_diagonal.abs().max().detach()}
        ...         return value
        ...
        ...     def describe(self):
        ...         return "mean squared correlation between dimensions"
        >>> penalty = Decorrelate()
        >>> z = torch.randn(64, 3, requires_grad=True)
        >>> penalty(z).backward()
        >>> penalty.terms.keys(), z.grad.shape
        (dict_keys(['correlation_max']), torch.Size([64, 3]))

        A penalty with a learned part: a network that recognises prior draws, trained on its own loss.

        >>> class Adversarial(Regularizer):
        ...     auxiliary_steps = 2
        ...
        ...     def __init__(self, dim: int):
        ...         super().__init__()
        ...         self.network = nn.Sequential(nn.Linear(dim, 32), nn.ReLU(), nn.Linear(32, 1))
        ...
        ...     def forward(self, latent, *, step=0, labels=None):
        ...         return nn.functional.softplus(-self.network(codes_of(latent))).mean()
        ...
        ...     def auxiliary_modules(self):
        ...         return [self.network]
        ...
        ...     def auxiliary_loss(self, latent):
        ...         z = codes_of(latent).detach()
        ...         on_codes, on_prior = self.network(z), self.network(torch.randn_like(z))
        ...         return nn.functional.softplus(on_codes).mean() + nn.functional.softplus(-on_prior).mean()
        >>> from mmdprior.testing import check_regularizer
        >>> check_regularizer(Adversarial(3), dim=3)
    """

    on_labelled: ClassVar[bool] = False
    auxiliary_steps: int = 1
    auxiliary_learning_rate: float = 1e-3
    auxiliary_betas: tuple[float, float] = (0.5, 0.9)

    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, Tensor] = {}

    @abstractmethod
    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty of a batch.

        Args:
            latent: codes of the global batch, or a plain (n, d) tensor of codes.
            step: training step, for penalties that change with it.
            labels: (n, k) labels or factors of the same rows; None where the data has none.
        """

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Raise `InputError` if latents of this kind cannot be penalised; accepts everything by default.

        Args:
            dim: number of latent dimensions.
            stochastic: whether the posterior has a variance.
        """

    def before_training(
        self, *, model: nn.Module, images: int, examples: Callable[[int], Tensor] | None = None
    ) -> None:
        """Receive the autoencoder and the training images, before training; ignored by default.

        `mmdprior.training.Trainer` calls it. A run calls it also before the optimizers are made, so that it
        may create parameters. Calls after the first must not change them.

        Args:
            model: the autoencoder, with ``encoder``, ``decoder`` and ``posterior``. Keep it in a tuple: an
                attribute that is a module would become a submodule of the penalty.
            images: number of training images.
            examples: function of k that returns k training images as the model receives them, fewer if there
                are fewer.
        """

    def set_labels(self, names: Sequence[str], labels: Tensor) -> None:
        """Receive the labels of the data before training; ignored by default.

        Args:
            names: one name per label column; empty for data without labels.
            labels: (n, k) labels that training uses, those of the labelled subset if there is one.
        """

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return type(self).__name__

    def auxiliary_modules(self) -> list[nn.Module]:
        """Return the submodules that are trained on `auxiliary_loss`; none by default."""
        return []

    def auxiliary_loss(self, latent: Latent, *, step: int = 0) -> Float[Tensor, ""]:
        """Return the loss of the auxiliary modules on the detached codes of the global batch.

        Args:
            latent: codes of the global batch.
            step: number of the update, for a loss that draws random numbers.
        """
        return torch.zeros((), device=latent.sample.device)


def penalty_of(
    penalty: Regularizer,
    latent: Latent | Tensor,
    *,
    step: int,
    labels: Tensor | None,
    labelled: Labelled | None,
) -> Float[Tensor, ""]:
    """Return the value of a penalty at a step, on the batch or on the labelled batch.

    Args:
        penalty: a regularizer; a sum passes the labelled batch on to its penalties.
        latent: codes of the global batch.
        step: training step.
        labels: labels of the batch.
        labelled: the labelled batch; None where the batch itself is labelled.
    """
    if labelled is None:
        return penalty(latent, step=step, labels=labels)
    if penalty.on_labelled:
        return penalty(labelled.latent, step=step, labels=labelled.labels)
    if "labelled" in inspect.signature(penalty.forward).parameters:
        return penalty(latent, step=step, labels=labels, labelled=labelled)
    return penalty(latent, step=step, labels=labels)


def loss_of_auxiliary(penalty: Regularizer, latent: Latent, step: int) -> Float[Tensor, ""]:
    """Return the auxiliary loss of a penalty at an update, also of one whose method has no ``step``."""
    if "step" in inspect.signature(penalty.auxiliary_loss).parameters:
        return penalty.auxiliary_loss(latent, step=step)
    return penalty.auxiliary_loss(latent)


def codes_of(latent: Latent | Tensor, *, least: int = 0) -> Float[Tensor, "n d"]:
    """Return the sampled codes of a `Latent`, or a plain (n, d) tensor unchanged.

    Codes on the CPU with NaN or infinity are returned with an `InputWarning`, because gradient scalers expect
    losses that are not finite. On other devices the check would wait for the device.

    Args:
        latent: codes of the global batch.
        least: number of rows that the penalty needs.

    Raises:
        InputError: no dense floating-point tensor of two axes, or fewer rows.
    """
    codes = latent.sample if isinstance(latent, Latent) else latent
    check_codes("latent", codes)
    if codes.shape[0] < least:
        raise InputError(
            f"latent: a batch of {codes.shape[0]} received; the penalty needs {least} rows; give larger "
            "batches, or drop_last=True to the DataLoader"
        )
    if codes.device.type == "cpu" and not is_traced() and not math.isfinite(float(codes.detach().sum())):
        rows = int((~torch.isfinite(codes)).any(1).sum())
        if rows > 0:
            warnings.warn(
                f"latent: NaN or infinity in {rows} of {len(codes)} rows; the penalty is not finite; look "
                "for the cause in the encoder or its inputs",
                InputWarning,
                stacklevel=3,
            )
    return codes


def check_codes(name: str, codes: object) -> None:
    """Raise `InputError` unless codes are a dense floating-point (n, d) tensor.

    Args:
        name: name of the argument in the error.
        codes: what the user passed.
    """
    if not isinstance(codes, Tensor):
        raise InputError(f"{name}: {type(codes).__name__} received; give a torch tensor of (n, d) codes")
    if not codes.is_floating_point() or codes.layout is not torch.strided:
        kind = codes.dtype if codes.layout is torch.strided else codes.layout
        raise InputError(f"{name}: {kind} received; give dense floating-point codes, as by z.float()")
    if codes.ndim != 2:
        raise InputError(f"{name}: shape {tuple(codes.shape)} received; give (n, d) codes")


class NoPenalty(Regularizer):
    """Zero for all codes: the plain autoencoder.

    Example:
        >>> NoPenalty()(torch.randn(8, 2))
        tensor(0.)
    """

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return zero."""
        return codes_of(latent).new_zeros(())
