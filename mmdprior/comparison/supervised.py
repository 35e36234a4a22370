"""The table of supervised disentanglement scores of runs whose data have known factors."""

from collections.abc import Iterable, Sequence

from mmdprior.comparison.groups import Group, separated_best
from mmdprior.comparison.table import MOST_COLUMNS, Cell, Table
from mmdprior.metrics.supervised.scores import SCORES

__all__ = ["supervised_in", "supervised_table"]

_PREFIX = "disentanglement/"
_ABOUT = {
    "beta_vae": "accuracy of predicting which factor was fixed, from mean differences of codes",
    "factor_vae": "accuracy of predicting which factor was fixed, from the code that varies least",
    "mig": "gap between the two codes with the most mutual information with a factor",
    "mig_sup": "gap between the two factors with the most mutual information with a code",
    "dcimig": "gap of the best code of every factor, relative to all entropies",
    "jemmig": "gap that also counts the best code's information about other factors",
    "modularity": "whether every code depends on one factor only",
    "med": "whether the mutual information of every code is with one factor",
    "dci_disentanglement": "whether every code is important for one factor only",
    "dci_completeness": "whether only one code is important for every factor",
    "dci_informativeness": "accuracy of the factors predicted from the codes by trees",
    "dci_es": "explicitness: how simple a probe suffices",
    "sap": "accuracy gap between the two codes that predict a factor best, by a linear classifier",
    "sap_r2": "the same gap in squared correlation",
    "explicitness": "AUC of a logistic regression of the factors, 0.5 by chance",
    "explicitness_scaled": "the same scaled from 0 to 1",
    "irs": "robustness of codes to the factors that they do not follow",
    "info_m": "InfoMEC modularity",
    "info_c": "InfoMEC compactness",
    "info_e": "InfoMEC explicitness",
    "mcc_pearson": "mean correlation of codes and factors after the best assignment",
    "mcc_spearman": "mean rank correlation of codes and factors after the best assignment",
}
_NONE = "-"


def supervised_in(tags: Iterable[str]) -> list[str]:
    """Return the names of the supervised scores among tags, in the usual order.

    Example:
        >>> from mmdprior.comparison.supervised import supervised_in
        >>> supervised_in(["lps/mlp", "disentanglement/sap_r2", "disentanglement/mig"])
        ['mig', 'sap_r2']
    """
    known = set(tags)
    return [name for name in SCORES if f"{_PREFIX}{name}" in known]


def supervised_table(groups: Sequence[Group]) -> Table | None:
    """Return a table with one row per score, or per group if there are many; None if no run has such scores.

    The chance level of a score is in its explanation. The best of a row is marked where seeds separate it.

    Args:
        groups: groups of runs; those without a score have a dash.
    """
    names = supervised_in(tag for group in groups for tag in group.tags)
    if not names:
        return None
    rows = [[Cell(name, about=_ABOUT[name]), *_cells(groups, f"{_PREFIX}{name}")] for name in names]
    caption = (
        "Of mean codes, on all images of data with a full grid of factors, and on the test split of other "
        "data, unless a run set another split. All are 1 for one code per factor, except that MIG, SAP and "
        "explicitness may stay below it. A dash: not computed for these runs."
    )
    heads = [Cell("score"), *(Cell(group.label) for group in groups)]
    if len(groups) > MOST_COLUMNS:  # a row per group
        heads, *rows = map(list, zip(heads, *rows, strict=True))
        heads[0] = Cell("configuration")
    return Table(heads, rows, caption)


def _cells(groups: Sequence[Group], tag: str) -> list[Cell]:
    best = separated_best(groups, tag, "high")
    cells = []
    for group in groups:
        value, chance = group.value(tag), group.value(f"{tag}_chance").text()
        about = f"{chance} for shuffled factors" if value.n and chance else ""
        cells.append(Cell(value.text() or _NONE, about=about, mark="best" if group is best else ""))
    return cells
