"""Finished runs next to each other: verdicts, scores, an HTML page, Markdown, JSON and TensorBoard."""

from mmdprior.comparison.comparison import Comparison, read_runs
from mmdprior.comparison.page import write_page
from mmdprior.comparison.selection import Selection, select
from mmdprior.comparison.tensorboard import write_tensorboard

__all__ = ["Comparison", "Selection", "read_runs", "select", "write_page", "write_tensorboard"]
