"""Standardised vectors and signals, inside the model."""

import warnings

import pytest
import torch

from mmdprior import InputError
from mmdprior.errors import InputWarning
from mmdprior.models import (
    Autoencoder,
    BernoulliLikelihood,
    GaussianLikelihood,
    LaplaceLikelihood,
    LinearDecoder,
    LinearEncoder,
    add_linear_skip,
    fit_pca,
)
from mmdprior.models.standardise import (
    Standardisation,
    StandardisedLikelihood,
    fit_standardisation,
    standardise,
)

GENERATOR = torch.Generator().manual_seed(0)
TABLE = torch.randn(60, 4, generator=GENERATOR) * torch.tensor([1, 1e4, 1e-3, 7.0])
TABLE = TABLE + torch.tensor([0, 3e5, 0, -2.0])
SIGNALS = torch.randn(60, 2, 25, generator=GENERATOR) * torch.tensor([[100.0], [0.1]])


@pytest.mark.parametrize("rows", [TABLE, SIGNALS, 1e6 + TABLE[:, :1], -SIGNALS[:, :1, :1]])
@pytest.mark.parametrize("size", [7, 60])
def test_units_are_mean_and_standard_deviation_per_feature_or_channel(rows, size):
    units = fit_standardisation(lambda: rows.split(size))
    axes = (0,) if rows.ndim == 2 else (0, 2)
    expected = rows.double()
    shape = units.centre.shape
    assert shape == (rows.shape[1], *[1] * (rows.ndim - 2))
    assert torch.allclose(units.centre.double(), expected.mean(axes).reshape(shape), rtol=1e-6)
    deviation = expected.std(axes, correction=0).reshape(shape)
    assert torch.allclose(units.scale.double(), deviation, rtol=1e-6)
    assert torch.allclose(units.inverse(units(rows)), rows, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 5.0, -1e6])
@pytest.mark.parametrize("kind", ["features", "channels"])
def test_constant_features_are_centred_with_a_warning_that_lists_them(value, kind):
    rows = (TABLE if kind == "features" else SIGNALS).clone()
    rows[:, 1] = value
    with pytest.warns(InputWarning, match=f"constant {kind} in the training split, .*: 1; leave them out"):
        units = fit_standardisation(lambda: [rows])
    assert float(units.scale[1]) == 1
    assert float(units(rows)[:, 1].abs().max()) == 0
    with pytest.raises(InputError, match=f"all 1 {kind} are constant"):
        fit_standardisation(lambda: [rows[:, 1:2]])


def test_too_few_rows():
    for count in (0, 1):
        with pytest.raises(InputError, match=f"{count} training rows received; .* at least 2"):
            fit_standardisation(lambda count=count: [TABLE[:count]] * (count > 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_standardisation(lambda: [TABLE[:2]])


@pytest.mark.parametrize("likelihood", [GaussianLikelihood(), LaplaceLikelihood()])
def test_losses_are_standardised_and_means_are_in_the_units_of_the_data(likelihood):
    units = fit_standardisation(lambda: [TABLE])
    wrapped = StandardisedLikelihood(likelihood, units)
    output = torch.randn(60, 4, generator=GENERATOR)
    expected = likelihood.loss(output, (TABLE - TABLE.mean(0)) / TABLE.std(0, correction=0))
    assert torch.allclose(wrapped.loss(output, TABLE), expected, rtol=1e-4)
    assert torch.allclose(wrapped.mean(wrapped.link(TABLE)), TABLE, rtol=1e-5, atol=1e-5)
    assert torch.equal(wrapped.standardise(TABLE), units(TABLE))
    assert likelihood.standardise(TABLE) is TABLE


@pytest.mark.parametrize("rows", [TABLE, SIGNALS])
def test_pca_of_the_linear_skip_is_that_of_standardised_data(rows):
    shape = tuple(rows.shape[1:])
    units = fit_standardisation(lambda: [rows])
    model = standardise(Autoencoder(LinearEncoder(shape, 3), LinearDecoder(shape, 3)), units)
    pca = fit_pca(lambda: [model.likelihood.link(rows).flatten(1)], 3)
    model = add_linear_skip(model, pca, shape).eval()
    scaled = units(rows).flatten(1).double()
    centred = scaled - scaled.mean(0)
    left, values, right = torch.linalg.svd(centred, full_matrices=False)
    codes = model.encode(rows).mean.double()
    assert torch.allclose(codes.abs(), (left[:, :3] * 59**0.5).abs(), atol=2e-2)
    projected = (left[:, :3] * values[:3]) @ right[:3] + scaled.mean(0)
    decoded = units(model.decode(codes.float())).flatten(1).double()
    assert torch.allclose(decoded, projected, atol=2e-2)


def test_a_state_dict_restores_the_units():
    def build(units):
        torch.manual_seed(0)
        return standardise(Autoencoder(LinearEncoder((4,), 2), LinearDecoder((4,), 2)), units)

    fitted, empty = build(fit_standardisation(lambda: [TABLE])), build(Standardisation.empty((4,)))
    assert not torch.allclose(empty.encode(TABLE).mean, fitted.encode(TABLE).mean)
    empty.load_state_dict(fitted.state_dict())
    assert torch.equal(empty.encode(TABLE).mean, fitted.encode(TABLE).mean)
    assert Standardisation.empty((2, 25)).scale.shape == (2, 1)


def test_bernoulli_likelihoods_are_refused():
    model = Autoencoder(LinearEncoder((4,), 2), LinearDecoder((4,), 2), likelihood=BernoulliLikelihood())
    with pytest.raises(
        InputError, match=r"'bernoulli' received for standardised data, .* data\.standardise: false"
    ):
        standardise(model, Standardisation.empty((4,)))


@pytest.mark.parametrize(
    ("shape", "samples", "message"),
    [
        ((4,), torch.zeros(3, 5), r"shape \(3, 5\) received; give floats of shape \(n, 4\)"),
        ((2, 25), torch.zeros(3, 25), r"floats of shape \(n, 2, 25\)"),
        ((4,), torch.full((3, 4), torch.nan), "NaN or infinity"),
    ],
)
def test_encode_checks_vectors_and_signals_but_not_their_range(shape, samples, message):
    model = Autoencoder(LinearEncoder(shape, 2), LinearDecoder(shape, 2))
    model.image_shape = shape
    with pytest.raises(InputError, match=message):
        model.encode(samples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.encode(1e6 * torch.ones(3, *shape))
