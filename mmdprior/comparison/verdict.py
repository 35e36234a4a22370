"""Three questions of a stranger: was the prior enforced, are the codes independent, what did it cost."""

import math
from collections.abc import Sequence

from mmdprior.comparison.groups import Group
from mmdprior.comparison.quantities import lps_in
from mmdprior.comparison.table import Cell, Table

__all__ = ["RULES", "enforced", "headlines", "independent", "predictability", "verdicts"]

_MMD = (3.0, 10.0)
_KS = (0.05, 0.10)
_LPS = (0.01, 0.05)
_WORDS = ("yes", "nearly", "no")
RULES = (
    f"Prior enforced: the MMD of sampled codes to the intended prior lies within {_MMD[0]:g} null standard "
    f"deviations (sd), and the farthest marginal, where it was saved, within {_KS[0]:g} of the prior's "
    f"(Kolmogorov-Smirnov); nearly: within {_MMD[1]:g} and {_KS[1]:g}. Independent codes: the highest LPS of "
    f"the mean codes over all predictors exceeds what shuffled codes give by at most {_LPS[0]:g}; nearly: "
    f"{_LPS[1]:g}. Numbers are means over seeds. No predictor sees every dependence, and at many dimensions "
    "a joint kernel hardly sees dependence at all: read both."
)


def enforced(group: Group) -> Cell:
    """Say whether the codes follow the intended prior."""
    match, worst = group.value("match/mmd_standardised"), group.value("match/marginal_distance")
    if match.n == 0:
        why = "" if any(run.test for run in group.runs) else "not scored"
        return Cell("not measured", why, mark="unknown")
    grade = _grade(match.mean, _MMD)
    if worst.n:
        grade = max(grade, _grade(worst.mean, _KS))
    notes = [f"MMD {match.mean:+.1f} sd"] + ([f"marginals {worst.mean:.3f}"] if worst.n else [])
    active, dim = group.value("latents/active"), group.value("latents/dim")
    if active.n and active.mean < dim.mean - 0.5:
        notes.append(f"only {active.mean:.0f} of {dim.mean:.0f} used")
    return Cell(_WORDS[grade], ", ".join(notes), mark=_WORDS[grade])


def predictability(group: Group, codes: str = "means") -> tuple[float, str]:
    """Return the highest LPS over predictors and the predictor; NaN where there is none."""
    found = {
        quantity.tag: group.value(quantity.tag).mean
        for quantity in lps_in(group.tags)
        if quantity.title.endswith(codes) and group.value(quantity.tag).n
    }
    if not found:
        return math.nan, ""
    tag = max(found, key=lambda tag: found[tag])
    return found[tag], tag


def independent(group: Group) -> Cell:
    """Say whether code dimensions can be told from each other."""
    score, tag = predictability(group)
    if not math.isfinite(score):
        scored = any(run.test for run in group.runs)
        why = "fewer than two dimensions used, or no LPS" if scored else "not scored"
        return Cell("not measured", why, mark="unknown")
    null = group.value(f"{tag}_null")
    word = _WORDS[_grade(score - (null.mean if null.n else 0.0), _LPS)]
    sampled, _ = predictability(group, "samples")
    note = f"LPS {score:.3f}" + (f", samples {sampled:.3f}" if math.isfinite(sampled) else "")
    return Cell(word, note, f"{tag}; chance gives {null.text('.3f') or '?'}", mark=word)


def verdicts(groups: Sequence[Group]) -> Table:
    """Return the table that answers the three questions, a row a group."""
    best = max((g.value("reconstruction/psnr").mean for g in groups if _psnr(g)), default=math.nan)
    heads = ("run", "prior enforced?", "codes independent?", "PSNR", "training")
    rows = [
        [
            Cell(group.label, _seeds(group)),
            enforced(group),
            independent(group),
            _reconstruction(group, best),
            _time(group),
        ]
        for group in groups
    ]
    return Table([Cell(head) for head in heads], rows)


def headlines(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Return a question and its answer in one line each."""
    answers = []
    for question, judge in (("Prior enforced", enforced), ("Independent codes", independent)):
        words = {group.label: judge(group).text for group in groups}
        parts = []
        for word in _WORDS[:2]:
            labels = [label for label, own in words.items() if own == word]
            if labels:
                parts.append(_listed(labels) if word == "yes" else f"{word} {_listed(labels)}")
        answers.append((question, "; ".join(parts) or f"no run{_closest(groups, question)}"))
    measured = sorted((g for g in groups if _psnr(g)), key=lambda g: -g.value("reconstruction/psnr").mean)
    if measured:
        first, last = measured[0], measured[-1]
        lost = first.value("reconstruction/psnr").mean - last.value("reconstruction/psnr").mean
        text = f"best {first.label}, {first.value('reconstruction/psnr').mean:.2f} dB"
        text += f"; worst {last.label}, {lost:.2f} dB less" if first is not last else ""
        answers.append(("Reconstruction", text))
    return answers


def _closest(groups: Sequence[Group], question: str) -> str:
    """Name the run with the lowest LPS where none has independent codes."""
    scores = {group.label: predictability(group)[0] for group in groups}
    there = {label: score for label, score in scores.items() if math.isfinite(score)}
    if not there or not question.startswith("Independent"):
        return ""
    label = min(there, key=lambda label: there[label])
    return f"; lowest LPS {label}, {there[label]:.3f}"


def _grade(value: float, limits: tuple[float, float]) -> int:
    return 0 if value <= limits[0] else 1 if value <= limits[1] else 2


def _psnr(group: Group) -> bool:
    return group.value("reconstruction/psnr").n > 0


def _reconstruction(group: Group, best: float) -> Cell:
    psnr = group.value("reconstruction/psnr")
    if psnr.n == 0:
        return Cell("not measured", mark="unknown")
    less = best - psnr.mean
    return Cell(f"{psnr.text('.2f')} dB", "the best" if less < 0.005 else f"{less:.2f} below best")


def _time(group: Group) -> Cell:
    seconds, rate = group.value("cost/train_seconds"), group.value("cost/steps_per_second")
    if seconds.n == 0:
        return Cell("")
    taken = f"{seconds.mean / 60:.1f} min" if seconds.mean >= 60 else f"{seconds.mean:.0f} s"
    return Cell(taken, f"{rate.mean:.1f} steps/s")


def _seeds(group: Group) -> str:
    return "1 seed" if len(group.runs) == 1 else f"{len(group.runs)} seeds"


def _listed(labels: list[str]) -> str:
    most = 6
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more
