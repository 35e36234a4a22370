"""What users see who pass something else than codes, kernels, priors or numbers to a penalty: one line."""

import math
import warnings

import numpy as np
import pytest
import torch
from helpers.shape_checks import no_checks

from mmdprior import KL, MMD, InputError, Latent, mmd
from mmdprior.errors import InputWarning
from mmdprior.kernels import ANOVA, IMQ, RBF, Energy, ProductKernel, RationalQuadratic, Sliced, Sum
from mmdprior.priors import Gaussian
from mmdprior.regularizers import Block, NoPenalty, Predictability, SumOfPenalties, Weighted
from mmdprior.regularizers.power import detection

Z = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
PENALTIES = {
    "known_prior": MMD(Gaussian(3)),
    "biased": MMD(Gaussian(3), estimator="biased"),
    "anova": MMD(Gaussian(3), ANOVA()),
    "median_batch": MMD(Gaussian(3), RBF("median_batch")),
    "predictability": Predictability(3, hidden=(8,)),
    "sum": SumOfPenalties([MMD(Gaussian(3)), Predictability(3, hidden=(8,))]),
    "none": NoPenalty(),
}
CODES = {
    "numpy": (Z.numpy(), "latent: ndarray received; give a torch tensor"),
    "list": (Z.tolist(), "latent: list received"),
    "none": (None, "latent: NoneType received"),
    "pair": ((Z, Z), "latent: tuple received"),
    "integers": (Z.long(), "latent: torch.int64 received; give dense floating-point codes"),
    "booleans": (Z > 0, "latent: torch.bool received"),
    "complex": (Z.to(torch.complex64), "latent: torch.complex64 received"),
    "sparse": (Z.to_sparse(), "latent: torch.sparse_coo received"),
    "one_axis": (Z[0], "latent: shape (3,) received; give (n, d) codes"),
    "three_axes": (Z[None], "latent: shape (1, 8, 3) received"),
}


def line_of(call):
    """Return the message of an InputError, as without the checks of the test suite."""
    with no_checks(), pytest.raises(InputError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 200
    return line


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("codes", CODES)
def test_other_codes_are_named(name, codes):
    value, message = CODES[codes]
    assert message in line_of(lambda: PENALTIES[name](value))


@pytest.mark.parametrize("name", [name for name in PENALTIES if name != "none"])
@pytest.mark.parametrize("rows", [0, 1])
def test_a_batch_of_one_row_names_the_remedy(name, rows):
    line = line_of(lambda: PENALTIES[name](Z[:rows]))
    assert line == (
        f"latent: a batch of {rows} received; the penalty needs 2 rows; give larger batches, or "
        "drop_last=True to the DataLoader"
    )


def test_one_row_is_enough_with_past_codes_and_for_the_kl():
    penalty = MMD(Gaussian(3), queue=16)
    penalty(Z)
    assert penalty(Z[:1]).isfinite()
    assert KL()(Latent(Z[:1], Z[:1], Z[:1])).isfinite()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["known_prior", "anova", "predictability", "sum"])
def test_codes_in_half_precision_are_computed_with_in_float32(name, dtype):
    half = Z.to(dtype)
    value = PENALTIES[name](half)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, PENALTIES[name](half.float()))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["known_prior", "anova", "predictability"])
def test_codes_that_are_not_finite_give_a_warning_with_their_number(name, number):
    codes = Z.clone()
    codes[2:4, 1] = number
    with pytest.warns(InputWarning, match="latent: NaN or infinity in 2 of 8 rows"):
        assert not PENALTIES[name](codes).isfinite()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PENALTIES[name](Z)
        PENALTIES[name](torch.full_like(Z, 1e38).half().float().clamp(max=6e4))


def test_large_finite_codes_give_no_warning():
    """Their sum overflows in half precision."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PENALTIES["known_prior"](torch.full((8, 3), 6e4, dtype=torch.float16))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mmd(Z.numpy(), Z, RBF()), "x: ndarray received"),
        (lambda: mmd(Z, Z.tolist(), RBF()), "y: list received"),
        (lambda: mmd(Z, Z.long(), RBF()), "y: torch.int64 received"),
        (lambda: mmd(Z, Z[0], RBF()), "y: shape (3,) received"),
        (lambda: mmd(Z[:1], Z, RBF()), "mmd: 1 and 8 rows received; the estimator needs 2"),
        (lambda: mmd(Z[:0], Z, RBF(), "biased"), "mmd: 0 and 8 rows received; the estimator needs 1"),
        (lambda: mmd(Z, Z, "rbf"), "kernel: 'rbf' received; give a kernel"),
        (lambda: mmd(Z, Z, RBF), "kernel: RBF received; give a kernel"),
        (lambda: RBF()(Z.numpy(), Z), "codes: ndarray received"),
        (lambda: MMD(Gaussian(3), IMQ), "kernel: IMQ received"),
        (lambda: MMD(Gaussian), "prior: the class Gaussian received"),
        (lambda: MMD(Z.numpy()), "prior: ndarray received"),
        (lambda: MMD(lambda n, dim: torch.randn(n, dim)), "without dim received; give dim"),
        (lambda: MMD(torch.distributions.Laplace(0.0, 1.0)), "distribution: batch and event shape ()"),
        (lambda: MMD(Gaussian(3), num_samples=2.5), "num_samples: 2.5 received; give an integer"),
        (lambda: MMD(Gaussian(3), queue="many"), "queue: 'many' received; give an integer"),
        (lambda: KL()((Z, Z)), "latent: tuple received; a kl penalty needs Latent(sample, mean, log_var)"),
        (
            lambda: KL()(Latent(Z, Z, Z[:, :1])),
            "latent.log_var: shape (8, 1) received; the sample has (8, 3)",
        ),
        (lambda: KL(Gaussian(3))(Latent(Z, Z[:2], Z)), "latent.mean: shape (2, 3) received"),
        (lambda: KL()(Latent(Z, Z, Z.tolist())), "latent.log_var: list received"),
        (lambda: KL(capacity="a"), "capacity: 'a' received; give a finite number"),
        (lambda: KL(capacity=1.0, capacity_steps=1.5), "capacity_steps: 1.5 received"),
        (lambda: Predictability(3.0), "dim: 3.0 received; give an integer"),
        (lambda: Predictability(3, hidden=64), "hidden: 64 received; give a width per hidden layer"),
        (lambda: Predictability(3, hidden=(64, 0)), "hidden: 0 received"),
        (lambda: SumOfPenalties(KL()), "penalties: KL received; give a list"),
        (lambda: SumOfPenalties(["kl"]), "penalty: 'kl' received; give a penalty"),
        (lambda: Weighted(KL), "penalty: KL received; give a penalty"),
        (lambda: Weighted(KL(), "a"), "weight: 'a' received"),
        (lambda: Block(2.5), "size: 2.5 received"),
        (lambda: detection(KL()), "penalty: KL received; give an MMD"),
        (lambda: RBF([1.0, 2.0]), "lengthscale: [1.0, 2.0] received; give a number"),
        (lambda: RBF(factors=2.0), "factors: 2.0 received; give at least one positive number in a list"),
        (lambda: Sum([RBF, IMQ]), "kernels: RBF received; give a kernel"),
        (lambda: ProductKernel(RBF()), "kernels: RBF received; give a list"),
        (lambda: Sum([RBF()], weights=2.0), "weights: 2.0 received; give 1 positive numbers in a list"),
        (lambda: ANOVA(lengthscale="a"), "lengthscale: a received; give a number"),
        (lambda: ANOVA(weights=[1.0]), "weights: [1.0] received; give 2 positive numbers"),
        (lambda: Sliced(directions=1.5), "directions: 1.5 received; give an integer"),
        (lambda: Energy("a"), "power: a received; give a number"),
        (lambda: RationalQuadratic(alpha="a"), "alpha: a received; give a number"),
    ],
)
def test_other_arguments_are_named(call, message):
    assert message in line_of(call)


def test_a_prior_may_be_a_function():
    def positive(n):
        return torch.rand(n, 3)

    def sized(n, dim):
        return torch.rand(n, dim)

    assert MMD(positive).prior.dim == MMD(sized, dim=3).prior.dim == 3
    assert MMD(torch.distributions.Laplace(0.0, 1.0), dim=3).prior.dim == 3
    assert MMD(lambda n, dim=3: torch.rand(n, dim))(Z).isfinite()
    with no_checks():
        numbers = MMD(positive, kernel=RBF(np.float32(1.0)), num_samples=np.int64(64))
    torch.manual_seed(0)
    expected = mmd(Z, (torch.manual_seed(1), torch.rand(64, 3))[1], RBF(1.0))
    torch.manual_seed(1)
    torch.testing.assert_close(numbers(Z), expected)
