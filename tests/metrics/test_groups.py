"""Groups of dependent rows: what they are given as, how they are split, and scores that use them."""

import numpy as np
import pytest
import torch
from helpers.codes import QUICK, equicorrelated
from scipy.signal import lfilter

from mmdprior import InputError, LPSResult, importance, independence, lps
from mmdprior.metrics.block_length import autocorrelation, optimal_block_length
from mmdprior.metrics.group_labels import make_grouping
from mmdprior.metrics.grouping import Blocks, Groups
from mmdprior.metrics.layout import GroupLayout
from mmdprior.metrics.permutation import permutation_agreement
from mmdprior.predictors import MLPPredictor, Regression

pytestmark = pytest.mark.filterwarnings("ignore:codes")
SIZES = {
    "equal": [5] * 60,
    "unequal": [*range(1, 13)] * 5,
    "one large": [150] + [3] * 60,
    "few": [40, 30, 50, 20, 25, 35],
}


def autoregression(rho, n, d, seed=0):
    """Return d independent AR(1) columns of unit variance."""
    noise = np.random.default_rng(seed).normal(size=(n, d))
    noise[1:] *= np.sqrt(1 - rho**2)
    return torch.from_numpy(lfilter([1], [1, -rho], noise, axis=0))


def labels_of(sizes):
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


@pytest.mark.parametrize("folds", [1, 5])
@pytest.mark.parametrize("copies", [2, 7])
def test_repeated_rows_score_as_the_rows_that_they_repeat(folds, copies):
    z, _ = equicorrelated(0.1, d=3, n=400)
    once = lps(z, folds=folds)
    labels = torch.arange(400).repeat_interleave(copies)
    order = torch.randperm(len(labels))
    repeated = lps(z[labels][order], folds=folds, groups=labels[order])
    np.testing.assert_allclose(repeated.r2, once.r2, atol=1e-12)
    assert repeated.p_value == once.p_value
    assert repeated.null == pytest.approx(once.null)
    assert repeated.interval == pytest.approx(once.interval)
    assert (repeated.groups, repeated.test_groups) == (400, once.n_test)
    assert LPSResult.from_json(repeated.to_json()).groups == 400


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (lambda: torch.randn(60, 6).repeat(5, 1), torch.arange(300) % 60),
        (
            lambda: torch.randn(60, 6)[torch.arange(300) // 5] + 0.01 * torch.randn(300, 6),
            torch.arange(300) // 5,
        ),
        (lambda: (torch.rand(50, 12) < 0.5).float().repeat_interleave(6, 0), torch.arange(300) // 6),
    ],
    ids=["views", "noisy views", "bits"],
)
def test_memorised_groups_no_longer_score(rows, labels):
    z, predictor = rows(), MLPPredictor(epochs=60, batch_size=64)
    assert lps(z, predictor, **QUICK).score > 0.4
    assert lps(z, predictor, groups=labels, **QUICK).score < 0.1


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("uses_validation", [True, False])
def test_no_group_is_in_two_parts(sizes, folds, uses_validation):
    labels = labels_of(sizes)[torch.randperm(sum(sizes))]
    splits = Groups(labels).split(folds, 0, uses_validation)
    assert len(splits) == folds
    tested = torch.cat([split.test for split in splits])
    assert len(tested.unique()) == len(tested)
    for split in splits:
        parts = [set(labels[part].tolist()) for part in split]
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert len(split.train) > 0
        assert len(split.test) > 0
        assert (len(split.validation) > 0) == uses_validation
    if folds == 1 and max(sizes) < 20:
        assert len(splits[0].test) == pytest.approx(0.2 * len(labels), abs=max(sizes))


@pytest.mark.parametrize(
    "labels",
    [
        lambda n: [f"patient {i // 5}" for i in range(n)],
        lambda n: np.arange(n) // 5 + 1000,
        lambda n: (np.arange(n) // 5).astype(str),
        lambda n: torch.arange(n).float() // 5 - 7.5,
        lambda n: np.array([f"p{i // 5}" for i in range(n)], dtype=object),
        lambda n: np.datetime64("2020-01-01") + np.arange(n) // 5,
        lambda n: [(i // 5, "a") for i in range(n)],
    ],
)
def test_labels_of_any_type(labels):
    assert make_grouping(labels(60), None, torch.randn(60, 2)).sizes.tolist() == [5] * 12


class Series:
    """A pandas Series as far as NumPy sees it."""

    def __array__(self, dtype=None, copy=None):
        return np.array(["a", "b"] * 30, dtype=object)


def test_labels_with_the_array_protocol():
    assert make_grouping(Series(), None, torch.randn(60, 2)).count == 2


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (torch.arange(59), "groups: 59 labels received for 60 rows"),
        ([0.0, float("nan")] * 30, "groups: no label in 30 of 60 rows, the first at row 1"),
        (["a", None, "b"] * 20, "groups: no label in 20 of 60 rows, the first at row 1"),
        (["a", float("nan"), "b"] * 20, "groups: no label in 20 of 60 rows"),
        (np.ma.masked_array([0, 1] * 30, mask=[False, True] * 30), "groups: no label in 30 of 60 rows"),
        (torch.zeros(60), "groups: 1 group received; give at least 2"),
        (torch.zeros(60, 2), r"groups: shape \(60, 2\) received"),
        ("patient", "groups: 'patient' received; give one label per row"),
        (7, "groups: int received"),
        ([[1]] * 60, "groups: labels that cannot be compared"),
        ([0] * 59 + [1], "groups: the largest of 2 has 59 of 60 rows, which leaves 1 to test on"),
    ],
)
def test_groups_that_cannot_be_used(groups, message):
    with pytest.raises(InputError, match=message):
        lps(torch.randn(60, 2), groups=groups)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"groups": torch.arange(60) // 30, "predictor": "mlp"},
            "groups: 2 groups received; give at least 3",
        ),
        ({"groups": torch.arange(60) // 20, "folds": 4}, "folds: 4 received for 3 groups; give at most 3"),
        ({"block_length": 3}, "block_length: 3 received; it needs groups='blocks'"),
        ({"groups": "blocks", "block_length": 0}, "block_length: 0 received; give at least 1"),
        ({"groups": "blocks", "block_length": 13}, "block_length: 13 received for 60 rows, so the gaps"),
        ({"groups": "blocks", "block_length": 5, "folds": 10}, "folds: 10 received for 12 blocks"),
    ],
)
def test_groups_that_do_not_suffice(options, message):
    with pytest.raises(InputError, match=message):
        lps(torch.randn(60, 2), **options)


def test_few_groups_have_a_score_but_no_inference():
    result = lps(torch.randn(120, 2), groups=torch.arange(120) // 30)
    assert result.score >= 0
    assert np.isnan([result.p_value, *result.interval]).all()
    assert any("1 groups to test on" in text for text in result.warnings)
    assert any("4 groups for 2 columns" in text for text in result.warnings)


def test_strata_permute_whole_groups():
    """All permutations of three groups of two rows and of two rows alone, by brute force."""
    unit = torch.tensor([0, 0, 1, 1, 2, 2, 3, 4])
    y, f = torch.randn(2, 1, 8, 1, dtype=torch.float64)
    outcome = Regression(y, f)
    layout = GroupLayout(unit)
    layout.similar = [torch.tensor([3, 4]), torch.tensor([0, 1, 2])]
    observed, permuted, _ = permutation_agreement(outcome, 400, torch.Generator().manual_seed(0), layout)
    a, b = (values[0, :, 0] for values in next(outcome.pairings()))
    pairs, rest = a[:6].view(3, 2), a[6:]
    orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    brute = {
        round(float((pairs[order].flatten() * b[:6]).sum() + (rest[last] * b[6:]).sum()), 9)
        for order in orders
        for last in ([0, 1], [1, 0])
    }
    assert {round(value, 9) for value in permuted[0, :, 0].tolist()} == brute
    assert float(observed) == pytest.approx(float((a * b).sum()))
    counts = torch.tensor([round(v, 9) for v in permuted[0, :, 0].tolist()]).unique(return_counts=True)[1]
    assert int(counts.min()) > 15  # 400 / 12 on average


def test_groups_of_similar_size_share_a_stratum_and_others_do_not():
    sizes = [1] * 9 + [1000] * 9
    strata = GroupLayout(labels_of(sizes)).strata(torch.Generator())
    assert [tuple(stratum.shape) for stratum in strata] == [(9, 1), (9, 1000)]
    strata = GroupLayout(labels_of([50, 60, 80, 100, 150, 200, 500])).strata(torch.Generator())
    assert sum(len(stratum) for stratum in strata) == 7
    for order in GroupLayout(labels_of([3, 5, 4, 9])).rearrangements(2, torch.Generator()):
        assert order.shape == (21,)


@pytest.mark.parametrize(("predictor", "bootstrap"), [("linear", 200), ("additive", 0)])
def test_level_and_power_with_groups_of_unequal_size(predictor, bootstrap):
    """10 repeats bound gross errors; `scripts/bench.py lps --groups` measures the exact level."""
    rejected, outside = 0, 0
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        labels = labels_of(torch.randint(1, 6, (200,), generator=g).tolist())
        z = torch.randn(200, 3, generator=g)[labels] + 0.2 * torch.randn(len(labels), 3, generator=g)
        result = lps(z, predictor, groups=labels, seed=seed, bootstrap=bootstrap)
        rejected += result.p_value <= 0.05
        outside += result.interval[0] > 0 or result.interval[1] < 0
    assert rejected <= 3
    assert outside <= 3
    z[:, 2] = z[:, 0] + 0.5 * z[:, 2]
    result = lps(z, predictor, groups=labels)
    assert result.p_value <= 0.05
    assert result.interval[0] > 0


def test_level_and_power_in_time_order():
    rejected, scores = {"blocks": 0, None: 0}, {"blocks": 0.0, None: 0.0}
    for seed in range(12):
        z = autoregression(0.95, 800, 3, seed)
        for groups in rejected:
            result = lps(z, groups=groups, seed=seed, bootstrap=0)
            rejected[groups] += result.p_value <= 0.05
            scores[groups] += result.score / 12
    assert rejected["blocks"] <= 3 < 8 <= rejected[None]
    assert scores["blocks"] < 0.03 < scores[None]
    z[:, 2] = z[:, 0] + z[:, 2]
    result = lps(z, groups="blocks", seed=1)
    assert result.p_value <= 0.05
    assert result.block_length == optimal_block_length(z)
    assert result.score > 0.1


def test_parts_in_time_order_are_stretches_with_gaps():
    z = torch.randn(1000, 2)
    for folds in (1, 4):
        for split in Blocks(z, 10).split(folds, 3, uses_validation=True):
            assert bool((split.test.diff() == 1).all())
            for one, other in ((split.train, split.test), (split.train, split.validation)):
                assert int((one[:, None] - other).abs().min()) > 20
    result = lps(z, groups="blocks", block_length=10, folds=4)
    assert (result.groups, result.n_test) == (100, 1000)


def test_rows_that_depend_for_longer_than_the_blocks_have_no_inference():
    result = lps(torch.randn(3000, 3).cumsum(0), groups="blocks")
    assert np.isnan(result.p_value)
    assert any("autocorrelation" in text for text in result.warnings)


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_block_length_of_an_autoregression_in_closed_form(rho):
    """b = (2 (2 rho / (1 - rho^2))^2 / (4/3))^(1/3) n^(1/3)."""
    n = 20_000
    expected = (1.5 * (2 * rho / (1 - rho**2)) ** 2) ** (1 / 3) * n ** (1 / 3)
    assert optimal_block_length(autoregression(rho, n, 1)) == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize(("rho", "n"), [(0.0, 300), (0.9, 700), (-0.5, 500), (0.99, 2000), (0.3, 40)])
def test_block_length_equals_the_formulas_term_by_term(rho, n):
    z = autoregression(rho, n, 2)
    assert optimal_block_length(z) == max(_politis_white(column) for column in z.T.numpy())
    lag = autocorrelation(z, 3)
    x = z - z.mean(0)
    assert float(lag[0]) == pytest.approx(float((x[3:, 0] * x[:-3, 0]).sum() / (x[:, 0] ** 2).sum()))


def _politis_white(x):
    n, x = len(x), x - x.mean()
    k_n = max(5, int(np.ceil(np.sqrt(np.log10(n)))))
    m_max = int(np.ceil(np.sqrt(n))) + k_n
    r = np.array([(x[k:] * x[: n - k]).sum() / n for k in range(m_max + 1)])
    significant = np.abs(r[1:] / r[0]) >= 2 * np.sqrt(np.log10(n) / n)
    first = [m for m in range(m_max - k_n + 1) if not significant[m : m + k_n].any()]
    m = first[0] if first else np.flatnonzero(significant).max() + 1
    big_m = min(2 * max(m, 1), m_max)
    g = big_g = 0.0
    for k in range(-big_m, big_m + 1):
        weight = 1.0 if abs(k) <= big_m / 2 else 2 * (1 - abs(k) / big_m)
        g += weight * r[abs(k)]
        big_g += weight * abs(k) * r[abs(k)]
    b = (2 * big_g**2 / (4 / 3 * g**2)) ** (1 / 3) * n ** (1 / 3)
    return max(1, int(np.ceil(min(b, np.ceil(min(3 * np.sqrt(n), n / 3))))))


def test_importance_and_independence_with_groups():
    z, _ = equicorrelated(0.4, d=3, n=300)
    labels = torch.arange(300).repeat_interleave(4)
    once, repeated = independence(z), independence(z[labels], groups=labels)
    assert repeated.groups == 300
    for name in ("total_correlation", "total_correlation_chance", "total_correlation_ranks"):
        assert getattr(repeated, name) == pytest.approx(getattr(once, name))
    np.testing.assert_allclose(repeated.mutual_information.matrix, once.mutual_information.matrix)
    assert repeated.dhsic == once.dhsic
    np.testing.assert_allclose(importance(z[labels], groups=labels), importance(z), atol=1e-9)
    assert independence(z, groups="blocks", block_length=20).dhsic is None  # 15 blocks
