"""SIGReg of LeJEPA: a normality test of random projections."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.sliced import unit_directions
from mmdprior.latent import Latent
from mmdprior.priors.arguments import positive_int, positive_number
from mmdprior.regularizers.code_penalty import CodePenalty
from mmdprior.seeding import stream

__all__ = ["SIGReg"]


class SIGReg(CodePenalty):
    """Mean over random directions u of the Epps-Pulley statistic of the projected codes u'z.

    The statistic compares characteristic functions (Balestriero & LeCun, LeJEPA, arXiv 2511.08544, section
    4):

        n int |mean_a exp(i t u'z_a) - exp(-t^2/2)|^2 exp(-t^2/2) dt,

    by the trapezoid rule on [-3, 3]. Up to the ends of the integral it is n sqrt(2 pi) times the squared MMD
    to N(0, 1) under an RBF of length-scale 1, in its biased form. For codes from N(0, I) its mean is int (1 -
    exp(-t^2)) exp(-t^2/2) dt = 1.05, for every n.

    ``terms`` has ``sigreg``, the value. Published, and the defaults here: 1024 directions, 17 knots on [0,
    3]. LeJEPA's loss has (1 - lambda) and lambda = 0.05 as weights of prediction and penalty.

    Args:
        directions: number of random directions, drawn anew for every batch.
        knots: number of knots on [0, limit]; their mirror images follow by symmetry.
        limit: largest t.
        seed: seed of the directions; None, the default, draws from torch's global generator.

    Raises:
        InputError: a number of directions below 1, fewer than two knots, or a limit that is not positive.

    Example:
        >>> import torch
        >>> z = torch.randn(512, 8)
        >>> bool(SIGReg()(z) < 1.5)
        True
        >>> bool(SIGReg()(0.5 * z) > 5)
        True
    """

    name = "sigreg"
    least = 1

    def __init__(
        self, directions: int = 1024, knots: int = 17, limit: float = 3.0, seed: int | None = None
    ) -> None:
        super().__init__()
        self.directions = positive_int("directions", directions)
        if positive_int("knots", knots) < 2:
            raise InputError(f"knots: {knots} received; give at least 2")
        self.knots = knots
        self.limit = positive_number("limit", limit)
        self.seed = seed

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return f"Epps-Pulley statistic of {self.directions} directions, {self.knots} knots to {self.limit:g}"

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return the mean over directions."""
        z = latent.sample
        generator = None if self.seed is None else stream(self.seed, "sigreg", step, z.device)
        projected = z @ unit_directions(z.shape[1], self.directions, generator, z.device).to(z)
        t = torch.linspace(0, self.limit, self.knots, dtype=z.dtype, device=z.device)
        normal = torch.exp(-0.5 * t.square())
        spacing = self.limit / (self.knots - 1)
        # Knots t and -t contribute equally, t = 0 is its own mirror image, and the ends have half the weight.
        weights = 2 * spacing * normal
        weights[0], weights[-1] = spacing * normal[0], spacing * normal[-1]
        phase = projected[:, :, None] * t
        error = (phase.cos().mean(0) - normal).square() + phase.sin().mean(0).square()
        value = len(z) * (error @ weights).mean()
        return value, {"sigreg": value}
