"""The contract of a regularizer: a penalty on the latent codes of a batch."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent

__all__ = ["NoPenalty", "Regularizer", "codes_of"]


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
      trained with a loss of their own, such as a discriminator. The loop has an optimizer for them: after
      every update of the model it updates them ``auxiliary_steps`` times on detached codes. It freezes
      them for the model's loss.

    A regularizer owns no optimizer and no device: the loop moves it with ``.to(device)``.
    `mmdprior.testing.check_regularizer` verifies all of this.

    Attributes:
        terms: parts of the last value by name, detached 0-dim tensors.
        auxiliary_steps: updates of the auxiliary modules per update of the model.

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

    auxiliary_steps: int = 1

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

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return type(self).__name__

    def auxiliary_modules(self) -> list[nn.Module]:
        """Return the submodules that are trained on `auxiliary_loss`; none by default."""
        return []

    def auxiliary_loss(self, latent: Latent) -> Float[Tensor, ""]:
        """Return the loss of the auxiliary modules on the detached codes of the global batch."""
        return torch.zeros((), device=latent.sample.device)


def codes_of(latent: Latent | Tensor) -> Float[Tensor, "n d"]:
    """Return the sampled codes of a `Latent`, or a plain (n, d) tensor unchanged.

    Raises:
        InputError: a tensor that has not two axes.
    """
    codes = latent.sample if isinstance(latent, Latent) else latent
    if codes.ndim != 2:
        raise InputError(f"latent: shape {tuple(codes.shape)} received; give (n, d) codes")
    return codes


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
