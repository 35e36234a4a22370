"""An encoder that was trained elsewhere as a module from images in [0, 1] to (n, p) outputs."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.choices import PosteriorName, Spatial
from mmdprior.errors import DATA_LOG, InputError, reason, shorten
from mmdprior.models import Autoencoder, DeterministicPosterior, GaussianPosterior
from mmdprior.scoring.outputs import read_outputs, without_positions

__all__ = ["EncoderOptions", "ForeignEncoder", "as_model"]

_log = logging.getLogger(DATA_LOG)


@dataclass(frozen=True)
class EncoderOptions:
    """How an encoder that was trained elsewhere is called, and how its outputs are read.

    Attributes:
        key: dotted path of the state dict in the file of weights, or name of the codes in a file of codes;
            None finds it.
        prefix: start of the names of the weights to load, which is removed.
        method: method or submodule that encodes, such as ``encode`` or ``model.encoder``; None calls the
            module.
        outputs: names or positions of the codes, or of means and log-variances, among the outputs.
        spatial: what becomes of the positions of spatial codes: ``flatten``, ``pool`` or ``positions``.
        input_range: values of black and white that the encoder expects; (0, 1) by default.
        input_mean: mean per channel that is subtracted from images in [0, 1].
        input_std: standard deviation per channel that they are divided by.

    Raises:
        InputError: a range and a mean are both set, or only one of mean and standard deviation is.

    Example:
        >>> import torch
        >>> from mmdprior.scoring.foreign_encoder import EncoderOptions
        >>> EncoderOptions(input_range=(-1, 1)).scaled(torch.tensor([[[[0.0, 0.5, 1.0]]]])).flatten().tolist()
        [-1.0, 0.0, 1.0]
    """

    key: str | None = None
    prefix: str = ""
    method: str | None = None
    outputs: Sequence[str] = ()
    spatial: Spatial | None = None
    input_range: Sequence[int | float] | None = None
    input_mean: Sequence[int | float] = ()
    input_std: Sequence[int | float] = ()

    def __post_init__(self) -> None:
        if len(self.outputs) > 2:
            raise InputError(f"--outputs: {list(self.outputs)} received; give CODES, or MEAN LOG_VAR")
        if self.input_range is not None and (self.input_mean or self.input_std):
            raise InputError("--input-range: received with --input-mean or --input-std; give one of them")
        if self.input_range is not None and not self.input_range[0] < self.input_range[1]:
            raise InputError(f"--input-range: {list(self.input_range)} received; give LOW HIGH, such as -1 1")
        if bool(self.input_mean) != bool(self.input_std):
            raise InputError("--input-mean, --input-std: only one received; give both")
        if any(std <= 0 for std in self.input_std):
            raise InputError(f"--input-std: {list(self.input_std)} received; give numbers above 0")

    def scaled(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
        """Return images in [0, 1] in the range that the encoder expects.

        Raises:
            InputError: the samples are no images, or the number of means is not that of channels.
        """
        if self.input_range is None and not self.input_mean:
            return images
        if images.ndim != 4:
            raise InputError(
                "--input-range, --input-mean: received for data that are no images; leave it out"
            )
        if self.input_range is not None:
            low, high = self.input_range
            return images * (high - low) + low
        mean, std = (
            images.new_tensor(values).view(1, -1, 1, 1) for values in (self.input_mean, self.input_std)
        )
        for name, values in (("--input-mean", mean), ("--input-std", std)):
            if values.shape[1] not in (1, images.shape[1]):
                raise InputError(
                    f"{name}: {values.shape[1]} numbers received; the images have {images.shape[1]} channels"
                )
        return (images - mean) / std


class ForeignEncoder(nn.Module):
    """An encoder that was trained elsewhere, with outputs (n, p): codes, or means and log-variances.

    Whether it is called with images or with rows of pixels, and how its outputs are read, is decided by the
    first batch.

    Args:
        module: the encoder, or a model with a method that encodes.
        options: how it is called and read.
        posterior: meaning of outputs without names; see `mmdprior.scoring.outputs.read_outputs`.

    Attributes:
        stochastic: whether the outputs are means and log-variances, after the first batch.
        positions: number of positions per image whose channels are codes of their own, after the first batch.
        unnamed: whether the outputs are one tensor that was read as codes, after the first batch.

    Example:
        >>> import torch
        >>> from mmdprior.scoring.foreign_encoder import EncoderOptions, ForeignEncoder
        >>> class Net(torch.nn.Module):
        ...     def encode(self, images):
        ...         return images.flatten(1)[:, :2], -torch.ones(len(images), 2)
        >>> encoder = ForeignEncoder(Net(), EncoderOptions(method="encode"))
        >>> encoder(torch.rand(5, 1, 8, 8)).shape, encoder.stochastic
        (torch.Size([5, 4]), True)
    """

    def __init__(
        self, module: nn.Module, options: EncoderOptions, posterior: PosteriorName | None = None
    ) -> None:
        super().__init__()
        self.module, self.options, self.posterior = module, options, posterior
        self._call()  # raise for an unknown method before any work
        self.flat: bool | None = None
        self.stochastic, self.positions, self.unnamed = False, 1, False

    def forward(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n p"]:
        """Return codes, or means and log-variances next to each other.

        Raises:
            InputError: it is unclear which of the outputs are codes, or they have positions; see
                `read_outputs` and `without_positions`.
        """
        scaled = self.options.scaled(images)
        first = self.flat is None
        outputs = self._first(scaled) if first else self._call()(scaled.flatten(1) if self.flat else scaled)
        moments = read_outputs(outputs, self.posterior, self.options.outputs)
        self.unnamed = isinstance(outputs, Tensor) and self.posterior is None
        if first and moments.note:
            # Later batches are read like the first one.
            self.posterior = "gaussian" if "log_var" in moments.note else "gaussian_std"
            _log.info("encoder: a pair %s; --posterior sets another meaning", moments.note)
        moments, self.positions = without_positions(moments, self.options.spatial)
        self.stochastic = moments.log_var is not None
        return moments.mean if moments.log_var is None else torch.cat([moments.mean, moments.log_var], 1)

    def _first(self, images: Tensor) -> Any:
        """Return the outputs of the first batch; an encoder that rejects images gets rows of pixels."""
        try:
            outputs = self._call()(images)
            self.flat = False
            return outputs
        except InputError:
            raise
        except Exception as error:  # any error of the user's code
            if images.ndim == 2:
                raise
            try:
                outputs = self._call()(images.flatten(1))
            except Exception:  # the error for images is the one to report
                raise error from None
            self.flat = True
            _log.info("encoder: images are given as rows of %d numbers", images[0].numel())
            return outputs

    def _call(self) -> Callable[[Tensor], Any]:
        value: Any = self.module
        for name in self.options.method.split(".") if self.options.method else ():
            value = getattr(value, name, None)
            if value is None:
                names = [*_methods(self.module), *(child for child, _ in self.module.named_children())]
                raise InputError(
                    f"--method: {self.options.method!r} received; {type(self.module).__name__} has "
                    f"{shorten(', '.join(names))}"
                )
        if not callable(value):
            raise InputError(f"--method: {self.options.method!r} received, which cannot be called")
        return value


def as_model(
    encoder: nn.Module,
    name: str,
    posterior: PosteriorName | None,
    images: Float[Tensor, "n *sample"],
    options: EncoderOptions = EncoderOptions(),
) -> Autoencoder:
    """Wrap an encoder as a model without a decoder, after a test with some images.

    Args:
        encoder: module from images to codes; its outputs may have any form that `read_outputs` reads.
        name: name of the encoder in errors.
        posterior: meaning of outputs without names.
        images: some images on the device of the encoder, at least two.
        options: how the encoder is called and read.

    Raises:
        InputError: the encoder raises an error, or its outputs cannot be read.
    """
    foreign = ForeignEncoder(encoder.eval(), options, posterior)
    shape = tuple(images.shape[1:])
    try:
        with torch.no_grad():
            foreign(images)
            kind = GaussianPosterior if foreign.stochastic else DeterministicPosterior
            model = Autoencoder(foreign, _NoDecoder(), kind()).eval()
            model.encode(images)
    except InputError as error:
        text = str(error)
        raise error if text.startswith((name, "--")) else InputError(f"{name}: {text}") from None
    except Exception as error:  # any error of the user's code
        raise InputError(f"{name} does not accept images of {shape} ({_first_error(error)})") from error
    return model


class _NoDecoder(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        raise InputError("decoder: received no decoder with this encoder; call encode, not decode")


def _methods(module: nn.Module) -> list[str]:
    """Return the public methods that the class of a module adds to those of `nn.Module`."""
    names = [name for name in dir(type(module)) if not name.startswith("_") and not hasattr(nn.Module, name)]
    return ["forward", *(name for name in names if callable(getattr(type(module), name, None)))]


def _first_error(error: Exception) -> str:
    """Return the line with the error itself; TorchScript prints a traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines if "Error: " in line]
    return shorten(errors[-1]) if errors else reason(error)
