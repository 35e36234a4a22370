"""Quantise the codes of a trained model: rate, distortion and independence of the indices."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.build.restore import TrainedRun, open_checkpoint
from mmdprior.choices import BinKind, SplitName
from mmdprior.data import ImageSet
from mmdprior.errors import InputError, InputWarning
from mmdprior.evaluation import Reconstruction, encode, reconstruction_error
from mmdprior.metrics import lps
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.models.bins import allocated_bins, fit_bins
from mmdprior.models.quantiser import Quantiser, UniformQuantiser
from mmdprior.priors import Prior, Uniform
from mmdprior.results import Result, to_plain
from mmdprior.scoring.packed_codes import pack_indices, unpack_indices

__all__ = ["CodeQuantiser", "Quantised", "QuantisedRow", "decode_packed"]

_LEVELS = (2, 3, 4, 8, 16, 32)
_MAX_TRAIN, _MAX_TEST = 20_000, 10_000
"""Most codes that cells are fitted to, and that are scored."""

_PROBES = 256
"""Training codes at which the sensitivity of the decoder is measured."""

_STEP = 0.5
"""Half the distance of the codes whose images are compared, in standard deviations of the dimension."""


@dataclass(frozen=True)
class QuantisedRow(Result):
    """Scores of one quantiser on the codes of held-out images.

    Attributes:
        levels: number of levels per dimension L, or one per dimension. For ``allocated``, the L at whose
            log2 L bits the cells were chosen.
        bins: kind of the cells; see `CodeQuantiser`.
        entropy_bits: entropy of the indices per dimension in bits, averaged over dimensions.
        entropy_bits_least: the smallest over dimensions.
        index_bits: sum of the entropies, in bits per image: the rate of a coder that knows the frequencies of
            each dimension and treats dimensions as independent.
        level_bits: sum of log2 L over dimensions, the rate without entropy coding.
        usage: share of all levels that occur.
        reconstruction: errors of the images decoded from the values.
        code_mse: mean squared error of the codes.
        cell_mse: squared width of a cell / 12, averaged over dimensions: the error of codes that are uniform
            on a box, (2 / L)^2 / 12 for [-1, 1]. None for other kinds than ``box`` and ``own``.
        lps: LPS of the indices by predictor.
    """

    levels: int | list[int]
    bins: str
    entropy_bits: float
    entropy_bits_least: float
    index_bits: float
    level_bits: float
    usage: float
    reconstruction: Reconstruction
    code_mse: float
    cell_mse: float | None = None
    lps: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers; those of the reconstruction are on the same level."""
        names = (name for name in self.__dataclass_fields__ if name != "reconstruction")
        return to_plain({**{name: getattr(self, name) for name in names}, **self.reconstruction.to_dict()})

    def __str__(self) -> str:
        levels = self.levels if isinstance(self.levels, int) else "mixed"
        quality = next(iter(self.reconstruction.quality.values()))
        dependence = "".join(f"{value:17.4f}" for value in self.lps.values())
        return (
            f"{levels:>6} {self.bins:10}{self.entropy_bits:9.3f}{self.index_bits:10.1f}"
            f"{self.level_bits:10.1f}{self.usage:8.3f}{quality:9.3f}{self.code_mse:11.3g}"
            f"{_short(self.cell_mse):>11}{dependence}"
        )


@dataclass(frozen=True)
class Quantised(Result):
    """Scores of quantised codes of a model.

    Attributes:
        rows: one row per kind of cells and number of levels.
        continuous: errors of the images decoded from the same codes without quantisation.
        dim: number of code dimensions d.
        images: number of held-out images.
        fitted_on: number of training codes that the cells were fitted to.
    """

    rows: list[QuantisedRow]
    continuous: Reconstruction
    dim: int
    images: int
    fitted_on: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists."""
        plain = {name: getattr(self, name) for name in ("dim", "images", "fitted_on")}
        rows = [row.to_dict() for row in self.rows]
        return {**plain, "continuous": self.continuous.to_dict(), "rows": rows}

    def __str__(self) -> str:
        quality = next(iter(self.continuous.quality)).upper()
        predictors = "".join(f"{f'LPS {name}':>17}" for name in (self.rows[0].lps if self.rows else ()))
        title = (
            f"{'levels':>6} {'bins':10}{'entropy':>9}{'index b':>10}{'level b':>10}{'usage':>8}{quality:>9}"
            f"{'code mse':>11}{'cell mse':>11}{predictors}"
        )
        about = f"without quantisation: {self.continuous}; {self.images} images, d = {self.dim}"
        return "\n".join([about, title, *map(str, self.rows)])


@dataclass(frozen=True)
class CodeQuantiser:
    """Quantises the mean codes of a checkpoint with several numbers of levels, and scores each.

    Cells are decided on training codes and applied to the codes of held-out images. The kinds are

    - ``lloyd``: least squared error of the codes, by Lloyd's algorithm; the default.
    - ``uniform``: equal cells on the symmetric range of least squared error, with means as values.
    - ``quantile``: cells of equal numbers of codes, with means as values.
    - ``allocated``: equal cells, wider where the decoder reacts less to a dimension, at a mean entropy of
      log2 L bits. The dimensions then have different numbers of levels. It is the strongest of the fitted
      kinds for a model whose dimensions differ in importance.
    - ``box``: equal cells between the sides of the model's box prior, with their centres as values.
    - ``own``: the quantiser that the model was trained with; the default for a model that has one.

    The codes of a Gaussian posterior are its means. Other kinds than ``own`` quantise the codes that the
    decoder of a model with a quantiser receives in their continuous form.

    Attributes:
        levels: numbers of levels L of the kinds other than ``own``; None for 2, 3, 4, 8, 16 and 32.
        bins: kinds of cells; None for ``own``, or ``lloyd`` for a model without a quantiser.
        predictors: predictors of LPS of the indices.
        data: other images than those of the checkpoint, as for `mmdprior.scoring.Scorer`.
        limit: most held-out images; None for 10,000. Cells are fitted to at most twice as many codes.
        seed: seed of posterior noise and predictors.
        device: a torch device, or ``auto``.
        trust: run the targets that a checkpoint names.
    """

    levels: Sequence[int] | None = None
    bins: Sequence[str] | None = None
    predictors: Sequence[str] = ("linear", "mlp")
    data: str | None = None
    limit: int | None = None
    seed: int = 0
    device: str = "auto"
    trust: bool = False

    def checkpoint(self, path: str) -> Quantised:
        """Quantise the codes of a checkpoint, or of the last one of a run directory."""
        return self.run(open_checkpoint(path, device=self.device, trust=self.trust))

    def run(self, run: TrainedRun) -> Quantised:
        """Quantise the codes of a model, such as that of `mmdprior.scoring.foreign_pair.open_pair`."""
        model, own = run.model, run.model.quantiser
        images = run.images(self.data, self.limit or _MAX_TEST, split="test")
        codes = self.codes(run, images)
        try:
            with evaluation_mode(model):
                model.quantiser = None
                continuous = self._error(run, images, _continuous(own, codes))
                rows, train = [], self._train_codes(run, own)
                for kind in self._kinds(own):
                    for count in (0,) if kind == "own" else self.levels or _LEVELS:
                        model.quantiser = own
                        quantiser = self.quantiser(run, train, kind, count)
                        seen = codes if kind == "own" else _continuous(own, codes)
                        model.quantiser = quantiser
                        error = self._error(run, images, seen)
                        rows.append(self._row(quantiser, seen, error, kind, count))
        finally:
            model.quantiser = own
        return Quantised(rows, continuous, codes.shape[1], len(codes), len(train))

    def pack(self, run: TrainedRun, path: str | PathLike[str], split: SplitName = "test") -> int:
        """Write the indices of the codes of a split as packed bits; see `pack_indices`.

        Args:
            run: the model.
            path: .npz file to write.
            split: images to write, at most ``limit``, evenly spaced; all by default.

        Returns:
            Bits per image.

        Raises:
            InputError: there is not exactly one kind of cells and one number of levels.
        """
        own, kinds = run.model.quantiser, self._kinds(run.model.quantiser)
        counts = (0,) if tuple(kinds) == ("own",) else self.levels or _LEVELS
        if len(kinds) != 1 or len(counts) != 1:
            raise InputError(
                "--out: one kind of cells and one number of levels needed; give one of each, such as "
                "--levels 4 --bins lloyd"
            )
        train, codes = self._train_codes(run, own), self.codes(run, run.images(self.data, self.limit, split))
        quantiser = self.quantiser(run, train, kinds[0], counts[0])
        seen = codes if kinds[0] == "own" else _continuous(own, codes)
        return pack_indices(path, quantiser.indices(seen), quantiser)

    def codes(self, run: TrainedRun, images: ImageSet) -> Float[Tensor, "n d"]:
        """Return the mean codes of images."""
        return encode(run.model, images, seed=self.seed, device=run.device).latent.mean

    def quantiser(self, run: TrainedRun, train: Float[Tensor, "n d"], kind: str, levels: int) -> Quantiser:
        """Return the quantiser of a kind, on the device of the model, in evaluation mode.

        Args:
            run: the model and its prior.
            train: codes of training images, in the form that the decoder receives.
            kind: one of `mmdprior.choices.BinKind`.
            levels: number of levels L; ignored for ``own``.

        Raises:
            InputError: ``own`` without one, or ``box`` with another prior than a box.
        """
        if kind == "own":
            if run.model.quantiser is None:
                raise InputError("--bins: 'own' received for a model without a quantiser; leave it out")
            return run.model.quantiser.eval()
        if kind == "box":
            fitted: Quantiser = _box(run.prior, levels)
        elif kind == "allocated":
            fitted = allocated_bins(train, _sensitivities(run.model, train), math.log2(levels))
        else:
            fitted = fit_bins(train, levels, kind)  # type: ignore[arg-type]
        return fitted.to(run.device).eval()

    def _kinds(self, own: Quantiser | None) -> Sequence[str]:
        kinds = self.bins or (("lloyd",) if own is None else ("own",))
        unknown = [kind for kind in kinds if kind not in get_args(BinKind)]
        if unknown:
            expected = ", ".join(get_args(BinKind))
            raise InputError(f"--bins: {unknown[0]!r} received; expected some of {expected}")
        return kinds

    def _train_codes(self, run: TrainedRun, own: Quantiser | None) -> Float[Tensor, "n d"]:
        limit = _MAX_TRAIN if self.limit is None else 2 * self.limit
        return _continuous(own, self.codes(run, run.images(self.data, limit, split="train")))

    def _error(self, run: TrainedRun, images: ImageSet, codes: Tensor) -> Reconstruction:
        return reconstruction_error(run.model, images, codes, device=run.device)

    def _row(
        self, quantiser: Quantiser, codes: Tensor, error: Reconstruction, kind: str, count: int
    ) -> QuantisedRow:
        """Return the scores of codes."""
        with torch.no_grad():
            indices = quantiser.indices(codes)
            squared = (quantiser.values(indices) - _continuous(quantiser, codes)).square().mean()
        entropies, used = _entropies(indices, quantiser.levels)
        own = set(quantiser.levels)
        levels = count or (own.pop() if len(own) == 1 else list(quantiser.levels))
        return QuantisedRow(
            levels=levels,
            bins=kind,
            entropy_bits=sum(entropies) / len(entropies),
            entropy_bits_least=min(entropies),
            index_bits=sum(entropies),
            level_bits=sum(math.log2(level) for level in quantiser.levels),
            usage=used / sum(quantiser.levels),
            reconstruction=error,
            code_mse=float(squared),
            cell_mse=_cell_mse(quantiser),
            lps=self._lps(indices),
        )

    def _lps(self, indices: Int[Tensor, "n d"]) -> dict[str, float]:
        if indices.shape[1] < 2:
            return {}
        options: dict[str, Any] = {"null": 0, "permutations": 0, "bootstrap": 0, "seed": self.seed}
        rows = indices.cpu().float()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)  # that the codes are integers
            return {name: lps(rows, name, **options).score for name in self.predictors}


@torch.no_grad()
def decode_packed(
    run: TrainedRun, path: str | PathLike[str], batch_size: int = 512
) -> Float[Tensor, "n *sample"]:
    """Return the images of a file of packed indices, decoded by the model that wrote it, on the CPU.

    Args:
        run: the model.
        path: file of `pack_indices`.
        batch_size: images per forward pass.

    Raises:
        InputError: the file has another number of dimensions than the codes.
    """
    _, values = unpack_indices(path)
    if values.shape[1] != run.config.model.latent_dim:
        raise InputError(
            f"{path}: {values.shape[1]} dimensions; the codes of the model have {run.config.model.latent_dim}"
        )
    with evaluation_mode(run.model):
        parts = values.to(run.device).split(batch_size)
        return torch.cat([run.model.decode_values(part).cpu() for part in parts])


def _box(prior: Prior, levels: int) -> UniformQuantiser:
    """Return equal cells between the sides of a box prior."""
    if not isinstance(prior, Uniform):
        raise InputError(
            f"--bins: 'box' received, but the prior is {type(prior).__name__}; it needs a uniform prior"
        )
    quantiser = UniformQuantiser(prior.dim, levels, train="after")
    quantiser.low.copy_(prior.low)
    quantiser.high.copy_(prior.high)
    return quantiser


def _continuous(quantiser: Quantiser | None, codes: Tensor) -> Tensor:
    """Return codes as the decoder of a model receives them without rounding."""
    with torch.no_grad():
        return codes if quantiser is None else quantiser.continuous(codes)


def _entropies(indices: Int[Tensor, "n d"], levels: Sequence[int]) -> tuple[list[float], int]:
    """Return the entropy of each dimension in bits, and the number of levels that occur."""
    entropies, used = [], 0
    for column, count in zip(indices.T.cpu(), levels, strict=True):
        shares = column.bincount(minlength=count).double() / len(column)
        entropies.append(float(-torch.xlogy(shares, shares).sum()) / math.log(2))
        used += int((shares > 0).sum())
    return entropies, used


def _cell_mse(quantiser: Quantiser) -> float | None:
    """Return the squared width of the cells / 12; None if their widths differ in a dimension."""
    try:
        width = torch.as_tensor(quantiser.cell_width())
    except InputError:
        return None
    return float(width.double().square().mean() / 12)


@torch.no_grad()
def _sensitivities(model: Autoencoder, train: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """Return the change of an image per change of each dimension: the root of the mean squared difference."""
    spread = train.std(0).clamp(min=1e-6)
    z = train[torch.linspace(0, len(train) - 1, min(_PROBES, len(train))).long()]
    units = model.likelihood.standardise
    changes = []
    for i, width in enumerate((_STEP * spread).tolist()):
        up, down = z.clone(), z.clone()
        up[:, i] += width
        down[:, i] -= width
        difference = units(model.decode_values(up)) - units(model.decode_values(down))
        changes.append(float(difference.flatten(1).square().sum(1).mean().sqrt()) / (2 * width))
    return torch.tensor(changes, dtype=torch.float64).clamp(min=1e-9)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
