"""Scores of files and models that were not made by this package, and of its own checkpoints."""

from mmdprior.scoring.score import Scorer, draw, score_files
from mmdprior.scoring.table import ScoreTable

__all__ = ["ScoreTable", "Scorer", "draw", "score_files"]
