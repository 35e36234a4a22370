"""Names from which functions, configs and options choose, as literal types.

The file imports nothing of the package, so that the help of a command does not load torch.
"""

from typing import Literal

__all__ = [
    "BinKind",
    "FactorKind",
    "FitObjective",
    "PosteriorName",
    "PredictorName",
    "Probe",
    "ScoreName",
    "Spatial",
    "SplitName",
    "Transform",
]

BinKind = Literal["lloyd", "uniform", "quantile", "allocated", "box", "own"]
"""Cells of quantised codes."""

SplitName = Literal["all", "train", "validation", "test"]
"""Parts of a data set."""

Transform = Literal["standardise", "rank_gaussian", "none"]
"""Transformations of each code dimension before LPS."""

PosteriorName = Literal["deterministic", "gaussian", "gaussian_std"]
"""Meaning of an encoder's outputs: codes, means and log-variances, or means and standard deviations."""

Spatial = Literal["flatten", "pool", "positions"]
"""How the positions of spatial codes become rows."""

PredictorName = Literal["linear", "additive", "mlp", "experts", "information", "trees"]
"""Predictors of LPS."""

FactorKind = Literal["discrete", "ordinal", "circular", "continuous"]
"""Kinds of factors of variation."""

Probe = Literal["histogram", "gradient_boosted", "random_forest", "lasso", "logistic"]
"""Classifiers of the DCI scores."""

FitObjective = Literal["auto", "likelihood", "two_maps", "mmd", "sliced"]
"""Objectives of the fit of an invertible map."""

ScoreName = Literal[
    "beta_vae",
    "factor_vae",
    "mig",
    "mig_sup",
    "dcimig",
    "jemmig",
    "modularity",
    "med",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
    "dci_es",
    "sap",
    "sap_r2",
    "explicitness",
    "explicitness_scaled",
    "irs",
    "info_m",
    "info_c",
    "info_e",
    "mcc_pearson",
    "mcc_spearman",
]
"""Supervised scores, in the order of results."""
