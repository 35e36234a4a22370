"""The catalogue: the factory behind every ``name`` in a YAML file, slot by slot.

This is the only file of the package that imports the parts themselves; the others know their contracts.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from mmdprior.data import (
    arrays,
    cars3d,
    dsprites,
    image_folder,
    mpi3d,
    shapes3d,
    shards,
    smallnorb,
    sprites,
    tiny_imagenet,
    torchvision_set,
)
from mmdprior.flows import bijection_from_spec, trainable_flow
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
    FSQ,
    QLAE,
    BernoulliLikelihood,
    ConvDecoder,
    ConvEncoder,
    DCTDecoder,
    DCTEncoder,
    DeterministicPosterior,
    GaussianLikelihood,
    GaussianPosterior,
    LaplaceLikelihood,
    LinearDecoder,
    LinearEncoder,
    MixerDecoder,
    MixerEncoder,
    MLPDecoder,
    MLPEncoder,
    ResNetDecoder,
    ResNetEncoder,
    UniformQuantiser,
)
from mmdprior.priors import (
    Affine,
    Ball,
    Beta,
    Chain,
    Circle,
    ClassMixture,
    Corners,
    Correlated,
    Factors,
    FullGaussian,
    GaussianMixture,
    GeneralizedGaussian,
    Grid,
    GroupSparse,
    Logistic,
    LowRankGaussian,
    PerClass,
    Pinwheel,
    Product,
    Rectified,
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
    Vamp,
)
from mmdprior.priors import Bernoulli as BernoulliPrior
from mmdprior.priors import Gaussian as GaussianPrior
from mmdprior.priors import Laplace as LaplacePrior
from mmdprior.regularizers import (
    DHSIC,
    DIP,
    KL,
    MMD,
    RAE,
    WAEGAN,
    BetaTC,
    ConditionalMMD,
    CramerWold,
    CrossEntropy,
    Decorrelation,
    Factor,
    Info,
    LinearHead,
    Nash,
    NoPenalty,
    Predictability,
    SIGReg,
    SlicedWasserstein,
    SquaredError,
    SumOfPenalties,
    VICReg,
    Weighted,
)
from mmdprior.regularizers.estimators import ESTIMATORS
from mmdprior.training import Constant, Cosine, Cyclical, MLflow, RunLogger, Target, WandB, Warmup

__all__ = ["NAMES", "samples"]


def tensorboard(directory: Path, start: int) -> RunLogger:
    """Return a logger that writes TensorBoard event files to the run directory."""
    return RunLogger(directory, start)


def samples(path: str, file_content: Tensor) -> Samples:
    """Return a prior that draws rows of a file with replacement.

    Args:
        path: a ``.npy``, ``.npz`` or ``.pt`` file with one (m, d) array, or the checkpoint of another run,
            which stands for the codes of its training images.
        file_content: the array, which the builder supplies.
    """
    return Samples(file_content)


def _by_name(name: str) -> str:
    """Return the name of an estimator: the penalty chooses, because it knows kernel and prior."""
    return name


NAMES: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "prior": {
        "affine": Affine,
        "ball": Ball,
        "bernoulli": BernoulliPrior,
        "beta": Beta,
        "chain": Chain,
        "circle": Circle,
        "class_mixture": ClassMixture,
        "corners": Corners,
        "correlated": Correlated,
        "factors": Factors,
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
        "per_class": PerClass,
        "pinwheel": Pinwheel,
        "product": Product,
        "rectified": Rectified,
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
        "vamp": Vamp,
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
        "beta_tc": BetaTC,
        "conditional_mmd": ConditionalMMD,
        "cramer_wold": CramerWold,
        "cross_entropy": CrossEntropy,
        "decorrelation": Decorrelation,
        "dhsic": DHSIC,
        "dip": DIP,
        "factor": Factor,
        "info": Info,
        "kl": KL,
        "linear_head": LinearHead,
        "mmd": MMD,
        "nash": Nash,
        "none": NoPenalty,
        "predictability": Predictability,
        "rae": RAE,
        "sigreg": SIGReg,
        "sliced_wasserstein": SlicedWasserstein,
        "squared_error": SquaredError,
        "sum": SumOfPenalties,
        "vicreg": VICReg,
        "wae_gan": WAEGAN,
    },
    "weighted_regularizer": {"weighted": Weighted},
    "schedule": {
        "constant": Constant,
        "cosine": Cosine,
        "cyclical": Cyclical,
        "target": Target,
        "warmup": Warmup,
    },
    "encoder": {
        "conv": ConvEncoder,
        "dct": DCTEncoder,
        "linear": LinearEncoder,
        "mixer": MixerEncoder,
        "mlp": MLPEncoder,
        "resnet": ResNetEncoder,
    },
    "decoder": {
        "conv": ConvDecoder,
        "dct": DCTDecoder,
        "linear": LinearDecoder,
        "mixer": MixerDecoder,
        "mlp": MLPDecoder,
        "resnet": ResNetDecoder,
    },
    "posterior": {"deterministic": DeterministicPosterior, "gaussian": GaussianPosterior},
    "likelihood": {
        "bernoulli": BernoulliLikelihood,
        "gaussian": GaussianLikelihood,
        "laplace": LaplaceLikelihood,
    },
    "quantiser": {"fsq": FSQ, "qlae": QLAE, "uniform": UniformQuantiser},
    "logger": {"mlflow": MLflow, "tensorboard": tensorboard, "wandb": WandB},
    "callback": {},
    "flow": {"coupling": trainable_flow, "saved": bijection_from_spec},
    "source": {
        "arrays": arrays,
        "cars3d": cars3d,
        "dsprites": dsprites,
        "image_folder": image_folder,
        "mpi3d": mpi3d,
        "shapes3d": shapes3d,
        "shards": shards,
        "smallnorb": smallnorb,
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
"""Kind of slot -> name -> the factory that is called with the arguments next to the name."""
