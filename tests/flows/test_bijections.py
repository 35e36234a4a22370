"""Every bijection satisfies the contract, also with random weights, and starts as the identity."""

import pytest
import torch
from torch import nn

from mmdprior import InputError
from mmdprior.flows import (
    ActNorm,
    AffineCoupling,
    BallMap,
    Blocks,
    Chain,
    FixedLinear,
    Inverse,
    InvertibleLinear,
    MarginalMap,
    MixtureMap,
    MonotoneSpline,
    Permutation,
    PerPosition,
    SplineCoupling,
    bijection_from_spec,
    coupling_flow,
    gaussian_to,
    load_bijection,
    save_bijection,
    whitening,
)
from mmdprior.priors import (
    Beta,
    Correlated,
    FullGaussian,
    Gaussian,
    GaussianMixture,
    GroupSparse,
    Laplace,
    Product,
    SpikeAndSlab,
    StudentT,
    Uniform,
)
from mmdprior.testing import check_bijection


def randomised(bijection, gain):
    """Give a bijection random numbers: log-scales and slopes of about ``gain``."""
    for part in bijection.modules():
        if isinstance(part, (AffineCoupling, SplineCoupling)):
            nn.init.normal_(part.network.last.weight, std=gain / 16)
            nn.init.normal_(part.network.last.bias, std=gain)
        elif isinstance(part, (InvertibleLinear, ActNorm, MonotoneSpline)):
            for parameter in part.parameters():
                nn.init.normal_(parameter, parameter.detach().mean(), std=0.3)
    return bijection


def correlated_codes(n=500, dim=4):
    return 5 * torch.randn(n, dim) @ torch.randn(dim, dim) + 3


LEARNED = {
    "affine": lambda: AffineCoupling(4, [0, 2]),
    "spline": lambda: SplineCoupling(4, [1]),
    "affine flow": lambda: coupling_flow(6, layers=8),
    "spline flow": lambda: coupling_flow(5, layers=4, transform="spline"),
    "linear": lambda: InvertibleLinear(5),
    "act norm": lambda: ActNorm(3),
    "monotone spline": lambda: MonotoneSpline(3),
    "chain": lambda: Chain([ActNorm(4), coupling_flow(4, 2), InvertibleLinear(4)]),
}
FIXED = {
    "zca": lambda: whitening(correlated_codes()),
    "pca": lambda: whitening(correlated_codes(), "pca"),
    "permutation": lambda: Permutation([2, 0, 3, 1]),
    "inverse": lambda: Inverse(whitening(torch.randn(100, 3))),
    "uniform": lambda: MarginalMap(Uniform(2, low=0.0, high=[1.0, 5.0]).marginals()),
    "laplace": lambda: MarginalMap(Laplace(2, loc=1.0).marginals()),
    "student": lambda: MarginalMap(StudentT(2, df=[1.0, 5.0]).marginals()),
    "beta": lambda: MarginalMap(Beta(2, 0.5, 3.0).marginals()),
    "mixture per dimension": lambda: MarginalMap(SpikeAndSlab(2, spike=0.1).marginals()),
    "ring": lambda: MixtureMap(*GaussianMixture.ring(6).components()),
    "simplex": lambda: MixtureMap(*GaussianMixture.simplex(4).components()),
    "ball": lambda: BallMap(3, radius=2.0),
    "copula": lambda: gaussian_to(Correlated(Uniform(3), 0.7)),
    "groups": lambda: gaussian_to(GroupSparse(4, 2, noise=0.2)),
    "blocks": lambda: Blocks([Permutation([1, 0]), BallMap(2)], [[0, 3], [1, 2]]),
    "product": lambda: gaussian_to(Product([GaussianMixture.ring(6), Gaussian(1), Laplace(1)])),
    "full gaussian": lambda: gaussian_to(FullGaussian([[2.0, 0.6], [0.6, 1.0]], mean=[1.0, 0.0])),
}
ALL = LEARNED | FIXED


@pytest.mark.parametrize("name", ALL)
def test_satisfies_the_contract(name):
    bijection = ALL[name]()
    check_bijection(randomised(bijection, gain=0.3 if name == "spline flow" else 1.0), n=30)


@pytest.mark.parametrize("name", LEARNED)
def test_starts_as_the_identity(name):
    bijection = LEARNED[name]()
    codes = 2 * torch.randn(100, bijection.dim)
    z, log_det = bijection.forward_and_log_det(codes)
    assert torch.allclose(z, codes, atol=1e-5)
    assert torch.allclose(log_det, torch.zeros(100), atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_file_restores_the_map(name, tmp_path):
    bijection = randomised(ALL[name](), gain=1.0).eval()
    codes = torch.randn(20, bijection.dim)
    save_bijection(bijection, tmp_path / "map.pt")
    assert torch.equal(load_bijection(tmp_path / "map.pt")(codes), bijection(codes))


@pytest.mark.parametrize("dim", [2, 3, 32])
@pytest.mark.parametrize("transform", ["affine", "spline"])
def test_large_scales_keep_the_inverse(dim, transform):
    """Saturated log-scales in eight layers: the error in float64 stays below 1e-10."""
    flow = randomised(coupling_flow(dim, 8, transform=transform, seed=3), gain=1.5).double().eval()
    codes = torch.randn(200, dim, dtype=torch.float64)
    for scale in (1.0, 20.0):
        error = (flow.inverse(flow(scale * codes)) - scale * codes).abs().max()
        assert error < 1e-10 * scale


@pytest.mark.parametrize("transform", ["affine", "spline"])
def test_autocast_does_not_change_the_map(transform):
    flow = randomised(coupling_flow(4, 4, transform=transform), gain=1.0).eval()
    codes = torch.randn(50, 4)
    with torch.autocast("cpu", torch.bfloat16):
        z = flow(codes)
        back = flow.inverse(z)
    assert torch.equal(z, flow(codes))
    assert (back - codes).abs().max() < 1e-4


def test_couplings_leave_dimensions_in_place():
    """A kept dimension passes unchanged, so that z_i belongs to h_i."""
    coupling = randomised(AffineCoupling(5, [1, 3]), gain=1.0)
    codes = torch.randn(10, 5)
    assert torch.equal(coupling(codes)[:, [0, 2, 4]], codes[:, [0, 2, 4]])
    assert not torch.allclose(coupling(codes)[:, [1, 3]], codes[:, [1, 3]])


def test_every_dimension_is_transformed_as_often():
    flow = coupling_flow(7, layers=6)
    counts = torch.zeros(7)
    for part in flow.parts:
        counts[part.changed] += 1
    assert counts.tolist() == [3] * 7


@pytest.mark.parametrize("kind", ["zca", "pca"])
def test_whitening(kind):
    codes = correlated_codes(2000)
    z = whitening(codes, kind)(codes).double()
    assert torch.allclose(z.T.cov(), torch.eye(4, dtype=torch.float64), atol=1e-5)
    assert z.mean(0).abs().max() < 1e-5


def test_zca_is_the_nearest_whitening():
    """tr(W C) is largest for W = C^-1/2 among all whitenings R C^-1/2."""
    codes = correlated_codes(2000)
    centred = codes - codes.mean(0)
    z = whitening(codes)(codes)
    distance = (z - centred).square().mean()
    for _ in range(5):
        rotation = torch.linalg.qr(torch.randn(4, 4)).Q
        assert distance < (z @ rotation - centred).square().mean()


def test_whitening_of_collinear_codes_is_finite():
    codes = torch.randn(200, 2) @ torch.randn(2, 5)
    map = whitening(codes)
    assert torch.isfinite(map.inverse(map(codes))).all()
    assert (map.inverse(map(codes)) - codes).abs().max() < 1e-3


def test_per_position_maps_channels():
    base = randomised(coupling_flow(3, 2), gain=1.0).eval()
    spatial, codes = PerPosition(base), torch.randn(2, 3, 4, 5)
    z, log_det = spatial.forward_and_log_det(codes)
    assert torch.allclose(z[1, :, 2, 3], base(codes[1, :, 2, 3][None])[0], atol=1e-6)
    assert torch.allclose(spatial.inverse(z), codes, atol=1e-4)
    rows = codes.permute(0, 2, 3, 1).reshape(-1, 3)
    assert torch.allclose(log_det, base.forward_and_log_det(rows)[1].reshape(2, -1).sum(1), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AffineCoupling(3, []), "transformed: "),
        (lambda: AffineCoupling(3, [0, 1, 2]), "transformed: "),
        (lambda: SplineCoupling(3, [3]), "transformed: "),
        (lambda: SplineCoupling(3, [0], bins=0), "bins: 0 received"),
        (lambda: Permutation([0, 0]), "order: "),
        (lambda: Chain([]), "parts: "),
        (lambda: Chain([ActNorm(2), ActNorm(3)]), "parts: dim 3"),
        (lambda: Blocks([ActNorm(2)], [[0, 2]]), "dims: "),
        (lambda: FixedLinear(2, torch.ones(2, 2)), "matrix: singular"),
        (lambda: FixedLinear(2, torch.ones(3, 2)), "matrix: shape"),
        (lambda: coupling_flow(1), "dim: 1 received"),
        (lambda: whitening(torch.ones(10, 2)), "codes: constant"),
        (lambda: whitening(torch.randn(1, 2)), "codes: shape"),
        (lambda: ActNorm(0), "dim: 0 received"),
        (lambda: MonotoneSpline(2).fit(torch.randn(5, 2)), "codes: shape"),
        (lambda: bijection_from_spec({"name": "Sine"}), "spec: 'Sine'"),
        (lambda: bijection_from_spec({"name": "ActNorm", "size": 3}), "spec: ActNorm"),
        (lambda: bijection_from_spec({"name": "MarginalMap", "marginals": [{"family": "x"}]}), "family: 'x'"),
    ],
)
def test_mistakes_give_one_line(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_files_of_other_kinds_are_rejected(tmp_path):
    (tmp_path / "text.pt").write_text("no bijection")
    torch.save({"weights": torch.ones(2)}, tmp_path / "weights.pt")
    for name in ("missing.pt", "text.pt", "weights.pt"):
        with pytest.raises(InputError, match=name):
            load_bijection(tmp_path / name)


class Shear(Permutation):
    """A right bijection, from which the broken ones below are derived."""

    def __init__(self):
        super().__init__([0, 1, 2])

    def forward_and_log_det(self, h):
        return torch.cat([h[:, :2], h[:, 2:] + h[:, :1]], 1), h.new_zeros(len(h))

    def inverse(self, z):
        return torch.cat([z[:, :2], z[:, 2:] - z[:, :1]], 1)


def random_forward(self, h):
    return h + 1e-3 * torch.rand_like(h), h.new_zeros(len(h))


BROKEN = {
    "inverse: off by": {"inverse": lambda self, z: z},
    "two calls differ": {"forward_and_log_det": random_forward},
    "log_det differs": {
        "forward_and_log_det": lambda self, h: (Shear.forward_and_log_det(self, h)[0], h[:, 0])
    },
    "depends on the other rows": {
        "forward_and_log_det": lambda self, h: (h - h.mean(0), h.new_zeros(len(h))),
        "inverse": lambda self, z: z,
    },
    "NaN or infinity": {"inverse": lambda self, z: Shear.inverse(self, z) / (z.abs() < 30)},
    "log_det of shape": {"forward_and_log_det": lambda self, h: (h, h)},
    "other values than forward": {"forward": lambda self, h: h},
    "expected (200, 3) torch.float64": {"inverse": lambda self, z: Shear.inverse(self, z).float()},
}


@pytest.mark.parametrize("message", BROKEN)
def test_check_names_the_violation(message):
    check_bijection(Shear())
    with pytest.raises(InputError) as error:
        check_bijection(type("Broken", (Shear,), BROKEN[message])())
    assert message in str(error.value) or (
        message == "depends on the other rows" and "off by" in str(error.value)
    )
