"""What a run leaves behind, so that a later comparison needs no model: codes, pictures, facts."""

import json
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.data import ImageSet
from mmdprior.evaluation import Codes
from mmdprior.evaluation.reconstruction import reconstruction_ssim
from mmdprior.figures.images import image_figure, in_rows
from mmdprior.figures.panels import Panels
from mmdprior.figures.prior_shape import PriorShape
from mmdprior.figures.style import save_pixels
from mmdprior.metrics import active_dimensions, importance
from mmdprior.metrics.pairs import mutual_information
from mmdprior.models import Autoencoder
from mmdprior.priors import Prior
from mmdprior.training.checkpoint import versions

__all__ = ["FORMAT_VERSION", "device_name", "run_facts", "write_report"]

FORMAT_VERSION = 1
_ROWS = 10_000
_PAIRED = 128
"""Dimensions up to which every pair is looked at: the cost grows with their square."""


def write_report(
    folder: Path,
    *,
    model: Autoencoder,
    images: ImageSet,
    codes: Codes,
    prior: Prior,
    facts: Mapping[str, Any],
    batch_size: int = 512,
    device: torch.device | str = "cpu",
    pictures: bool = True,
) -> dict[str, Any]:
    """Write ``codes.npz``, ``run.json`` and the pictures; return the content of ``run.json``.

    Args:
        folder: ``report/`` of a run; made where it is not there.
        model: on ``device``.
        images: held-out ones.
        codes: of these images, in order.
        prior: the intended one.
        facts: what only the caller knows: device, versions, seconds.
        batch_size: images at a time.
        device: where to compute.
        pictures: draw them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    panels = Panels(images, prior, device)
    sample = codes.latent.sample
    distances = panels.shape.distances(sample.detach().cpu().double().numpy())
    found = {
        "format_version": FORMAT_VERSION,
        "ssim": reconstruction_ssim(model, images, sample, batch_size=batch_size, device=device),
        "marginal_distance": float(distances.max()),
        "parameters": sum(p.numel() for p in model.parameters()),
        **facts,
    }
    np.savez(folder / "codes.npz", **_arrays(codes, panels.shape))  # type: ignore[arg-type]
    if pictures:
        _write_pictures(folder, panels, model, codes)
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}
    (folder / "run.json").write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    return plain


def _arrays(codes: Codes, shape: PriorShape) -> dict[str, np.ndarray]:
    """Return at most 10,000 codes, evenly spaced, and what is to be drawn of them and of the prior."""
    latent = codes.latent
    rows = torch.linspace(0, len(latent.mean) - 1, min(_ROWS, len(latent.mean))).round().long()

    def taken(values: Tensor) -> np.ndarray:
        return values.detach().cpu()[rows].float().numpy()

    active = active_dimensions(latent)
    arrays = {
        "mean": taken(latent.mean),
        "labels": codes.labels.cpu()[rows].numpy(),
        "label_names": np.array(codes.label_names, dtype=str),
        "active": active.cpu().numpy(),
        "prior_grid": shape.grid,
        "prior_cdf": shape.cdf,
        "prior_draws": shape.draws,
    }
    if latent.stochastic:
        arrays["sample"] = taken(latent.sample)
    if int(active.sum()) >= 2 and latent.dim <= _PAIRED and len(rows) >= 30:
        pairs = mutual_information(latent.sample[:, active]).within(active.cpu().numpy())
        arrays |= {"dependence": pairs.matrix, "dependence_chance": np.array(pairs.level)}
        arrays["importance"] = importance(latent.mean, "linear", active=active, repeats=1)
    return arrays


def _write_pictures(folder: Path, panels: Panels, model: Autoencoder, codes: Codes) -> None:
    strip = panels.strip(model)
    save_pixels(image_figure(strip, ["image", "decoded", "error"]), folder / "reconstructions.png")
    draws = panels.draws(model)
    samples = image_figure(in_rows(draws), [], title="decoded draws from the prior")
    save_pixels(samples, folder / "prior_samples.png")
    traversal = panels.traversal(model, codes)
    save_pixels(traversal.figure(), folder / "traversals.png")
    traversal.save_gif(folder / "traversals_moving.gif")


def run_facts(device: torch.device | str, seconds: float) -> dict[str, Any]:
    """Return device, versions and seconds of this process's part of a run.

    Args:
        device: where the run computed.
        seconds: from the first step to the last, with validation.
    """
    return {"device": device_name(device), "seconds": seconds, "versions": versions()}


def device_name(device: torch.device | str) -> str:
    """Return a device with the model of its chip."""
    kind = torch.device(device)
    if kind.type == "cuda":
        return f"{kind} ({torch.cuda.get_device_name(kind)})"
    return f"{kind} ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"
