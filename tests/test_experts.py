"""Mixtures of experts with the interface of scikit-learn, against scikit-learn, SciPy and autograd."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.shape_checks import no_checks
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from mmdprior.errors import InputError, InputWarning
from mmdprior.experts import Mixture, MixtureOfExperts
from mmdprior.predictors.descent import Descent, anchored, gradients

KINDS = ["linear", "logistic", "multinomial"]
FAILED = {
    "check_dtype_object": "an entry that is no number raises an InputError, which is a ValueError",
    "check_supervised_y_2d": "the warning for a column of targets is an InputWarning",
}


def data(kind="linear", n=600, dim=3, seed=0, problems=None):
    """Return inputs of different scales, and targets of two experts that the first input chooses."""
    g = np.random.default_rng(seed)
    shape = (n, dim) if problems is None else (problems, n, dim)
    x = g.normal(size=shape)
    first = x[..., 0] > 0.3
    score = np.where(first, 2 * x[..., 1], -2 * x[..., 1] + 1)
    x = x * [1.0, 20.0, 0.1][:dim] + 3
    noise = 0.3 * g.normal(size=score.shape)
    if kind == "linear":
        return x, 10 * score + 10 * noise + 100
    labels = score + g.logistic(size=score.shape) > 0
    if kind == "logistic":
        return x, np.where(labels, "yes", "no")
    return x, labels.astype(int) + 2 * (x[..., 2] + noise > 3)


@pytest.mark.parametrize("kind", ["linear", "multinomial"])
def test_scikit_learns_checks_pass(kind):
    with warnings.catch_warnings(), no_checks():
        warnings.simplefilter("ignore")
        check_estimator(
            MixtureOfExperts(kind=kind, restarts=1, steps=5), expected_failed_checks=FAILED, on_skip=None
        )


@pytest.mark.parametrize("kind", KINDS)
def test_clone_pipeline_and_search(kind):
    x, y = data(kind, n=200)
    model = MixtureOfExperts(2, kind, restarts=1, steps=20, ridge=0.001)
    assert clone(model).get_params() == model.get_params()
    assert (is_classifier(model), is_regressor(model)) == (kind != "linear", kind == "linear")
    assert hasattr(model, "predict_proba") == (kind != "linear")
    search = GridSearchCV(make_pipeline(StandardScaler(), model), {"mixtureofexperts__experts": [1, 2]}, cv=2)
    search.fit(x, y)
    assert search.best_params_ == {"mixtureofexperts__experts": 2}
    assert repr(model.set_params(seed=3)).endswith("ridge=0.001)")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_expert_is_the_plain_regression(dtype):
    x, y = data(n=300)
    x = x.astype(dtype)
    model = MixtureOfExperts(1, newton_steps=20, ridge=1e-9).fit(x, y)
    tolerance = {"rtol": 1e-4} if dtype == np.float32 else {"rtol": 1e-6}
    np.testing.assert_allclose(model.predict(x), LinearRegression().fit(x, y).predict(x), **tolerance)
    for kind in ("logistic", "multinomial"):
        x, y = data(kind, n=300)
        model = MixtureOfExperts(1, kind, newton_steps=20, ridge=1e-9).fit(x.astype(dtype), y)
        oracle = LogisticRegression(C=1e8, tol=1e-8, max_iter=5000).fit((x - x.mean(0)) / x.std(0), y)
        expected = oracle.predict_proba((x - x.mean(0)) / x.std(0))
        assert list(model.classes_) == list(oracle.classes_)
        np.testing.assert_allclose(model.predict_proba(x.astype(dtype)), expected, atol=2e-4)
        assert (model.predict(x.astype(dtype)) == oracle.predict((x - x.mean(0)) / x.std(0))).all()


@pytest.mark.parametrize("standardise", [True, False])
def test_without_an_intercept(standardise):
    x, y = data(n=300)
    model = MixtureOfExperts(1, intercept=False, standardise=standardise, ridge=1e-10).fit(x, y)
    oracle = LinearRegression(fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(model.mixture_.experts[0, 0, 0].numpy(), oracle.coef_, rtol=1e-5)
    np.testing.assert_allclose(model.predict(x), oracle.predict(x), rtol=1e-5)
    two = MixtureOfExperts(2, intercept=False, standardise=standardise, steps=5).fit(x, y)
    assert two.history["objective"][-1] == pytest.approx(-two.log_prob(x, y).mean(), abs=1e-9)
    assert two.mixture_.gate.shape == (1, 1, 2, 3)


def density(model, x, y):
    """Return (n, K) log softmax_k(W x) + log p_k(y|x) from the coefficients, by NumPy and SciPy."""
    mixture = model.mixture_
    wide = np.concatenate([x, np.ones_like(x[:, :1])], 1)
    joint = log_softmax(wide @ mixture.gate[0, 0].numpy().T, axis=1)
    for k in range(joint.shape[1]):
        at = wide @ mixture.experts[0, 0, k].numpy().T
        if mixture.variance is not None:
            joint[:, k] += norm.logpdf(y, at, np.sqrt(mixture.variance[0, 0, k].numpy()))
        elif at.ndim == 1:
            joint[:, k] += np.where(y == model.classes_[1], -np.logaddexp(0, -at), -np.logaddexp(0, at))
        else:
            joint[:, k] += log_softmax(at, axis=1)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    return joint


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_coefficients_are_those_of_the_inputs_as_passed(kind, standardise):
    x, y = data(kind, n=200)
    model = MixtureOfExperts(3, kind, standardise=standardise, steps=10, restarts=2).fit(x, y)
    joint = density(model, x, y)
    np.testing.assert_allclose(model.log_prob(x, y), logsumexp(joint, axis=1), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        model.responsibilities(x, y), np.exp(log_softmax(joint, axis=1)), rtol=1e-6, atol=1e-8
    )
    np.testing.assert_allclose(model.responsibilities(x).sum(1), 1)
    assert model.history["objective"][-1] == pytest.approx(-model.log_prob(x, y).mean(), abs=1e-9)
    if kind == "linear":
        raw = model.mixture_.mean(torch.from_numpy(np.concatenate([x, np.ones_like(x[:, :1])], 1))[None])
        np.testing.assert_allclose(model.predict(x), raw[0, :, 0].numpy(), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_in_the_coordinates_of_the_inputs(kind):
    """Fits go on from the mixture of an earlier fit; a whole fit equals two halves."""
    x, y = data(kind, n=200)
    whole = MixtureOfExperts(2, kind, steps=8, tol=0, restarts=1).fit(x, y)
    first = MixtureOfExperts(2, kind, tol=0, restarts=1).fit(x, y, steps=4)
    second = MixtureOfExperts(2, kind, tol=0).fit(x, y, start=first.mixture_, steps=4)
    assert len(first.history["objective"]) == 5
    path = first.history["objective"] + second.history["objective"][1:]
    np.testing.assert_allclose(path, whole.history["objective"], rtol=1e-6)


def test_parameters_of_one_fit_do_not_stay():
    x, y = data("logistic", n=100)
    with no_checks():
        model = MixtureOfExperts(ridge=np.float32(0.01))
        model.fit(x, y, kind="logistic", steps=5)
    probabilities = model.predict_proba(x)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (model.kind, model.steps) == ("linear", 200)
    model.fit(x, (y == "yes").astype(float), steps=5, ridge=0.1)
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("newton_steps", [1, 20])
def test_em_never_increases_the_objective(kind, newton_steps):
    x, y = data(kind, n=150)
    model = MixtureOfExperts(3, kind, ridge=0, steps=12, restarts=2, newton_steps=newton_steps)
    history = model.fit(x, y).history
    assert all(after <= before + 1e-10 for before, after in pairwise(history["objective"]))
    assert history["objective"][-1] < history["objective"][0]
    assert len(history["seconds"]) == len(history["gradients"]) == len(history["objective"])
    assert all(after > before for before, after in pairwise(history["seconds"]))
    used = [after - before for before, after in pairwise(history["gradients"])]
    assert max(used) == 1 if newton_steps == 1 else 1 < max(used) <= 20


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_autograd(kind):
    torch.manual_seed(1)
    x = torch.randn(2, 40, 3, dtype=torch.float64)
    y = torch.randint(0, 2 if kind == "logistic" else 4, (2, 40, 2)).double()
    shape = (2, 2, 3, 4, 3) if kind == "multinomial" else (2, 2, 3, 3)
    parts = [torch.randn(2, 2, 3, 3).double(), torch.randn(shape).double()]
    parts += [torch.randn(2, 2, 3).double()] if kind == "linear" else []
    leaves = [part.requires_grad_() for part in parts]
    mixture = Mixture(*leaves[:2], leaves[2].exp() if kind == "linear" else None)
    expected = torch.autograd.grad(mixture.log_likelihood(x, y).mean(1).sum(), leaves)
    with torch.no_grad():
        got = gradients(x, y, mixture.log_joint(x, y).softmax(3), mixture)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)
    # The penalty of a step is that of EM, half the squared norm of the anchored coefficients.
    norm = sum(part.square().sum() for part in (anchored(mixture).gate, anchored(mixture).experts))
    slopes = torch.autograd.grad(norm / 2, leaves[:2])
    with torch.no_grad():
        shares = mixture.log_joint(x, y).softmax(3)
        plain, penalised = (Descent(x, y, 1.0, ridge)(mixture, shares) for ridge in (0.0, 0.1))
        torch.testing.assert_close(plain.gate - penalised.gate, 0.1 * slopes[0])
        torch.testing.assert_close(plain.experts - penalised.experts, 0.1 * slopes[1])
    # Adam is that of torch.
    optimizer = torch.optim.Adam(leaves, lr=0.03)
    descent, current = Descent(x, y, 0.03, adam=True), mixture
    for _ in range(4):
        with torch.no_grad():
            current = descent(current, current.log_joint(x, y).softmax(3))
        optimizer.zero_grad()
        now = Mixture(*leaves[:2], leaves[2].exp() if kind == "linear" else None)
        (-now.log_likelihood(x, y).mean(1).sum()).backward()
        optimizer.step()
    torch.testing.assert_close(current.gate, leaves[0])
    torch.testing.assert_close(current.experts, leaves[1])
    with torch.no_grad():
        torch.testing.assert_close(anchored(current).log_joint(x, y), current.log_joint(x, y))


@pytest.mark.parametrize("kind", KINDS)
def test_methods_with_gradients(kind):
    x, y = data(kind, n=300)
    one = MixtureOfExperts(2, kind, restarts=1, steps=20, ridge=0.001, tol=0)
    plain = one.fit(x, y, method="gradient").history
    same = one.fit(x, y, method="gradient_em", inner_steps=1).history
    assert same["objective"] == plain["objective"]
    several = one.fit(x, y, method="gradient_em", inner_steps=4).history
    assert several["gradients"] == [4 * used for used in plain["gradients"]]
    assert several["objective"][-1] < plain["objective"][-1] < plain["objective"][0]
    assert one.fit(x, y, method="adam", step_size=0.02).history["objective"][-1] < plain["objective"][0]
    with pytest.warns(InputWarning, match=r"step_size: 1e\+200 diverged; give a smaller step size"):
        one.fit(x, y, method="gradient", step_size=1e200)
    assert np.isfinite(one.log_prob(x, y)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_problems_are_fitted_as_one_by_one(kind):
    x, y = data(kind, n=100, problems=3)
    model = MixtureOfExperts(2, kind, restarts=2, steps=12, ridge=0.001).fit(x, y)
    assert np.shape(model.history["objective"]) == (model.n_iter_ + 1, 3)
    assert model.converged_.shape == (3,)
    alone = MixtureOfExperts(2, kind, restarts=2, steps=12, ridge=0.001).fit(x[:1], y[:1])
    np.testing.assert_allclose(alone.log_prob(x[:1], y[:1]), model.log_prob(x, y)[:1], rtol=1e-5, atol=1e-8)
    assert (alone.predict(x[:1])[0] == model.predict(x)[0]).mean() > (0.99 if kind != "linear" else -1)
    assert model.responsibilities(x).shape == (3, 100, 2)
    single = MixtureOfExperts(2, kind, restarts=2, steps=12, ridge=0.001).fit(x[0], y[0])
    np.testing.assert_allclose(single.log_prob(x[0], y[0]), alone.log_prob(x[:1], y[:1])[0])
    assert single.score(x[0], y[0]) == pytest.approx(alone.score(x[:1], y[:1]))


def test_the_best_start_is_kept():
    x, y = data(n=300)
    ends = [MixtureOfExperts(4, restarts=k, steps=30).fit(x, y).history["objective"][-1] for k in (1, 3, 6)]
    assert ends[0] >= ends[1] >= ends[2]
    assert ends[2] < ends[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_give_tensors_and_leave_the_random_state(dtype):
    x, y = data("multinomial", n=200)
    state = torch.get_rng_state()
    tensor, labels = torch.from_numpy(x).to(dtype), torch.from_numpy(y)
    model = MixtureOfExperts(2, "multinomial", steps=10).fit(tensor, labels)
    assert model.mixture_.gate.dtype == model.predict_proba(tensor).dtype == dtype
    assert model.predict(tensor).dtype == torch.int64
    assert model.score(tensor, labels) > 0.4
    arrays = MixtureOfExperts(2, "multinomial", steps=10).fit(tensor.numpy(), y)
    assert arrays.predict_proba(tensor.numpy()).dtype == tensor.numpy().dtype
    np.testing.assert_allclose(arrays.predict_proba(x), model.predict_proba(tensor), atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", KINDS)
def test_minibatches_reach_the_objective_of_all_rows(kind, tmp_path):
    x, y = data(kind, n=3000)
    np.save(tmp_path / "x.npy", x)
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    model = MixtureOfExperts(2, kind, ridge=0, tol=0)
    start = model.fit(x, y, steps=1, restarts=1).mixture_
    whole = model.fit(x, y, start=start, steps=25).history["objective"]
    parts = model.fit(on_disk, y, start=start, batch_size=150, steps=8).history
    assert parts["objective"][1] < whole[4]  # 20 minibatches improve more than 4 iterations
    assert parts["objective"][-1] == pytest.approx(whole[-1], abs=0.03)
    assert parts["gradients"] == list(range(9))
    assert model.log_prob(on_disk, y).mean() == pytest.approx(-parts["objective"][-1], abs=1e-9)


def test_minibatches_read_few_rows_at_a_time():
    class OnDisk(np.ndarray):
        largest = 0

        def __getitem__(self, key):
            part = np.asarray(super().__getitem__(key))
            OnDisk.largest = max(OnDisk.largest, part.shape[0] if part.ndim == 2 else 0)
            return part

    x, y = data(n=20_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmdprior.predictors.rows._ENTRIES", 3000)
        model = MixtureOfExperts(2, steps=1, batch_size=500).fit(x.view(OnDisk), y)
        model.predict(x.view(OnDisk))
    assert 1000 <= OnDisk.largest <= 4096


def corrupted(value, row=4, column=1):
    x, y = data(n=30)
    x[row, column] = value
    return x, y


def unchanged(n=30, kind="linear"):
    return data(kind, n=n)


@pytest.mark.parametrize(
    ("options", "xy", "message"),
    [
        ({}, corrupted(np.nan), r"x: NaN or infinity received in row 4, column 1; give finite numbers"),
        ({}, corrupted(-np.inf, 29, 2), "x: NaN or infinity received in row 29, column 2"),
        ({}, (data(n=5)[0], [1, 2, np.nan, 3, 4]), "y: NaN or infinity received in row 2"),
        ({"kind": "logistic"}, (data(n=3)[0], [0.0, np.nan, 1.0]), "y: NaN or infinity received in row 1"),
        ({"kind": "multinomial"}, (data(n=3)[0], np.array(["a", "b", np.nan], object)), "y: NaN received"),
        ({"kind": "logistic"}, (data(n=5)[0], ["a"] * 5), "y: one class received; give at least two classes"),
        ({"kind": "multinomial"}, (data(n=5)[0], [2] * 5), "y: one class received"),
        (
            {"kind": "logistic"},
            (data(n=4, problems=2)[0], [[0, 1, 0, 1], [1, 1, 1, 1]]),
            "y: one class received in problem 1",
        ),
        ({"kind": "logistic"}, (data(n=3)[0], [0, 1, 2]), "y: 3 classes received.*give kind='multinomial'"),
        ({"kind": "multinomial"}, (data(n=3)[0], [0.5, 1.5, 2.0]), "y: Unknown label type: continuous"),
        ({"experts": 5}, unchanged(4), "experts: 5 received for 4 samples; give at most as many experts"),
        ({"experts": 2}, unchanged(1), "experts: 2 received for 1 sample;"),
        ({"experts": 31, "kind": "logistic"}, unchanged(30, "logistic"), "experts: 31 received for 30"),
        ({}, (np.zeros((0, 3)), np.zeros(0)), r"x: 0 sample\(s\)"),
        ({}, (np.zeros((3, 0)), np.zeros(3)), r"x: 0 feature\(s\)"),
        ({}, (np.zeros(3), np.zeros(3)), "x: 1D array received; expected .rows, columns."),
        ({}, (data(n=5)[0], np.zeros(4)), r"y: shape \(4,\) received; expected \(5,\)"),
        ({}, (data(n=2)[0] * 1j, np.zeros(2)), "x: complex numbers received"),
        ({}, (np.array([["a"], ["b"]]), np.zeros(2)), "x: entries of type <U1 received; give real numbers"),
        ({}, (data(n=2)[0], ["a", "b"]), "y: entries of type <U1 received; give real numbers"),
        ({}, (data(n=2)[0], None), "y: None received"),
        ({"experts": 0}, unchanged(), "experts: 0 received; give an integer of at least 1"),
        ({"kind": "cubic"}, unchanged(), "kind: 'cubic' received; expected linear or logistic or"),
        ({"gate": "tree"}, unchanged(), "gate: 'tree' received; expected softmax"),
        ({"method": "sgd"}, unchanged(), "method: 'sgd' received; expected em or"),
        ({"ridge": -1.0}, unchanged(), "ridge: -1.0 received; give a number >= 0"),
        ({"step_size": 0.0}, unchanged(), "step_size: 0.0 received; give a positive number"),
        ({"tol": float("nan")}, unchanged(), "tol: nan received"),
        ({"batch_size": 10, "method": "adam"}, unchanged(), "method: 'adam' received with batch_size"),
        ({"iterations": 3}, unchanged(), "iterations: Invalid parameter; expected one of experts, kind"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_bad_input_is_one_line(options, xy, message):
    with no_checks(), pytest.raises(InputError, match=message) as raised:
        MixtureOfExperts().fit(*xy, **options)
    assert "\n" not in str(raised.value)


def test_input_of_a_fitted_mixture_is_checked():
    x, y = data("logistic", n=100)
    with pytest.raises(NotFittedError, match="MixtureOfExperts: not fitted"):
        MixtureOfExperts().predict(x)
    model = MixtureOfExperts(kind="logistic", ridge=0.01).fit(x, y)
    for call, message in (
        (lambda: model.predict(x[:, :2]), "x: X has 2 features, but MixtureOfExperts is expecting 3"),
        (lambda: model.predict(np.where(x > 3, np.nan, x)), "x: NaN or infinity received"),
        (lambda: model.log_prob(x, np.where(y == "no", "maybe", y)), "y: maybe received; expected a class"),
        (lambda: model.set_params(expert=3), "expert: Invalid parameter"),
        (lambda: model.fit(x, y, kind="multinomial", start=model.mixture_), "start: logistic experts rec"),
        (lambda: model.fit(x[:, :2], y, start=model.mixture_), r"start: gate of shape \(1, 1, 2, 4\)"),
    ):
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 7.0, 1e6])
def test_constant_columns_are_named_and_have_no_effect(kind, value):
    x, y = data(kind, n=200)
    wide = np.insert(x, 1, value, axis=1)
    with pytest.warns(InputWarning, match=r"x: constant columns \(1; 1 in all\) received; leave them out"):
        model = MixtureOfExperts(2, kind, steps=10, restarts=1).fit(wide, y)
    assert not model.mixture_.experts[..., 1].any()
    assert np.isfinite(model.log_prob(wide, y)).all()
    start = Mixture(
        *(torch.cat([p[..., :1], p[..., 2:]], -1) for p in (model.mixture_.gate, model.mixture_.experts)),
        model.mixture_.variance,
    )
    without = MixtureOfExperts(2, kind, steps=1).fit(x, y, start=start)
    with pytest.warns(InputWarning, match="constant columns"):
        longer = MixtureOfExperts(2, kind, steps=1).fit(wide, y, start=model.mixture_)
    np.testing.assert_allclose(without.log_prob(x, y), longer.log_prob(wide, y), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", ["em", "gradient", "adam"])
@pytest.mark.parametrize(("kind", "experts"), [("logistic", 1), ("logistic", 2), ("multinomial", 1)])
def test_separable_classes_are_named_and_stay_finite(kind, experts, method):
    g = np.random.default_rng(0)
    x = g.normal(size=(200, 2))
    x[:, 0] += 5 * np.sign(x[:, 0])
    y = (x[:, 0] > 0) + (0 if kind == "logistic" else (x[:, 0] > 0) * (x[:, 1] > 50))
    with pytest.warns(InputWarning, match=r"y: the classes are separated .* give a larger ridge"):
        model = MixtureOfExperts(experts, kind, method=method, steps=50).fit(x, y)
    assert np.isfinite(model.predict_proba(x)).all()
    assert model.score(x, y) == 1.0
    x, y = data("logistic")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MixtureOfExperts(2, "logistic", method=method, steps=20).fit(x, y)


def test_constant_targets_are_named():
    x, _ = data(n=50)
    with pytest.warns(InputWarning, match="y: all targets are equal"):
        model = MixtureOfExperts().fit(x, np.full(50, 3.5))
    np.testing.assert_allclose(model.predict(x), 3.5, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_devices_agree(kind):
    x, y = data(kind)
    if kind == "logistic":
        y = (y == "yes").astype(int)
    here = MixtureOfExperts(2, kind, steps=20).fit(x, y)
    there = MixtureOfExperts(2, kind, steps=20).fit(torch.from_numpy(x).cuda(), torch.from_numpy(y).cuda())
    assert there.mixture_.gate.device.type == "cuda"
    np.testing.assert_allclose(here.history["objective"], there.history["objective"], rtol=1e-4)
    arrays = MixtureOfExperts(2, kind, steps=20, device="cuda").fit(x, y)
    np.testing.assert_allclose(arrays.log_prob(x, y), here.log_prob(x, y), rtol=1e-3, atol=1e-3)
