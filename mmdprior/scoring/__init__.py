"""Scores of other people's files and models."""

from mmdprior.scoring.score import Scorer
from mmdprior.scoring.table import ScoreTable

__all__ = ["ScoreTable", "Scorer"]
