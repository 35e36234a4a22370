"""All scores of a model on a data set, from one encoding pass."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mmdprior.data import ImageSet
from mmdprior.data.pixel_checks import check_pixels
from mmdprior.errors import InputError, InputWarning
from mmdprior.evaluation.encode import Codes, encode, representations
from mmdprior.evaluation.reconstruction import Reconstruction, reconstruction_error
from mmdprior.latent import Latent
from mmdprior.metrics.activity import active_dimensions, effective_rank
from mmdprior.metrics.checks import rows_needed
from mmdprior.metrics.group_labels import BLOCKS, GroupLabels, make_grouping
from mmdprior.metrics.independence import Independence, independence
from mmdprior.metrics.lps import lps, undefined_lps
from mmdprior.metrics.prior_match import PriorMatch
from mmdprior.metrics.protocol import Protocol
from mmdprior.metrics.result import LPSResult
from mmdprior.metrics.semantics import Semantics, semantics
from mmdprior.metrics.supervised.disentanglement import Disentanglement
from mmdprior.models import Autoencoder
from mmdprior.results import Result, finite_or_none
from mmdprior.world import World

__all__ = ["Evaluation", "add_reconstruction", "encode_and_reconstruct", "evaluate", "score_codes"]

_MIN_GROUPS = 3
"""Fewest groups of LPS: one to train on, one to validate on and one to test on."""
_STOCHASTIC_RULE = "variance of the posterior mean above 1 % of the total variance"
_DETERMINISTIC_RULE = "not constant"


@dataclass(frozen=True)
class Evaluation(Result):
    """Scores of a model, or only of its codes, on one data set.

    Attributes:
        lps: results by (representation, predictor); the representation is ``mean`` or ``sample``. Empty for
            codes of one dimension.
        active: number of active dimensions; see `mmdprior.metrics.active_dimensions`.
        dim: number of latent dimensions d.
        effective_rank: effective rank of the mean codes over active dimensions.
        reconstruction: errors of the reconstructed images, or None for codes without a model.
        match: MMD between the sampled codes and the intended prior in standard deviations of its null
            distribution, or None without a prior.
        independence: other measures of dependence, by representation.
        disentanglement: supervised scores of the mean codes, or None without known factors.
        semantics: labels read off the dimensions that a conditional prior gives them; None for other priors
            and data without these labels.

    Example:
        >>> import torch
        >>> from mmdprior import Latent
        >>> from mmdprior.evaluation import Codes, score_codes
        >>> z = torch.randn(1000, 3)
        >>> codes = Codes(Latent(z, z), labels=torch.empty(1000, 0), label_names=())
        >>> evaluation = score_codes(codes, ["linear"])
        >>> evaluation.active, evaluation.lps["mean", "linear"].score < 0.05
        (3, True)
        >>> sorted(evaluation.to_dict())
        ['active', 'dim', 'effective_rank', 'independence', 'lps']
    """

    lps: dict[tuple[str, str], LPSResult]
    active: int
    dim: int
    effective_rank: float
    reconstruction: Reconstruction | None = None
    match: float | None = None
    independence: Mapping[str, Independence] = field(default_factory=dict)
    disentanglement: Disentanglement | None = None
    semantics: Semantics | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of all LPS results about the codes, without repetitions."""
        return tuple(dict.fromkeys(text for result in self.lps.values() for text in result.warnings))

    def scalars(self) -> dict[str, float]:
        """Return the scores by TensorBoard tag; tags of sampled codes end in ``_sample``."""
        values = {
            "latents/active": float(self.active),
            "independence/effective_rank": self.effective_rank,
        }
        for (representation, predictor), result in self.lps.items():
            tag = f"lps/{predictor}{_suffix(representation)}"
            values[tag] = result.score
            values[f"{tag}_max"] = result.max
        for representation, measures in self.independence.items():
            for name, value in measures.scalars().items():
                values[f"independence/{name}{_suffix(representation)}"] = value
        if self.match is not None:
            values["match/mmd_standardised"] = self.match
        if self.reconstruction is not None:
            values |= {f"reconstruction/{name}": value for name, value in self.reconstruction.quality.items()}
            values["reconstruction/mse"] = self.reconstruction.mse
        if self.disentanglement is not None:
            scores = self.disentanglement.scores.items()
            values |= {f"disentanglement/{name}": score for name, score in scores}
        if self.semantics is not None:
            values |= {f"semantics/{name}": score for name, score in self.semantics.scalars().items()}
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as plain numbers and lists; None where a number is not finite."""
        plain: dict[str, Any] = {
            "dim": self.dim,
            "active": self.active,
            "effective_rank": finite_or_none(self.effective_rank),
            "lps": [
                {"representation": representation, **result.to_dict()}
                for (representation, _), result in self.lps.items()
            ],
        }
        if self.independence:
            plain["independence"] = {name: result.to_dict() for name, result in self.independence.items()}
        if self.reconstruction is not None:
            plain["reconstruction"] = self.reconstruction.to_dict()
        if self.match is not None:
            plain["match"] = {"mmd_standardised": finite_or_none(self.match)}
        if self.disentanglement is not None:
            plain["disentanglement"] = self.disentanglement.to_dict()
        if self.semantics is not None:
            plain["semantics"] = self.semantics.to_dict()
        return plain

    def __str__(self) -> str:
        """Return a table of LPS results, then one line per other score."""
        lines = []
        if self.lps:
            lines.append("codes    predictor        LPS     null       p      max   n fitted / scored")
        for (representation, predictor), r in self.lps.items():
            lines.append(
                f"{representation:8} {predictor:11} {r.score:8.4f} {r.null:8.4f} {r.p_value:7.4f} "
                f"{r.max:8.4f}   {r.n_train} / {r.n_test}"
            )
        stochastic = any(representation == "sample" for representation, _ in self.lps)
        rule = f" ({_STOCHASTIC_RULE if stochastic else _DETERMINISTIC_RULE})" if self.lps else ""
        lines.append(f"active {self.active} of {self.dim} dimensions{rule}")
        if not self.independence:  # its own lines below include the effective rank
            lines.append(f"effective rank {self.effective_rank:.2f}")
        if self.reconstruction is not None:
            lines.append(f"reconstruction: {self.reconstruction}")
        if self.match is not None and math.isfinite(self.match):
            lines.append(f"MMD to the prior {self.match:+.1f} null standard deviations")
        lines += [f"warning: {text}" for text in self.warnings]
        lines += [f"independence, {name} codes\n{result}" for name, result in self.independence.items()]
        if self.disentanglement is not None:
            lines.append(f"disentanglement, mean codes\n{self.disentanglement}")
        if self.semantics is not None:
            lines.append(f"semantics, mean codes\n{self.semantics}")
        return "\n".join(lines)


def evaluate(
    model: Autoencoder,
    images: ImageSet,
    *,
    predictors: Sequence[str] = ("linear", "mlp"),
    match: PriorMatch | None = None,
    protocol: Protocol = Protocol(),  # noqa: B008, it is frozen
    seed: int = 0,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
    thorough: bool = False,
    groups: GroupLabels = None,
    block_length: int | None = None,
) -> tuple[Evaluation, Codes]:
    """Encode, reconstruct and score a data set.

    Args:
        model: model on ``device``.
        images: held-out images.
        predictors: names of predictors for `lps`.
        match: comparison with the intended prior; None for no comparison.
        protocol: splits, nulls and intervals of LPS; `Protocol.quick` is for use during training.
        seed: seed of posterior noise, splits and predictors.
        batch_size: images per forward pass.
        device: device of the model.
        thorough: whether to compute all measures of `independence`, not only the closed forms.
        groups: groups of dependent images: the name of one of their labels, one label per image, ``"blocks"``
            for images in time order, or None for independent images; see `mmdprior.lps`.
        block_length: images per block, as for `mmdprior.lps`.

    Returns:
        The scores, and the codes that they were computed from.

    Raises:
        InputError: the images break the contract of `ImageSet`, or codes or reconstructions are not valid.

    Example:
        >>> from mmdprior.data import sprites
        >>> from mmdprior.evaluation import evaluate
        >>> from mmdprior.models import Autoencoder, MLPDecoder, MLPEncoder
        >>> shape = (1, 64, 64)
        >>> model = Autoencoder(MLPEncoder(shape, 4, hidden=[8]), MLPDecoder(shape, 4, hidden=[8]))
        >>> evaluation, codes = evaluate(model, sprites(images=200).train, predictors=["linear"])
        >>> evaluation.dim, evaluation.reconstruction.psnr > 0, "lps/linear" in evaluation.scalars()
        (4, True, True)
    """
    check_pixels(images)
    codes, error = encode_and_reconstruct(model, images, batch_size=batch_size, seed=seed, device=device)
    dependence = {"groups": groups, "block_length": block_length}
    evaluation = score_codes(codes, predictors, seed=seed, protocol=protocol, thorough=thorough, **dependence)
    return add_reconstruction(evaluation, codes, error, match, **dependence), codes


def score_codes(
    codes: Codes,
    predictors: Sequence[str] = ("linear", "mlp"),
    *,
    seed: int = 0,
    protocol: Protocol = Protocol(),  # noqa: B008, it is frozen
    thorough: bool = False,
    groups: GroupLabels = None,
    block_length: int | None = None,
) -> Evaluation:
    """Compute LPS with each predictor and the other measures of dependence.

    Means and samples are scored with one mask of active dimensions. Codes of one dimension have no LPS. With
    too few codes to score (fewer than 30, or than d + 2) or fewer than three groups, every LPS is NaN, with a
    warning.

    Args:
        codes: codes of a data set.
        predictors: names of predictors for `lps`.
        seed: seed of splits and predictors.
        protocol: keyword arguments of `lps`: splits, nulls and intervals.
        thorough: whether to compute all measures of `independence`, not only the closed forms.
        groups: groups of dependent images: the name of one of their labels, one label per image, ``"blocks"``
            for images in time order, or None for independent images; see `mmdprior.lps`.
        block_length: images per block, as for `mmdprior.lps`.

    Returns:
        Scores without reconstruction and match; `add_reconstruction` adds these.

    Example:
        >>> import torch
        >>> from mmdprior import Latent
        >>> from mmdprior.evaluation import Codes, score_codes
        >>> z = torch.randn(1000, 1).repeat(1, 2)  # one dimension twice
        >>> codes = Codes(Latent(z, z), labels=torch.empty(1000, 0), label_names=())
        >>> round(score_codes(codes, ["linear"]).lps["mean", "linear"].score, 3)
        1.0
    """
    active = active_dimensions(codes.latent)
    mean = codes.latent.mean
    scored = representations(codes.latent) if codes.latent.dim > 1 else {}
    needed = rows_needed(codes.latent.dim)
    if scored and len(mean) < needed:
        count = f"{len(mean)} codes of {codes.latent.dim} dimensions"
        return _unscored(codes.latent, active, predictors, seed, count, needed)
    dependence = {"groups": _labels_of(codes, groups), "block_length": block_length}
    if scored and groups is not None:
        known = make_grouping(dependence["groups"], block_length, mean).count
        if known < _MIN_GROUPS:
            return _unscored(codes.latent, active, predictors, seed, f"{known} groups", _MIN_GROUPS)
    results = {
        (representation, predictor): lps(
            z, predictor, seed=seed, active=active, **asdict(protocol), **dependence
        )
        for predictor in predictors
        for representation, z in scored.items()
    }
    measures = {
        representation: independence(z, means=mean, active=active, thorough=thorough, seed=seed, **dependence)
        for representation, z in scored.items()
    }
    rank = measures["mean"].effective_rank if measures else effective_rank(mean)
    return Evaluation(results, int(active.sum()), codes.latent.dim, rank, independence=measures)


def _unscored(
    latent: Latent, active: Tensor, predictors: Sequence[str], seed: int, count: str, needed: int
) -> Evaluation:
    """Return an evaluation of too few codes or groups, whose LPS is NaN, and warn."""
    reason = f"no scores: {count}; LPS needs at least {needed}"
    warnings.warn(reason, InputWarning, stacklevel=3)
    results = {
        (representation, predictor): undefined_lps(predictor, active, reason, seed)
        for predictor in predictors
        for representation in representations(latent)
    }
    return Evaluation(results, int(active.sum()), latent.dim, effective_rank(latent.mean[:, active]))


def _labels_of(codes: Codes, groups: GroupLabels) -> GroupLabels:
    """Return the labels of groups that are named by a label of the images."""
    if not isinstance(groups, str) or groups == BLOCKS:
        return groups
    check_group_label(groups, codes.label_names)
    return codes.labels[:, codes.label_names.index(groups)]


def check_group_label(groups: str | None, label_names: Sequence[str], key: str = "groups") -> None:
    """Check that images have the label that names their groups.

    Args:
        groups: name of a label, ``blocks``, or None.
        label_names: names of the labels of the images.
        key: name of the setting in the error.

    Raises:
        InputError: the images have no label of that name.
    """
    if groups is not None and groups != BLOCKS and groups not in label_names:
        names = ", ".join(label_names) or "missing"
        raise InputError(f"{key}: {groups!r} received; the labels of the images are {names}")


def encode_and_reconstruct(
    model: Autoencoder,
    images: ImageSet,
    *,
    batch_size: int = 512,
    seed: int = 0,
    device: torch.device | str = "cpu",
    world: World = World(),  # noqa: B008, it is frozen
) -> tuple[Codes, Reconstruction]:
    """Encode a data set, reconstruct it from the sampled codes, and compute the errors.

    Args:
        model: model on ``device``.
        images: data set.
        batch_size: images per forward pass.
        seed: seed of the posterior noise.
        device: device of the model.
        world: processes that share the work; one process by default. All return the same results.

    Example:
        >>> from mmdprior.data import sprites
        >>> from mmdprior.evaluation import encode_and_reconstruct
        >>> from mmdprior.models import Autoencoder, MLPDecoder, MLPEncoder
        >>> shape = (1, 64, 64)
        >>> model = Autoencoder(MLPEncoder(shape, 4, hidden=[8]), MLPDecoder(shape, 4, hidden=[8]))
        >>> codes, error = encode_and_reconstruct(model, sprites(images=100).train)
        >>> codes.latent.sample.shape, error.mse > 0
        (torch.Size([100, 4]), True)
    """
    codes = encode(model, images, batch_size=batch_size, seed=seed, device=device, world=world)
    error = reconstruction_error(
        model, images, codes.latent, batch_size=batch_size, device=device, world=world
    )
    return codes, error


def add_reconstruction(
    evaluation: Evaluation,
    codes: Codes,
    error: Reconstruction,
    match: PriorMatch | None,
    *,
    groups: GroupLabels = None,
    block_length: int | None = None,
) -> Evaluation:
    """Return an evaluation with the reconstruction error, and with the match to the prior if there is one.

    Args:
        evaluation: result of `score_codes`.
        codes: codes that it was computed from.
        error: reconstruction error from the same codes.
        match: comparison with the intended prior; None for no comparison. With groups it uses one code per
            group.
        groups: groups of dependent images: the name of one of their labels, one label per image, ``"blocks"``
            for images in time order, or None for independent images; see `mmdprior.lps`.
        block_length: images per block, as for `mmdprior.lps`.

    Example:
        >>> import torch
        >>> from mmdprior import Latent
        >>> from mmdprior.evaluation import Codes, Reconstruction, add_reconstruction, score_codes
        >>> z = torch.randn(1000, 2)
        >>> codes = Codes(Latent(z, z), labels=torch.empty(1000, 0), label_names=())
        >>> error = Reconstruction(mse=0.01, loss=30.0)
        >>> evaluation = add_reconstruction(score_codes(codes, ["linear"]), codes, error, match=None)
        >>> evaluation.reconstruction.psnr
        20.0
    """
    sample = codes.latent.sample
    if groups is not None and match is not None:
        grouping = make_grouping(_labels_of(codes, groups), block_length, sample)
        sample = sample[grouping.independent_rows(match.seed).to(sample.device)]
    score = None if match is None else match(sample)
    meaning = None
    if match is not None:
        meaning = semantics(codes.latent.mean, codes.labels, codes.label_names, match.prior, seed=match.seed)
    return replace(evaluation, reconstruction=error, match=score, semantics=meaning)


def _suffix(representation: str) -> str:
    """Return the end of TensorBoard tags for a representation."""
    return "_sample" if representation == "sample" else ""
