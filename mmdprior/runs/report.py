"""The report of a run: codes, pictures and facts, from which runs are compared without their models."""

import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.data import ImageSet
from mmdprior.data.source import sample_kind
from mmdprior.evaluation import Codes
from mmdprior.evaluation.reconstruction import reconstruction_ssim
from mmdprior.figures.images import image_figure, in_rows
from mmdprior.figures.label_codes import conditional_samples, label_codes
from mmdprior.figures.panels import Panels
from mmdprior.figures.prior_shape import PriorShape
from mmdprior.figures.style import save_figure
from mmdprior.metrics import active_dimensions, importance
from mmdprior.metrics.checks import rows_needed
from mmdprior.metrics.pairs import mutual_information
from mmdprior.models import Autoencoder
from mmdprior.priors import ConditionalPrior, Prior
from mmdprior.results import finite_or_none
from mmdprior.runs.directory import RunDirectory
from mmdprior.training.checkpoint import versions

__all__ = ["FORMAT_VERSION", "device_name", "run_facts", "write_report"]

FORMAT_VERSION = 1
_MAX_CODES = 10_000
"""Codes kept in the report."""
_MAX_PAIRED = 128
"""Dimensions up to which dependence is computed for every pair: the cost grows with their square."""


def write_report(
    run: RunDirectory,
    *,
    model: Autoencoder,
    images: ImageSet,
    codes: Codes,
    prior: Prior,
    facts: Mapping[str, Any],
    batch_size: int = 512,
    device: torch.device | str = "cpu",
    pictures: bool = True,
    followed: Sequence[str] = (),
) -> dict[str, Any]:
    """Write codes, facts and pictures of a run; return the facts.

    Args:
        run: run directory; its report folder is created where missing.
        model: model on ``device``.
        images: held-out images.
        codes: codes of these images, in order.
        prior: intended prior.
        facts: further facts to write: device, versions, seconds.
        batch_size: images per forward pass.
        device: device of the model.
        pictures: draw pictures.
        followed: factor that each dimension follows, for the labels of traversals; see
            `mmdprior.figures.factors_followed`.
    """
    run.report.mkdir(parents=True, exist_ok=True)
    panels = Panels(images, prior, device)
    sample = codes.latent.sample
    distances = panels.shape.distances(sample.detach().cpu().double().numpy())
    all_facts = {
        "format_version": FORMAT_VERSION,
        "marginal_distance": float(distances.max()),
        "parameters": sum(p.numel() for p in model.parameters()),
        **facts,
    }
    if sample_kind(images.image_shape) == "images":
        all_facts["ssim"] = reconstruction_ssim(model, images, sample, batch_size=batch_size, device=device)
    np.savez(run.codes, **_arrays(codes, panels.shape))  # type: ignore[arg-type]
    if pictures:
        _write_pictures(run, panels, model, codes, followed)
        if isinstance(prior, ConditionalPrior):
            by_label = label_codes(sample, codes.labels, codes.label_names, prior)
            save_figure(by_label, run.picture("label_codes.png"))
            save_figure(conditional_samples(model, prior), run.picture("conditional_samples.png"))
    plain = {k: finite_or_none(v) if isinstance(v, float) else v for k, v in all_facts.items()}
    run.facts.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    return plain


def _arrays(codes: Codes, shape: PriorShape) -> dict[str, np.ndarray]:
    """Return evenly spaced codes with labels, curves of the prior, and dependence of code dimensions."""
    latent = codes.latent
    rows = torch.linspace(0, len(latent.mean) - 1, min(_MAX_CODES, len(latent.mean))).round().long()

    def at_rows(values: Tensor) -> np.ndarray:
        return values.detach().cpu()[rows].float().numpy()

    active = active_dimensions(latent)
    arrays = {
        "mean": at_rows(latent.mean),
        "labels": codes.labels.cpu()[rows].numpy(),
        "label_names": np.array(codes.label_names, dtype=str),
        "active": active.cpu().numpy(),
        "prior_grid": shape.grid,
        "prior_cdf": shape.cdf,
        "prior_draws": shape.draws,
    }
    if latent.stochastic:
        arrays["sample"] = at_rows(latent.sample)
    enough = len(latent.mean) >= rows_needed(latent.dim)
    if int(active.sum()) >= 2 and latent.dim <= _MAX_PAIRED and enough:
        pairs = mutual_information(latent.sample[:, active]).within(active.cpu().numpy())
        arrays |= {"dependence": pairs.matrix, "dependence_chance": np.array(pairs.level)}
        arrays["importance"] = importance(latent.mean, "linear", active=active, repeats=1)
    return arrays


def _write_pictures(
    run: RunDirectory, panels: Panels, model: Autoencoder, codes: Codes, followed: Sequence[str]
) -> None:
    save_figure(panels.strip_figure(panels.strip(model)), run.picture("reconstructions.png"))
    draws = panels.draws(model)
    samples = image_figure(in_rows(draws), [], title="decoded draws from the prior")
    save_figure(samples, run.picture("prior_samples.png"))
    traversal = panels.traversal(model, codes).named(followed)
    save_figure(traversal.figure(), run.picture("traversals.png"))
    traversal.save_gif(run.picture("traversals_moving.gif"))


def run_facts(device: torch.device | str, seconds: float) -> dict[str, Any]:
    """Return device, versions and seconds of this process's part of a run.

    Args:
        device: device of the training.
        seconds: duration of the training, with validation.
    """
    return {"device": device_name(device), "seconds": seconds, "versions": versions()}


def device_name(device: torch.device | str) -> str:
    """Return a device with the name of its chip.

    Example:
        >>> device_name("cpu").startswith("cpu (")
        True
    """
    kind = torch.device(device)
    if kind.type == "cuda":
        return f"{kind} ({torch.cuda.get_device_name(kind)})"
    return f"{kind} ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"
