"""Agreement of predictors and seeds on the codes of trained models."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from mmdprior import lps
from mmdprior.config import load_config
from mmdprior.evaluation import representations
from mmdprior.metrics import active_dimensions
from mmdprior.runs import assemble
from mmdprior.scoring.score import Scorer

PREDICTORS = ("linear", "additive", "mlp", "experts", "information")
SEEDS = 3
CONFIGS = Path(__file__).parents[3] / "configs" / "sprites"
PENALTIES = ("ae", "vae", "mmd_uniform")
SMALLER = (
    "data.images=10000",
    "data.batch_size=128",
    "model.channels=[16, 16, 32, 32]",
    "model.hidden=128",
    "trainer.steps=300",
    "evaluation.every=100000",
)


def default_models(runs: Path) -> list[Path]:
    """Train small sprites runs with three penalties and two seeds each; existing runs are kept."""
    checkpoints = []
    for penalty, seed in itertools.product(PENALTIES, (0, 1)):
        name = f"{penalty}-{seed}"
        if not list(runs.glob(f"{name}/*/report/test.json")):
            changes = [f"name={name}", f"seed={seed}", *SMALLER]
            assemble(load_config(CONFIGS / f"{penalty}.yaml", changes), runs=runs).run()
        checkpoints.append(sorted(runs.glob(f"{name}/*/checkpoints/last.pt"))[-1])
    return checkpoints


def scored(path: Path | str, limit: int | None) -> dict[str, Any]:
    """Score the codes of a checkpoint or a file with every predictor, over predictor seeds and splits."""
    _, codes = Scorer(("linear",), limit=limit).file(str(path))
    active = active_dimensions(codes.latent)
    scores: dict[str, Any] = {}
    for (kind, z), predictor in itertools.product(representations(codes.latent).items(), PREDICTORS):
        quick = {"active": active, "permutations": 0, "bootstrap": 0}
        first = lps(z, predictor, seeds=SEEDS, **quick)
        others = [lps(z, predictor, seed=seed, null=0, **quick).score for seed in range(1, SEEDS)]
        scores[f"{kind}/{predictor}"] = {
            "score": first.score,
            "null": first.null,
            "r2": first.r2[first.active].tolist(),
            "predictor_seeds": list(first.seed_scores),
            "splits": [first.seed_scores[0], *others],
        }
    return scores


def agreement(models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Compute rank correlations between predictors, of R2_i and of scores, and the spread over seeds.

    The spread is the root mean square over codes of the standard deviation of the score.
    """
    codes = [(path, kind) for path, scores in models.items() for kind in _kinds(scores)]

    def entries(predictor: str, name: str) -> list[Any]:
        return [models[path][f"{kind}/{predictor}"][name] for path, kind in codes]

    def ranks(values: Mapping[str, Any]) -> list[list[float | None]]:
        return [[spearman(values[a], values[b]) for b in values] for a in values]

    scores = {p: entries(p, "score") for p in PREDICTORS}
    spreads = {
        name: {
            p: float(np.sqrt(np.mean([np.var(e, ddof=1) for e in entries(p, name) if len(e) > 1] or [0.0])))
            for p in PREDICTORS
        }
        for name in ("predictor_seeds", "splits")
    }
    return {
        "codes": [f"{path} {kind}" for path, kind in codes],
        "scores": scores,
        "spearman_models": ranks(scores),
        "spearman_dimensions": ranks({p: np.concatenate(entries(p, "r2")) for p in PREDICTORS}),
        **spreads,
    }


def spearman(a: Any, b: Any) -> float | None:
    """Return the rank correlation, or None where a variable is constant."""
    a, b = np.asarray(a), np.asarray(b)
    return float(stats.spearmanr(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else None


def _kinds(scores: Mapping[str, Any]) -> list[str]:
    return sorted({name.split("/")[0] for name in scores})


def print_agreement(result: Mapping[str, Any]) -> None:
    print(f"\n{len(result['codes'])} sets of codes; Spearman correlation of R2_i, then spread of LPS")
    print("predictor   " + "".join(f"{name:>12}" for name in PREDICTORS) + "   predictor seeds   splits")
    for name, row in zip(PREDICTORS, result["spearman_dimensions"], strict=True):
        spreads = f"{result['predictor_seeds'][name]:18.4f} {result['splits'][name]:8.4f}"
        print(f"{name:12}" + "".join(f"{'-' if v is None else f'{v:.3f}':>12}" for v in row) + spreads)
    for index, name in enumerate(result["codes"]):
        print("  ".join(f"{p} {result['scores'][p][index]:.4f}" for p in PREDICTORS), name)
