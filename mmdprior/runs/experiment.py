"""An experiment: train the objects of a run, score its test images and write its report."""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmdprior.build.data import select_split
from mmdprior.build.factor_scores import final_scores, images_to_score
from mmdprior.config.schema import Config
from mmdprior.config.slots import Slot
from mmdprior.data import ImageSet, Splits, thin
from mmdprior.deprecation import moved
from mmdprior.evaluation import (
    Codes,
    Evaluation,
    add_reconstruction,
    encode,
    encode_and_reconstruct,
    score_codes,
)
from mmdprior.figures.factor_map import factors_followed
from mmdprior.files import write_whole
from mmdprior.metrics import PriorMatch
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.flow import fit_flow
from mmdprior.runs.report import run_facts, write_report
from mmdprior.training import Logger, Trainer

__all__ = ["Experiment"]


@dataclass(frozen=True)
class Experiment:
    """All objects of one run, ready to train.

    Attributes:
        config: checked config.
        splits: training, validation and test images.
        stored: the same splits, before they were loaded into memory.
        trainer: trainer, at the step from which it will continue.
        match: comparison of codes with the intended prior.
        logger: logger of the run.
        directory: path of the run directory, on every rank; None if nothing is written.

    Example:
        >>> from mmdprior.config.load import make_config
        >>> from mmdprior.runs import assemble
        >>> raw = {
        ...     "name": "small",
        ...     "data": {"name": "sprites", "images": 200, "batch_size": 16, "validation": 40, "test": 40},
        ...     "model": {"name": "mlp", "hidden": [8], "latent_dim": 2},
        ...     "regularizer": {"name": "mmd", "prior": "gaussian"},
        ...     "trainer": {"steps": 2, "device": "cpu"},
        ...     "evaluation": {"final_predictors": ["linear"]},
        ... }
        >>> scores = assemble(make_config(raw, Path(), "example"), progress=False).run()
        >>> list(scores.lps)
        [('mean', 'linear')]
    """

    config: Config
    splits: Splits
    stored: Splits
    trainer: Trainer
    match: PriorMatch
    logger: Logger
    directory: Path | None

    def run(self, guard: AbstractContextManager[object] | None = None) -> Evaluation | None:
        """Train, then score the test split, log the scores, and write ``report/``.

        Args:
            guard: context that is entered only while training, such as `StopSignals`.

        Returns:
            The scores. None on all ranks but 0, and for a run that was stopped and can be resumed.
        """
        start = time.perf_counter()
        with guard or nullcontext():
            self.trainer.run()
        if not self.trainer.stopped:
            fit_flow(self.config, self.trainer, self.splits, self.match.prior)
        seconds = time.perf_counter() - start
        result = None if self.trainer.stopped else self._score(seconds)
        self.logger.close()
        return result

    def _score(self, seconds: float) -> Evaluation | None:
        """Score the test split, log the scores and write the report."""
        settings, trainer = self.config.evaluation, self.trainer
        images = thin(self.splits.test, settings.limit)
        codes, error = encode_and_reconstruct(  # on all ranks
            trainer.evaluated,
            images,
            seed=self.config.seed,
            batch_size=settings.batch_size,
            device=trainer.device,
            world=trainer.world,
        )
        labelled = self._labelled_codes(images, codes)
        if not trainer.world.main:
            return None
        groups = settings.groups
        scored = score_codes(codes, settings.final_predictors, seed=self.config.seed, groups=groups)
        result = add_reconstruction(scored, codes, error, self.match, groups=groups)
        factor_scores = final_scores(self.config)
        if factor_scores is not None and labelled is not None:
            result = replace(result, disentanglement=factor_scores(labelled, seed=self.config.seed))
        final = {f"test/{tag}": value for tag, value in result.scalars().items()}
        final["test/steps_per_second"] = trainer.steps_per_second
        run = None if self.directory is None else RunDirectory(self.directory)
        if run is not None:
            facts = self._write_report(run, images, codes, seconds, result)
            final |= {"test/reconstruction/ssim": facts["ssim"]} if "ssim" in facts else {}
        self.logger.embedding(codes, trainer.step)
        self.logger.hparams(_hparams(self.config), final, trainer.step)
        if run is not None:  # written last: this file marks the run as finished
            write_whole(run.scores, result.to_json() + "\n")
        return result

    def _labelled_codes(self, images: ImageSet, codes: Codes) -> Codes | None:
        """Return the codes of the supervised scores, on all ranks; None without supervised scores.

        Args:
            images: images that were scored.
            codes: their codes.
        """
        if final_scores(self.config) is None:
            return None
        chosen = images_to_score(
            self.config, self.stored.test, lambda split: select_split(self.stored, split)
        )
        if chosen is None:
            return codes
        return encode(
            self.trainer.evaluated,
            chosen,
            seed=self.config.seed,
            batch_size=self.config.evaluation.batch_size,
            device=self.trainer.device,
            world=self.trainer.world,
        )

    def _write_report(
        self, run: RunDirectory, images: ImageSet, codes: Codes, seconds: float, result: Evaluation
    ) -> dict[str, Any]:
        return write_report(
            run,
            model=self.trainer.evaluated,
            images=images,
            codes=codes,
            prior=self.match.prior,
            facts=run_facts(self.trainer.device, seconds),
            batch_size=self.config.evaluation.batch_size,
            device=self.trainer.device,
            pictures=self.config.evaluation.pictures,
            followed=factors_followed(result.disentanglement) if result.disentanglement else (),
        )


def _hparams(config: Config) -> dict[str, object]:
    """Return the settings by which runs differ, as words and numbers for TensorBoard's hparams table.

    TensorBoard sorts the columns by name and shows the first five. The names are chosen so that those of the
    penalty come first.
    """
    penalty = config.slots["regularizer"]
    summed = penalty.arguments.get("penalties") or []
    inner = [part.arguments["penalty"] for part in summed]
    named = [item for slot in [*reversed(inner), penalty] for item in slot.arguments.items()]
    terms = [f"{part.arguments['weight']:g} {part.arguments['penalty'].title}" for part in summed]
    return {
        **{key: part.title for key, part in named if isinstance(part, Slot)},
        "latent_dim": config.model.latent_dim,
        "penalty": " + ".join(terms) or penalty.title,
        "penalty_weight": config.regularizer.weight,
        "posterior": config.slots["model.posterior"].title,
        "seed": config.seed,
        "source": config.slots["data"].title,
        "train_batch_size": config.data.batch_size,
        "train_learning_rate": config.trainer.learning_rate,
        "train_steps": config.trainer.steps,
        "with_encoder": config.slots["model.encoder"].title,
        "with_linear_skip": config.model.linear_skip,
    }


__getattr__ = moved(__name__, {"assemble": "mmdprior.runs.assembly:assemble"})
