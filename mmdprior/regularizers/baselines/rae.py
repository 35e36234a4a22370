"""Regularised autoencoders: the norm of the codes, and a penalty on the decoder."""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.priors.arguments import positive_number
from mmdprior.regularizers.code_penalty import CodePenalty
from mmdprior.seeding import generator_options, stream

__all__ = ["RAE"]

DecoderPenalty = Literal["l2", "gradient", "none"]


class RAE(CodePenalty):
    """beta E |z|^2 / 2 + lambda R(decoder), for deterministic codes (Ghosh et al., arXiv 1903.12436, eq. 6).

    R is one of the penalties of its section 3.2:

    - ``l2``: the sum of the squared weights of the decoder (RAE-L2);
    - ``gradient``: E |dD(z)/dz|^2, the squared Frobenius norm of the Jacobian of the decoder at each code
      (RAE-GP). It is estimated without bias by one random projection v per code, E_v |J'v|^2 with v ~ N(0,
      I);
    - ``none`` (RAE).

    Its spectral normalisation is not a penalty, but a parametrisation: wrap the layers of your decoder with
    ``torch.nn.utils.parametrizations.spectral_norm``.

    The decoder is received from the training loop by `before_training`. Every process computes ``gradient``
    for the global batch.

    ``terms`` has ``code_norm``, E |z|^2 / 2, and ``decoder``, R. Published for MNIST, and the defaults here:
    beta 1e-4 and lambda 1e-7 with ``l2``, batch 100, for squared errors averaged over pixels. For their sum
    over P pixels the weight is P.

    Args:
        decoder: ``l2``, ``gradient`` or ``none``.
        beta: factor of the code norm.
        lambda_: lambda of the paper, the factor of the penalty on the decoder.
        seed: seed of the projections; None, the default, draws from torch's global generator.

    Raises:
        InputError: another penalty, or a negative factor.

    Example:
        >>> import torch
        >>> from mmdprior.models import Autoencoder, LinearDecoder, LinearEncoder
        >>> model = Autoencoder(LinearEncoder((1, 4, 4), 2), LinearDecoder((1, 4, 4), 2))
        >>> penalty = RAE()
        >>> penalty.before_training(model=model, images=100)
        >>> penalty(torch.ones(8, 2)).shape, penalty.terms["code_norm"]
        (torch.Size([]), tensor(1.))
    """

    name = "rae"
    least = 1

    def __init__(
        self,
        decoder: DecoderPenalty = "l2",
        beta: float = 1e-4,
        lambda_: float = 1e-7,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if decoder not in get_args(DecoderPenalty):
            raise InputError(f"decoder: {decoder!r} received; give l2, gradient or none")
        self.decoder_penalty = decoder
        self.beta = positive_number("beta", beta, allow_zero=True)
        self.lambda_ = positive_number("lambda_", lambda_, allow_zero=True)
        self.seed = seed
        self._decoder: tuple[nn.Module, ...] = ()  # in a tuple: the decoder is no part of the penalty

    def before_training(
        self, *, model: nn.Module, images: int, examples: Callable[[int], Tensor] | None = None
    ) -> None:
        """Receive the decoder of the model."""
        self._decoder = (model.get_submodule("decoder"),)

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        norm = f"{self.beta:g} |z|^2 / 2"
        if self.decoder_penalty == "none":
            return norm
        return f"{norm} + {self.lambda_:g} {self.decoder_penalty} penalty of the decoder"

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return the penalty and its parts."""
        norm = 0.5 * latent.sample.square().sum(1).mean()
        if self.decoder_penalty == "none":
            return self.beta * norm, {"code_norm": norm}
        if not self._decoder:
            raise InputError("decoder: missing; call before_training(model=..., images=...) first")
        (decoder,) = self._decoder
        if self.decoder_penalty == "l2":
            penalty = torch.stack([weight.square().sum() for weight in decoder.parameters()]).sum()
        else:
            penalty = self._jacobian_norm(decoder, (latent.base or latent).sample, step)
        value = self.beta * norm + self.lambda_ * penalty.to(norm)
        return value, {"code_norm": norm, "decoder": penalty}

    def _jacobian_norm(self, decoder: nn.Module, codes: Float[Tensor, "n d"], step: int) -> Float[Tensor, ""]:
        """Return the mean over codes of |J'v|^2 for a random v."""
        codes = codes.to(next(decoder.parameters()).dtype)
        generator = None if self.seed is None else stream(self.seed, "rae", step, codes.device)
        with torch.enable_grad():
            codes = codes if codes.requires_grad else codes.detach().requires_grad_()
            output = decoder(codes)
            v = torch.randn(
                output.shape, **generator_options(generator), dtype=output.dtype, device=output.device
            )
            (product,) = torch.autograd.grad((output * v).sum(), codes, create_graph=True)
        return product.square().sum(1).mean()
