"""The contract of a predictor: every shipped one satisfies it, and broken ones do not pass the check."""

import pytest
import torch
from helpers.codes import dependent
from sklearn.linear_model import LinearRegression, Ridge

from mmdprior import InputError
from mmdprior.predictors import (
    PREDICTORS,
    AdditivePredictor,
    Classification,
    ExpertsPredictor,
    InformationPredictor,
    LinearPredictor,
    LoopedPredictor,
    MLPPredictor,
    Predictor,
    Regression,
)
from mmdprior.testing import check_predictor

SMALL = {
    "linear": LinearPredictor,
    "additive": lambda: AdditivePredictor(features=4),
    "mlp": lambda: MLPPredictor(hidden=(16,), epochs=6),
    "experts": lambda: ExpertsPredictor(experts=3, iterations=12, trial=4),
    "information": lambda: InformationPredictor(bins=6, hidden=(16,), epochs=6),
    "looped": lambda: LoopedPredictor(lambda seed: Ridge()),
}


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def predictions(outcome):
    """Return what was predicted, up to a constant per dimension."""
    if isinstance(outcome, Classification):
        return outcome.log_probabilities.double()
    return outcome.prediction - outcome.prediction.mean(1, keepdim=True)


@pytest.fixture(params=SMALL)
def predictor(request):
    return SMALL[request.param]()


@pytest.mark.parametrize("name", PREDICTORS)
def test_every_shipped_predictor_satisfies_the_contract(name):
    check_predictor(PREDICTORS[name]())


def test_looped_regressors_satisfy_the_contract():
    check_predictor(LoopedPredictor(lambda seed: Ridge()), seed=1)


class Broken(Predictor):
    """Linear regression; subclasses break one rule each."""

    uses_validation = False
    random = False

    def fit(self, train, validation, generators):
        return LinearPredictor().fit(train, validation, generators)


class NoAttributes(Broken):
    uses_validation = None


class Raises(Broken):
    def fit(self, train, validation, generators):
        raise ZeroDivisionError("no rows")


class NeedsGradients(Broken):
    def fit(self, train, validation, generators):
        weight = torch.zeros(train.shape[2], requires_grad=True)
        (train @ weight).square().mean().backward()


class NoFunction(Broken):
    def fit(self, train, validation, generators):
        return Regression(train, train)


class NoOutcome(Broken):
    def fit(self, train, validation, generators):
        return lambda z: z


class WrongShape(Broken):
    def fit(self, train, validation, generators):
        return lambda z: Regression(z[:, :, 1:], z[:, :, :-1])


class NotFinite(Broken):
    def fit(self, train, validation, generators):
        return lambda z: Regression(z, z / 0)


class InPlace(Broken):
    def fit(self, train, validation, generators):
        train -= train.mean(1, keepdim=True)
        return super().fit(train, validation, generators)


class GlobalRandomState(Broken):
    def fit(self, train, validation, generators):
        return super().fit(train + 1e-6 * torch.randn(train.shape), validation, generators)


class Blind(Broken):
    def fit(self, train, validation, generators):
        return lambda z: Regression(z, train.mean(1, keepdim=True).expand_as(z))


class Overfits(Broken):
    def fit(self, train, validation, generators):
        fitted = super().fit(train, validation, generators)

        def outcome(z):
            noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
            return Regression(z, fitted(z).prediction + 0.7 * noise)

        return outcome


class Cheats(Broken):
    def fit(self, train, validation, generators):
        return lambda z: Regression(z, 0.9 * z)


class CheatsALittle(Broken):
    def fit(self, train, validation, generators):
        fitted = super().fit(train, validation, generators)
        return lambda z: Regression(z, fitted(z).prediction + 0.03 * z)


class Impure(Broken):
    calls = 0

    def fit(self, train, validation, generators):
        self.calls += 1
        return LinearPredictor(0.01 * self.calls).fit(train, validation, generators)


class MixesProblems(Broken):
    def fit(self, train, validation, generators):
        return super().fit(train.mean(0, keepdim=True).expand_as(train), validation, generators)


class CountsProblems(Broken):
    def fit(self, train, validation, generators):
        return LinearPredictor(0.1 * len(train)).fit(train, validation, generators)


class OnlySinglePrecision(Broken):
    def fit(self, train, validation, generators):
        weight = torch.zeros(train.shape[2], train.shape[2])
        torch.matmul(train, weight)
        return super().fit(train, validation, generators)


class NeedsThreeDimensions(Broken):
    def fit(self, train, validation, generators):
        if train.shape[2] < 3:
            return Blind().fit(train, validation, generators)
        return super().fit(train, validation, generators)


class DividesByTheSpread(Broken):
    def fit(self, train, validation, generators):
        std = train.std(1, keepdim=True)
        fitted = super().fit(train / std, validation, generators)
        return lambda z: fitted(z / std)


class ScoresConstants(Broken):
    def fit(self, train, validation, generators):
        fitted = super().fit(train, validation, generators)

        def outcome(z):
            result = fitted(z)
            constant = (result.target == 0).all(1)
            result.r2 = lambda: Regression.r2(result) + constant
            return result

        return outcome


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Broken, "predictor: ABCMeta received; give an instance"),
        (LinearRegression(), "predictor: LinearRegression received"),
        (NoAttributes(), "uses_validation: None received; set a bool"),
        (Raises(), r"fit: ZeroDivisionError for train \(3, 700, 4\), .* \(no rows\)"),
        (NeedsGradients(), "fit: RuntimeError"),
        (NoFunction(), "fit: Regression returned; return a function of codes"),
        (NoOutcome(), "outcome: Tensor returned"),
        (WrongShape(), r"r2: \(3, 3\) received .* expected shape \(3, 4\)"),
        (NotFinite(), "expected finite floating numbers"),
        (InPlace(), "fit: the train codes were changed in place"),
        (GlobalRandomState(), "fit: torch's global random state changed"),
        (Blind(), "for a dimension that is close to another; expected more than 0.3"),
        (Overfits(), r"r2: -0\..* for independent codes; expected -0.3 to 0.15"),
        (Cheats(), r"r2: 0.99 for independent codes"),
        (CheatsALittle(), "the prediction of dimension 0 changes with dimension 0"),
        (Impure(), "two fits with equal generators differ"),
        (CountsProblems(), "between problems fitted together and one by one"),
        (MixesProblems(), "r2: .* for independent codes"),
        (OnlySinglePrecision(), "fit: RuntimeError"),
        (NeedsThreeDimensions(), "for two dimensions that are close"),
        (DividesByTheSpread(), "expected finite floating numbers|fit: .*Error"),
        (ScoresConstants(), "for a constant dimension; expected 0"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_broken_predictor_is_rejected(broken, message):
    # Without the type checks of tests/conftest.py, which would reject what is no Predictor first.
    check = getattr(check_predictor, "__wrapped__", check_predictor)
    with pytest.raises(InputError, match=message) as error:
        check(broken)
    assert "\n" not in str(error.value)


def test_problems_fitted_together_equal_problems_fitted_one_by_one(predictor):
    z, validation, test = dependent(3, 300), dependent(3, 100), dependent(3, 80)
    together = predictor.fit(z, validation, generators(1, 2, 3))(test)
    for i in range(3):
        single = predictor.fit(z[i : i + 1], validation[i : i + 1], generators(i + 1))(test[i : i + 1])
        torch.testing.assert_close(together.r2()[i], single.r2()[0], atol=2e-3, rtol=0)


def test_a_dimension_is_not_predicted_from_itself(predictor):
    z, validation, test = dependent(1, 400), dependent(1, 100), dependent(1, 60)
    fitted = predictor.fit(z, validation, generators(0))
    changed = test.clone()
    changed[:, :, 0] = torch.randn(60)
    before, after = predictions(fitted(test)), predictions(fitted(changed))
    torch.testing.assert_close(before[:, :, 0], after[:, :, 0], atol=1e-5, rtol=0)
    assert not torch.allclose(before[:, :, 1], after[:, :, 1], atol=1e-3)


def test_equal_generators_give_equal_fits(predictor):
    z, validation, test = dependent(1, 300), dependent(1, 100), dependent(1, 60)
    first, second = (predictor.fit(z, validation, generators(5))(test).r2() for _ in range(2))
    assert torch.equal(first, second)


def test_mode_and_dtype_have_no_effect(predictor):
    z, validation, test = dependent(1, 300), dependent(1, 100), dependent(1, 60)
    plain = predictor.fit(z, validation, generators(5))(test).r2()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        guarded = predictor.fit(z * 1, validation * 1, generators(5))(test * 1).r2()
    torch.testing.assert_close(plain, guarded, atol=1e-6, rtol=0)
    wide = predictor.fit(z.double(), validation.double(), generators(5))(test.double()).r2()
    torch.testing.assert_close(plain, wide, atol=2e-3, rtol=0)


@pytest.mark.gpu
def test_devices_agree(predictor):
    z, validation, test = dependent(2, 2000), dependent(2, 600), dependent(2, 600)
    here = predictor.fit(z, validation, generators(1, 2))(test).r2()
    there = predictor.fit(z.cuda(), validation.cuda(), generators(1, 2))(test.cuda()).r2().cpu()
    exact = isinstance(predictor, LinearPredictor | AdditivePredictor)
    torch.testing.assert_close(here, there, atol=1e-4 if exact else 0.01, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearPredictor(-1.0), "ridge: -1.0"),
        (lambda: MLPPredictor(epochs=0), "epochs: 0"),
        (lambda: MLPPredictor(hidden=()), "hidden"),
        (lambda: MLPPredictor(weight_decay=-1.0), "weight_decay"),
        (lambda: AdditivePredictor(features=0), "features: 0"),
        (lambda: AdditivePredictor(ridges=[0.0]), "ridges"),
        (lambda: InformationPredictor(bins=1), "bins: 1"),
        (lambda: InformationPredictor(hidden=(0,)), "hidden"),
        (lambda: ExpertsPredictor(experts=0), "experts: 0"),
    ],
)
def test_bad_settings_raise(make, message):
    with pytest.raises(InputError, match=message):
        make()
