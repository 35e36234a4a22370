"""One table, written as text, Markdown or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Cell", "Table"]


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    Attributes:
        text: itself; empty where there is nothing.
        note: a second, smaller line.
        about: shown when pointed at.
        mark: ``best``, or a verdict: ``yes``, ``nearly``, ``no``, ``unknown``.
    """

    text: str
    note: str = ""
    about: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under columns; the first column names the rows.

    Attributes:
        columns: heads.
        rows: as many cells as there are columns.
        caption: one line above.
    """

    columns: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def __str__(self) -> str:
        """Return aligned columns."""
        lines = [[head.text for head in self.columns], *([_flat(cell) for cell in row] for row in self.rows)]
        wide = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        return "\n".join(_aligned(line, wide) for line in lines)

    def markdown(self) -> str:
        """Return a table of GitHub's kind."""
        heads = " | ".join(_piped(head.text) for head in self.columns)
        rule = " | ".join(["---", *["---:"] * (len(self.columns) - 1)])
        lines = [f"| {heads} |", f"| {rule} |"]
        lines += [f"| {' | '.join(_bold(cell) for cell in row)} |" for row in self.rows]
        return "\n".join(([f"*{self.caption}*", ""] if self.caption else []) + lines)

    def html(self, kind: str = "") -> str:
        """Return an HTML table that scrolls sideways by itself; ``kind`` is its class."""
        heads = "".join(f'<th scope="col"{_about(head)}>{escape(head.text)}</th>' for head in self.columns)
        body = "\n".join(f"<tr>{_row(row)}</tr>" for row in self.rows)
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        return (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(self.caption or "table")}">'
            f'<table class="{kind}">{caption}<thead><tr>{heads}</tr></thead>\n'
            f"<tbody>{body}</tbody></table></div>"
        )


def _row(cells: Sequence[Cell]) -> str:
    name = _inside(cells[0]).replace("_", "_<wbr>")  # where a narrow screen may break a long name
    first = f'<th scope="row"{_about(cells[0])}>{name}</th>'
    return first + "".join(
        f'<td{_about(cell)} class="{cell.mark}">{_inside(cell)}</td>' for cell in cells[1:]
    )


def _inside(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.mark else escape(cell.text)
    return text + (f" <small>{escape(cell.note)}</small>" if cell.note else "")


def _about(cell: Cell) -> str:
    return f' title="{escape(cell.about, quote=True)}"' if cell.about else ""


def _flat(cell: Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _piped(text: str) -> str:
    return text.replace("|", "\\|")


def _bold(cell: Cell) -> str:
    text = _piped(_flat(cell))
    return f"**{text}**" if cell.mark == "best" else text


def _aligned(line: Sequence[str], wide: Sequence[int]) -> str:
    rest = (f"{text:>{width}}" for text, width in zip(line[1:], wide[1:], strict=True))
    return "  ".join([f"{line[0]:{wide[0]}}", *rest]).rstrip()
