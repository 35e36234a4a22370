"""The sections of a config, every field documented; slots are checked beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from mmdprior.config.slots import Slot, check_slot, first_error, nearest
from mmdprior.errors import InputError, shorten

__all__ = ["Config", "SECTIONS", "Section", "check_section"]

Positive = pydantic.PositiveInt
Share = float | int
PredictorName = Literal["linear", "additive", "mlp", "experts", "information", "trees"]
Decay = Annotated[float, Field(ge=0, lt=1)]


class Section(pydantic.BaseModel):
    """A section of the YAML file; unknown keys are refused."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    own_slot: ClassVar[str | None] = None
    """Kind of the slot whose name and arguments stand flat among the section's keys."""
    slots: ClassVar[Mapping[str, str]] = {}
    """Keys that are slots, with their kinds."""


class DataSection(Section):
    """``data``: where the images come from, how they are split and batched."""

    own_slot = "source"

    batch_size: Positive = Field(
        64, description="Images a training step, of all processes and accumulated parts together."
    )
    validation: Share = Field(
        0.1,
        description="Images held out for validation: a count, or a fraction of the training images.",
    )
    test: Share = Field(
        0.1,
        description="Images held out for testing, where the data has no test images of its own.",
    )
    limit: Positive | None = Field(None, description="Train on this many images only; null for all.")
    split_seed: int = Field(0, description="Seed of the splits; kept apart from the run's seed.")
    resident: bool | Literal["auto"] = Field(
        "auto",
        description="Hold the images as one tensor on the training device (true), stream them "
        "(false), or decide by size (auto).",
    )
    workers: pydantic.NonNegativeInt = Field(2, description="Processes that read streamed images.")
    flip: bool = Field(False, description="Flip each training image horizontally with probability .5.")
    shift: pydantic.NonNegativeInt = Field(
        0, description="Shift each training image by up to this many pixels, its edges reflected."
    )


class ModelSection(Section):
    """``model``: the autoencoder. ``name`` and its arguments choose encoder and decoder together."""

    own_slot = "encoder"
    slots = {
        "encoder": "encoder",
        "decoder": "decoder",
        "posterior": "posterior",
        "likelihood": "likelihood",
    }

    latent_dim: Positive = Field(description="Number of latent dimensions d.")
    posterior: Any = Field("deterministic", description="deterministic, gaussian, or a target.")
    likelihood: Any = Field("gaussian", description="gaussian, bernoulli, laplace, or a target.")
    linear_skip: bool = Field(
        False, description="Put a PCA-initialised linear path beside encoder and decoder."
    )
    encoder: Any = Field(None, description="An encoder of its own, in place of name.")
    decoder: Any = Field(None, description="A decoder of its own, in place of name.")


class RegularizerSection(Section):
    """``regularizer``: the penalty on the latents."""

    own_slot = "regularizer"
    slots = {"schedule": "schedule"}

    weight: float = Field(1.0, ge=0, description="Factor of the penalty beside the reconstruction loss.")
    schedule: Any = Field("constant", description="Factor on the weight: constant, warmup, cyclical, cosine.")


class TrainerSection(Section):
    """``trainer``: optimisation, logging and checkpoints."""

    slots = {"schedule": "schedule"}

    steps: pydantic.NonNegativeInt = Field(description="Updates; 0 records the model as built.")
    device: str = Field("auto", description="auto (cuda, else mps, else cpu), or a torch device.")
    optimizer: Literal["adam", "adamw"] = Field("adam", description="adam, or adamw.")
    learning_rate: pydantic.PositiveFloat = Field(1e-3, description="Step size of the optimizer.")
    betas: list[Decay] = Field([0.9, 0.999], min_length=2, max_length=2, description="Adam's decay rates.")
    weight_decay: pydantic.NonNegativeFloat = Field(0.0, description="Decoupled with adamw.")
    schedule: Any = Field("constant", description="Factor on the learning rate: constant, cosine, warmup.")
    gradient_clip: pydantic.PositiveFloat | None = Field(
        None, description="Largest norm of the gradient; null leaves it alone."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16 runs the networks under autocast; losses stay in float32."
    )
    channels_last: bool = Field(
        False, description="Lay images and convolutions out channels last, faster on GPUs in bfloat16."
    )
    compile: bool = Field(
        False, description="Run encoder and decoder through torch.compile; the first step takes a minute."
    )
    accumulate: Positive = Field(
        1,
        description="Take each batch in so many parts, to save memory; the gradient is that of the whole "
        "batch, penalty included, and the encoder runs twice.",
    )
    average: Decay | None = Field(
        None,
        description="Decay of an exponential moving average of the weights, such as 0.999, which is what "
        "validation, score and load use then; null keeps none.",
    )
    auxiliary_learning_rate: pydantic.PositiveFloat = Field(
        1e-3, description="Adam's step size for learned parts of the regularizer."
    )
    auxiliary_betas: list[Decay] = Field(
        [0.5, 0.9], min_length=2, max_length=2, description="Adam's decay rates for those."
    )
    log_every: Positive = Field(50, description="Steps between logged numbers.")
    checkpoint_every: Positive = Field(500, description="Steps between rewrites of checkpoints/last.pt.")
    keep_every: Positive | None = Field(None, description="Steps between checkpoints that are kept.")
    keep_last: Positive | None = Field(None, description="How many of those stay, the newest; null for all.")


class EvaluationSection(Section):
    """``evaluation``: what is measured, on the validation split while training and on test at the end."""

    slots = {"prior": "prior"}

    every: Positive = Field(1000, description="Steps between validations.")
    prior: Any = Field(
        None,
        description="The intended prior; the regularizer's by default, N(0, I) where it has none.",
    )
    limit: Positive | None = Field(10_000, description="Images encoded for a score; null for all.")
    batch_size: Positive = Field(512, description="Images at a time.")
    predictors: list[PredictorName] = Field(["linear"], description="LPS while training.")
    final_predictors: list[PredictorName] = Field(
        ["linear", "mlp"], description="LPS at the end, on the test split."
    )
    pictures: bool = Field(
        True, description="Draw pictures and figures at validations, and pictures into report/ at the end."
    )
    match_samples: int = Field(512, ge=2, description="Codes and draws in the standardised MMD.")
    monitor: Literal[
        "reconstruction/psnr",
        "lps/linear",
        "lps/additive",
        "lps/mlp",
        "lps/experts",
        "lps/information",
        "lps/trees",
        "match/mmd_standardised",
    ] = Field(
        "reconstruction/psnr",
        description="What selects checkpoints/best.pt: the highest psnr, or the lowest of another.",
    )
    patience: Positive | None = Field(
        None,
        description="Validations without a better value of monitor after which training ends; null trains "
        "all steps.",
    )


class TopSection(Section):
    """The keys outside the sections."""

    name: str = Field(
        pattern=r"^\w[\w.+-]*(/\w[\w.+-]*)*$", description="Name of the run, and of its folder."
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="Seeds initialisation, data order, prior draws and posterior noise."
    )


SECTIONS: Mapping[str, type[Section]] = {
    "data": DataSection,
    "model": ModelSection,
    "regularizer": RegularizerSection,
    "trainer": TrainerSection,
    "evaluation": EvaluationSection,
}


class Config:
    """A checked config.

    Attributes:
        name: of the run.
        seed: of the run.
        data: plain settings; likewise model, regularizer, trainer, evaluation.
        slots: checked slots by path, such as ``data``, ``model.encoder``, ``regularizer``.

    Args:
        raw: the content of a YAML file.
        folder: of that file, from where relative targets are looked up.

    Raises:
        InputError: the first thing that is wrong: key path, value, what was expected.
    """

    def __init__(self, raw: Mapping[str, Any], folder: Path) -> None:
        top = {key: value for key, value in raw.items() if key not in SECTIONS}
        for key in top:
            if key not in TopSection.model_fields:
                raise InputError(
                    f"{key}: unknown key; {nearest(str(key), [*TopSection.model_fields, *SECTIONS])}"
                )
        checked = _validate(TopSection, top, "")
        self.name: str = checked.name
        self.seed: int = checked.seed
        self.slots: dict[str, Slot] = {}
        self._sections: dict[str, Section] = {}
        for name in SECTIONS:
            self._check_section(name, raw.get(name, {}), folder)
        self.data: DataSection = self._sections["data"]  # type: ignore[assignment]
        self.model: ModelSection = self._sections["model"]  # type: ignore[assignment]
        self.regularizer: RegularizerSection = self._sections["regularizer"]  # type: ignore[assignment]
        self.trainer: TrainerSection = self._sections["trainer"]  # type: ignore[assignment]
        self.evaluation: EvaluationSection = self._sections["evaluation"]  # type: ignore[assignment]
        if self.trainer.keep_last is not None and self.trainer.keep_every is None:
            raise InputError(f"trainer.keep_last: {self.trainer.keep_last} received; give keep_every, too")

    def _check_section(self, name: str, raw: Any, folder: Path) -> None:
        kind = SECTIONS[name]
        if not isinstance(raw, Mapping):
            raise InputError(f"{name}: {shorten(repr(raw))} received; give a mapping")
        fields = kind.model_fields
        plain = {key: value for key, value in raw.items() if key in fields}
        rest = {key: value for key, value in raw.items() if key not in fields}
        if kind.own_slot is None:
            for key in rest:
                raise InputError(f"{name}.{key}: unknown key; {nearest(str(key), fields)}")
        self._sections[name] = _validate(kind, plain, name)
        for key, slot_kind in kind.slots.items():
            value = getattr(self._sections[name], key)
            if value is None and fields[key].default is not None:
                raise InputError(f"{name}.{key}: null received; give a {slot_kind}, or leave the key out")
            if value is not None:
                self.slots[f"{name}.{key}"] = check_slot(slot_kind, value, f"{name}.{key}", folder)
        if name == "model":
            self._check_networks(rest, folder)
        elif kind.own_slot is not None:
            self.slots[name] = check_slot(kind.own_slot, rest, name, folder, fields)

    def _check_networks(self, rest: Mapping[str, Any], folder: Path) -> None:
        """Let ``name`` and its arguments stand for encoder and decoder, unless given one by one."""
        missing = [kind for kind in ("encoder", "decoder") if f"model.{kind}" not in self.slots]
        if rest.get("target") is not None:
            raise InputError("model.target: give encoder: {target: ...} and decoder: {target: ...}")
        if not missing and rest:
            key = next(iter(rest))
            raise InputError(f"model.{key}: unknown beside encoder and decoder; leave it out")
        for kind in missing:
            self.slots[f"model.{kind}"] = check_slot(kind, rest, "model", folder, ModelSection.model_fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved config: every default filled in, ready for YAML."""
        resolved: dict[str, Any] = {"name": self.name, "seed": self.seed}
        for name, section in self._sections.items():
            kind = SECTIONS[name]
            plain = section.model_dump()
            for key in kind.slots:
                plain[key] = self.slots[f"{name}.{key}"].to_dict() if plain[key] is not None else None
            if name == "model":
                plain["encoder"] = self.slots["model.encoder"].to_dict()
                plain["decoder"] = self.slots["model.decoder"].to_dict()
            own = self.slots[name].to_dict() if name in self.slots else {}
            resolved[name] = {**own, **plain}
        return resolved


def _validate(kind: type[Section], raw: Mapping[str, Any], path: str) -> Any:
    try:
        return kind.model_validate(raw)
    except pydantic.ValidationError as error:
        raise InputError(first_error(error, path, raw)) from None


def check_section(kind: type[Section], raw: Mapping[str, Any], path: str) -> Any:
    """Return a checked section that has no slots.

    Raises:
        InputError: an unknown key, or a value of another type.
    """
    known = [field.alias or key for key, field in kind.model_fields.items()]
    for key in raw:
        if key not in known:
            raise InputError(f"{path}{'.' if path else ''}{key}: unknown key; {nearest(key, known)}")
    return _validate(kind, raw, path)
