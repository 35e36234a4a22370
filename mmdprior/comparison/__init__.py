"""Finished runs side by side: page, Markdown, JSON, TensorBoard."""

from mmdprior.comparison.comparison import Comparison, read_runs

__all__ = ["Comparison", "read_runs"]
