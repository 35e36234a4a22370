"""Outputs of encoders of every form, as means and log-variances."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal

from mmdprior import InputError
from mmdprior.scoring.outputs import Moments, read_outputs, without_positions

MEAN = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
LOG_VAR = -torch.rand(6, 3, generator=torch.Generator().manual_seed(1)) - 0.1
STD = (LOG_VAR / 2).exp()
IMAGES = torch.zeros(6, 1, 8, 8)
Named = namedtuple("Named", ["mu", "logvar"])


class ModelOutput(OrderedDict):
    """An output of a library, which is a dict."""


@dataclass
class Output:
    z: torch.Tensor
    mean: torch.Tensor
    log_sigma: torch.Tensor


class DiagonalGaussian:
    """A distribution with the properties of that of diffusers."""

    def __init__(self):
        self.mean, self.std, self.var, self.logvar = MEAN, STD, STD.square(), LOG_VAR

    def sample(self):
        raise AssertionError("not called")


GAUSSIAN = {
    "pair": (MEAN, LOG_VAR),
    "list": [MEAN, LOG_VAR],
    "pair with std": (MEAN, STD),
    "named tuple": Named(MEAN, LOG_VAR),
    "dict": {"mean": MEAN, "log_var": LOG_VAR, "z": MEAN + 1},
    "dict with std": {"mu": MEAN, "sigma": STD, "reconstruction": IMAGES},
    "dict with var": {"Mean": MEAN, "variance": STD.square()},
    "pythae": ModelOutput(embedding=MEAN, log_covariance=LOG_VAR),
    "data class": Output(MEAN + 1, MEAN, LOG_VAR / 2),
    "normal": Normal(MEAN, STD),
    "independent": Independent(Normal(MEAN, STD), 1),
    "multivariate": MultivariateNormal(MEAN, torch.diag_embed(STD.square())),
    "diffusers": ModelOutput(latent_dist=DiagonalGaussian()),
    "distribution and features": (Normal(MEAN, STD), IMAGES),
    "onnx": {"17": MEAN, "23": LOG_VAR},
}


@pytest.mark.parametrize("form", GAUSSIAN)
def test_means_and_variances_are_found(form):
    moments = read_outputs(GAUSSIAN[form])
    assert torch.equal(moments.mean, MEAN)
    assert torch.allclose(moments.log_var, LOG_VAR, atol=1e-5)
    assert bool(moments.note) == (form in ("pair", "list", "pair with std", "onnx"))
    assert read_outputs(GAUSSIAN[form], "deterministic").log_var is None


@pytest.mark.parametrize(
    "outputs",
    [
        MEAN,
        {"z": MEAN, "skips": [1]},
        {"anything": MEAN},
        ModelOutput(pooler_output=MEAN, hidden=IMAGES),
        (MEAN, None),
        (MEAN, {"loss": 1.0}, torch.tensor(0.5)),
    ],
)
def test_codes_are_found(outputs):
    moments = read_outputs(outputs)
    assert torch.equal(moments.mean, MEAN)
    assert moments.log_var is None


def test_the_meaning_can_be_set():
    both = torch.cat([MEAN, STD], 1)
    assert torch.allclose(read_outputs(both, "gaussian_std").log_var, LOG_VAR, atol=1e-5)
    assert torch.equal(read_outputs(both, "gaussian").log_var, STD)
    assert torch.equal(read_outputs((MEAN, STD), "gaussian").log_var, STD)
    assert torch.equal(read_outputs(both).mean, both)
    with pytest.raises(InputError, match=r"\(6, 3\) returned; return means and log-variances"):
        read_outputs(MEAN, "gaussian")
    assert torch.isfinite(read_outputs((MEAN, torch.zeros(6, 3)), "gaussian_std").log_var).all()


@pytest.mark.parametrize(
    ("outputs", "chosen"),
    [
        ((IMAGES, MEAN, LOG_VAR), ["1", "2"]),
        ({"recon": IMAGES, "a": MEAN, "b": LOG_VAR}, ["a", "b"]),
        ({"recon": IMAGES, "a": MEAN, "b": LOG_VAR}, ["1", "2"]),
        ({"recon": IMAGES, "posterior": (MEAN, LOG_VAR)}, ["posterior"]),
        ([IMAGES, Normal(MEAN, STD)], ["1"]),
    ],
)
def test_outputs_can_be_chosen(outputs, chosen):
    moments = read_outputs(outputs, chosen=chosen)
    assert torch.equal(moments.mean, MEAN)
    assert torch.allclose(moments.log_var, LOG_VAR, atol=1e-5)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            (IMAGES, MEAN, LOG_VAR),
            r"outputs 0: \(6, 1, 8, 8\), 1: \(6, 3\), 2: \(6, 3\) returned; give --outputs",
        ),
        ((MEAN, IMAGES), "give --outputs"),
        ({"a": MEAN, "b": LOG_VAR}, r"a: \(6, 3\), b: \(6, 3\)"),
        (ModelOutput(last_hidden_state=IMAGES, pooler_output=MEAN), "give --outputs"),
        ("text", "str returned"),
        (None, "NoneType returned"),
        (Categorical(logits=MEAN), "Categorical returned|shape"),
    ],
)
def test_unclear_outputs_are_listed(outputs, message):
    with pytest.raises(InputError, match=message):
        without_positions(read_outputs(outputs), None)


def test_unknown_choices_are_listed():
    with pytest.raises(InputError, match=r"--outputs: 'mu' received; the outputs are 0: \(6, 3\)"):
        read_outputs((MEAN, LOG_VAR), chosen=["mu"])


class TestPositions:
    CODES = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)

    def test_flatten(self):
        moments, positions = without_positions(Moments(self.CODES, -self.CODES), "flatten")
        assert torch.equal(moments.mean, self.CODES.flatten(1))
        assert torch.equal(moments.log_var, -moments.mean)
        assert positions == 1

    def test_pool_is_the_distribution_of_the_mean_over_positions(self):
        generator = torch.Generator().manual_seed(0)
        log_var = torch.rand(2, 3, 2, 2, generator=generator)
        moments, _ = without_positions(Moments(self.CODES, log_var), "pool")
        noise = torch.randn(40_000, 2, 3, 2, 2, generator=generator)
        draws = (self.CODES + (log_var / 2).exp() * noise).mean((3, 4))
        assert torch.allclose(moments.mean, draws.mean(0), atol=0.03)
        assert torch.allclose(moments.log_var, draws.var(0).log(), atol=0.05)

    def test_positions_are_rows_of_channels(self):
        moments, positions = without_positions(Moments(self.CODES), "positions")
        rows = moments.mean.reshape(-1, 3)
        assert positions == 4
        for image in range(2):
            for place in range(4):
                assert torch.equal(rows[4 * image + place], self.CODES[image, :, place // 2, place % 2])

    def test_sequences_have_channels_last(self):
        tokens = torch.randn(2, 5, 3)
        moments, positions = without_positions(Moments(tokens), "positions")
        assert torch.equal(moments.mean.reshape(2, 5, 3), tokens)
        assert positions == 5
        assert torch.equal(without_positions(Moments(tokens), "pool")[0].mean, tokens.mean(1))

    def test_positions_of_size_one_are_none(self):
        for codes in (MEAN[:, :, None, None], MEAN[:, None]):
            assert torch.equal(without_positions(Moments(codes), None)[0].mean, MEAN)

    @pytest.mark.parametrize(
        ("codes", "spatial", "message"),
        [
            (CODES, None, "give --spatial flatten or pool or positions"),
            (MEAN, "pool", "leave --spatial out"),
            (MEAN[0], None, r"return \(n, outputs\)"),
            (CODES[..., None], "flatten", r"return \(n, outputs\)"),
        ],
    )
    def test_other_shapes_are_refused(self, codes, spatial, message):
        with pytest.raises(InputError, match=message):
            without_positions(Moments(codes), spatial)
