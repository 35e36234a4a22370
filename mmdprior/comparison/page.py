"""One page that tells the story of a set of runs: HTML in one file, Markdown and JSON beside it."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from matplotlib.figure import Figure

from mmdprior.comparison.differences import shared
from mmdprior.comparison.groups import Group
from mmdprior.comparison.overview import Drawn, overview
from mmdprior.comparison.verdict import RULES, headlines, verdicts
from mmdprior.errors import InputError, reason
from mmdprior.figures.figures import saved_figures
from mmdprior.figures.style import png, save_png_and_svg, svg
from mmdprior.runs.read import Run

__all__ = ["alt_of", "caption_of", "fragment", "markdown_page", "write_page"]

if TYPE_CHECKING:
    from mmdprior.comparison.comparison import Comparison


_PICTURED = 6
"""Groups whose pictures are put on the page; of the others the folders are named."""
_VECTOR = 300_000
"""Bytes above which a vector figure gives way to its pixels."""
_OPEN = ("traversals", "marginals")
_KINDS = {".png": "image/png", ".gif": "image/gif", ".svg": "image/svg+xml"}


def write_page(comparison: "Comparison", folder: Path, command: str, versions: Mapping[str, str]) -> Path:
    """Write the page and what stands beside it; see `Comparison.write`."""
    drawn = overview(comparison.groups)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in drawn.items():
            save_png_and_svg(picture.figure, folder / "figures" / name)
        (folder / "comparison.json").write_text(comparison.to_json() + "\n", encoding="utf-8")
        text = markdown_page(comparison, drawn, command, versions)
        (folder / "comparison.md").write_text(text, encoding="utf-8")
        page = folder / "index.html"
        page.write_text(html_page(comparison, drawn, command, versions), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out: {folder} cannot be written ({reason(error)}); give another") from None
    return page


def html_page(
    comparison: "Comparison", drawn: Mapping[str, Drawn], command: str, versions: Mapping[str, str]
) -> str:
    """Return the page, complete in itself: it asks the network for nothing."""
    groups = comparison.groups
    plots = {name: _figure(_drawn(d.figure), d.alt, d.caption) for name, d in drawn.items()}
    best = plots.pop("frontier")
    tables = "".join(f"<h3>{title}</h3>{table.html()}" for title, table in comparison.tables().items())
    first = f'<div class="first"><div>{_answers(groups)}{verdicts(groups).html("verdict")}</div>{best}</div>'
    parts = [
        f"<h1>{escape(comparison.title)}</h1><p class=sub>{escape(comparison.subtitle)}</p>",
        first,
        f"<p class=rules><small>{escape(RULES)}</small></p>",
        f"<h2>What differs</h2>{_differing(comparison)}",
        f"<h2>Numbers</h2><p class=dim>Of the test split; mean ± standard deviation over seeds. The best "
        f"mean of a column is underlined.</p>{tables}{_every_lps(comparison)}",
        f'<h2>While training</h2><div class="grid">{"".join(plots.values())}</div>',
        f"<h2>Pictures</h2>{_pictures(groups)}",
        f"<h2>How this was made</h2>{_made(comparison, command, versions)}",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(comparison.title)}</title><style>{_css()}</style></head><body><main>"
        + "\n".join(parts)
        + "</main></body></html>\n"
    )


def fragment(comparison: "Comparison") -> str:
    """Return the first screen alone, for notebooks."""
    groups = comparison.groups
    return f"<div>{_answers(groups)}{verdicts(groups).html('verdict')}</div>"


def _answers(groups: Sequence[Group]) -> str:
    rows = "".join(f"<dt>{escape(q)}</dt><dd>{escape(answer)}</dd>" for q, answer in headlines(groups))
    return f'<dl class="answers">{rows}</dl>'


def _every_lps(comparison: "Comparison") -> str:
    table = comparison.lps_table().html("words")
    return f"<details><summary>Every LPS with interval, chance and p-value</summary>{table}</details>"


def _differing(comparison: "Comparison") -> str:
    common = yaml.safe_dump(shared([group.config for group in comparison.groups]), sort_keys=False)
    table = comparison.differences().html("words")
    return f"{table}<details><summary>What all runs share</summary><pre>{escape(common)}</pre></details>"


def _pictures(groups: Sequence[Group]) -> str:
    """Return the pictures of one seed of a few groups, the same kind side by side."""
    runs = {group.label: run for group in groups for run in reversed(group.runs) if run.codes or run.pictures}
    if not runs:
        return "<p>No run saved pictures; compare --complete draws them from the checkpoints.</p>"
    by_kind: dict[str, list[str]] = {}
    told = []
    for place, (label, run) in enumerate(runs.items()):
        if place >= _PICTURED:
            told.append(f"Pictures of {label} lie in {run.directory / 'report'}.")
            continue
        sources = {name: _embedded(path) for name, path in run.pictures.items()}
        try:
            sources |= {
                name: _drawn(figure) for name, figure in saved_figures(run.arrays(), run.test).items()
            }
        except InputError as error:
            told.append(f"{label}: {error}.")
        for name, source in sources.items():
            by_kind.setdefault(name, []).append(_figure(source, alt_of(name, label), label))
    parts = [_fold(name, by_kind[name]) for name in sorted(by_kind, key=lambda name: caption_of(name)[2])]
    return "".join(parts) + "".join(f"<p class=dim>{escape(line)}</p>" for line in told)


def _fold(name: str, figures: Sequence[str]) -> str:
    title, about, _ = caption_of(name)
    is_open = " open" if name in _OPEN else ""
    return (
        f"<details{is_open}><summary>{escape(title)}</summary><p class=dim>{escape(about)}</p>"
        f'<div class="pair">{"".join(figures)}</div></details>'
    )


def _made(comparison: "Comparison", command: str, versions: Mapping[str, str]) -> str:
    rows = "".join(f"<li>{_run_line(group, run)}</li>" for group in comparison.groups for run in group.runs)
    errors = "".join(f"<li>{escape(line)}</li>" for line in comparison.errors.values())
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        (f"<p>This page: <code>{escape(command)}</code></p>" if command else "")
        + (f"<p>With {escape(told)}.</p>" if told else "")
        + (f"<p>Not read:</p><ul>{errors}</ul>" if errors else "")
        + f"<details><summary>The runs, their commands and versions</summary><ul>{rows}</ul></details>"
    )


def _run_line(group: Group, run: Run) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in run.facts.get("versions", {}).items())
    missing = f"; lacks {', '.join(run.missing)}: fill with --complete" if run.missing else ""
    device = f" on {run.facts['device']}" if run.facts.get("device") else ""
    where = f"{run.directory}{missing}; {versions or 'versions not saved'}"
    return (
        f"<b>{escape(group.label)}</b>, seed {run.seed}{escape(device)}: "
        f"<code>{escape('; '.join(run.commands))}</code> <small>{escape(where)}</small>"
    )


def _figure(source: str, alt: str, caption: str) -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{source}" alt="{escape(alt, quote=True)}" loading="lazy">{below}</figure>'


def _drawn(figure: Figure) -> str:
    """Return a figure as a vector, or as pixels where these are much smaller."""
    vector = svg(figure).encode()
    if len(vector) <= _VECTOR:
        return _data(vector, ".svg")
    return _data(png(figure), ".png")


def _embedded(path: Path) -> str:
    return _data(path.read_bytes(), path.suffix)


def _data(content: bytes, suffix: str) -> str:
    return f"data:{_KINDS[suffix]};base64,{base64.b64encode(content).decode()}"


def _css() -> str:
    return resources.files("mmdprior.reporting").joinpath("page.css").read_text(encoding="utf-8")


if TYPE_CHECKING:
    from mmdprior.comparison.comparison import Comparison


def markdown_page(
    comparison: "Comparison", drawn: Mapping[str, Drawn], command: str, versions: Mapping[str, str]
) -> str:
    """Return the comparison as Markdown; it shows the figures that lie in ``figures/`` beside it."""
    lines = [f"# {comparison.title}", "", comparison.subtitle, ""]
    lines += [f"- {question}: **{answer}**" for question, answer in headlines(comparison.groups)]
    lines += ["", verdicts(comparison.groups).markdown(), "", RULES, "", "## What differs", ""]
    lines += [comparison.differences().markdown(), ""]
    for title, table in comparison.tables().items():
        lines += [f"## {title}", "", table.markdown(), ""]
    lines += ["## Every LPS", "", comparison.lps_table().markdown(), ""]
    lines += ["Mean ± standard deviation over seeds, of the test split.", "", "## Figures", ""]
    lines += [f"![{picture.alt}](figures/{name}.png)\n" for name, picture in drawn.items()]
    lines += ["## How this was made", ""]
    if command:
        lines += [f"    {command}", ""]
    lines += [f"- {run.directory}: `{'; '.join(run.commands)}`" for run in comparison.runs]
    lines += [f"- not read: {line}" for line in comparison.errors.values()]
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join([*lines, *(["", told] if told else [])]) + "\n"


_CAPTIONS = {
    "marginals": (
        "Codes against the prior, dimension by dimension",
        "Filled: sampled codes of the test images. Line: the density of the intended prior. The number is "
        "the Kolmogorov-Smirnov distance between the two.",
    ),
    "quantiles": (
        "Quantiles of the codes against the prior's",
        "One line a dimension; on the diagonal where the codes follow the prior.",
    ),
    "pairs": (
        "The most dependent pairs beside draws from the prior",
        "Left of each pair the codes, right the prior: equal clouds where the prior is enforced.",
    ),
    "traversals": (
        "What each dimension does",
        "One image's code, one dimension at a time moved through the prior's quantiles; the dimensions that "
        "change the picture most come first.",
    ),
    "reconstructions": (
        "Reconstructions",
        "Test images, their reconstructions from mean codes, and the absolute error, white where it is 0.5.",
    ),
    "prior_samples": ("Decoded draws from the prior", "What the decoder makes of the intended prior."),
    "lps": (
        "Predictability, dimension by dimension",
        "R2 of each dimension from the others; the band is what shuffled codes give.",
    ),
    "correlation": ("Correlation of code dimensions", "Of sampled codes."),
    "dependence": (
        "Dependence of pairs",
        "Mutual information of sampled codes in nats; colours start to tell where chance ends.",
    ),
    "importance": (
        "Who predicts whom",
        "Fall of each dimension's R2 when another is permuted.",
    ),
    "traversals_moving": ("The traversals, moving", "All dimensions at once, each in its own tile."),
}


def caption_of(name: str) -> tuple[str, str, int]:
    """Return a picture's title, its explanation, and its place in the order of the page."""
    title, about = _CAPTIONS.get(name, (name.replace("_", " "), ""))
    return title, about, list(_CAPTIONS).index(name) if name in _CAPTIONS else len(_CAPTIONS)


def alt_of(name: str, label: str) -> str:
    """Return the words in place of a picture."""
    title, about, _ = caption_of(name)
    return f"{label}: {title}. {about}".strip()
