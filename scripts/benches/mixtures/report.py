"""Tables and figure of rows of the benchmark of mixtures of experts."""

from pathlib import Path
from typing import Any

__all__ = ["figure", "tables", "title"]

Row = dict[str, Any]


def title(setting: Row) -> str:
    return " ".join(f"{k}={v}" for k, v in setting.items() if not isinstance(v, (list, dict)))


def tables(rows: list[Row]) -> str:
    return ""


def figure(rows: list[Row], path: Path) -> None:
    return None
