"""A table that is written as text, Markdown or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["MOST_COLUMNS", "Cell", "Table"]

MOST_COLUMNS = 6
"""Groups up to which tables of settings and of supervised scores have a column per group."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: content of the cell; empty if there is no value.
        note: second line in smaller type.
        about: explanation, shown when the pointer rests on the cell.
        mark: style of the cell: ``best``, or a verdict ``yes``, ``nearly``, ``no`` or ``unknown``.
    """

    text: str
    note: str = ""
    about: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells below column heads; the first cell of a row names it.

    Attributes:
        columns: heads of the columns.
        rows: rows with one cell per column.
        caption: explanation above the table, in Markdown and HTML; none by default.

    Example:
        >>> from mmdprior.comparison.table import Cell, Table
        >>> table = Table([Cell("run"), Cell("PSNR")], [[Cell("vae"), Cell("20.2", mark="best")]])
        >>> print(table)
        run  PSNR
        vae  20.2
        >>> print(table.markdown())
        | run | PSNR |
        | --- | ---: |
        | vae | **20.2** |
    """

    columns: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def __str__(self) -> str:
        """Return the table with aligned columns, for a terminal."""
        lines = [[head.text for head in self.columns]]
        lines += [[_with_note(cell) for cell in row] for row in self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        return "\n".join(_aligned(line, widths) for line in lines)

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown, with the best cells in bold."""
        heads = " | ".join(_escaped(head.text) for head in self.columns)
        rule = " | ".join(["---", *["---:"] * (len(self.columns) - 1)])
        lines = [f"| {heads} |", f"| {rule} |"]
        lines += [f"| {' | '.join(_markdown(cell) for cell in row)} |" for row in self.rows]
        return "\n".join(([f"*{self.caption}*", ""] if self.caption else []) + lines)

    def html(self, css_class: str = "") -> str:
        """Return the table as HTML that scrolls sideways if it does not fit the screen.

        Args:
            css_class: class of the table element; none by default.
        """
        heads = "".join(f'<th scope="col"{_title(head)}>{escape(head.text)}</th>' for head in self.columns)
        body = "\n".join(f"<tr>{_html_row(row)}</tr>" for row in self.rows)
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        return (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(self.caption or "table")}">'
            f'<table class="{css_class}">{caption}<thead><tr>{heads}</tr></thead>\n'
            f"<tbody>{body}</tbody></table></div>"
        )


def _html_row(cells: Sequence[Cell]) -> str:
    name = _html(cells[0]).replace("_", "_<wbr>")  # long names may break after an underscore
    first = f'<th scope="row"{_title(cells[0])}>{name}</th>'
    return first + "".join(f'<td{_title(cell)} class="{cell.mark}">{_html(cell)}</td>' for cell in cells[1:])


def _html(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.mark else escape(cell.text)
    return text + (f" <small>{escape(cell.note)}</small>" if cell.note else "")


def _title(cell: Cell) -> str:
    return f' title="{escape(cell.about, quote=True)}"' if cell.about else ""


def _with_note(cell: Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _markdown(cell: Cell) -> str:
    text = _escaped(_with_note(cell))
    return f"**{text}**" if cell.mark == "best" else text


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    others = (f"{text:>{width}}" for text, width in zip(line[1:], widths[1:], strict=True))
    return "  ".join([f"{line[0]:{widths[0]}}", *others]).rstrip()
