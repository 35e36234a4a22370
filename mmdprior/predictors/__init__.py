"""Predictors of every code dimension from the others."""

from mmdprior.predictors.linear import LinearPredictor
from mmdprior.predictors.mlp import MLPPredictor
from mmdprior.predictors.predictor import Predict, Predictor

__all__ = ["LinearPredictor", "MLPPredictor", "Predict", "Predictor"]
