"""The comparison as Markdown, for a repository or an issue."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmdprior.reporting.overview import Drawn
from mmdprior.reporting.verdict import RULES, headlines, verdicts

if TYPE_CHECKING:
    from mmdprior.reporting.comparison import Comparison

__all__ = ["markdown_page"]


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
