"""Everything that is said of a model on one data set, from one encoding of it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import torch

from mmdprior.data import ImageSet
from mmdprior.evaluation.encode import Codes, encode, representations
from mmdprior.evaluation.reconstruction import Reconstruction, reconstruction_error
from mmdprior.metrics.activity import active_dimensions, effective_rank
from mmdprior.metrics.independence import Independence, independence
from mmdprior.metrics.lps import lps
from mmdprior.metrics.prior_match import PriorMatch
from mmdprior.metrics.protocol import Protocol
from mmdprior.metrics.result import LPSResult
from mmdprior.models import Autoencoder
from mmdprior.results import Result, finite_or_none
from mmdprior.world import World

__all__ = ["Evaluation", "add_reconstruction", "encode_and_reconstruct", "evaluate", "score_codes"]


@dataclass(frozen=True)
class Evaluation(Result):
    """Scores of one model on one data set.

    Attributes:
        lps: results by (representation, predictor); the representation is ``mean`` or ``sample``.
        active: number of dimensions that carry information.
        dim: number of dimensions.
        effective_rank: of the active mean codes.
        reconstruction: errors over the images, or None for plain codes.
        match: standardised MMD of the sampled codes to the intended prior, or None without one.
        independence: companions of LPS by representation.
    """

    lps: dict[tuple[str, str], LPSResult]
    active: int
    dim: int
    effective_rank: float
    reconstruction: Reconstruction | None = None
    match: float | None = None
    independence: Mapping[str, Independence] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know about the codes, each once."""
        return tuple(dict.fromkeys(text for result in self.lps.values() for text in result.warnings))

    def scalars(self) -> dict[str, float]:
        """Return the numbers by TensorBoard tag; those of sampled codes end in ``_sample``."""
        values = {
            "latents/active": float(self.active),
            "independence/effective_rank": self.effective_rank,
        }
        for (representation, predictor), result in self.lps.items():
            tag = f"lps/{predictor}" + ("_sample" if representation == "sample" else "")
            values[tag] = result.score
            values[f"{tag}_max"] = result.max
        for representation, companions in self.independence.items():
            end = "_sample" if representation == "sample" else ""
            values |= {f"independence/{name}{end}": value for name, value in companions.scalars().items()}
        if self.match is not None:
            values["match/mmd_standardised"] = self.match
        if self.reconstruction is not None:
            values["reconstruction/psnr"] = self.reconstruction.psnr
            values["reconstruction/mse"] = self.reconstruction.mse
        return values

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers and lists, ready for JSON."""
        plain: dict[str, object] = {
            "dim": self.dim,
            "active": self.active,
            "effective_rank": finite_or_none(self.effective_rank),
            "lps": [
                {"representation": representation, **result.to_dict()}
                for (representation, _), result in self.lps.items()
            ],
        }
        if self.independence:
            plain["independence"] = {name: found.to_dict() for name, found in self.independence.items()}
        if self.reconstruction is not None:
            plain["reconstruction"] = {
                "mse": self.reconstruction.mse,
                "psnr": finite_or_none(self.reconstruction.psnr),
                "loss": self.reconstruction.loss,
            }
        if self.match is not None:
            plain["match"] = {"mmd_standardised": finite_or_none(self.match)}
        return plain

    def to_json(self) -> str:
        """Return the scores as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """Return a table for people."""
        lines = ["codes    predictor        LPS     null       p      max   n fitted / scored"]
        for (representation, predictor), r in self.lps.items():
            lines.append(
                f"{representation:8} {predictor:11} {r.score:8.4f} {r.null:8.4f} {r.p_value:7.4f} "
                f"{r.max:8.4f}   {r.n_train} / {r.n_test}"
            )
        line = f"active {self.active} of {self.dim}, effective rank {self.effective_rank:.1f}"
        if self.reconstruction is not None:
            line += f", PSNR {self.reconstruction.psnr:.2f} dB"
        if self.match is not None and math.isfinite(self.match):
            line += f", MMD to the prior {self.match:+.1f} null standard deviations"
        companions = [f"independence, {name} codes\n{found}" for name, found in self.independence.items()]
        return "\n".join([*lines, line, *(f"warning: {text}" for text in self.warnings), *companions])


def score_codes(
    codes: Codes,
    predictors: Sequence[str] = ("linear", "mlp"),
    *,
    seed: int = 0,
    protocol: Protocol = Protocol(),  # noqa: B008, it is frozen
    thorough: bool = False,
) -> Evaluation:
    """Score codes with every predictor, means and samples by one mask of active dimensions.

    One dimension alone has no LPS. The protocol holds the keyword arguments of `lps`; the companions of LPS
    are the closed forms, or all of them if thorough.
    """
    settings = asdict(protocol)
    active = active_dimensions(codes.latent)
    results = {
        (representation, predictor): lps(z, predictor, seed=seed, active=active, **settings)
        for predictor in (predictors if codes.latent.dim > 1 else ())
        for representation, z in representations(codes.latent).items()
    }
    mean = codes.latent.mean
    companions = {
        representation: independence(z, means=mean, active=active, thorough=thorough, seed=seed)
        for representation, z in (representations(codes.latent) if codes.latent.dim > 1 else {}).items()
    }
    rank = companions["mean"].effective_rank if companions else effective_rank(mean)
    return Evaluation(results, int(active.sum()), codes.latent.dim, rank, independence=companions)


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
) -> tuple[Evaluation, Codes]:
    """Encode, reconstruct and score a data set; return the scores and the codes.

    Args:
        model: on ``device``.
        images: held-out ones.
        predictors: names for `lps`.
        match: the intended prior; None leaves that score out.
        protocol: of LPS; `Protocol.quick` while training.
        seed: of posterior noise, splits and predictors.
        batch_size: images at a time.
        device: where to compute.
        thorough: all companions of LPS, not the closed forms alone.
    """
    codes, error = encode_and_reconstruct(model, images, batch_size=batch_size, seed=seed, device=device)
    scored = score_codes(codes, predictors, seed=seed, protocol=protocol, thorough=thorough)
    return add_reconstruction(scored, codes, error, match), codes


def encode_and_reconstruct(
    model: Autoencoder,
    images: ImageSet,
    *,
    batch_size: int = 512,
    seed: int = 0,
    device: torch.device | str = "cpu",
    world: World = World(),  # noqa: B008, it is frozen
) -> tuple[Codes, Reconstruction]:
    """Encode and reconstruct a data set, which several processes share; all get the same results."""
    codes = encode(model, images, batch_size=batch_size, seed=seed, device=device, world=world)
    sample = codes.latent.sample
    error = reconstruction_error(model, images, sample, batch_size=batch_size, device=device, world=world)
    return codes, error


def add_reconstruction(
    scored: Evaluation, codes: Codes, error: Reconstruction, match: PriorMatch | None
) -> Evaluation:
    """Return scores of codes with those of the images, and the match to the intended prior, if any."""
    matched = None if match is None else match(codes.latent.sample)
    return replace(scored, reconstruction=error, match=matched)
