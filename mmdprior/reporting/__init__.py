"""Old names of `mmdprior.figures` and `mmdprior.comparison`, which warn until the next release."""

from mmdprior.deprecation import moved

__getattr__ = moved(
    __name__,
    {
        "Panels": "mmdprior.figures:Panels",
        "PriorShape": "mmdprior.figures:PriorShape",
        "Traversal": "mmdprior.figures:Traversal",
        "correlation_map": "mmdprior.figures:correlation_map",
        "curves": "mmdprior.figures:curves",
        "figures_of": "mmdprior.figures:figures_of",
        "frontier": "mmdprior.figures:frontier",
        "importance_map": "mmdprior.figures:importance_map",
        "lps_figure": "mmdprior.figures:lps_figure",
        "marginals": "mmdprior.figures:marginals",
        "pair_grid": "mmdprior.figures:pair_grid",
        "pair_map": "mmdprior.figures:pair_map",
        "prior_samples": "mmdprior.figures:prior_samples",
        "quantiles": "mmdprior.figures:quantiles",
        "reconstructions": "mmdprior.figures:reconstructions",
        "save_figures": "mmdprior.figures:save_figures",
        "side_by_side": "mmdprior.figures:side_by_side",
        "traverse": "mmdprior.figures:traverse",
        "Comparison": "mmdprior.comparison:Comparison",
        "read_runs": "mmdprior.comparison:read_runs",
        "Run": "mmdprior.runs:Run",
    },
)
