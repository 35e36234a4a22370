"""check_prior accepts right priors of every kind and rejects each kind of mistake with one line."""

import math
import random
import re
import threading

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.priors import Gaussian, GaussianMixture, Moments, Prior, Uniform
from mmdprior.testing import check_prior


class Standard(Prior):
    """N(0, I) without closed forms: a right prior, from which the broken ones are derived."""

    def __init__(self, dim=4):
        super().__init__(dim)

    def sample(self, n, generator=None):
        device = self.device if generator is None else generator.device
        draws = torch.randn(n, self.dim, generator=generator, device=device, dtype=self.dtype)
        return draws.to(self.device)


def broken(**members):
    """Return an instance of a subclass of Standard with other members."""
    return type("Broken", (Standard,), members)()


def sampling(change):
    """Return a prior whose draws are changed by a function."""
    return broken(sample=lambda self, n, generator=None: change(Standard.sample(self, n, generator)))


def with_member(name, value):
    """Return a right prior with one more attribute."""
    prior = Standard()
    setattr(prior, name, value)
    return prior


def changed(prior, **members):
    """Return a prior of the package with some methods replaced."""
    prior.__class__ = type("Broken", (type(prior),), members)
    return prior


def ignore_generator(self, n, generator=None):
    return torch.randn(n, self.dim, dtype=self.dtype)


def from_numpy(self, n, generator=None):
    return torch.from_numpy(np.random.standard_normal((n, self.dim))).to(self.dtype)


def read_global_seed(self, n, generator=None):
    """Draw from the generator, but shift by a number that depends on the global seed."""
    with torch.random.fork_rng([]):
        shift = torch.rand((), dtype=self.dtype)
    return Standard.sample(self, n, generator) + shift


def restart_generator(self, n, generator=None):
    generator = torch.Generator().manual_seed(0 if generator is None else generator.initial_seed())
    return Standard.sample(self, n, generator)


def unseeded_default(self, n, generator=None):
    if generator is None:
        generator = torch.Generator().manual_seed(random.getrandbits(60))
    return Standard.sample(self, n, generator)


def sphere_of_uniforms(self, n, generator=None):
    """Uniform marginals in [-1, 1] with |z_0| = |z_1|: uncorrelated but dependent."""
    z = 2 * self._uniform((n, self.dim), generator) - 1
    sign = self._signs((n, 1), generator)
    return torch.cat([z[:, :1], sign * z[:, :1], z[:, 2:]], 1)


def moments(mean=0.0, variance=1.0):
    return lambda self: Moments(torch.full((4,), mean), variance * torch.eye(4))


BROKEN = {
    "shape": (
        sampling(lambda z: z[:, :3]),
        "prior.sample: shape (5, 3) returned; expected (5, 4)",
    ),
    "type": (sampling(lambda z: z.numpy()), "prior.sample: ndarray returned; expected a torch.Tensor"),
    "dtype": (
        sampling(lambda z: z.double()),
        "prior.sample: torch.float64 returned; expected torch.float32 (prior.dtype)",
    ),
    "dtype_of_double": (
        sampling(lambda z: z.float()),
        "prior.sample: torch.float32 returned after .to(torch.float64); expected torch.float64 (prior.dtype)",
    ),
    "device": (
        sampling(lambda z: z.to("meta")),
        "prior.sample: meta returned; expected cpu (prior.device)",
    ),
    "gradient": (
        sampling(lambda z: z.requires_grad_()),
        "prior.sample: draws that require a gradient returned; detach them",
    ),
    "not_finite": (
        sampling(lambda z: torch.where(z > 0, math.nan, z) if len(z) > 5 else z.abs()),
        "prior.sample: NaN or infinity in 6? of 64 draws; expected finite numbers",
    ),
    "no_generator": (
        broken(sample=lambda self, n: torch.randn(n, 4)),
        "prior.sample: TypeError raised by sample(5) (",
    ),
    "raises": (
        sampling(lambda z: z @ torch.zeros(3)),
        "prior.sample: RuntimeError raised by sample(5) (",
    ),
    "global_generator_used": (
        broken(sample=ignore_generator),
        "prior.sample: changes the global generator although a generator is passed; pass the generator to "
        "every random function",
    ),
    "numpy": (
        broken(sample=from_numpy),
        "prior.sample: equal generator states give different draws; draw all random numbers from the "
        "generator",
    ),
    "global_generator_read": (
        broken(sample=read_global_seed),
        "prior.sample: draws depend on the global generator although a generator is passed; pass the "
        "generator to every random function",
    ),
    "generator_restarted": (
        broken(sample=restart_generator),
        "prior.sample: a second call with the same generator repeats the draws; it must advance",
    ),
    "unseeded": (
        broken(sample=unseeded_default),
        "prior.sample: equal seeds by torch.manual_seed give different draws; use torch's generators",
    ),
    "parameter": (
        with_member("scale", torch.nn.Parameter(torch.ones(4))),
        "prior.scale: a trainable parameter received; register it as a buffer",
    ),
    "plain_tensor": (
        with_member("scale", torch.ones(4)),
        "prior.scale: a plain tensor, which does not move with .to(); use register_buffer",
    ),
    "not_copyable": (
        with_member("lock", threading.Lock()),
        "prior: copy.deepcopy fails (cannot pickle '_thread.lock' object); keep only copyable state",
    ),
    "dim": (Standard(3), "prior.dim: 3 received; expected 4"),
    "moments_missing": (
        broken(moments=lambda self: 1 / 0),
        "prior.moments: ZeroDivisionError raised (division by zero); raise mmdprior.InputError where there "
        "is no closed form",
    ),
    "moments_type": (
        broken(moments=lambda self: (torch.zeros(4), torch.eye(4))),
        "prior.moments: tuple returned; expected a Moments",
    ),
    "moments_shape": (
        broken(moments=lambda self: Moments(torch.zeros(3), torch.eye(3))),
        "prior.moments: mean of shape (3,) returned; expected finite numbers of shape (4,)",
    ),
    "mean": (broken(moments=moments(mean=0.1)), "prior.moments: mean: entry ? is 0.1; expected "),
    "covariance": (
        broken(moments=moments(variance=1.2)),
        "prior.moments: covariance: entry (?, ?) is 1.2; expected ",
    ),
    "log_prob_shape": (
        broken(log_prob=lambda self, z: -z.square()),
        "prior.log_prob: shape (20000, 4) returned; expected (20000,), one number per row",
    ),
    "log_prob_dtype": (
        broken(log_prob=lambda self, z: -z.double().square().sum(1)),
        "prior.log_prob: torch.float64 returned for torch.float32 codes; expected torch.float32",
    ),
    "log_prob_infinite": (
        broken(log_prob=lambda self, z: z.amin(1).log()),
        "prior.log_prob: NaN or infinity at ",
    ),
    "log_prob_gradient": (
        broken(log_prob=lambda self, z: (z - z.detach()).abs().sqrt().sum(1)),
        "prior.log_prob: NaN or infinite gradient at 20000 of 20000 draws; expected finite numbers",
    ),
    "log_prob_without_normaliser": (
        broken(log_prob=lambda self, z: -0.5 * z.square().sum(1)),
        "prior.log_prob: exp(log_prob) integrates to about ",
    ),
    "log_prob_normalised_twice": (
        changed(Gaussian(4), log_prob=lambda self, z: Gaussian.log_prob(self, z) - math.log(2)),
        "prior.log_prob: exp(log_prob) integrates to about 0.",
    ),
    "marginals_count": (
        broken(marginals=lambda self: Gaussian(3).marginals()),
        "prior.marginals: 3 returned; expected a list of 4",
    ),
    "marginals_type": (
        broken(marginals=lambda self: [0.0] * 4),
        "prior.marginals: float returned; expected a Marginal",
    ),
    "cdf": (
        broken(marginals=lambda self: Gaussian(4, scale=1.2).marginals()),
        "prior.marginals: cdf of dimension 0 differs from 20000 draws by 0.0",
    ),
    "independent_without_marginals": (
        broken(independent=True),
        "prior.independent: True without marginals; expected marginals(), or False",
    ),
    "independent_but_correlated": (
        broken(
            independent=True,
            marginals=lambda self: Gaussian(4).marginals(),
            sample=lambda self, n, generator=None: Standard.sample(self, n, generator)[:, [0, 1, 2, 0]],
        ),
        "prior.independent: True, but dimensions 0 and 3 are dependent in 20000 draws; expected False",
    ),
    "independent_but_dependent": (
        broken(independent=True, marginals=lambda self: Uniform(4).marginals(), sample=sphere_of_uniforms),
        "prior.independent: True, but dimensions 0 and 1 are dependent in 20000 draws; expected False",
    ),
    "components_shape": (
        broken(components=lambda self: (torch.ones(1), torch.zeros(1, 4), torch.ones(1))),
        "prior.components: shapes (1,), (1, 4), (1,) returned; expected (k,), (k, d) and (k, d)",
    ),
    "components_type": (
        broken(components=lambda self: [1.0]),
        "prior.components: list returned; expected three tensors",
    ),
    "components_count": (
        broken(components=lambda self: (torch.ones(1), torch.zeros(1, 4))),
        "prior.components: 2 tensors returned; expected three",
    ),
    "components_weights": (
        broken(components=lambda self: (torch.ones(2), torch.zeros(2, 4), torch.ones(2, 4))),
        "prior.components: weights that are not probabilities returned; expected a sum of 1",
    ),
    "components": (
        changed(
            GaussianMixture([[-2.0] * 4, [2.0] * 4]),
            components=lambda self: (self.weights.double(), self.means.double(), 2 * self.scales.double()),
        ),
        "prior.components: characteristic function differs from 20000 draws by ",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_priors_are_rejected_in_one_line(name):
    prior, line = BROKEN[name]
    with pytest.raises(InputError) as caught:
        check_prior(prior, dim=4)
    assert re.match(re.escape(line).replace(r"\?", "."), str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


class BrokenMarginal:
    """Methods of a normal marginal, one of which is replaced."""

    def __init__(self, **methods):
        self.methods = methods

    def marginals(self):
        normal = Gaussian(1).marginals()[0]
        replaced = type("Replaced", (type(normal),), self.methods)
        return [replaced(0.0, 1.0)] * 4


@pytest.mark.parametrize(
    ("methods", "line"),
    [
        (
            {"cdf": lambda self, x: x[:3]},
            r"cdf of dimension 0 returned \(3,\) torch.float64; expected \(20000,\)",
        ),
        (
            {"quantile": lambda self, u: 2 * torch.special.ndtri(u)},
            "quantile of dimension 0 at u = 0.01 is -4.653",
        ),
        ({"quantile": lambda self, u: 1 / 0}, r"quantile of dimension 0 raises \(division by zero\)"),
        (
            {"characteristic": lambda self, t: torch.exp(-t)},
            "characteristic of dimension 0 returned .*complex128",
        ),
        (
            {"characteristic": lambda self, t: torch.exp(-(t**2)).to(torch.complex128)},
            "characteristic function of dimension 0 differs from 20000 draws by",
        ),
    ],
)
def test_broken_marginals_are_rejected_in_one_line(methods, line):
    marginals = BrokenMarginal(**methods).marginals()
    with pytest.raises(InputError, match=f"^prior.marginals: {line}"):
        check_prior(broken(marginals=lambda self: marginals))


def test_anything_that_can_be_sampled_is_accepted():
    check_prior(Standard())
    check_prior(lambda n: torch.rand(n, 2), dim=2)
    check_prior(lambda n: torch.rand(n, 2))
    check_prior(lambda n, dim: torch.rand(n, dim).log(), dim=3)
    check_prior(torch.distributions.Gumbel(torch.zeros(2), 1.0))
    check_prior(torch.distributions.LogNormal(0.0, 1.0), dim=3)
    check_prior(torch.arange(6.0).reshape(3, 2))
    check_prior(torch.ones(1, 2))
    check_prior(Gaussian(3).double())


def test_mistakes_of_the_caller_are_named():
    with pytest.raises(InputError, match=r"^prior: a function <lambda>\(n, dim\) without dim"):
        check_prior(lambda n, dim: torch.rand(n, dim))
    with pytest.raises(InputError, match=r"^prior <lambda>: shape \(8, 2\) returned; expected \(8, 3\)"):
        check_prior(lambda n: torch.rand(n, 2), dim=3)
    with pytest.raises(InputError, match="^n: 10 received"):
        check_prior(Gaussian(2), n=10)


@pytest.mark.parametrize(("dim", "error"), [(1, 0.1), (8, 0.1), (32, 0.5)])
def test_constant_errors_of_the_log_density_are_found(dim, error):
    check_prior(Gaussian(dim))
    for sign in (-1, 1):
        wrong = changed(
            Gaussian(dim), log_prob=lambda self, z, sign=sign: Gaussian.log_prob(self, z) + sign * error
        )
        with pytest.raises(InputError, match=r"^prior.log_prob: exp\(log_prob\) integrates to about"):
            check_prior(wrong)


def test_the_prior_and_the_global_generator_stay_unchanged():
    prior, before = Gaussian(3), torch.get_rng_state()
    check_prior(prior)
    assert torch.equal(torch.get_rng_state(), before)
    assert prior.dtype == torch.float32
