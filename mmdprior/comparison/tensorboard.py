"""A comparison as TensorBoard runs: overlays and means over seeds, which no single run has."""

import math
import re
import shutil
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.image import imread

from mmdprior.comparison.differences import brief, differences
from mmdprior.comparison.groups import Group
from mmdprior.comparison.overview import overview
from mmdprior.comparison.verdict import RULES, headlines, verdicts
from mmdprior.errors import InputError
from mmdprior.figures.charts import CHARTS
from mmdprior.figures.style import pixels
from mmdprior.runs.read import Curve

__all__ = ["mean_curve", "write_tensorboard"]

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from mmdprior.comparison.comparison import Comparison


_FIRST = ("match/mmd_standardised", "lps/mlp", "lps/linear", "reconstruction/psnr", "cost/train_seconds")
"""What the table of hyperparameters shows first."""
_SIDE = 6
"""Pictures side by side at most."""
_ARGUMENTS = 200
"""Letters of a setting in the table of hyperparameters."""


def write_tensorboard(comparison: "Comparison", folder: Path) -> Path:
    """Write a run ``comparison`` with figures, pictures side by side and the verdicts, and a run a group.

    A group's run has the mean over seeds of every logged number under its own tag, and its final numbers
    beside the settings that differ. What an earlier comparison wrote there is replaced.

    Raises:
        InputError: a folder that holds something else.
    """
    from torch.utils.tensorboard import SummaryWriter

    mark = folder / ".comparison"
    if folder.exists() and any(folder.iterdir()) and not mark.is_file():
        raise InputError(f"--tensorboard: {folder} holds something else; give another --out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()
    with SummaryWriter(str(folder / "comparison")) as writer:
        _write_overlays(writer, comparison)
    settings = differences([group.config for group in comparison.groups])
    for place, group in enumerate(comparison.groups):
        own = {key: brief(values[place])[:_ARGUMENTS] for key, values in settings.items()}
        with SummaryWriter(str(_free(folder, group.label))) as writer:
            _write_group(writer, group, own)
    return folder


def _free(folder: Path, label: str) -> Path:
    """Return a folder for a group that no other has taken: labels may differ in what paths cannot hold."""
    name = re.sub(r"[^\w.=+-]+", "_", label)
    taken = {path.name.lower() for path in folder.iterdir()}
    names = chain([name], (f"{name}_{number}" for number in count(2)))
    return folder / next(free for free in names if free.lower() not in taken)


def mean_curve(curves: list[Curve]) -> Curve:
    """Return the mean over seeds at the steps that all of them logged, leaving out what is not finite."""
    common = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in curves))) if curves else []
    if not common:
        return np.zeros(0, int), np.zeros(0)
    rows = [dict(zip(steps.tolist(), values.tolist(), strict=True)) for steps, values in curves]
    means = np.array([np.mean([row[step] for row in rows]) for step in common])
    there = np.isfinite(means)
    return np.array(common)[there], means[there]


def _write_overlays(writer: "SummaryWriter", comparison: "Comparison") -> None:
    writer.add_custom_scalars(CHARTS)
    answers = "\n".join(f"- {q}: **{answer}**" for q, answer in headlines(comparison.groups))
    table = verdicts(comparison.groups).markdown()
    writer.add_text("verdicts", f"{answers}\n\n{table}\n\n{RULES}")
    writer.add_text("what differs", comparison.differences().markdown())
    for title, numbers in comparison.tables().items():
        writer.add_text(f"numbers/{title}", numbers.markdown())
    for name, drawn in overview(comparison.groups).items():
        writer.add_image(f"overlays/{name}", pixels(drawn.figure), dataformats="HWC")
    for name in ("traversals", "reconstructions", "prior_samples"):
        pictures = _pictures(comparison.groups, name)
        if pictures:
            writer.add_image(f"side_by_side/{name}", _beside(pictures), dataformats="HWC")


def _write_group(writer: "SummaryWriter", group: Group, settings: Mapping[str, str]) -> None:
    from torch.utils.tensorboard.summary import hparams

    for tag in dict.fromkeys(tag for run in group.runs for tag in run.curves):
        steps, values = mean_curve([run.curves[tag] for run in group.runs if tag in run.curves])
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            writer.add_scalar(tag, value, step)
    first = [tag for tag in _FIRST if tag in group.tags]
    rest = [tag for tag in group.tags if tag not in first and not tag.endswith(("_low", "_high", "_p"))]
    means = {f"test/{tag}": group.value(tag).mean for tag in first + rest}
    final = {tag: value for tag, value in means.items() if math.isfinite(value)}
    for summary in hparams({"run": group.label, "seeds": len(group.runs), **settings}, final):
        writer._get_file_writer().add_summary(summary)
    for tag, value in final.items():
        writer.add_scalar(tag, value, 0)


def _pictures(groups: tuple[Group, ...], name: str) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for group in groups:
        paths = [run.pictures[name] for run in group.runs if name in run.pictures]
        if paths and len(found) < _SIDE:
            found[group.label] = (imread(paths[0])[..., :3] * 255).round().astype(np.uint8)
    return found


def _beside(pictures: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return pictures beside each other, each under its name, on white."""
    from PIL import Image, ImageDraw

    wide, high = sum(p.shape[1] for p in pictures.values()), max(p.shape[0] for p in pictures.values())
    sheet = Image.new("RGB", (wide, high + 18), "#ffffff")
    draw, left = ImageDraw.Draw(sheet), 0
    for label, picture in pictures.items():
        draw.text((left + 6, 3), label, fill="#1f2328")
        sheet.paste(Image.fromarray(picture), (left, 18))
        left += picture.shape[1]
    return np.asarray(sheet)
