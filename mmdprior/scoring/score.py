"""Score a checkpoint, codes in a file, an encoder trained elsewhere, or a saved model."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from mmdprior.build.builder import Builder
from mmdprior.build.data import SplitName, images_from, split_to_score
from mmdprior.build.device import choose_device
from mmdprior.build.factor_scores import final_scores, images_to_score
from mmdprior.build.restore import checkpoint_file, config_of, model_from_checkpoint
from mmdprior.choices import PosteriorName
from mmdprior.columns import Columns
from mmdprior.config.schema import Config
from mmdprior.data import ImageSet, thin
from mmdprior.data.codes import is_codes, read_latent
from mmdprior.errors import DATA_LOG, InputError, InputWarning, in_one_line, reason
from mmdprior.evaluation import Codes, Evaluation, FactorScores, encode, evaluate, score_codes
from mmdprior.evaluation.supervised import FACTOR_IMAGES, images_of_factors
from mmdprior.figures import save_figures
from mmdprior.latent import Latent
from mmdprior.metrics import PriorMatch, Protocol
from mmdprior.metrics.checks import check_codes
from mmdprior.metrics.group_labels import BLOCKS, GroupLabels
from mmdprior.metrics.supervised.factors import Factors
from mmdprior.metrics.supervised.scores import available_scores
from mmdprior.models import Autoencoder
from mmdprior.naming import plain_name, short_names
from mmdprior.scoring.external import load_encoder, load_program
from mmdprior.scoring.factors import NO_FACTORS, factors_of_codes, factors_of_images
from mmdprior.scoring.file_kind import file_kind
from mmdprior.scoring.foreign_codes import (
    encode_foreign,
    first_images,
    foreign_encoder,
    groups_of_positions,
)
from mmdprior.scoring.foreign_encoder import EncoderOptions
from mmdprior.scoring.groups import groups_of_codes, groups_of_images
from mmdprior.scoring.table import ScoreTable
from mmdprior.training import read_checkpoint

__all__ = ["Scored", "Scorer", "draw", "score_files"]

_log = logging.getLogger(DATA_LOG)

_IMAGES = 10_000
"""Images that are encoded unless ``limit`` sets another number."""
_ROWS, _FEWEST = 100_000, 100
"""Positions that are scored, and fewest images, unless ``limit`` sets another number of images."""

Scored = tuple[Evaluation, Codes]
"""Scores, and the codes that were scored."""


@dataclass(frozen=True)
class Scorer:
    """Scores of any input, with one protocol.

    Attributes:
        predictors: names of the LPS predictors.
        data: other images than those of the checkpoint; see `mmdprior.build.data.images_from`.
        split: split of the data: ``all``, ``train``, ``validation`` or ``test``. None is the test split, or
            all images of data without one; see `mmdprior.build.data.images_from`.
        limit: largest number of images or rows, evenly spaced; None uses 10,000 images or all rows.
        batch_size: images per encoding batch.
        seed: seed of posterior noise, splits and predictors.
        device: torch device, or ``auto``.
        posterior: meaning of the outputs of encoders trained elsewhere, where they have no names; None reads
            a tensor as codes, and a pair as means and log-variances or standard deviations.
        encoder_options: weights, calls and outputs of encoders trained elsewhere.
        columns: choice of the columns of files of codes.
        trust: whether targets that a checkpoint names, and models that contain code, may run.
        protocol: LPS protocol: transform, folds, seeds.
        groups: groups of dependent rows: a column of the codes, a label of the images, a file with one label
            per row or image, ``blocks`` for rows in time order, or None for independent rows, or for the
            groups that the config of a checkpoint names.
        block_length: rows per block; None estimates it from the autocorrelation.
        factors: factors of variation for supervised scores, in the order of the scored rows: ``FILE`` or
            ``FILE:KEY``, see `mmdprior.data.factor_files.read_factors`; ``none`` for no supervised scores; or
            None for the factors of data sets that have known ones.
        factor_scores: supervised scores to compute; None for those that the config of a checkpoint names, or
            all that the installed packages allow.

    Example:
        >>> import numpy as np
        >>> np.save("codes.npy", np.random.default_rng(0).normal(size=(400, 3)))
        >>> scores, codes = Scorer(predictors=["linear"]).file("codes.npy")
        >>> scores.dim, scores.active, scores.lps["mean", "linear"].score < 0.1
        (3, 3, True)
    """

    predictors: Sequence[str] = ("linear", "mlp")
    data: str | None = None
    split: SplitName | None = None
    limit: int | None = None
    batch_size: int = 512
    seed: int = 0
    device: str = "auto"
    posterior: PosteriorName | None = None
    columns: Columns = field(default_factory=Columns)
    trust: bool = False
    protocol: Protocol = field(default_factory=Protocol)
    groups: str | None = None
    block_length: int | None = None
    factors: str | None = None
    factor_scores: FactorScores | None = None
    encoder_options: EncoderOptions = field(default_factory=EncoderOptions)

    def file(self, path: str) -> Scored:
        """Score a file of any kind, recognised by its content, or the last checkpoint of a run directory."""
        path = path if is_codes(path) else str(checkpoint_file(path))
        kind = file_kind(path, self.encoder_options.key)
        if kind == "codes":
            unused = [f"--{name}" for name in ("data", "split") if getattr(self, name) is not None]
            if unused:
                text = f"{', '.join(unused)}: no effect on {path}, which contains codes and no images"
                warnings.warn(text, InputWarning, stacklevel=2)
            return self.codes(path)
        return self.checkpoint(path) if kind == "checkpoint" else self.program(path)

    def codes(self, path: str) -> Scored:
        """Score a file of codes; see `mmdprior.data.codes.read_latent`.

        Raises:
            InputError: the file is not readable, or its codes cannot be scored.
        """
        device = choose_device(self.device)
        groups, column = groups_of_codes(self.groups, path, self.limit)
        key = self.encoder_options.key
        latent = read_latent(path, self.limit, column, self.columns, key)
        arrays = {"": latent.mean}
        if latent.log_var is not None:
            arrays |= {"sample: ": latent.sample, "log_var: ": latent.log_var}
        for name, array in arrays.items():
            try:
                check_codes(array)
            except InputError as error:
                raise InputError(f"{path}: {name}{str(error).removeprefix('codes: ')}") from None
        mean = latent.mean.to(device)
        moved = Latent(mean, mean)
        if latent.log_var is not None:
            moved = Latent(latent.sample.to(device), mean, latent.log_var.to(device))
        codes = Codes(moved, mean[:, :0], ())
        table = None
        if self.factors is not None and self.factors != NO_FACTORS:
            table = factors_of_codes(
                self.factors, len(mean), lambda: len(read_latent(path, None, column, self.columns, key).mean)
            )
        result, codes = self._score(codes, groups)
        return (result if table is None else self._with_factors(result, codes, table)), codes

    def checkpoint(self, path: str) -> Scored:
        """Score the model of a checkpoint on its data, with averaged weights where the checkpoint has them.

        Raises:
            InputError: a damaged checkpoint, one that names a target without ``trust``, or missing data.
        """
        content = read_checkpoint(path)
        config = config_of(content, path, trust=self.trust)
        device = choose_device(self.device)
        model = model_from_checkpoint(content, config).to(device)
        shape, sizes = tuple(content["image_shape"]), content.get("split_sizes")
        images = split_to_score(config, self.data, self.split, shape, sizes=sizes)
        prior = Builder(config, dict(content.get("assets", {}))).intended_prior()
        table = self._table(images)
        scored = evaluate(
            model,
            self._thinned(images),
            predictors=self.predictors,
            match=PriorMatch(prior, n=config.evaluation.match_samples),
            protocol=self.protocol,
            seed=self.seed,
            batch_size=self.batch_size,
            device=device,
            thorough=True,
            groups=groups_of_images(self.groups or config.evaluation.groups, images, self._limit),
            block_length=self.block_length,
        )
        return self._supervised(scored, images, model, table, config)

    def encoder(self, target: str, weights: str | None = None) -> Scored:
        """Score an encoder trained elsewhere on ``data``; see `mmdprior.scoring.external.load_encoder`."""
        images = self._images("an encoder")
        return self._encode(self._load_encoder(target, weights, images), images)

    def encode(self, target: str, weights: str | None = None) -> Codes:
        """Return the codes of an encoder trained elsewhere for all images of ``data``, or for ``limit``."""
        images = self._images("an encoder")
        model = self._load_encoder(target, weights, images)
        return encode_foreign(
            model, thin(images, self.limit), self.batch_size, self.seed, choose_device(self.device)
        )

    def program(self, path: str) -> Scored:
        """Score a TorchScript file, an exported program or an ONNX graph on ``data``."""
        if not self.trust and file_kind(path) != "onnx":  # raise for missing trust before missing data
            load_program(path, None, torch.zeros(0), trust=False)
        images = self._images(path)
        probe = first_images(images, choose_device(self.device))
        model = load_program(path, self.posterior, probe, trust=self.trust, options=self.encoder_options)
        return self._encode(model, images)

    def _load_encoder(self, target: str, weights: str | None, images: ImageSet) -> Autoencoder:
        probe = first_images(images, torch.device("cpu"))
        model = load_encoder(target, weights, self.posterior, probe, self.encoder_options)
        return model.to(choose_device(self.device))

    def _encode(self, model: Autoencoder, images: ImageSet) -> Scored:
        positions = foreign_encoder(model).positions
        if positions > 1 and (self.groups == BLOCKS or self.factors not in (None, NO_FACTORS)):
            raise InputError(
                "--spatial: positions cannot have factors or blocks; leave --factors, --groups out"
            )
        limit = self._limit if positions == 1 else self.limit or max(_FEWEST, _ROWS // positions)
        groups, table = groups_of_images(self.groups, images, limit), self._table(images)
        thinned, device = self._thinned(images, limit), choose_device(self.device)
        codes = encode_foreign(model, thinned, self.batch_size, self.seed, device)
        if positions > 1:
            return self._score(codes, groups_of_positions(groups, len(thinned), positions))
        return self._supervised(self._score(codes, groups), images, model, table)

    def _score(self, codes: Codes, groups: GroupLabels) -> Scored:
        result = score_codes(
            codes,
            self.predictors,
            seed=self.seed,
            protocol=self.protocol,
            thorough=True,
            groups=groups,
            block_length=self.block_length,
        )
        return result, codes

    def _table(self, images: ImageSet) -> Factors | None:
        """Return the factors that the user named, before anything is scored; None without any."""
        if self.factors is None or self.factors == NO_FACTORS:
            return None
        return factors_of_images(self.factors, len(images), min(self._limit, len(images)), self.split)

    def _supervised(
        self,
        scored: Scored,
        images: ImageSet,
        model: Autoencoder,
        table: Factors | None,
        config: Config | None = None,
    ) -> Scored:
        """Add supervised scores, if there are factors.

        Args:
            scored: scores and codes of the thinned images.
            images: all images of the split.
            model: model on the device of the scores.
            table: factors of the thinned images that the user named; None without any.
            config: config of a checkpoint; None for other models.
        """
        result, codes = scored
        if self.factors == NO_FACTORS or (table is None and images.factors is None):
            return scored
        settings = None if config is None else final_scores(config)
        if table is not None:
            settings = settings and replace(settings, kinds={})  # those are of the factors of the data
            return self._with_factors(result, codes, table, settings), codes
        labelled, chosen = codes, self._images_of_factors(images, config)
        if chosen is not None and not (chosen is images and len(codes.labels) == len(images)):
            device = choose_device(self.device)
            labelled = encode(model, chosen, batch_size=self.batch_size, seed=self.seed, device=device)
        return self._with_factors(result, labelled, None, settings), codes

    def _images_of_factors(self, images: ImageSet, config: Config | None) -> ImageSet | None:
        """Return the images of the supervised scores; None for those of the other scores."""
        if self.split is not None or images.factors is None:
            return None
        if config is None:
            limit = self.limit or FACTOR_IMAGES
            return images_of_factors(images, limit, self.seed) if images.factors.grid else None

        def open_split(split: SplitName) -> ImageSet:
            return split_to_score(config, self.data, split, images.image_shape)

        return images_to_score(config, images, open_split, limit=self.limit, seed=self.seed)

    def _with_factors(
        self,
        result: Evaluation,
        codes: Codes,
        table: Factors | None,
        settings: FactorScores | None = None,
    ) -> Evaluation:
        """Return the scores with supervised ones, from a table or the known factors of the images."""
        factor_scores = self.factor_scores or settings or FactorScores(available_scores())
        return replace(result, disentanglement=factor_scores(codes, table, seed=self.seed))

    @property
    def _limit(self) -> int:
        """Largest number of images."""
        return _IMAGES if self.limit is None else self.limit

    def _images(self, model: str) -> ImageSet:
        if self.data is None:
            raise InputError(f"--data: missing; {model} needs images to encode")
        return images_from(self.data, self.split)

    def _thinned(self, images: ImageSet, limit: int | None = None) -> ImageSet:
        scored = thin(images, limit or self._limit)
        if len(scored) < len(images):
            _log.info("limit: %d of %d images are scored, evenly spaced", len(scored), len(images))
        return scored


def score_files(
    scorer: Scorer,
    paths: Sequence[str],
    *,
    json: str | None = None,
    figures: str | None = None,
    log: Callable[[str], None] = print,
    score: Callable[[str], Scored] | None = None,
) -> ScoreTable:
    """Score several files; a file that fails does not stop the others.

    Args:
        scorer: settings of the scores.
        paths: files; a path that occurs twice is scored once.
        json: file for the scores, rewritten after every input, so that an interruption loses one input only.
        figures: folder for figures, with one folder per input.
        log: called with the error line of each input that fails.
        score: function that scores one path; by default `Scorer.file`. With ``lambda path:
            scorer.encoder(target, path)`` the paths are weights of one encoder.
    """
    table = ScoreTable()
    for path in dict.fromkeys(paths):
        try:
            table.results[path], codes = (score or scorer.file)(path)
            if figures is not None:
                draw(figures, path, paths, table.results[path], codes)
        except (InputError, OSError, RuntimeError, MemoryError) as error:
            text = in_one_line(error) if isinstance(error, InputError | OSError) else reason(error)
            table.errors[path] = text if path in text else f"{path}: {text}"
            log(table.errors[path])
        if json is not None:
            Path(json).write_text(table.to_json() + "\n")
    return table


def draw(folder: str, path: str, paths: Sequence[str], result: Evaluation, codes: Codes) -> None:
    """Write the figures of one input to a folder that is named as in the table.

    Args:
        folder: parent folder.
        path: the input.
        paths: all inputs, from which its name must differ.
        result: scores of the input.
        codes: codes of the input.
    """
    name = plain_name(short_names(list(dict.fromkeys(paths)))[path])
    save_figures(result, codes, Path(folder) / name)
