"""Results as notebooks show them."""

from html import escape

__all__ = ["HTMLRepr"]


class HTMLRepr:
    """Shows in a notebook what it prints."""

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"
