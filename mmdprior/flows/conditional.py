"""Fit a bijection that puts labels on chosen dimensions of given codes, from few labelled codes."""

import time
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.flows.bijection import Bijection, Blocks, Chain
from mmdprior.flows.fit import (
    FittedBijection,
    check_codes,
    correlation,
    density_warnings,
    gaussian_nats,
    new_flow,
)
from mmdprior.flows.linear import Permutation, whitening
from mmdprior.flows.manifold import intrinsic_dimension
from mmdprior.flows.optimise import Evaluation, FlowSettings, apply, held_out_loss, minibatches, train_flow
from mmdprior.flows.readers import ReaderSettings, fit_readers
from mmdprior.flows.targets import gaussian_to
from mmdprior.priors import ConditionalPrior, Factors, Gaussian
from mmdprior.priors.factor import columns_of, label_values

__all__ = ["fit_conditional"]

_SMALLEST_NOISE = 0.1
"""Smallest standard deviation around predicted positions: those of a prior may be narrower than the
predictions are accurate."""


def fit_conditional(
    codes: Float[Tensor, "n d"],
    prior: ConditionalPrior,
    labelled: Float[Tensor, "l d"],
    labels: Tensor,
    settings: FlowSettings | None = None,
    *,
    readers: ReaderSettings | None = None,
    flow: Bijection | None = None,
    validation: Float[Tensor, "m d"],
    seed: int = 0,
    report: Callable[[Evaluation], None] | None = None,
) -> FittedBijection:
    """Fit a bijection z = f(h) whose dimensions hold labels as a conditional prior says.

    Few labels do not suffice to fit a bijection of all codes. So an ensemble of networks first learns to read
    the labels off the labelled codes, with early stopping on held-out ones. The bijection is then fitted to
    all codes: it maximises the likelihood under the prior given the labels that the ensemble reads, with the
    mean position of an uncertain label. The other dimensions are fitted to N(0, I), and then mapped exactly
    to the free prior.

    Args:
        codes: codes without labels.
        prior: `Factors`.
        labelled: codes with labels.
        labels: (l, k) labels, one column per label of the prior; NaN, or negative in integer labels, where
            missing.
        settings: architecture and optimisation of the bijection; the defaults of `FlowSettings` if None.
        readers: those of the ensemble; the defaults of `ReaderSettings` if None.
        flow: an untrained bijection to train in place of the couplings that ``settings`` describes.
        validation: held-out codes, which choose the best step of the bijection.
        seed: seed of everything random. The global generators are left unchanged.
        report: called with every `Evaluation` of the bijection.

    Returns:
        The bijection, on the device of the codes, with measurements and warnings.

    Raises:
        InputError: another kind of prior, codes or labels of another shape, or fewer than ten labelled codes.

    Example:
        >>> import torch
        >>> from mmdprior.flows import FlowSettings, ReaderSettings, fit_conditional
        >>> from mmdprior.priors import Factors
        >>> h = torch.randn(400, 3)
        >>> classes = (h[:, :1] + h[:, 1:2] > 0).long()
        >>> prior = Factors(3, {"class": {"dims": [2], "levels": 2}})
        >>> settings, few = FlowSettings(layers=2, hidden=[16], steps=10), ReaderSettings(hidden=16, steps=50)
        >>> fitted = fit_conditional(h, prior, h[:60], classes[:60], settings, readers=few, validation=h[:50])
        >>> f = fitted.bijection
        >>> bool((f.inverse(f(h)) - h).abs().max() < 1e-3)
        True
    """
    start = time.perf_counter()
    settings = FlowSettings() if settings is None else settings
    if not isinstance(prior, Factors):
        raise InputError(f"prior: {type(prior).__name__} received; labels on dimensions need factors")
    codes, held_out = check_codes(codes, "codes"), check_codes(validation, "validation", codes.device)
    if prior.dim != codes.shape[1]:
        raise InputError(f"prior: dim {prior.dim} received; the codes have {codes.shape[1]}")
    if len(labelled) != len(labels) or labels.shape[1:] != (len(prior.factors),):
        raise InputError(
            f"labels: shape {tuple(labels.shape)} received; give ({len(labelled)}, {len(prior.factors)}), "
            f"one column per label: {', '.join(prior.label_names)}"
        )
    first = whitening(codes)
    w, w_held_out = apply(first, codes), apply(first, held_out)
    values = label_values(labels).to(w)
    ensemble = fit_readers(apply(first, labelled.to(w)), values, prior.factors, readers, seed=seed)
    flow = new_flow(w, settings, seed) if flow is None else flow.to(w)
    loss = _Loss(flow, prior).to(w.device)
    batch = minibatches(torch.cat([w, ensemble.positions(w)], 1), settings, seed, noisy=w.shape[1])
    judged = torch.cat([w_held_out, ensemble.positions(w_held_out)], 1)
    history = train_flow(
        flow, batch, loss, lambda: held_out_loss(loss, judged), settings, seed=seed, report=report
    )
    bijection = Chain([first, flow, *_last(prior)]).to(w.device).eval()
    dimension = intrinsic_dimension(w, seed=seed)
    z = apply(bijection, held_out)
    error = (apply(bijection.inverse, z) - held_out).abs() / held_out.std(0)
    return FittedBijection(
        bijection=bijection,
        prior=prior,
        objective=f"likelihood given labels, read by an ensemble fitted to {len(labelled)} labelled codes",
        history=history,
        held_out_loss=min(e.held_out for e in history),
        gaussian_loss=gaussian_nats(w_held_out),
        correlation=correlation(z, held_out),
        inverse_error=float(error.max()),
        dimension=dimension,
        warnings=density_warnings(first, dimension, 0.0, len(codes)),
        n_train=len(codes),
        n_held_out=len(held_out),
        seconds=time.perf_counter() - start,
    )


class _Loss(torch.nn.Module):
    """Negative log-likelihood of codes under a prior given positions, up to a constant.

    Args:
        flow: the bijection.
        prior: the prior.
    """

    def __init__(self, flow: Bijection, prior: Factors) -> None:
        super().__init__()
        self.flow = flow
        self.dims = [dim for factor in prior.factors for dim in factor.dims]
        self.free = [dim for dim in range(prior.dim) if dim not in self.dims]
        noise = [max(factor.noise, _SMALLEST_NOISE) for factor in prior.factors for _ in factor.dims]
        self.register_buffer("noise", torch.tensor(noise))
        self.noise: Tensor

    def forward(self, rows: Float[Tensor, "n dm"]) -> Float[Tensor, ""]:
        """Return the mean loss of rows of whitened codes, followed by positions."""
        codes, positions = rows[:, : self.flow.dim], rows[:, self.flow.dim :]
        z, log_det = self.flow.forward_and_log_det(codes)
        free = columns_of(z, self.free) if self.free else z[:, :0]
        near = ((columns_of(z, self.dims) - positions) / self.noise).square().sum(1)
        return (0.5 * near + 0.5 * free.square().sum(1) - log_det).mean()


def _last(prior: Factors) -> list[Bijection]:
    """Return the map of the free dimensions from N(0, I) to the free prior; none where that is N(0, I)."""
    placed = prior.placed()[len(prior.factors) :]
    if not placed:
        return []
    ((dims, rest),) = placed
    if isinstance(rest, Gaussian) and bool((rest.mean == 0).all()) and bool((rest.scale == 1).all()):
        return []
    exact = gaussian_to(rest)
    if exact is None:
        raise InputError(f"prior.rest: {type(rest).__name__} has no exact map; give another free prior")
    taken = [dim for factor in prior.factors for dim in factor.dims]
    return [Blocks([Permutation(list(range(len(taken)))), exact], [taken, dims])]
