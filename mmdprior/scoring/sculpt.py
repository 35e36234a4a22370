"""Give the codes of a finished model, or a file of codes, another prior by an invertible map."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mmdprior.build.assets import read_assets
from mmdprior.build.construct import SlotBuilder
from mmdprior.build.restore import TrainedRun, open_checkpoint
from mmdprior.config.load import parse_value
from mmdprior.config.slots import Slot, check_slot
from mmdprior.data import ImageSet
from mmdprior.data.codes import read_codes
from mmdprior.errors import InputError
from mmdprior.evaluation import encode_and_reconstruct
from mmdprior.evaluation.encode import Codes, encode
from mmdprior.figures import prior_samples
from mmdprior.figures.images import image_figure, in_rows
from mmdprior.figures.style import save_figure
from mmdprior.flows import (
    Bijection,
    Chain,
    Evaluation,
    FittedBijection,
    FlowSettings,
    Objective,
    PerPosition,
    ReaderSettings,
    fit_bijection,
    fit_conditional,
    position_rows,
    save_bijection,
)
from mmdprior.metrics import semantics
from mmdprior.models import Autoencoder
from mmdprior.priors import ConditionalPrior, Prior
from mmdprior.results import Result, to_plain
from mmdprior.scoring.code_scores import CodeScores, shuffled_rows
from mmdprior.scoring.file_kind import file_kind
from mmdprior.scoring.foreign_pair import pair_of
from mmdprior.scoring.given import GivenLabels, given_labels
from mmdprior.seeding import stream
from mmdprior.training.checkpoint import write_checkpoint

__all__ = ["Sculpted", "Sculptor", "sculpt"]

_SHARE = 0.1
"""Share of the rows of a file of codes that validates the fit, and of those that are scored."""

_MAX_TRAIN, _MAX_TEST = 200_000, 10_000
"""Most codes that are fitted and scored."""

_DRAWS = 1024
"""Decoded draws that are compared with reconstructions."""


@dataclass(frozen=True)
class Sculpted(Result):
    """Scores of held-out codes before and after the map, and the fit.

    Attributes:
        before: scores of the codes by name; see `Sculptor`.
        after: the same scores after the map.
        fit: the fitted bijection, with its measurements and warnings.
        prior: the prior as it was named.
        model: the model with the map in it; None for a file of codes.
        draws: decoded draws of the prior before and after the map, each (n, C, H, W); None without a model.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    fit: FittedBijection
    prior: Mapping[str, Any]
    model: Autoencoder | None = None
    draws: tuple[Tensor, Tensor] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the scores and the numbers of the fit."""
        return {
            "prior": dict(self.prior),
            "before": to_plain(self.before),
            "after": to_plain(self.after),
            "fit": self.fit.to_dict(),
        }

    def __str__(self) -> str:
        lines = [f"{'':28}{'before':>10}{'after':>10}"]
        lines += [f"{name:28}{self.before[name]:10.4f}{value:10.4f}" for name, value in self.after.items()]
        return "\n".join([*lines, str(self.fit)])


@dataclass(frozen=True)
class Sculptor:
    """Fits a map to the codes of a checkpoint or of a file, and scores held-out codes before and after it.

    The scores are: ``psnr``, or ``r2`` of vectors and signals; LPS of each predictor, and of the magnitudes
    |z|, with the largest R2 of a dimension; ``match``, MMD to the prior in null standard deviations (mean
    over batches of 256); ``worst marginal``, the largest Kolmogorov-Smirnov distance of a dimension; and
    ``draws``, MMD between decoded draws and reconstructions of held-out images in a space of 32 principal
    components, in null standard deviations (mean over batches of 256). The last is no FID: its features are
    linear in the pixels.

    Attributes:
        prior: a prior as in YAML; None for that of the checkpoint, or N(0, I).
        given: labels for a conditional prior, see `mmdprior.scoring.given.given_labels`; None for none.
        settings: settings of the fit.
        objective: objective of `fit_bijection`.
        dequantize: whether a prior with atoms is replaced by its dequantized one.
        predictors: predictors of LPS.
        spatial: meaning of arrays with more than two axes: ``channels``, one map for the channels of every
            position, or ``flatten``, one map of all numbers of a sample; None refuses them.
        data: other images than those of the checkpoint; see `split_to_score`.
        limit: most images of the training split; None for 200,000.
        seed: seed of splits, posterior noise, fit, draws and predictors.
        device: a torch device, or ``auto``.
        trust: run the targets that a checkpoint names.
        report: called with every evaluation of the fit.

    Example:
        >>> import numpy as np
        >>> from mmdprior.flows import FlowSettings
        >>> from mmdprior.scoring.sculpt import Sculptor
        >>> np.save("codes.npy", np.random.default_rng(0).standard_normal((400, 2)))
        >>> settings = FlowSettings(layers=2, hidden=[8], steps=4)
        >>> result = Sculptor("uniform", settings, predictors=["linear"]).codes("codes.npy")
        >>> list(result.after)
        ['lps linear', 'lps linear of |z|', 'largest R2', 'match', 'worst marginal']
    """

    prior: str | None = None
    settings: FlowSettings = field(default_factory=FlowSettings)
    objective: Objective = "auto"
    dequantize: bool = False
    predictors: Sequence[str] = ("linear", "additive", "mlp", "information")
    spatial: Literal["channels", "flatten"] | None = None
    data: str | None = None
    limit: int | None = None
    seed: int = 0
    device: str = "auto"
    trust: bool = False
    report: Callable[[Evaluation], None] | None = None
    given: str | None = None

    def codes(self, path: str) -> Sculpted:
        """Sculpt a file of codes; a tenth of the rows validates the fit, and another tenth is scored."""
        rows, positions = self._rows(path)
        # Whole samples are held out, since the positions of one depend on one another.
        samples = torch.randperm(len(rows) // positions, generator=stream(self.seed, "sculpt"))
        size = max(1, int(_SHARE * len(samples)))
        test, held_out, train = (
            (part[:, None] * positions + torch.arange(positions)).flatten()
            for part in (samples[:size], samples[size : 2 * size], samples[2 * size :])
        )
        if len(train) < 40 or len(held_out) < 10:
            raise InputError(f"{path}: {len(rows)} rows received; give at least 100")
        broken = (~torch.isfinite(rows)).any(1).nonzero()
        if len(broken):
            raise InputError(
                f"{path}: NaN or infinity in {len(broken)} of {len(rows)} rows, the first at row "
                f"{int(broken[0])}; remove those rows"
            )
        prior, slot, _ = self._prior(rows.shape[1], None)
        train = train[:_MAX_TRAIN]
        labels = None
        if self.given is not None:
            labels = given_labels(self.given, (), torch.empty(len(rows), 0), self.seed)
        fit = self._fit(rows[train], rows[held_out], prior, labels, train)
        before = rows[test[:_MAX_TEST]].to(next(fit.bijection.buffers()).device)
        with torch.no_grad():
            after = fit.bijection(before)
        judge = self._judge(fit)
        scores_before, scores_after = judge.scores(before), judge.scores(after)
        if labels is not None:
            known = labels.names, labels.values[test[:_MAX_TEST]]
            scores_before |= _meaning(before, *known, prior, self.seed)
            scores_after |= _meaning(after, *known, prior, self.seed)
        if positions > 1:
            fit = _with_bijection(fit, PerPosition(fit.bijection))
        return Sculpted(scores_before, scores_after, fit, slot.to_dict())

    def checkpoint(self, path: str) -> tuple[Sculpted, dict[str, Any]]:
        """Sculpt a checkpoint; return the result, and the content of the sculpted checkpoint."""
        return self.run(open_checkpoint(path, device=self.device, trust=self.trust))

    def run(self, run: TrainedRun) -> tuple[Sculpted, dict[str, Any]]:
        """Sculpt a model, such as that of `open_pair`; return the same as `checkpoint`."""
        if run.model.quantiser is not None and run.model.quantiser.adapts:
            raise InputError(
                "model.quantiser: received; its decoder expects the values of the levels, which a map would "
                "change; sculpt a model without a quantiser"
            )
        train = run.images(self.data, self.limit or _MAX_TRAIN, split="train")
        held_out = run.images(self.data, _MAX_TEST, split="validation")
        test = run.images(self.data, _MAX_TEST, split="test")
        prior, slot, assets = self._prior(run.config.model.latent_dim, run)
        codes, labels = self._encode(run, train), None
        if self.given is not None:
            labels = given_labels(self.given, codes.label_names, codes.labels, self.seed)
        validation = self._encode(run, held_out).latent.sample
        fit = self._fit(codes.latent.sample, validation, prior, labels, torch.arange(len(codes.labels)))
        judge = self._judge(fit)
        before, draws_before = self._images(run, test, judge)
        flow: Bijection = fit.bijection if run.model.flow is None else Chain([run.model.flow, fit.bijection])
        run.model.flow = flow.eval().requires_grad_(False)
        after, draws_after = self._images(run, test, judge)
        draws = (draws_before, draws_after)
        result = Sculpted(before, after, fit, slot.to_dict(), run.model, draws)
        return result, _content(run, slot, assets, result)

    def _rows(self, path: str) -> tuple[Tensor, int]:
        """Return one code per row, and the number of consecutive rows that are positions of one sample."""
        if Path(path).suffix != ".npy" or not Path(path).is_file():
            return read_codes(path).float(), 1
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.ndim <= 2:
            return read_codes(path).float(), 1
        if self.spatial is None:
            raise InputError(
                f"{path}: shape {array.shape} received; give --spatial channels or --spatial flatten"
            )
        codes = torch.from_numpy(np.array(array, dtype=np.float32))
        if self.spatial == "flatten":
            return codes.flatten(1), 1
        rows = position_rows(codes)
        return rows, len(rows) // len(codes)

    def _prior(self, dim: int, run: TrainedRun | None) -> tuple[Prior, Slot, dict[str, Tensor]]:
        """Return the prior, its slot, and the arrays that it names by path."""
        source: Any = "gaussian" if self.prior is None else _named(self.prior)
        if self.prior is None and run is not None and "evaluation.prior" in run.config.slots:
            slot = run.config.slots["evaluation.prior"]
            return run.prior, slot, run.content.get("assets", {})
        if self.prior is None and run is not None:
            return run.prior, check_slot("prior", "gaussian"), {}
        slot = check_slot("prior", source, "--prior")
        assets = read_assets(slot)
        prior: Prior = SlotBuilder({"dim": dim}, assets).build(slot)
        if prior.dim != dim:
            raise InputError(f"--prior: dim {prior.dim} received; the codes have {dim}")
        return prior, slot, assets

    def _fit(
        self, train: Tensor, held_out: Tensor, prior: Prior, labels: GivenLabels | None, rows: Tensor
    ) -> FittedBijection:
        """Fit the map, to labelled codes if there are labels; ``rows`` are the rows of ``train`` in these."""
        if labels is not None:
            places, values = labels.of(prior, rows)
            assert isinstance(prior, ConditionalPrior)
            return fit_conditional(
                train,
                prior,
                train[places.to(train.device)],
                values,
                self.settings,
                readers=ReaderSettings(steps=self.settings.steps),
                validation=held_out,
                seed=self.seed,
                report=self.report,
            )
        return fit_bijection(
            train,
            prior,
            self.settings,
            objective=self.objective,
            validation=held_out,
            dequantize=self.dequantize,
            seed=self.seed,
            report=self.report,
        )

    def _encode(self, run: TrainedRun, images: ImageSet) -> Codes:
        return encode(run.model, images, seed=self.seed, device=run.device)

    def _images(
        self, run: TrainedRun, images: ImageSet, judge: "CodeScores"
    ) -> tuple[dict[str, float], Tensor]:
        """Return scores of the codes and of decoded draws of the prior, and some of these draws."""
        codes, error = encode_and_reconstruct(run.model, images, seed=self.seed, device=run.device)
        z = codes.latent.sample
        count = min(_DRAWS, len(z))
        draws = prior_samples(run.model, judge.prior, count, run.device, self.seed)
        rows = shuffled_rows(len(z), self.seed)[:count].to(z.device)
        with torch.no_grad():
            decoded = run.model.decode(z[rows])
            decoded = decoded.clamp(0, 1) if decoded.ndim == 4 else decoded  # only images have limits
            # Features have units of their own, in which they cannot be compared.
            units = run.model.likelihood.standardise
            distance = judge.distance(units(draws.to(decoded)).cpu(), units(decoded).cpu())
        scores = {**error.quality, "draws": distance}
        meaning = _meaning(z, codes.label_names, codes.labels, judge.prior, self.seed)
        return {**scores, **judge.scores(z), **meaning}, draws[:64]

    def _judge(self, fit: FittedBijection) -> CodeScores:
        return CodeScores(fit.prior.cpu(), self.predictors, self.seed)


def _meaning(z: Tensor, names: Sequence[str], labels: Tensor, prior: Prior, seed: int) -> dict[str, float]:
    """Return how well the dimensions of labels hold them; empty for a prior without labels."""
    result = semantics(z, labels, names, prior, seed=seed)
    scores = {} if result is None else result.scalars()
    return {name.replace("_", " "): value for name, value in scores.items()}


def _named(source: str) -> Any:
    """Return a prior on the command line as YAML has it."""
    is_target = ":" in source and not source.lstrip().startswith("{")
    return {"target": source} if is_target else parse_value(source, "--prior")


def _with_bijection(fit: FittedBijection, bijection: Bijection) -> FittedBijection:
    return FittedBijection(**{**vars(fit), "bijection": bijection.eval()})


def _content(run: TrainedRun, slot: Slot, assets: Mapping[str, Tensor], result: Sculpted) -> dict[str, Any]:
    """Return the content of a checkpoint whose model has the map, and whose intended prior is the new one."""
    config = run.config.to_dict()
    assert run.model.flow is not None
    config["model"] |= {"flow": {"name": "saved", "spec": run.model.flow.spec()}, "flow_training": "after"}
    config["evaluation"]["prior"] = slot.to_dict()
    dropped = ("optimizer", "auxiliary_optimizer", "random")
    content = {key: value for key, value in run.content.items() if key not in dropped}
    return {
        **content,
        "config": config,
        "model": {key: value.cpu() for key, value in run.model.state_dict().items()},
        "averaged": None,
        "assets": {**content.get("assets", {}), **assets},
        "sculpted": result.to_dict(),
    }


def sculpt(options: Any, out: Path, log: Callable[[str], None]) -> Sculpted:
    """Run ``mmdprior sculpt``: fit, write the map or the checkpoint, and draw the figure.

    Args:
        options: the options of the command by name.
        out: ``.pt`` file to write.
        log: called with each line of progress.

    Raises:
        InputError: ``--out`` is a folder that is not empty, or does not suit codes; see `Sculptor`.
    """
    if Path(options.out).is_dir() and any(Path(options.out).iterdir()):
        raise InputError(f"--out: {options.out} received, a folder that is not empty; give a new one")

    def report(evaluation: Evaluation) -> None:
        log(f"step {evaluation.step} of {options.steps}: held-out loss {evaluation.held_out:.3f}")

    settings = FlowSettings(
        steps=options.steps, layers=options.layers, noise=options.noise, transport=options.transport
    )
    shared = ("given", "objective", "dequantize", "spatial", "data", "limit", "seed", "device", "trust")
    chosen = {name: getattr(options, name) for name in shared}
    sculptor = Sculptor(options.prior, settings, predictors=options.predictor, report=report, **chosen)
    figure = None if options.figure is None else picture_path(options.figure)
    if options.source is None:
        # The data of the pair are those of its config.
        result, content = replace(sculptor, data=None).run(pair_of(options))
    elif not Path(options.source).is_dir() and file_kind(options.source) == "codes":
        if Path(options.out).suffix != ".pt":
            raise InputError(f"--out: {options.out} received; the map of a file of codes needs a .pt file")
        result = sculptor.codes(options.source)
        out.parent.mkdir(parents=True, exist_ok=True)
        save_bijection(result.fit.bijection, out, result.to_dict())
        return result
    else:
        result, content = sculptor.checkpoint(options.source)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(content, out)
    if figure is not None and result.draws is not None:
        before, after = (draws[:32] for draws in result.draws)
        drawing = image_figure(in_rows(torch.cat([before, after])), [], title="prior draws, before and after")
        save_figure(drawing, figure)
    return result


def picture_path(path: str) -> Path:
    """Return the path of a picture to write, after creating its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Path(path)
