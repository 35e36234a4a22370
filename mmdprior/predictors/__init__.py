"""Predictors of every code dimension from the others, for all dimensions at once."""

from collections.abc import Callable, Mapping

from mmdprior.predictors.additive import AdditivePredictor
from mmdprior.predictors.em import expectation_maximisation
from mmdprior.predictors.experts import ExpertsPredictor
from mmdprior.predictors.information import InformationPredictor
from mmdprior.predictors.linear import LinearPredictor
from mmdprior.predictors.mixture import Mixture
from mmdprior.predictors.mlp import MLPPredictor
from mmdprior.predictors.moments import Ranks
from mmdprior.predictors.outcome import Classification, Outcome, Regression
from mmdprior.predictors.predictor import Fitted, Predictor
from mmdprior.predictors.trees import LoopedPredictor, TreesPredictor

__all__ = [
    "AdditivePredictor",
    "Classification",
    "ExpertsPredictor",
    "Fitted",
    "InformationPredictor",
    "LinearPredictor",
    "LoopedPredictor",
    "MLPPredictor",
    "Mixture",
    "Outcome",
    "PREDICTORS",
    "Predictor",
    "Ranks",
    "Regression",
    "TreesPredictor",
    "expectation_maximisation",
]

PREDICTORS: Mapping[str, Callable[[], Predictor]] = {
    "linear": LinearPredictor,
    "additive": AdditivePredictor,
    "mlp": MLPPredictor,
    "experts": ExpertsPredictor,
    "information": InformationPredictor,
    "trees": TreesPredictor,
}
"""Shipped predictor classes by name, as `mmdprior.lps` and configs use them."""
