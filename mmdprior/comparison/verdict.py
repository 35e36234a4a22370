"""Verdicts per group of runs: prior matched? codes independent? at what cost?"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from mmdprior.comparison.groups import Group
from mmdprior.comparison.quantities import PSNR, R2, Quantity, SeedStatistics, lps_in
from mmdprior.comparison.table import Cell, Table

__all__ = [
    "RULES",
    "Headline",
    "headlines",
    "highest_lps",
    "independence_verdict",
    "prior_verdict",
    "quality_of",
    "rules_markdown",
    "verdict_table",
]

_MMD_LIMITS = (3.0, 10.0)
"""Largest standardised MMD to the prior for the verdicts yes and nearly."""
_KS_LIMITS = (0.05, 0.10)
"""Largest Kolmogorov-Smirnov distance of any dimension for the verdicts yes and nearly."""
_LPS_LIMITS = (0.01, 0.05)
"""Largest LPS above that of shuffled codes for the verdicts yes and nearly."""
_WORDS = ("yes", "nearly", "no")
_MOST_LISTED = 4
"""Groups that a headline names."""
RULES = {
    "Prior matched": (
        "yes if the squared MMD between sampled codes and the intended prior is at most "
        f"{_MMD_LIMITS[0]:g} null standard deviations (null sd) above its mean for samples of the prior, and "
        "the Kolmogorov-Smirnov distance (KS) between codes and prior is at most "
        f"{_KS_LIMITS[0]:.2f} in every dimension, if it was saved. Nearly: up to {_MMD_LIMITS[1]:g} null sd "
        f"and {_KS_LIMITS[1]:.2f}."
    ),
    "Codes independent": (
        "yes if the highest LPS of mean codes, over all predictors, is at most "
        f"{_LPS_LIMITS[0]:.2f} above that of shuffled codes. Nearly: up to {_LPS_LIMITS[1]:.2f}. LPS is 0 if "
        "no dimension can be predicted from the others, and 1 if each can be predicted exactly."
    ),
    "Units": (
        "null sd is the standard deviation of the squared MMD between two samples of the prior; chance gives "
        "0 on average. PSNR in dB: 3 dB more is half the squared error per pixel. ± gives the standard "
        "deviation over seeds."
    ),
    "Limits": (
        "all values are means over seeds. The verdicts are thresholds, not proofs. No predictor detects "
        "every kind of dependence, and in 32 or more dimensions an MMD over all dimensions hardly detects "
        "any, so read both verdicts together."
    ),
}
"""How the verdicts are made, by title."""


class Headline(NamedTuple):
    """One line that answers a question for all groups.

    Attributes:
        key: name of the question in ``comparison.json``.
        title: the question.
        text: the answer.
    """

    key: str
    title: str
    text: str


def prior_verdict(group: Group) -> Cell:
    """Return whether the sampled codes match the intended prior, with the numbers behind the verdict."""
    mmd, ks = group.value("match/mmd_standardised"), group.value("match/marginal_distance")
    notes = [f"MMD {mmd.mean:+.1f} null sd"] if mmd.n else []
    notes += [f"KS {ks.mean:.3f}"] if ks.n else []
    if mmd.n == 0:
        notes.append("no MMD" if _is_scored(group) else "no test scores")
        return Cell("not measured", ", ".join(notes), mark="unknown")
    grade = _grade(mmd.mean, _MMD_LIMITS)
    if ks.n:
        grade = max(grade, _grade(ks.mean, _KS_LIMITS))
    active, dim = group.value("latents/active"), group.value("latents/dim")
    if active.n and active.mean < dim.mean - 0.5:
        notes.append(f"only {active.mean:.0f} of {dim.mean:.0f} dimensions active")
    return Cell(_WORDS[grade], ", ".join(notes), mark=_WORDS[grade])


def independence_verdict(group: Group) -> Cell:
    """Return whether no predictor finds dependence between mean code dimensions, with the highest LPS."""
    score, tag = highest_lps(group)
    if not math.isfinite(score):
        reason = "no LPS, or fewer than two active dimensions" if _is_scored(group) else "no test scores"
        return Cell("not measured", reason, mark="unknown")
    null = group.value(f"{tag}_null")
    word = _WORDS[_grade(score - (null.mean if null.n else 0.0), _LPS_LIMITS)]
    sampled, _ = highest_lps(group, sampled=True)
    note = f"LPS {tag.removeprefix('lps/')} {score:.3f}"
    note += f", sampled codes {sampled:.3f}" if math.isfinite(sampled) else ""
    about = f"LPS of shuffled codes: {null.text('.3f') or 'not measured'}"
    return Cell(word, note, about, mark=word)


def highest_lps(group: Group, *, sampled: bool = False) -> tuple[float, str]:
    """Return the highest mean LPS over predictors and its tag; NaN and an empty tag without any.

    Args:
        group: runs of one configuration.
        sampled: whether to use the scores of sampled codes instead of mean codes.
    """
    scores = {
        quantity.tag: group.value(quantity.tag).mean
        for quantity in lps_in(group.tags)
        if quantity.tag.endswith("_sample") == sampled and group.value(quantity.tag).n
    }
    if not scores:
        return math.nan, ""
    tag = max(scores, key=lambda tag: scores[tag])
    return scores[tag], tag


def verdict_table(groups: Sequence[Group]) -> Table:
    """Return the verdicts, with one row per group."""
    quality = quality_of(groups)
    measured = [group.value(quality.tag) for group in groups]
    best = max((value.mean for value in measured if value.n), default=math.nan)
    name = quality.title.split()[0]
    heads = ("configuration", "prior matched?", "codes independent?", name, "training time")
    rows = [
        [
            Cell(group.label, "1 seed" if len(group.runs) == 1 else f"{len(group.runs)} seeds"),
            prior_verdict(group),
            independence_verdict(group),
            _quality_cell(value, best, quality),
            _time_cell(group),
        ]
        for group, value in zip(groups, measured, strict=True)
    ]
    return Table([Cell(head) for head in heads], rows)


def quality_of(groups: Sequence[Group]) -> Quantity:
    """Return how reconstructions are measured: PSNR, or R2 if all runs are of vectors or signals."""
    has_psnr = any(group.value(PSNR.tag).n for group in groups)
    return R2 if not has_psnr and any(group.value(R2.tag).n for group in groups) else PSNR


def headlines(groups: Sequence[Group]) -> list[Headline]:
    """Return the groups that match the prior, that have independent codes, and that reconstruct best."""
    matched = _groups_by_verdict({group.label: prior_verdict(group).text for group in groups})
    independent = _groups_by_verdict({group.label: independence_verdict(group).text for group in groups})
    lines = [
        Headline("Prior enforced", "Prior matched", matched or "no configuration"),
        Headline(
            "Independent codes",
            "Codes independent",
            independent or f"no configuration{_lowest_lps(groups)}",
        ),
    ]
    quality = quality_of(groups)
    name, unit = quality.title.split()[0], _unit(quality)
    values = {group.label: group.value(quality.tag) for group in groups}
    measured = [(value.mean, label) for label, value in values.items() if value.n]
    means = sorted(measured, key=lambda pair: -pair[0])
    if means:
        (highest, first), (lowest, last) = means[0], means[-1]
        text = f"highest: {first}, {highest:{quality.format}}{unit} {name}"
        if first != last:
            text += f"; lowest: {last}, {highest - lowest:{quality.format}}{unit} less"
        lines.append(Headline("Reconstruction", "Reconstruction", text))
    return lines


def rules_markdown() -> str:
    """Return how the verdicts are made as a Markdown list."""
    return "\n".join(f"- {title}: {text}" for title, text in RULES.items())


def _groups_by_verdict(words: dict[str, str]) -> str:
    parts = []
    for word in _WORDS[:2]:
        labels = [label for label, verdict in words.items() if verdict == word]
        if labels:
            more = f" and {len(labels) - _MOST_LISTED} more" if len(labels) > _MOST_LISTED else ""
            listed = f"{', '.join(labels[:_MOST_LISTED])}{more}"
            parts.append(listed if word == "yes" else f"{word}: {listed}")
    return "; ".join(parts)


def _lowest_lps(groups: Sequence[Group]) -> str:
    scores = {group.label: highest_lps(group)[0] for group in groups}
    finite = {label: score for label, score in scores.items() if math.isfinite(score)}
    if not finite:
        return ""
    label = min(finite, key=lambda label: finite[label])
    return f"; lowest LPS: {label}, {finite[label]:.3f}"


def _grade(value: float, limits: tuple[float, float]) -> int:
    return 0 if value <= limits[0] else 1 if value <= limits[1] else 2


def _is_scored(group: Group) -> bool:
    return any(run.test for run in group.runs)


def _unit(quality: Quantity) -> str:
    """Return the unit of values in text, with a space before it."""
    return " dB" if quality is PSNR else ""


def _quality_cell(value: SeedStatistics, best: float, quality: Quantity) -> Cell:
    if value.n == 0:
        return Cell("not measured", mark="unknown")
    below, unit = best - value.mean, _unit(quality)
    # Below half of the last printed digit there is no visible difference.
    digits = int(quality.format[1])
    note = "highest" if below < 0.5 * 10**-digits else f"{below:{quality.format}}{unit} below"
    return Cell(f"{value.text(quality.format)}{unit}", note)


def _time_cell(group: Group) -> Cell:
    seconds, rate = group.value("cost/train_seconds"), group.value("cost/steps_per_second")
    if seconds.n == 0:
        return Cell("")
    time = f"{seconds.mean / 60:.1f} min" if seconds.mean >= 60 else f"{seconds.mean:.0f} s"
    return Cell(time, f"{rate.mean:.1f} steps/s")
