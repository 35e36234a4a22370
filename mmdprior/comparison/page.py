"""A comparison as one HTML page, as Markdown, as JSON and as figures."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from mmdprior.comparison.comparison import Comparison
from mmdprior.comparison.differences import shared_settings
from mmdprior.comparison.groups import Group
from mmdprior.comparison.overview import CaptionedFigure, overview_figures
from mmdprior.comparison.verdict import RULES, headlines, rules_markdown, verdict_table
from mmdprior.errors import InputError, reason
from mmdprior.figures.figures import saved_figures
from mmdprior.figures.style import png, save_png_and_svg, svg
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.read import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_page"]

_MOST_WITH_FIGURES = 6
"""Groups whose own figures the page shows; for the others it names the folder of the report."""
_LARGEST_SVG = 300_000
"""Bytes above which a figure is embedded as PNG instead of SVG."""
_MIME_TYPES = {".png": "image/png", ".gif": "image/gif", ".svg": "image/svg+xml"}
_OPEN = ("traversals", "marginals", "factors", "label_codes")
"""Kinds of figures that are visible when the page opens; the others unfold on a click."""
_SCORES = (
    "Scores of the test split, as mean ± standard deviation over seeds. Columns marked “means” score the "
    "mean codes of the images, columns marked “samples” score codes sampled from the posterior."
)
_BEST = "A column's best is {} where its seeds, or the interval of its only seed, do not overlap with others."
_CAPTIONS = {
    "marginals": (
        "Codes against the prior, per dimension",
        "Filled: histogram of the sampled codes of the test images. Line: density of the intended prior. KS: "
        "Kolmogorov-Smirnov distance, the largest difference between their cumulative distributions.",
    ),
    "quantiles": (
        "Quantiles of codes against quantiles of the prior",
        "One line per dimension. A dimension that follows the prior is on the dashed diagonal.",
    ),
    "pairs": (
        "The most dependent pairs of dimensions",
        "Top: codes. Bottom: samples from the intended prior. If the prior is matched, both look alike.",
    ),
    "traversals": (
        "Traversals: what each dimension changes",
        "One code is decoded while one dimension at a time (row) moves through the quantiles of the prior "
        "(column). The dimension that changes the image most is at the top. Names of factors are those that "
        "a dimension follows best, with the strength from 0 to 1.",
    ),
    "factors": (
        "Which dimension follows which factor",
        "Mutual information of each mean code (row) with each factor (column). A frame marks the best "
        "dimension of every factor. With one dimension per factor, all other entries are near 0.",
    ),
    "factor_importance": (
        "Importance for the prediction of the factors",
        "Share of each mean code (row) in the prediction of each factor (column), by the classifier of DCI.",
    ),
    "label_codes": (
        "Codes by label against the prior",
        "Dots: median and range from 5 to 95 % of the codes of each value of a label, in the dimensions that "
        "the prior gives to the label. Band: the same range of the prior given the value. Labels with more "
        "than two dimensions: means of codes and of the prior.",
    ),
    "conditional_samples": (
        "Decoded samples of the prior given a label",
        "Each column is a value of the label. All other dimensions are drawn.",
    ),
    "reconstructions": (
        "Reconstructions",
        "Test images, their reconstructions from mean codes, and absolute errors, white where 0.5 or more. "
        "Vectors and signals are curves, with their reconstructions over them.",
    ),
    "prior_samples": (
        "Decoded samples from the prior",
        "Samples from the intended prior, decoded.",
    ),
    "lps": (
        "Predictability of each dimension",
        "R2 of each dimension predicted from the others on held-out codes. Orange line: LPS. Grey band: R2 "
        "of shuffled codes, which is what chance gives.",
    ),
    "correlation": (
        "Correlation of dimensions",
        "Correlation matrix of sampled codes, without the diagonal.",
    ),
    "dependence": (
        "Mutual information of pairs",
        "Mutual information of each pair of sampled code dimensions, in nats. The colour scale reaches at "
        "least the level that chance gives.",
    ),
    "importance": (
        "Which dimension predicts which",
        "Drop in the R2 of each predicted dimension (row) when one input dimension (column) is permuted.",
    ),
    "traversals_moving": (
        "Animated traversals",
        "One tile per dimension; all move through the quantiles of the prior.",
    ),
}
"""Title and explanation of each kind of figure, in the order of the page."""


def write_page(
    comparison: Comparison,
    folder: str | Path,
    *,
    command: str = "",
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Write ``index.html``, ``comparison.md``, ``comparison.json`` and ``figures/``.

    The HTML page is one file that loads nothing from the network. ``figures/`` has every figure of
    ``comparison.md`` as PNG and SVG.

    Args:
        comparison: the runs to compare.
        folder: created if it does not exist.
        command: command that made the comparison, stated at the end of the page; none by default.
        versions: version by package, stated likewise; none by default.

    Returns:
        Path of ``index.html``.

    Raises:
        InputError: the folder cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.comparison import Comparison, write_page
        >>> from mmdprior.comparison.groups import group_runs
        >>> from mmdprior.runs import Run
        >>> run = Run(Path("runs/vae"), {"name": "vae"}, scalars={"reconstruction/psnr": 20.0})
        >>> page = write_page(Comparison(group_runs([run])), "report")
        >>> sorted(path.name for path in page.parent.iterdir())
        ['comparison.json', 'comparison.md', 'figures', 'index.html']
    """
    folder, versions = Path(folder), versions or {}
    figures = overview_figures(comparison.groups)
    page = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        images = {}
        for name, captioned in figures.items():
            _, vector = save_png_and_svg(captioned.figure, folder / "figures" / name)
            url = _figure_url(captioned.figure, vector.read_bytes())
            images[name] = _figure_html(url, captioned.alt, captioned.caption)
        texts = {
            folder / "comparison.json": comparison.to_json() + "\n",
            folder / "comparison.md": _markdown(comparison, figures, command, versions),
            page: _html(comparison, images, command, versions),
        }
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out: {folder} cannot be written ({reason(error)}); give another") from None
    return page


def _html(
    comparison: Comparison, images: Mapping[str, str], command: str, versions: Mapping[str, str]
) -> str:
    curves = "".join(image for name, image in images.items() if name != "frontier")
    tables = "".join(f"<h3>{title}</h3>{table.html()}" for title, table in comparison.tables().items())
    every_lps = _details(
        "All LPS scores with interval, p-value and chance level", comparison.lps_table().html("words")
    )
    title = escape(comparison.title)
    parts = [
        f"<h1>{title}</h1><p class=sub>{escape(comparison.subtitle)}</p>",
        f'<div class="first">{comparison._repr_html_()}{images["frontier"]}</div>',
        _rules_html(),
        f"<h2>Settings that differ</h2>{_settings_html(comparison)}",
        f"<h2>Scores</h2><p class=dim>{_SCORES} {_BEST.format('underlined')}</p>",
        tables + every_lps,
        "<h2>Curves during training</h2><p class=dim>Thin: one seed. Thick: mean over seeds.</p>"
        f'<div class="grid">{curves}</div>',
        f"<h2>Codes and images</h2>{_run_figures_html(comparison.groups)}",
        f"<h2>Runs, commands and versions</h2>{_origin_html(comparison, command, versions)}",
    ]
    css, script = (
        resources.files("mmdprior.comparison").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "page.js")
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{css}</style></head><body><main>"
        + "\n".join(parts)
        + f"</main><script>{script}</script></body></html>\n"
    )


def _rules_html() -> str:
    rules = "<br>".join(f"<b>{escape(title)}</b>: {escape(text)}" for title, text in RULES.items())
    return f"<p class=rules><small>{rules}</small></p>"


def _settings_html(comparison: Comparison) -> str:
    if len(comparison.groups) == 1:
        table = "<p>There is only one configuration.</p>"
    else:
        table = comparison.differences().html("words")
    shared = yaml.safe_dump(shared_settings([run.config for run in comparison.runs]), sort_keys=False)
    return table + _details("Settings that all runs share", f"<pre>{escape(shared)}</pre>")


def _run_figures_html(groups: Sequence[Group]) -> str:
    """Return the figures of one run per group, with the same kind of figure of all groups together."""
    runs = {group.label: run for group in groups for run in reversed(group.runs) if run.codes or run.pictures}
    if not runs:
        return "<p>No run saved codes or images; compare --complete makes them from the checkpoints.</p>"
    by_kind: dict[str, list[str]] = {}
    notes = ["Of each configuration, the run with the lowest seed that saved codes or images."]
    for index, (label, run) in enumerate(runs.items()):
        if index >= _MOST_WITH_FIGURES:
            notes.append(f"The figures of {label} are in {RunDirectory(run.directory).report}.")
            continue
        urls = {name: _data_url(path.read_bytes(), path.suffix) for name, path in run.pictures.items()}
        try:
            figures = saved_figures(run.arrays(), run.test)
            urls |= {name: _figure_url(figure, svg(figure).encode()) for name, figure in figures.items()}
        except InputError as error:
            notes.append(f"{label}: {error}.")
        for name, url in urls.items():
            title, about = _caption(name)
            by_kind.setdefault(name, []).append(
                _figure_html(url, f"{label}: {title}. {about}".strip(), label)
            )
    order = [name for name in _CAPTIONS if name in by_kind] + sorted(by_kind.keys() - _CAPTIONS.keys())
    paragraphs = "".join(f"<p class=dim>{escape(note)}</p>" for note in notes)
    return paragraphs + "".join(_figures_of_a_kind(name, by_kind[name]) for name in order)


def _figures_of_a_kind(name: str, figures: Sequence[str]) -> str:
    title, about = _caption(name)
    content = f'<p class=dim>{escape(about)}</p><div class="pair">{"".join(figures)}</div>'
    return _details(title, content, is_open=name in _OPEN)


def _origin_html(comparison: Comparison, command: str, versions: Mapping[str, str]) -> str:
    rows = "".join(f"<li>{_run_html(group, run)}</li>" for group in comparison.groups for run in group.runs)
    errors = "".join(f"<li>{escape(line)}</li>" for line in comparison.errors.values())
    return (
        (f"<p>This page was made by <code>{escape(command)}</code></p>" if command else "")
        + (f"<p>Versions: {escape(_version_list(versions))}.</p>" if versions else "")
        + (f"<p>Runs that could not be read:</p><ul>{errors}</ul>" if errors else "")
        + _details("Commands, devices and versions of all runs", f"<ul>{rows}</ul>")
    )


def _run_html(group: Group, run: Run) -> str:
    versions = _version_list(run.facts.get("versions", {})) or "versions not saved"
    missing = f"; missing: {', '.join(run.missing)} (compare --complete adds them)" if run.missing else ""
    device = f" on {run.facts['device']}" if run.facts.get("device") else ""
    return (
        f"<b>{escape(group.label)}</b>, seed {run.seed}{escape(device)}: "
        f"<code>{escape('; '.join(run.commands))}</code> "
        f"<small>{escape(f'{run.directory}{missing}; {versions}')}</small>"
    )


def _markdown(
    comparison: Comparison, figures: Mapping[str, CaptionedFigure], command: str, versions: Mapping[str, str]
) -> str:
    lines = [f"# {comparison.title}", "", comparison.subtitle, ""]
    lines += [f"- {line.title}: **{line.text}**" for line in headlines(comparison.groups)]
    lines += ["", verdict_table(comparison.groups).markdown(), "", rules_markdown(), ""]
    lines += ["## Settings that differ", "", comparison.differences().markdown(), ""]
    lines += [
        "## Scores",
        "",
        f"{_SCORES} {_BEST.format('bold')}",
        "",
    ]
    for title, table in comparison.tables().items():
        lines += [f"### {title}", "", table.markdown(), ""]
    lines += ["### All LPS scores", "", comparison.lps_table().markdown(), ""]
    lines += ["## Figures", ""]
    lines += [f"![{captioned.alt}](figures/{name}.png)\n" for name, captioned in figures.items()]
    lines += ["## Runs, commands and versions", ""]
    if command:
        lines += [f"    {command}", ""]
    lines += [f"- {run.directory}: `{'; '.join(run.commands)}`" for run in comparison.runs]
    lines += [f"- could not be read: {line}" for line in comparison.errors.values()]
    if versions:
        lines += ["", _version_list(versions)]
    return "\n".join(lines) + "\n"


def _details(summary: str, content: str, *, is_open: bool = False) -> str:
    return f"<details{' open' * is_open}><summary>{escape(summary)}</summary>{content}</details>"


def _figure_html(url: str, alt: str, caption: str) -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{url}" alt="{escape(alt, quote=True)}" loading="lazy">{below}</figure>'


def _figure_url(figure: "Figure", vector: bytes) -> str:
    """Return a figure as a data URL: its SVG, or a PNG if the SVG is large."""
    return _data_url(vector, ".svg") if len(vector) <= _LARGEST_SVG else _data_url(png(figure), ".png")


def _data_url(content: bytes, suffix: str) -> str:
    return f"data:{_MIME_TYPES[suffix]};base64,{base64.b64encode(content).decode()}"


def _caption(name: str) -> tuple[str, str]:
    """Return title and explanation of a kind of figure; files of other names have no explanation."""
    return _CAPTIONS.get(name, (name.replace("_", " "), ""))


def _version_list(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
