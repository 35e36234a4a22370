"""check_kernel rejects every broken kernel with one line that names the violation."""

import pytest
import torch

from mmdprior import InputError
from mmdprior.kernels import RBF, Kernel
from mmdprior.kernels.distance import squared_distance
from mmdprior.testing import check_kernel


def gaussian(x, y):
    return torch.exp(-0.5 * squared_distance(x, y))


class Good(Kernel):
    def evaluate(self, x, y):
        return gaussian(x, y)


class Vector(Kernel):
    def evaluate(self, x, y):
        return gaussian(x, y).sum(1)


class Number(Kernel):
    def evaluate(self, x, y):
        return 1.0


class Raising(Kernel):
    def evaluate(self, x, y):
        raise RuntimeError("boom\nmore")


class Single(Kernel):
    def evaluate(self, x, y):
        return gaussian(x, y).float()


class NotFinite(Kernel):
    def evaluate(self, x, y):
        return gaussian(x, y) / 0


class Random(Kernel):
    def evaluate(self, x, y):
        return gaussian(x @ torch.randn(x.shape[1], 1).to(x), y[:, :1])


class Asymmetric(Kernel):
    def evaluate(self, x, y):
        return gaussian(x, y) * (1 + x[:, :1] ** 2)


class Indefinite(Kernel):
    def evaluate(self, x, y):
        return -squared_distance(x, y)


class ConditionallyDefinite(Indefinite):
    positive_definite = False


class TwoNames(Good):
    part_names = ("a", "b")


class TwoMeans(Good):
    def means_within(self, x, *, unbiased):
        return super().means_within(x, unbiased=unbiased).repeat(2)


class DiagonalKept(Good):
    def means_within(self, x, *, unbiased):
        return super().means_within(x, unbiased=False)


class WrongCount(Good):
    def means_across(self, x, y):
        return super().means_across(x, y) * len(x) / (len(x) - 1)


class Detached(Kernel):
    def evaluate(self, x, y):
        return gaussian(x.detach(), y.detach())


class HalfDetached(Kernel):
    def evaluate(self, x, y):
        return (gaussian(x, y) + gaussian(x.detach(), y)) / 2


class InfiniteSlope(Kernel):
    def evaluate(self, x, y):
        return torch.exp(-(x[:, None] - y).square().sum(2).sqrt())


class Bfloat(Kernel):
    def forward(self, x, y):
        return self.evaluate(x, y)

    def evaluate(self, x, y):
        return torch.exp(x @ y.T / x.shape[1])


class Rounded(Kernel):
    def evaluate(self, x, y):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inner = x @ y.T if x.dtype == torch.float64 else (x @ y.T).float()
        return torch.exp(inner)


class NotBound(Good):
    def bind(self, prior):
        return None


class NotAdapted(Good):
    def adapt(self, x, y, generator=None):
        return gaussian


class Forgetful(Good):
    def __init__(self):
        super().__init__()
        self.length = 2.0

    def __getstate__(self):
        return {**self.__dict__, "length": 1.0}

    def evaluate(self, x, y):
        return torch.exp(-0.5 * squared_distance(x, y) / self.length**2)


class WithLambda(Good):
    def __init__(self):
        super().__init__()
        self.profile = lambda r: r


@pytest.mark.parametrize("kernel", [Good(), ConditionallyDefinite(), RBF()])
def test_accepts(kernel):
    check_kernel(kernel)


BROKEN = [
    (Vector, r"Vector returned shape \(24,\) for 24 and 12 rows; return shape \(24, 12\)"),
    (Number, r"Number returned float for 24 and 12 rows"),
    (Raising, r"Raising raised RuntimeError in evaluate \(boom\)$"),
    (Single, "Single returned torch.float32 for float64 codes"),
    (NotFinite, "NotFinite returned values that are not finite"),
    (Random, "Random returned two matrices for the same codes; draw numbers in adapt"),
    (Asymmetric, "Asymmetric is not symmetric"),
    (Indefinite, "Indefinite has a Gram matrix with eigenvalue -"),
    (TwoNames, "TwoNames has 2 part_names and 1 part_weights"),
    (TwoMeans, r"TwoMeans.means_within\(x, unbiased=False\) returned shape \(2,\); return \(1,\)"),
    (DiagonalKept, r"DiagonalKept.means_within\(x, unbiased=True\) is .*; expected the mean of the matrix"),
    (WrongCount, r"WrongCount.means_across\(x, y\) is .*; expected the mean of the matrix"),
    (Detached, "Detached has no gradient in its first argument"),
    (HalfDetached, "HalfDetached has a directional derivative of .*; expected .* by finite differences"),
    (InfiniteSlope, "InfiniteSlope has a gradient that is not finite at equal points"),
    (Bfloat, "Bfloat returned torch.bfloat16 for float32 codes"),
    (Rounded, "Rounded has an error of .* in float32 under autocast"),
    (NotBound, "NotBound.bind returned NoneType; return a Kernel"),
    (NotAdapted, "NotAdapted.adapt returned function; return a Kernel"),
    (Forgetful, "Forgetful has other values after copy.deepcopy"),
    (WithLambda, r"WithLambda fails in pickling \(.*lambda.*\); keep only picklable attributes"),
]


@pytest.mark.parametrize(("broken", "message"), BROKEN)
def test_rejects(broken, message):
    with pytest.raises(InputError, match=f"^kernel: {message}") as caught:
        check_kernel(broken())
    assert "\n" not in str(caught.value)


def test_a_class_that_cannot_be_imported_need_not_be_picklable():
    class Local(WithLambda):
        pass

    check_kernel(Local())


def test_rejects_what_is_not_a_kernel():
    with pytest.raises(Exception, match="kernel: function received|Type-check|violates type hint"):
        check_kernel(gaussian)
