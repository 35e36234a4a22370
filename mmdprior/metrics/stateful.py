"""`LPS`, a stateful metric: codes arrive in batches, and one score of all codes is computed at the end."""

import warnings
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from mmdprior.errors import InputError, InputWarning, check_integer
from mmdprior.metrics.activity import constant_columns
from mmdprior.metrics.checks import check_codes, rows_needed
from mmdprior.metrics.covariance import spectral_rank
from mmdprior.metrics.inputs import CodesLike
from mmdprior.metrics.lps import find_predictor, lps, undefined_lps
from mmdprior.metrics.protocol import Protocol
from mmdprior.metrics.result import LPSResult
from mmdprior.metrics.running_moments import RunningMoments, hashed_rows, held_out_r2
from mmdprior.metrics.scaling import divided, scale_exponents
from mmdprior.predictors import LinearPredictor, Predictor

__all__ = ["LPS"]

_TEST_SHARE = 0.2
"""Share of the rows that are test rows, as for `mmdprior.lps`."""
_HASHES = 1 << 53


class LPS:
    """LPS of codes that arrive in batches, for a loop that cannot hold all of them.

    The linear predictor needs only moments: any number of rows is scored exactly, in O(d^2) memory. A row is
    a training or a test row by a hash of its number. R2_i is the held-out value of that split, equal to that
    of `mmdprior.lps` for the same split. Other predictors are fitted to a uniform sample of ``max_rows``.

    Where `torch.distributed` is initialised, `compute` is collective: every rank must call it, and all return
    the score of the rows of all ranks. `update` and `merge` communicate nothing, and `update` does not wait
    for a GPU.

    Rows must be independent. For augmented views or frames, collect the codes and give `mmdprior.lps` their
    groups.

    Args:
        predictor: name in `mmdprior.predictors.PREDICTORS`, or a `Predictor`.
        max_rows: number of rows that predictors other than the linear one are fitted to and scored on.
        seed: seed of the split, the sample and the fits.
        protocol: protocol of predictors other than the linear one; by default without null, p-value and
            interval.
        synchronise: whether `compute` merges the rows of all ranks.

    Raises:
        InputError: the predictor is unknown, or a number is out of range.

    Example:
        >>> import torch
        >>> from mmdprior.metrics import LPS
        >>> metric = LPS("linear")
        >>> for _ in range(10):
        ...     z = torch.randn(500, 3)
        ...     metric.update(torch.cat([z, z[:, :1]], 1))  # the last dimension repeats the first
        >>> metric.compute().r2.round(2).tolist()
        [1.0, -0.0, -0.0, 1.0]
    """

    def __init__(
        self,
        predictor: str | Predictor = "linear",
        *,
        max_rows: int = 50_000,
        seed: int = 0,
        protocol: Protocol | None = None,
        synchronise: bool = True,
    ) -> None:
        self.predictor = predictor
        self.name, self._model = find_predictor(predictor)
        self.max_rows = check_integer("max_rows", max_rows, 30)
        self.seed = check_integer("seed", seed, None)
        self.protocol = Protocol.quick() if protocol is None else protocol
        self.synchronise = synchronise
        self.reset()

    def fresh(self, *, synchronise: bool) -> "LPS":
        """Return a metric with the same settings and no rows.

        Args:
            synchronise: whether its `compute` merges the rows of all ranks.
        """
        settings = {"max_rows": self.max_rows, "seed": self.seed, "protocol": self.protocol}
        return LPS(self.predictor, **settings, synchronise=synchronise)  # type: ignore[arg-type]

    def reset(self) -> None:
        """Remove all rows."""
        self.rows = 0
        self._state: _Moments | _Sample | None = None

    def update(self, codes: CodesLike) -> None:
        """Add rows.

        Args:
            codes: (b, d) codes, as `mmdprior.lps` accepts them; b may be 0.

        Raises:
            InputError: codes are not (b, d) with the d of the first batch, or not finite. On a GPU, only
                `compute` notices the latter.
        """
        z = _checked(codes)
        if self._state is None:
            linear = isinstance(self._model, LinearPredictor)
            self._state = _Moments(z) if linear else _Sample(z, self.max_rows)
        if z.shape[1] != self._state.dim:
            raise InputError(f"codes: {z.shape[1]} columns received; the first batch had {self._state.dim}")
        hashes = hashed_rows(self.rows, len(z), self.seed, dist.get_rank() if _in_parallel() else 0)
        if len(z):
            self._state.add(z, hashes)
        self.rows += len(z)

    def merge(self, other: "LPS") -> None:
        """Add the rows of another metric, which keeps its own.

        Raises:
            InputError: the metrics differ in predictor, seed, ``max_rows`` or d.
        """
        for name in ("name", "seed", "max_rows"):
            own, received = getattr(self, name), getattr(other, name)
            if own != received:
                raise InputError(f"merge: {name} {received!r} received for {own!r}; give equal settings")
        if other._state is None:
            return
        if self._state is None:
            self._state = other._state.copy()
        elif self._state.dim != other._state.dim:
            raise InputError(
                f"merge: {other._state.dim} columns received for {self._state.dim}; give as many"
            )
        else:
            self._state.merge(other._state)
        self.rows += other.rows

    def compute(self) -> LPSResult:
        """Return the score of all rows. With too few of them it is NaN, with a warning.

        The linear predictor has neither shuffled copies nor p-value and interval. It is meant for so many
        rows that the score itself is precise.

        Raises:
            InputError: a code is NaN or infinite.
        """
        whole = self._of_all_ranks()
        state = whole._state
        if state is None:
            return self._undefined(0, torch.zeros(0, dtype=torch.bool), 30)
        active = state.active()
        if whole.rows < rows_needed(state.dim) or not state.is_split():
            return self._undefined(whole.rows, active, rows_needed(state.dim))
        if isinstance(state, _Sample):
            return self._of_sample(state, whole.rows)
        return self._of_moments(state, active)

    def _of_moments(self, state: "_Moments", active: Tensor) -> LPSResult:
        train, test = state.train, state.test
        assert isinstance(self._model, LinearPredictor)
        result = undefined_lps(self.predictor, active, "", self.seed)
        sizes: dict[str, Any] = {"n_train": train.n, "n_test": test.n, "test_groups": test.n}
        if int(active.sum()) < 2:
            text = f"{int(active.sum())} of {state.dim} dimensions active: no score, because it needs 2"
            warnings.warn(f"codes: {text}", InputWarning, stacklevel=3)
            return replace(result, warnings=(text,), **sizes)
        values = held_out_r2(train, test, active, self._model.ridge).double().cpu()
        r2 = torch.full((state.dim,), torch.nan, dtype=torch.float64)
        r2[active.cpu()] = values
        score = float(values.clamp(min=0).mean())
        covariance = test.covariance[active][:, active]
        return replace(
            result,
            score=score,
            max=float(values.max()),
            r2=r2.numpy(),
            mean_r2=float(values.mean()),
            seed_scores=(score,),
            effective_rank=spectral_rank(covariance),
            warnings=(),
            **sizes,
        )

    def _of_sample(self, state: "_Sample", rows: int) -> LPSResult:
        sample, _ = state.kept()
        result = lps(sample, self.predictor, seed=self.seed, **asdict(self.protocol))
        if rows == len(sample):
            return result
        return replace(result, warnings=(*result.warnings, f"{len(sample)} of {rows} rows, drawn uniformly"))

    def _undefined(self, rows: int, active: Tensor, needed: int) -> LPSResult:
        text = f"no score: {rows} rows; LPS needs at least {needed}, some of them test rows"
        warnings.warn(text, InputWarning, stacklevel=3)
        return undefined_lps(self.predictor, active.cpu(), text, self.seed)

    def _of_all_ranks(self) -> "LPS":
        """Return a metric with the rows of all ranks, or this one."""
        if not (self.synchronise and _in_parallel()):
            return self
        # Objects, because they suit every backend, and ranks without rows.
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, (self.rows, None if self._state is None else self._state.copy("cpu")))
        whole = self.fresh(synchronise=False)
        for rows, state in parts:
            part = self.fresh(synchronise=False)
            part.rows, part._state = rows, state
            whole.merge(part)
        return whole


class _Moments:
    """Moments of the training rows and of the test rows, and the range of every column.

    Columns of huge or tiny entries in the first batch are divided by powers of two, as for `mmdprior.lps`.
    """

    def __init__(self, z: Tensor) -> None:
        self.dim, self.dtype = z.shape[1], z.dtype
        self.train, self.test = (RunningMoments.empty(self.dim, z.device) for _ in range(2))
        self.low, self.high = (z.new_full((self.dim,), end) for end in (torch.inf, -torch.inf))
        self.exponents: Tensor | None = None
        self.is_scaled = False

    def add(self, z: Tensor, hashes: Tensor) -> None:
        self._widen(*z.aminmax(dim=0))
        # Reading exponents from a GPU would wait for it.
        if self.exponents is None:
            self.exponents = torch.zeros(self.dim, dtype=torch.int32) if z.is_cuda else scale_exponents(z)
            self.is_scaled = not z.is_cuda and bool(self.exponents.any())
        z = divided(z, self.exponents) if self.is_scaled else z
        is_test = hashes < int(_TEST_SHARE * _HASHES)
        for part, moments in ((~is_test, self.train), (is_test, self.test)):
            moments.update(z[part.nonzero().flatten().to(z.device, non_blocking=True)])

    def _widen(self, low: Tensor, high: Tensor) -> None:
        self.low = torch.minimum(self.low, low.to(self.low))
        self.high = torch.maximum(self.high, high.to(self.high))

    def merge(self, other: Any) -> None:
        if other.exponents is None:
            return
        if self.exponents is None:
            self.exponents, self.is_scaled = other.exponents, other.is_scaled
        change = (other.exponents.cpu() - self.exponents.cpu()) if self.is_scaled or other.is_scaled else None
        self.train.merge(other.train.scaled(change))
        self.test.merge(other.test.scaled(change))
        self._widen(other.low, other.high)

    def copy(self, device: str | None = None) -> "_Moments":
        """Return a copy, on another device if one is given."""
        place = self.low.device if device is None else device
        other = _Moments(self.low.new_empty(0, self.dim).to(place))
        other.merge(self)
        return other

    def active(self) -> Tensor:
        """Return which columns are not constant; raise `InputError` for codes that are not finite."""
        if not bool(torch.isfinite(self.train.products.sum() + self.test.products.sum())):
            raise InputError("codes: NaN or infinity received; remove those rows before update")
        return ~constant_columns(torch.stack([self.low, self.high])) & (self.train.products.diagonal() > 0)

    def is_split(self) -> bool:
        return min(self.train.n, self.test.n) > 1


class _Sample:
    """A uniform sample of rows: those with the smallest hashes, so that samples can be merged."""

    def __init__(self, z: Tensor, size: int) -> None:
        self.dim, self.size = z.shape[1], size
        self._rows, self._hashes = [z[:0]], [torch.zeros(0, dtype=torch.int64)]
        self._limit = _HASHES

    def add(self, z: Tensor, hashes: Tensor) -> None:
        chosen = (hashes < self._limit).nonzero().flatten()
        self._rows.append(z[chosen.to(z.device, non_blocking=True)])
        self._hashes.append(hashes[chosen])
        if sum(map(len, self._hashes)) > 2 * self.size:
            self._rows, self._hashes = ([part] for part in self.kept())
            self._limit = int(self._hashes[0][-1])

    def kept(self) -> tuple[Tensor, Tensor]:
        """Return the sampled rows and their hashes, in the order of the hashes."""
        hashes = torch.cat(self._hashes)
        order = hashes.argsort(stable=True)[: self.size]
        device = self._rows[-1].device
        rows = torch.cat([part.to(device) for part in self._rows])
        return rows[order.to(device)], hashes[order]

    def merge(self, other: Any) -> None:
        self.add(*other.kept())

    def copy(self, device: str | None = None) -> "_Sample":
        """Return a copy, on another device if one is given."""
        rows, hashes = self.kept()
        rows = rows if device is None else rows.to(device)
        other = _Sample(rows[:0], self.size)
        other.add(rows, hashes)
        return other

    def active(self) -> Tensor:
        rows, _ = self.kept()
        return ~constant_columns(check_codes(rows, min_rows=0))

    def is_split(self) -> bool:
        return True


def _checked(codes: CodesLike) -> Tensor:
    """Return codes as a tensor of float32 or float64; those on a GPU are not checked for NaN."""
    if isinstance(codes, Tensor) and codes.is_cuda and codes.ndim == 2 and codes.is_floating_point():
        return codes.detach().float() if codes.element_size() < 4 else codes.detach()
    return check_codes(codes, min_rows=0)


def _in_parallel() -> bool:
    return dist.is_available() and dist.is_initialized()
