"""The config: its sections, with every field documented, and the slots in them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from mmdprior.choices import FactorKind, PredictorName, Probe, ScoreName, SplitName
from mmdprior.config.catalogue import NAMES
from mmdprior.config.slots import Slot, SlotOf
from mmdprior.config.validation import StrictModel, folder_of, problem

__all__ = [
    "SECTIONS",
    "Config",
    "DataSection",
    "DisentanglementSettings",
    "EvaluationSection",
    "ModelSection",
    "RegularizerSection",
    "Section",
    "TrainerSection",
]

Positive = pydantic.PositiveInt
Share = float | int
Decay = Annotated[float, Field(ge=0, lt=1)]
ScoreNames = Annotated[list[ScoreName], Field(min_length=1)]
ScheduleSlot = Annotated[Slot, SlotOf("schedule")]


class Section(StrictModel):
    """A section of the YAML file."""

    flat: ClassVar[str | None] = None
    """The field whose slot has its name and arguments directly among the keys of the section, or None."""

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _read_flat_slot(cls, values: Any, handler: Any, info: Any) -> Any:
        """Check the keys of the flat slot first; errors keep their key paths, since it adds no level."""
        if cls.flat is None or not isinstance(values, Mapping):
            return handler(values)
        plain, rest = cls._split(values)
        slot = cls.slot_of(cls.flat).check(rest, folder_of(info), others=cls._plain_keys())
        return handler({**plain, cls.flat: slot})

    @pydantic.model_serializer(mode="wrap")
    def _write_flat_slot(self, handler: Any) -> dict[str, Any]:
        """Put the keys of the flat slot before those of the section."""
        plain: dict[str, Any] = handler(self)
        return plain if self.flat is None else {**plain.pop(self.flat), **plain}

    @classmethod
    def slot_of(cls, key: str) -> SlotOf:
        """Return the annotation of a field that is a slot."""
        return next(part for part in cls.model_fields[key].metadata if isinstance(part, SlotOf))

    @classmethod
    def _plain_keys(cls) -> list[str]:
        return [key for key in cls.model_fields if key != cls.flat]

    @classmethod
    def _split(cls, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the entries of the section, and those of the flat slot."""
        keys = cls._plain_keys()
        plain = {key: value for key, value in values.items() if key in keys}
        return plain, {key: value for key, value in values.items() if key not in keys}


class LabelledSettings(StrictModel):
    """``data.labelled``: the part of the training images whose labels penalties may use."""

    count: Positive | None = Field(None, description="Number of labelled images.")
    fraction: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Labelled share of the training images, in place of count."
    )
    batch_size: Positive = Field(64, description="Labelled images per step, at most all of them.")
    stratify: bool = Field(True, description="Choose them evenly over the values of the labels.")
    seed: int = Field(0, description="Seed of the choice; independent of the run's seed.")

    @pydantic.model_validator(mode="after")
    def _check_size(self) -> "LabelledSettings":
        if (self.count is None) == (self.fraction is None):
            received = "neither" if self.count is None else "both"
            raise problem(f"{received} received; give count or fraction", "count")
        return self


class DataSection(Section):
    """``data``: where the images come from, how they are split and batched."""

    flat = "source"

    source: Annotated[Slot, SlotOf("source")] = Field(description="Where the images come from.")
    batch_size: Positive = Field(
        64, description="Images per training step, over all processes and accumulated parts."
    )
    validation: Share = Field(
        0.1,
        description="Images held out for validation: a count, or a fraction of the training images.",
    )
    test: Share = Field(
        0.1,
        description="Images held out for testing if the data has no test split: a count or a fraction.",
    )
    limit: Positive | None = Field(None, description="Number of training images; null uses all.")
    split_seed: int = Field(0, description="Seed of the splits; independent of the run's seed.")
    resident: bool | Literal["auto"] = Field(
        "auto",
        description="Keep the images as one tensor on the training device (true), stream them from disk "
        "(false), or choose by their size (auto).",
    )
    workers: pydantic.NonNegativeInt = Field(2, description="Number of processes that read streamed images.")
    standardise: bool = Field(
        True,
        description="Standardise each feature of vectors, and each channel of signals, by mean and standard "
        "deviation of the training split, inside the model. Images are never standardised.",
    )
    labelled: LabelledSettings | None = Field(
        None,
        description="Part of the training images whose labels penalties use, in a batch of their own per "
        "step; null for the labels of all images.",
    )
    flip: bool = Field(False, description="Flip each training image horizontally with probability 0.5.")
    shift: pydantic.NonNegativeInt = Field(
        0, description="Shift each training image by at most this many pixels, with its edges reflected."
    )


class FlowFit(StrictModel):
    """``model.flow_fit``: how a flow is fitted to the codes after training; see `mmdprior.flows`."""

    steps: Positive = Field(1000, description="Number of updates.")
    batch_size: Positive = Field(512, description="Codes per update.")
    learning_rate: pydantic.PositiveFloat = Field(
        1e-3, description="Initial learning rate of AdamW; it decays to zero."
    )
    weight_decay: pydantic.NonNegativeFloat = Field(0.05, description="Decoupled weight decay.")
    noise: pydantic.NonNegativeFloat = Field(
        0.05, description="Standard deviation of noise on the whitened codes of each update."
    )
    transport: pydantic.NonNegativeFloat = Field(
        0.0, description="Weight of the squared distance between whitened codes and flow output."
    )


class RefinementSettings(StrictModel):
    """``model.refinement``: gradient steps on each code, see `mmdprior.models.Refinement`."""

    steps: Positive = Field(10, description="Number of gradient steps per image.")
    rate: pydantic.PositiveFloat = Field(
        0.1, description="First step size of Adam, in the units of the encoder's outputs; it falls to zero."
    )


class ModelSection(Section):
    """``model``: the autoencoder. ``name`` and its arguments stand for both encoder and decoder."""

    latent_dim: Positive = Field(description="Number of latent dimensions d.")
    posterior: Annotated[Slot, SlotOf("posterior")] = Field(
        "deterministic", validate_default=True, description="Distribution of the codes given an image."
    )
    likelihood: Annotated[Slot, SlotOf("likelihood")] = Field(
        "gaussian", validate_default=True, description="Distribution of an image given its code."
    )
    flow: Annotated[Slot, SlotOf("flow")] | None = Field(
        None, description="Invertible map between encoder and decoder; null for none."
    )
    flow_training: Literal["joint", "flow_only", "after"] = Field(
        "after",
        description="How the flow is trained. joint: the penalty trains encoder and flow. flow_only: the "
        "penalty trains the flow, and only the reconstruction trains encoder and decoder. after: the flow is "
        "fitted to the codes by likelihood when training ends; flow_fit has its settings.",
    )
    flow_fit: FlowFit = Field(
        default_factory=lambda: FlowFit.model_validate({}),
        description="Settings of a flow that is fitted after training.",
    )
    quantiser: Annotated[Slot, SlotOf("quantiser")] | None = Field(
        None, description="Quantiser between the flow, or the encoder, and the decoder; null for none."
    )
    linear_skip: bool | Literal["pca", "fastica"] = Field(
        False,
        description="Add a linear path to encoder and decoder, initialised with PCA (true, pca) or FastICA.",
    )
    refinement: RefinementSettings | None = Field(
        None,
        description="Reduce the reconstruction error of each code by gradient steps when images are encoded "
        "outside training: {steps: 10}; null for the codes of the encoder.",
    )
    encoder: Annotated[Slot, SlotOf("encoder")] = Field(description="The encoder, in place of name.")
    decoder: Annotated[Slot, SlotOf("decoder")] = Field(description="The decoder, in place of name.")

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _read_networks(cls, values: Any, handler: Any, info: Any) -> Any:
        """Read ``name`` and its arguments as encoder and decoder, unless these are given separately."""
        if not isinstance(values, Mapping):
            return handler(values)
        plain, rest = cls._split(values)
        networks = {key: plain.pop(key) for key in ("encoder", "decoder") if plain.get(key) is not None}
        if rest.get("target") is not None:
            remedy = "give encoder: {target: ...} and decoder: {target: ...}"
            raise problem(f"{rest['target']!r} received; {remedy}", "target")
        if len(networks) == 2 and rest:
            raise problem("unknown key next to encoder and decoder; leave it out", next(iter(rest)))
        if len(networks) < 2 and rest.get("name") is None:
            known = ", ".join(sorted(NAMES["encoder"]))
            raise problem(f"missing; give one of {known}, or encoder and decoder", "name")
        for key in ("encoder", "decoder"):
            if key not in networks:
                slot = cls.slot_of(key).check(rest, folder_of(info), others=cls._plain_keys())
                networks[key] = replace(slot, path="model")
        return handler({**plain, **networks})


class RegularizerSection(Section):
    """``regularizer``: the penalty on the latents."""

    flat = "penalty"

    penalty: Annotated[Slot, SlotOf("regularizer")] = Field(description="The penalty.")
    weight: float = Field(1.0, ge=0, description="Factor of the penalty in the loss.")
    schedule: ScheduleSlot = Field(
        "constant", validate_default=True, description="Factor of the weight as a function of the step."
    )


class TrainerSection(Section):
    """``trainer``: optimisation, logging and checkpoints."""

    steps: pydantic.NonNegativeInt = Field(
        description="Number of updates; 0 records the model without training."
    )
    device: str = Field("auto", description="auto (cuda, else mps, else cpu), or a torch device.")
    optimizer: Literal["adam", "adamw", "muon"] = Field(
        "adam",
        description="Optimizer of the model. muon is Muon for the weights of linear and convolutional layers "
        "except the last of encoder and decoder, and AdamW for the rest.",
    )
    learning_rate: pydantic.PositiveFloat = Field(1e-3, description="Learning rate of the optimizer.")
    matrix_learning_rate: pydantic.PositiveFloat | None = Field(
        None,
        description="Learning rate of the weight matrices with optimizer muon; learning_rate is then that of "
        "the other parameters. null for 0.02.",
    )
    betas: list[Decay] = Field(
        [0.9, 0.999], min_length=2, max_length=2, description="Decay rates of Adam's moments."
    )
    weight_decay: pydantic.NonNegativeFloat = Field(
        0.0, description="Weight decay; decoupled with adamw and muon."
    )
    schedule: ScheduleSlot = Field(
        "constant",
        validate_default=True,
        description="Factor of the learning rate as a function of the step.",
    )
    gradient_clip: pydantic.PositiveFloat | None = Field(
        None, description="Largest norm of the gradient; null does not clip."
    )
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "float32",
        description="bfloat16 runs the networks under autocast; losses stay in float32. auto is bfloat16 on "
        "GPUs with bfloat16 units, where it is faster, and float32 on other devices.",
    )
    channels_last: bool | Literal["auto"] = Field(
        "auto",
        description="Use the channels-last memory layout of images (true), the layout of torch (false), or "
        "the first for networks with convolutions of images, for which it is faster (auto).",
    )
    compile: bool = Field(
        False,
        description="Compile encoder and decoder with torch.compile; the first step takes about a minute.",
    )
    accumulate: Positive = Field(
        1,
        description="Number of parts in which each batch is processed, to save memory; the gradient is that "
        "of the whole batch, penalty included, and the encoder runs twice.",
    )
    average: Decay | None = Field(
        None,
        description="Decay of an exponential moving average of the weights, such as 0.999, which "
        "validation, score and load use; null keeps no average.",
    )
    auxiliary_learning_rate: pydantic.PositiveFloat | None = Field(
        None,
        description="Learning rate of Adam for the learned parts of the regularizer; null for the default of "
        "the penalty: 0.001, or that of its paper.",
    )
    auxiliary_betas: Annotated[list[Decay], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="Decay rates of Adam for these parts; null for the default of the penalty: [0.5, 0.9], "
        "or that of its paper.",
    )
    log_every: Positive = Field(50, description="Steps between logged values.")
    checkpoint_every: Positive = Field(500, description="Steps between updates of checkpoints/last.pt.")
    keep_every: Positive | None = Field(
        None, description="Steps between checkpoints that are kept; null keeps none but last and best."
    )
    keep_last: Positive | None = Field(
        None, description="Number of these to keep, the newest; null keeps all."
    )

    loggers: Annotated[list[Slot], SlotOf("logger", many=True)] | None = Field(
        ["tensorboard"],
        validate_default=True,
        description="Where numbers and pictures go, besides metrics.jsonl in the run directory; null for "
        "nowhere else.",
    )
    callbacks: Annotated[list[Slot], SlotOf("callback", many=True)] | None = Field(
        None, description="Called at the start, after every step and validation, and at the end."
    )

    @pydantic.model_validator(mode="after")
    def _check_matrix_learning_rate(self) -> "TrainerSection":
        if self.matrix_learning_rate is not None and self.optimizer != "muon":
            rate = f"{self.matrix_learning_rate:g}"
            raise problem(f"{rate} received; it needs optimizer: muon", "matrix_learning_rate")
        return self

    @pydantic.model_validator(mode="after")
    def _check_keep_last(self) -> "TrainerSection":
        if self.keep_last is not None and self.keep_every is None:
            raise problem(f"{self.keep_last} received; give keep_every, too", "keep_last")
        return self


class DisentanglementSettings(StrictModel):
    """``evaluation.disentanglement``: supervised scores of codes whose factors are known."""

    scores: ScoreNames | None = Field(
        None, description="Scores at validations; null for all that fit no trees and no many-parameter probe."
    )
    final_scores: ScoreNames | None = Field(
        None, description="Scores at the end; null for all, as far as scikit-learn is installed."
    )
    split: SplitName | None = Field(
        None,
        description="Images of the scores at the end; null for all images of data with a full grid of "
        "factors, and for the test split of other data. Validations use the validation split.",
    )
    limit: Positive = Field(
        50_000, description="Largest number of images of the scores at the end; more are drawn at random."
    )
    kinds: dict[str, FactorKind] = Field(
        default_factory=dict, description="Kinds of factors by name, in place of those of the data."
    )
    probe: Probe = Field("histogram", description="Classifier of the DCI scores.")
    n_train: int = Field(10_000, ge=2, description="Images that the scores are fitted on.")
    n_test: Positive = Field(5_000, description="Held-out images of the scores.")
    bins: int = Field(20, ge=2, description="Bins of each code in mutual information.")
    chance: pydantic.NonNegativeInt = Field(
        1, description="Copies with shuffled factors that measure the chance levels at the end."
    )


def _form_of(value: Any) -> str:
    """Return which form of `Disentanglement` a value has.

    Pydantic would otherwise report the errors of all forms.
    """
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, list):
        return "names"
    if isinstance(value, Mapping | DisentanglementSettings):
        return "settings"
    expected = "true, false, a list of scores or a mapping of settings"
    raise problem(f"{value!r} received; expected {expected}", "disentanglement")


Disentanglement = Annotated[
    Annotated[bool, pydantic.Tag("flag")]
    | Annotated[ScoreNames, pydantic.Tag("names")]
    | Annotated[DisentanglementSettings, pydantic.Tag("settings")],
    pydantic.Discriminator(_form_of),
]


class EvaluationSection(Section):
    """``evaluation``: scores on the validation split during training, and on the test split at the end."""

    every: Positive = Field(1000, description="Steps between validations.")
    prior: Annotated[Slot, SlotOf("prior")] | None = Field(
        None,
        description="The intended prior; by default that of the regularizer, or N(0, I) if it has none.",
    )
    limit: Positive | None = Field(10_000, description="Images encoded for a score; null encodes all.")
    batch_size: Positive = Field(512, description="Images per forward pass.")
    predictors: list[PredictorName] = Field(["linear"], description="Predictors of LPS during training.")
    final_predictors: list[PredictorName] = Field(
        ["linear", "mlp"], description="Predictors of LPS at the end, on the test split."
    )
    pictures: bool = Field(
        True, description="Log pictures and figures at validations, and write pictures to report/ at the end."
    )
    groups: str | None = Field(
        None,
        description="Label of the images that is equal for dependent ones (views, frames, patients), or "
        "blocks for images in time order: LPS splits and permutes whole groups. Null for independent images.",
    )
    disentanglement: Disentanglement = Field(
        False,
        description="Supervised scores of data with known factors: true for all, a list of names, or a "
        "mapping of settings. Validations compute those that are fast.",
    )
    match_samples: int = Field(
        512, ge=2, description="Codes, and draws from the prior, in the standardised MMD."
    )
    monitor: Literal[
        "reconstruction/psnr",
        "reconstruction/r2",
        "lps/linear",
        "lps/additive",
        "lps/mlp",
        "lps/experts",
        "lps/information",
        "lps/trees",
        "match/mmd_standardised",
    ] = Field(
        "reconstruction/psnr",
        description="Score that selects checkpoints/best.pt: the highest PSNR, or R2 of vectors and signals, "
        "whichever of the two is named, or the lowest of any other.",
    )
    patience: Positive | None = Field(
        None,
        description="Stop after this many validations without a better value of monitor; null trains all "
        "steps.",
    )

    @property
    def disentanglement_settings(self) -> DisentanglementSettings | None:
        """Settings of the supervised scores with all defaults; None if they are off."""
        chosen = self.disentanglement
        if isinstance(chosen, DisentanglementSettings):
            return chosen
        if not chosen:
            return None
        names = None if chosen is True else chosen
        return DisentanglementSettings.model_validate({"scores": names, "final_scores": names})


SECTIONS: Mapping[str, type[Section]] = {
    "data": DataSection,
    "model": ModelSection,
    "regularizer": RegularizerSection,
    "trainer": TrainerSection,
    "evaluation": EvaluationSection,
}
"""Sections by their key, in the order of the resolved config."""


class Config(StrictModel):
    """A checked config; `load_config` reads one from a YAML file.

    Example:
        >>> from mmdprior.config.load import make_config
        >>> config = make_config(
        ...     {
        ...         "name": "demo",
        ...         "data": {"name": "sprites"},
        ...         "model": {"name": "mlp", "latent_dim": 4},
        ...         "regularizer": {"name": "mmd", "prior": "uniform", "weight": 10.0},
        ...         "trainer": {"steps": 100},
        ...     }
        ... )
        >>> config.regularizer.weight, config.trainer.learning_rate
        (10.0, 0.001)
        >>> config.slots["regularizer"].arguments["prior"].name
        'uniform'
    """

    name: str = Field(
        pattern=r"^\w[\w.+-]*(/\w[\w.+-]*)*$", description="Name of the run, and of its folder."
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="Seed of initialisation, data order, prior draws and posterior noise."
    )
    data: DataSection
    model: ModelSection
    regularizer: RegularizerSection
    trainer: TrainerSection
    evaluation: EvaluationSection

    @cached_property
    def slots(self) -> Mapping[str, Slot]:
        """All slots outside of other slots, by key path: ``data``, ``model.encoder``, ``regularizer``..."""
        slots = {}
        for name, kind in SECTIONS.items():
            for key, value in getattr(self, name):
                path = name if key == kind.flat else f"{name}.{key}"
                if isinstance(value, Slot):
                    slots[path] = value.at(value.path or path)
                for index, entry in enumerate(value if isinstance(value, list) else ()):
                    if isinstance(entry, Slot):
                        slots[f"{path}.{index}"] = entry.at(f"{path}.{index}")
        return slots

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved config, every default filled in, as it can be written to YAML."""
        return self.model_dump()
