"""A flow that is fitted to the codes of a run when its training has ended."""

import logging
from dataclasses import replace

from torch import Tensor

from mmdprior.build.builder import Builder
from mmdprior.config.schema import Config
from mmdprior.data import ImageSet, Splits, thin
from mmdprior.data.labelled import labels_of
from mmdprior.evaluation import encode
from mmdprior.flows import FittedBijection, FlowSettings, ReaderSettings, fit_bijection, fit_conditional
from mmdprior.priors import ConditionalPrior, Prior
from mmdprior.priors.factor import labels_of_factors
from mmdprior.training import Trainer

__all__ = ["fit_flow"]

_MAX_CODES = 200_000
"""Training images whose codes are fitted, evenly spaced."""

_logger = logging.getLogger(__name__)


def fit_flow(config: Config, trainer: Trainer, splits: Splits, prior: Prior) -> FittedBijection | None:
    """Fit ``model.flow`` to the codes of the training images, put it in the model, and save it.

    Encoder and decoder are not changed. The last checkpoint is written again with the flow in it. Under
    torchrun every rank fits the same codes with the same seed.

    Args:
        config: config of the run.
        trainer: trainer that has reached its last step.
        splits: images; the codes of the validation split choose the best step of the fit.
        prior: distribution that the codes will follow. A conditional one is reached given the labels of
            ``data.labelled``, if there are any.

    Returns:
        The fit; None for a run without a flow, or whose flow is trained with the model or already fitted.
    """
    slot = config.slots.get("model.flow")
    if slot is None or slot.name == "saved" or config.model.flow_training != "after":
        return None
    train, validation = (
        _codes(config, trainer, images) for images in (thin(splits.train, _MAX_CODES), splits.validation)
    )
    settings, seed = FlowSettings(**config.model.flow_fit.model_dump()), config.seed
    flow = Builder(config).flow()
    if isinstance(prior, ConditionalPrior) and trainer.labelled is not None:
        images = trainer.labelled.images
        labels = labels_of_factors(prior.factors, images.label_names, labels_of(images))
        labelled = _codes(config, trainer, images), labels
        readers = ReaderSettings(steps=settings.steps)
        fitted = fit_conditional(
            train, prior, *labelled, settings, readers=readers, flow=flow, validation=validation, seed=seed
        )
    else:
        fitted = fit_bijection(train, prior, settings, flow=flow, validation=validation, seed=seed)
    for text in fitted.warnings:
        _logger.warning("model.flow: %s", text)
    trainer.logger.scalars(
        {"flow/held_out_loss": fitted.held_out_loss, "flow/inverse_error": fitted.inverse_error}, trainer.step
    )
    fitted.bijection.requires_grad_(False)
    trainer.model.flow = trainer.evaluated.flow = fitted.bijection
    trainer.checkpointing = replace(
        trainer.checkpointing,
        metadata={**trainer.checkpointing.metadata, "config": with_saved_flow(config.to_dict(), fitted)},
    )
    trainer.write_last()
    return fitted


def with_saved_flow(config: dict[str, object], fitted: FittedBijection) -> dict[str, object]:
    """Return a resolved config whose model has a fitted flow, as a checkpoint stores it."""
    model = config["model"]
    assert isinstance(model, dict)
    flow = {"name": "saved", "spec": fitted.bijection.spec()}
    return {**config, "model": {**model, "flow": flow, "flow_training": "after"}}


def _codes(config: Config, trainer: Trainer, images: ImageSet) -> Tensor:
    return encode(
        trainer.evaluated,
        images,
        batch_size=config.evaluation.batch_size,
        seed=config.seed,
        device=trainer.device,
        world=trainer.world,
    ).latent.sample
