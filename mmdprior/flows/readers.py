"""Networks that read labels off codes: an ensemble that is fitted to few labelled codes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmdprior.errors import InputError
from mmdprior.priors import Factor
from mmdprior.seeding import stream

__all__ = ["LabelReaders", "ReaderSettings", "fit_readers"]

_FOLDS = 5
"""Networks per label. Each stops early on the fifth of the rows that it is not fitted to."""

_FEWEST_ROWS = 2 * _FOLDS
_EVERY = 25
"""Updates between evaluations of the held-out loss."""


@dataclass(frozen=True)
class ReaderSettings:
    """Architecture and optimisation of the networks that read labels.

    Attributes:
        hidden: units of each of the two hidden layers.
        dropout: probability that a hidden unit is dropped in training.
        noise: standard deviation of normal noise added to the whitened codes of each step.
        steps: number of optimizer steps.
        batch_size: labelled codes per step and network.
        learning_rate: first learning rate of AdamW, which decays to zero along a half cosine.
        weight_decay: decoupled weight decay.
    """

    hidden: int = 256
    dropout: float = 0.2
    noise: float = 0.1
    steps: int = 1000
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.1


class LabelReaders(nn.Module):
    """Five networks per label, from whitened codes to the positions of the labels.

    A label with levels is classified; its position is the mean over the predicted probabilities. The
    positions of other labels are predicted directly.

    Args:
        dim: number of code dimensions.
        factors: the labels.
        hidden: units of each of the two hidden layers.
        generator: source of the initial weights, on the CPU.
    """

    def __init__(self, dim: int, factors: Sequence[Factor], hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.factors = list(factors)
        self.outputs = [factor.levels or len(factor.dims) for factor in factors]
        sizes = [dim, hidden, hidden, max(self.outputs)]
        count = _FOLDS * len(self.factors)  # the networks of a label are neighbours
        gains = (1.0, 2.0, 0.01)
        self.weights = nn.ParameterList(
            math.sqrt(gain / a) * torch.randn(count, a, b, generator=generator)
            for gain, a, b in zip(gains, sizes, sizes[1:], strict=False)
        )
        self.biases = nn.ParameterList(torch.zeros(count, 1, b) for b in sizes[1:])

    def forward(self, x: Float[Tensor, "k n d"], dropout: float = 0.0) -> Float[Tensor, "k n outputs"]:
        """Return the outputs of all networks, each for its own inputs."""
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if i < len(self.weights) - 1:
                x = functional.dropout(torch.relu(x), dropout, training=dropout > 0)
        return x

    @torch.no_grad()
    def positions(self, codes: Float[Tensor, "n d"], block: int = 8192) -> Float[Tensor, "n m"]:
        """Return the mean position over the networks, the dimensions of all labels side by side."""
        return torch.cat([self._positions(rows) for rows in codes.split(block)])

    def _positions(self, codes: Tensor) -> Tensor:
        outputs = self(codes.expand(len(self.weights[0]), -1, -1)).unflatten(0, (len(self.factors), _FOLDS))
        columns = []
        for factor, output, width in zip(self.factors, outputs, self.outputs, strict=True):
            if factor.levels is None:
                columns.append(output[..., :width].mean(0))
            else:
                levels = torch.arange(factor.levels, device=codes.device).to(codes.dtype)
                columns.append(output[..., :width].softmax(2).mean(0) @ factor.positions(levels))
        return torch.cat(columns, 1)

    def losses(self, outputs: Float[Tensor, "k n o"], values: Float[Tensor, "k n"]) -> Float[Tensor, "k"]:
        """Return the mean loss of every network over the rows whose label is known.

        Args:
            outputs: outputs of all networks.
            values: values of the label of each network for its rows, NaN where missing.
        """
        parts = []
        grouped = outputs.unflatten(0, (len(self.factors), _FOLDS))
        labels = values.unflatten(0, (len(self.factors), _FOLDS))
        for factor, output, value, width in zip(self.factors, grouped, labels, self.outputs, strict=True):
            known = ~value.isnan()
            filled = value.nan_to_num(0.0)
            if factor.levels is None:
                target = factor.positions(filled.flatten()).unflatten(0, filled.shape)
                loss = (output[..., :width] - target).square().mean(2)
            else:
                loss = functional.cross_entropy(
                    output[..., :width].transpose(1, 2), filled.long(), reduction="none"
                )
            parts.append((loss * known).sum(1) / known.sum(1).clamp(min=1))
        return torch.cat(parts)


def fit_readers(
    codes: Float[Tensor, "n d"],
    values: Float[Tensor, "n k"],
    factors: Sequence[Factor],
    settings: ReaderSettings | None = None,
    *,
    seed: int = 0,
) -> LabelReaders:
    """Fit networks to labelled codes, each with early stopping on a fifth of the rows.

    Args:
        codes: whitened codes.
        values: values of the labels, NaN where missing.
        factors: the labels.
        settings: architecture and optimisation; the defaults of `ReaderSettings` if None.
        seed: seed of everything random. The global generators are left unchanged.

    Raises:
        InputError: fewer than ten rows.
    """
    settings = ReaderSettings() if settings is None else settings
    if len(codes) < _FEWEST_ROWS:
        raise InputError(f"labels: {len(codes)} labelled codes received; give at least {_FEWEST_ROWS}")
    readers = LabelReaders(codes.shape[1], factors, settings.hidden, stream(seed, "readers")).to(codes)
    fold = torch.randperm(len(codes), generator=stream(seed, "folds")) % _FOLDS
    size = len(codes) // _FOLDS
    held_out = torch.stack([(fold == i).nonzero().flatten()[:size] for i in range(_FOLDS)])
    fitted = torch.stack([(fold != i).nonzero().flatten()[: len(codes) - size - 1] for i in range(_FOLDS)])
    held_out, fitted = (rows.repeat(len(factors), 1).to(codes.device) for rows in (held_out, fitted))
    by_network = values.T.repeat_interleave(_FOLDS, 0)  # (networks, n)
    _train(readers, codes, by_network, fitted, held_out, settings, seed)
    return readers.eval().requires_grad_(False)


def _train(
    readers: LabelReaders,
    codes: Tensor,
    values: Tensor,
    fitted: Tensor,
    held_out: Tensor,
    settings: ReaderSettings,
    seed: int,
) -> None:
    """Minimise the losses, and restore every network at its lowest held-out loss."""
    rate = settings.learning_rate
    optimizer = torch.optim.AdamW(readers.parameters(), rate, weight_decay=settings.weight_decay, fused=True)
    size = min(settings.batch_size, fitted.shape[1])
    best = torch.full((len(fitted),), math.inf, device=codes.device)
    kept = [parameter.detach().clone() for parameter in readers.parameters()]
    generator = stream(seed, "reader batches", device=codes.device)
    devices = [codes.device] if codes.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        torch.manual_seed(seed)  # of dropout
        for step in range(1, settings.steps + 1):
            decay = 0.5 * (1 + math.cos(math.pi * (step - 1) / settings.steps))
            optimizer.param_groups[0]["lr"] = rate * decay
            places = torch.randint(
                fitted.shape[1], (len(fitted), size), generator=generator, device=codes.device
            )
            rows = fitted.gather(1, places)
            noise = torch.randn(*rows.shape, codes.shape[1], generator=generator, device=codes.device)
            outputs = readers(codes[rows] + settings.noise * noise, settings.dropout)
            loss = readers.losses(outputs, values.gather(1, rows)).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if step % _EVERY == 0 or step == settings.steps:
                with torch.no_grad():
                    now = readers.losses(readers(codes[held_out]), values.gather(1, held_out))
                    better = now < best
                    best = torch.where(better, now, best)
                    for old, new in zip(kept, readers.parameters(), strict=True):
                        old.copy_(torch.where(better[:, None, None], new, old))
    with torch.no_grad():
        for old, new in zip(kept, readers.parameters(), strict=True):
            new.copy_(old)
