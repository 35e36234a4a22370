"""What a ``name`` in a YAML file stands for, slot by slot."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from mmdprior.data import arrays, image_folder, sprites, tiny_imagenet, torchvision_set
from mmdprior.kernels import (
    ANOVA,
    IMQ,
    RBF,
    WAE_IMQ,
    Energy,
    Laplacian,
    Matern32,
    Matern52,
    RationalQuadratic,
    Sliced,
    Sum,
)
from mmdprior.kernels import ProductKernel as KernelProduct
from mmdprior.models import (
    BernoulliLikelihood,
    ConvDecoder,
    ConvEncoder,
    DeterministicPosterior,
    GaussianLikelihood,
    GaussianPosterior,
    LaplaceLikelihood,
    LinearDecoder,
    LinearEncoder,
    MLPDecoder,
    MLPEncoder,
    ResNetDecoder,
    ResNetEncoder,
)
from mmdprior.priors import (
    Affine,
    Ball,
    Beta,
    Chain,
    Circle,
    Corners,
    Correlated,
    FullGaussian,
    GaussianMixture,
    GeneralizedGaussian,
    Grid,
    GroupSparse,
    Logistic,
    LowRankGaussian,
    Pinwheel,
    Product,
    Rotation,
    Samples,
    Sphere,
    SpikeAndSlab,
    StudentT,
    SwissRoll,
    Transform,
    Tree,
    TwoMoons,
    Uniform,
)
from mmdprior.priors import Bernoulli as BernoulliPrior
from mmdprior.priors import Gaussian as GaussianPrior
from mmdprior.priors import Laplace as LaplacePrior
from mmdprior.regularizers import KL, MMD, NoPenalty, Predictability, SumOfPenalties, Weighted
from mmdprior.regularizers.estimators import ESTIMATORS
from mmdprior.training import Constant, Cosine, Cyclical, Warmup

__all__ = ["INJECTED", "LISTS", "NAMES", "NESTED", "samples"]


def samples(path: str, file_content: Tensor) -> Samples:
    """Draw rows of a file with replacement.

    Args:
        path: ``.npy``, ``.npz`` or ``.pt`` with one (m, d) array, or another run's checkpoint: the codes of
            its training images, encoded once.
        file_content: the array, read by the builder or taken from a checkpoint.
    """
    return Samples(file_content)


def _by_name(name: str) -> str:
    """Leave the choice to the penalty, which knows the kernel and the prior."""
    return name


NAMES: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "prior": {
        "affine": Affine,
        "ball": Ball,
        "bernoulli": BernoulliPrior,
        "beta": Beta,
        "chain": Chain,
        "circle": Circle,
        "corners": Corners,
        "correlated": Correlated,
        "full_gaussian": FullGaussian,
        "gaussian": GaussianPrior,
        "gaussian_mixture": GaussianMixture,
        "gaussian_mixture_grid": GaussianMixture.grid,
        "gaussian_mixture_hypercube": GaussianMixture.hypercube,
        "gaussian_mixture_ring": GaussianMixture.ring,
        "gaussian_mixture_simplex": GaussianMixture.simplex,
        "generalized_gaussian": GeneralizedGaussian,
        "grid": Grid,
        "group_sparse": GroupSparse,
        "laplace": LaplacePrior,
        "logistic": Logistic,
        "low_rank_gaussian": LowRankGaussian,
        "pinwheel": Pinwheel,
        "product": Product,
        "rotation": Rotation,
        "samples": samples,
        "sphere": Sphere,
        "spike_and_slab": SpikeAndSlab,
        "student_t": StudentT,
        "swiss_roll": SwissRoll,
        "transform": Transform,
        "tree": Tree,
        "two_moons": TwoMoons,
        "uniform": Uniform,
    },
    "kernel": {
        "anova": ANOVA,
        "energy": Energy,
        "imq": IMQ,
        "laplacian": Laplacian,
        "matern32": Matern32,
        "matern52": Matern52,
        "product": KernelProduct,
        "rational_quadratic": RationalQuadratic,
        "rbf": RBF,
        "sliced": Sliced,
        "sum": Sum,
        "wae_imq": WAE_IMQ,
    },
    "function": {},
    "estimator": {
        **ESTIMATORS,
        "auto": partial(_by_name, "auto"),
        "known_prior": partial(_by_name, "known_prior"),
    },
    "regularizer": {
        "kl": KL,
        "mmd": MMD,
        "none": NoPenalty,
        "predictability": Predictability,
        "sum": SumOfPenalties,
    },
    "weighted_regularizer": {"weighted": Weighted},
    "schedule": {"constant": Constant, "cosine": Cosine, "cyclical": Cyclical, "warmup": Warmup},
    "encoder": {
        "conv": ConvEncoder,
        "linear": LinearEncoder,
        "mlp": MLPEncoder,
        "resnet": ResNetEncoder,
    },
    "decoder": {
        "conv": ConvDecoder,
        "linear": LinearDecoder,
        "mlp": MLPDecoder,
        "resnet": ResNetDecoder,
    },
    "posterior": {"deterministic": DeterministicPosterior, "gaussian": GaussianPosterior},
    "likelihood": {
        "bernoulli": BernoulliLikelihood,
        "gaussian": GaussianLikelihood,
        "laplace": LaplaceLikelihood,
    },
    "source": {
        "arrays": arrays,
        "image_folder": image_folder,
        "sprites": sprites,
        "tiny_imagenet": tiny_imagenet,
        **{
            name: partial(torchvision_set, name)
            for name in (
                "celeba",
                "cifar10",
                "cifar100",
                "fashion_mnist",
                "kmnist",
                "mnist",
                "svhn",
            )
        },
    },
}
"""Slot -> name -> what is called with the arguments that stand beside the name."""

INJECTED: Mapping[str, frozenset[str]] = {
    "prior": frozenset({"file_content"}),
    "kernel": frozenset(),
    "function": frozenset(),
    "estimator": frozenset(),
    "regularizer": frozenset({"seed", "dim"}),
    "weighted_regularizer": frozenset(),
    "schedule": frozenset({"steps"}),
    "encoder": frozenset({"image_shape", "num_params"}),
    "decoder": frozenset({"image_shape", "latent_dim"}),
    "posterior": frozenset(),
    "likelihood": frozenset(),
    "source": frozenset(),
}
"""Arguments that the builder supplies where a signature has them; YAML cannot set them."""

NESTED: Mapping[str, Mapping[str, str]] = {
    "prior": {"base": "prior", "blocks": "prior", "fn": "function"},
    "kernel": {"kernels": "kernel"},
    "regularizer": {
        "prior": "prior",
        "kernel": "kernel",
        "estimator": "estimator",
        "penalties": "weighted_regularizer",
    },
    "weighted_regularizer": {"penalty": "regularizer", "schedule": "schedule"},
}
"""Slot -> arguments that are slots themselves -> of which kind."""

LISTS = frozenset({"blocks", "kernels", "penalties"})
"""Those of them that are lists."""
