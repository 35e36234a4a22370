"""A comparison as TensorBoard runs: means over seeds, overlays and images of all runs together."""

import math
import re
import shutil
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from mmdprior.comparison.comparison import Comparison
from mmdprior.comparison.differences import differences, setting_text
from mmdprior.comparison.groups import Group
from mmdprior.comparison.overview import overview_figures
from mmdprior.comparison.verdict import headlines, rules_markdown, verdict_table
from mmdprior.errors import InputError
from mmdprior.figures.charts import CHARTS, SUMMARY
from mmdprior.figures.style import INK, PAPER, pixels
from mmdprior.runs.read import Curve

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["mean_curve", "write_tensorboard"]

_FIRST_METRICS = (
    "match/mmd_standardised",
    "lps/mlp",
    "lps/linear",
    "reconstruction/psnr",
    "reconstruction/r2",
    "cost/train_seconds",
)
"""First columns of the table of hyperparameters."""
_NO_METRICS = ("_low", "_high", "_p", "_chance")
"""Endings of tags that are left out of the table: intervals, p-values and values by chance."""
_SIDE_BY_SIDE = ("traversals", "reconstructions", "prior_samples")
"""Images of runs that are shown next to each other."""
_MOST_SIDE_BY_SIDE = 6
_MARK = ".comparison"
"""File that marks a folder as written here, so that it may be replaced."""
_HEADING = 18
"""Height of the label above an image, in pixels."""


def write_tensorboard(comparison: Comparison, folder: str | Path) -> Path:
    """Write a TensorBoard run ``comparison`` and one run per group.

    The run ``comparison`` has the verdicts, overlays of all curves, the layout of the custom scalars, and
    images of all groups next to each other. The run of a group has the mean over seeds of every logged
    scalar under its usual tag, and its final scores as hyperparameter metrics, by the settings that differ.

    Args:
        comparison: the runs to compare.
        folder: log directory; what an earlier comparison wrote there is replaced.

    Returns:
        The folder, for ``tensorboard --logdir``.

    Raises:
        InputError: the folder contains files that no comparison wrote.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.comparison import Comparison, write_tensorboard
        >>> from mmdprior.comparison.groups import group_runs
        >>> from mmdprior.runs import Run
        >>> run = Run(Path("runs/vae"), {"name": "vae"}, scalars={"reconstruction/psnr": 20.0})
        >>> folder = write_tensorboard(Comparison(group_runs([run])), "overlays")
        >>> sorted(path.name for path in folder.iterdir() if path.is_dir())
        ['comparison', 'vae']
    """
    from torch.utils.tensorboard import SummaryWriter

    folder = Path(folder)
    mark = folder / _MARK
    if folder.exists() and any(folder.iterdir()) and not mark.is_file():
        raise InputError(f"--tensorboard: {folder} contains other files; give another --out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()
    with SummaryWriter(str(folder / "comparison")) as writer:
        _write_overlays(writer, comparison)
    settings = differences([group.config for group in comparison.groups])
    for index, group in enumerate(comparison.groups):
        texts = {path: setting_text(values[index]) for path, values in settings.items()}
        with SummaryWriter(str(_unused_folder(folder, group.label))) as writer:
            _write_group(writer, group, texts)
    return folder


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return the mean over seeds at the steps that all seeds logged; steps with a NaN are left out."""
    common = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in curves))) if curves else []
    if not common:
        return np.zeros(0, int), np.zeros(0)
    by_step = [dict(zip(steps.tolist(), values.tolist(), strict=True)) for steps, values in curves]
    means = np.array([np.mean([values[step] for values in by_step]) for step in common])
    finite = np.isfinite(means)
    return np.array(common)[finite], means[finite]


def _write_overlays(writer: "SummaryWriter", comparison: Comparison) -> None:
    writer.add_custom_scalars(CHARTS)
    answers = "\n".join(f"- {line.title}: **{line.text}**" for line in headlines(comparison.groups))
    table = verdict_table(comparison.groups).markdown()
    writer.add_text("verdicts", f"{answers}\n\n{table}\n\n{rules_markdown()}")
    writer.add_text("what differs", comparison.differences().markdown())
    for title, scores in comparison.tables().items():
        writer.add_text(f"numbers/{title}", scores.markdown())
    for name, captioned in overview_figures(comparison.groups).items():
        writer.add_image(f"overlays/{name}", pixels(captioned.figure), dataformats="HWC")
    for name in _SIDE_BY_SIDE:
        images = _images(comparison.groups, name)
        if images:
            writer.add_image(f"side_by_side/{name}", _side_by_side(images), dataformats="HWC")


def _write_group(writer: "SummaryWriter", group: Group, settings: Mapping[str, str]) -> None:
    from torch.utils.tensorboard.summary import hparams

    for tag in dict.fromkeys(tag for run in group.runs for tag in run.curves):
        steps, values = mean_curve([run.curves[tag] for run in group.runs if tag in run.curves])
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            for name in (tag, *([SUMMARY[tag]] if tag in SUMMARY else [])):
                writer.add_scalar(name, value, step)
    first = [tag for tag in _FIRST_METRICS if tag in group.tags]
    others = [tag for tag in group.tags if tag not in first and not tag.endswith(_NO_METRICS)]
    means = {f"test/{tag}": group.value(tag).mean for tag in first + others}
    metrics = {tag: value for tag, value in means.items() if math.isfinite(value)}
    # SummaryWriter.add_hparams would write them to a separate run; these belong to the run of the group.
    for summary in hparams({"run": group.label, "seeds": len(group.runs), **settings}, metrics):
        writer._get_file_writer().add_summary(summary)
    for tag, value in metrics.items():
        writer.add_scalar(tag, value, 0)


def _unused_folder(folder: Path, label: str) -> Path:
    """Return a folder for a group; labels that differ only in characters unfit for paths get a number."""
    name = re.sub(r"[^\w.=+-]+", "_", label)
    taken = {path.name.lower() for path in folder.iterdir()}
    names = chain([name], (f"{name}_{number}" for number in count(2)))
    return folder / next(unused for unused in names if unused.lower() not in taken)


def _images(groups: Sequence[Group], name: str) -> dict[str, UInt8[np.ndarray, "_ _ 3"]]:
    """Return the image of a name that the first run of each group saved, for a few groups."""
    paths = {
        group.label: next((run.pictures[name] for run in group.runs if name in run.pictures), None)
        for group in groups
    }
    saved = [(label, path) for label, path in paths.items() if path is not None]
    return {label: np.asarray(Image.open(path).convert("RGB")) for label, path in saved[:_MOST_SIDE_BY_SIDE]}


def _side_by_side(images: Mapping[str, UInt8[np.ndarray, "_ _ 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    """Return images in one row, each below its label, on white."""
    width = sum(image.shape[1] for image in images.values())
    height = max(image.shape[0] for image in images.values())
    sheet = Image.new("RGB", (width, height + _HEADING), PAPER)
    draw, left = ImageDraw.Draw(sheet), 0
    for label, image in images.items():
        draw.text((left + 6, 3), label, fill=INK)
        sheet.paste(Image.fromarray(image), (left, _HEADING))
        left += image.shape[1]
    return np.asarray(sheet)
