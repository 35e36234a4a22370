"""The loop: what it minimises, what it logs, what it stops for, and that a resumed run is the same run."""

import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_runs import experiment, run_directory, same, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mmdprior
from mmdprior import InputError
from mmdprior.build.restore import config_of
from mmdprior.runs import assemble, create_run_directory
from mmdprior.training import (
    Constant,
    Cosine,
    Cyclical,
    NonFiniteLossError,
    RunLogger,
    Warmup,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "helpers" / "toys.py"


KL = {"name": "kl", "weight": 0.5, "schedule": {"name": "warmup", "warmup_steps": 4}}


def test_loss_goes_down_and_penalty_acts():
    losses = {}
    for weight in (0.0, 3000.0):
        trained = experiment(regularizer__weight=weight, trainer__steps=60, data__batch_size=64)
        trained.trainer.validate = None
        images = next(trained.trainer.batches.stream()).images
        penalty = mmdprior.MMD(mmdprior.priors.Gaussian(4), seed=0)

        def value(t=trained, x=images, p=penalty):
            with torch.no_grad():
                latent, output = t.trainer.model(x)
                return float(t.trainer.model.likelihood.loss(output, x)), float(p(latent))

        before = value()
        trained.trainer.run()
        losses[weight] = (before, value())
    assert losses[0.0][1][0] < losses[0.0][0][0]
    assert losses[3000.0][1][1] < losses[0.0][1][1]


def test_run_writes_what_the_design_promises(tmp_path):
    directory = run_directory(tmp_path)
    changes = {"model__posterior": "gaussian", "regularizer": KL, "evaluation__pictures": True}
    result = experiment(directory, **changes).run()
    assert {path.name for path in directory.iterdir()} >= {
        "config.yaml",
        "checkpoints",
        "metrics.jsonl",
        "report",
    }
    content = read_checkpoint(directory / "checkpoints" / "last.pt")
    assert content["step"] == 6
    assert {"torch", "python"} <= content["versions"].keys()
    assert (directory / "checkpoints" / "best.pt").is_file()
    assert not list(directory.rglob("*.tmp"))
    report = json.loads((directory / "report" / "test.json").read_text())
    assert report["reconstruction"]["psnr"] == pytest.approx(result.reconstruction.psnr)
    events = EventAccumulator(str(directory)).Reload()
    tags = events.Tags()
    assert {
        "loss/total",
        "loss/reconstruction",
        "penalty/value",
        "penalty/weighted",
        "penalty/kl",
        "lps/linear",
        "lps/linear_max",
        "match/mmd_standardised",
        "reconstruction/psnr",
        "latents/active",
        "independence/effective_rank",
        "test/lps/linear",
    } <= set(tags["scalars"])
    assert {"reconstructions", "prior_samples", "traversals"} <= set(tags["images"])
    assert len([tag for tag in tags["histograms"] if tag.startswith("z/")]) == 4
    assert "_hparams_/session_start_info" in events.summary_metadata
    value = {e.step: e.value for e in events.Scalars("penalty/value")}
    weighted = {e.step: e.value for e in events.Scalars("penalty/weighted")}
    assert weighted[2] == pytest.approx(0.5 * 0.5 * value[2], rel=1e-5)
    assert weighted[6] == pytest.approx(0.5 * value[6], rel=1e-5)
    total = {e.step: e.value for e in events.Scalars("loss/total")}
    parts = {e.step: e.value for e in events.Scalars("loss/reconstruction")}
    assert total[6] == pytest.approx(parts[6] + weighted[6], rel=1e-5)


def test_kl_and_mmd_runs_share_their_tags(tmp_path):
    found = []
    for changes in ({}, {"model__posterior": "gaussian", "regularizer": KL}):
        directory = run_directory(tmp_path)
        experiment(directory, **changes).run()
        found.append(set(EventAccumulator(str(directory)).Reload().Tags()["scalars"]))
    own = {"penalty/mmd", "penalty/standardised", "penalty/kl"}
    assert found[0] - own <= found[1]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__posterior": "gaussian", "regularizer": KL, "trainer__gradient_clip": 1.0},
        {"regularizer": {"target": f"{TOYS}:Predicting"}, "trainer__optimizer": "adamw"},
        {"data__resident": False, "data__workers": 0, "trainer__schedule": "cosine"},
        {"regularizer__prior": {"target": f"{TOYS}:two_sided"}},
    ],
    ids=["mmd", "kl", "auxiliary", "streamed", "callable"],
)
def test_resumed_run_is_the_same_run(tmp_path, changes):
    whole, part = run_directory(tmp_path), run_directory(tmp_path)
    finished = experiment(whole, **changes)
    finished.run()
    begun = experiment(part, **changes)
    write = begun.trainer._write

    def write_then_crash(name):
        write(name)
        if begun.trainer.step == 4:
            raise InterruptedError

    begun.trainer._write = write_then_crash
    with pytest.raises(InterruptedError):
        begun.trainer.run()
    content = newest_checkpoint(part)[1]
    torch.manual_seed(99)
    resumed = assemble(config_of(content, "x", trust=True), part, content, progress=False)
    assert resumed.trainer.step == 4
    resumed.run()
    assert same(weights(resumed.trainer.model), weights(finished.trainer.model))
    assert same(weights(resumed.trainer.regularizer), weights(finished.trainer.regularizer))
    assert finished.trainer.best == resumed.trainer.best
    lines = [
        [json.loads(line) for line in (d / "metrics.jsonl").read_text().splitlines()] for d in (whole, part)
    ]
    for a, b in zip(*lines, strict=True):
        a.pop("trainer/steps_per_second", None)
        b.pop("trainer/steps_per_second", None)
        assert a == b


def test_learned_parts_are_trained_apart():
    trained = experiment(regularizer={"target": f"{TOYS}:Predicting"}, trainer__steps=3)
    trained.trainer.validate = None
    penalty = trained.trainer.regularizer
    penalty.seen_gradient = False
    before = weights(penalty)
    main = {id(p) for group in trained.trainer.optimizer.param_groups for p in group["params"]}
    assert not main & {id(p) for p in penalty.net.parameters()}
    trained.trainer.run()
    assert not penalty.seen_gradient
    assert not same(before, weights(penalty))
    state = trained.trainer.state_dict()["auxiliary_optimizer"]["state"]
    assert float(state[0]["step"]) == 6


def test_non_finite_loss_stops_before_the_update(tmp_path):
    directory = run_directory(tmp_path)
    broken = experiment(
        directory, regularizer={"target": f"{TOYS}:Exploding", "at": 5}, trainer__steps=20
    )
    with pytest.raises(NonFiniteLossError, match=r"not finite at step 5.*lower trainer\.learning_rate"):
        broken.trainer.run()
    healthy = experiment(regularizer={"target": f"{TOYS}:Exploding", "at": 99}, trainer__steps=20)
    healthy.trainer.steps = 5
    healthy.trainer.validate = None
    healthy.trainer.run()
    assert same(weights(broken.trainer.model), weights(healthy.trainer.model))
    assert newest_checkpoint(directory)[1]["step"] == 4
    told = json.loads((directory / "checkpoints" / "nonfinite.json").read_text())
    assert told["step"] == 5
    assert told["parts"]["penalty"] == "nan"
    assert math.isfinite(told["parts"]["reconstruction"])
    assert told["indices"] == next(healthy.trainer.batches.stream(5)).indices.tolist()


def test_stopping_finishes_the_step_and_writes_it(tmp_path):
    directory = run_directory(tmp_path)
    stopped = experiment(directory, trainer__steps=20, trainer__checkpoint_every=100)
    stopped.trainer.stop = lambda: stopped.trainer.step == 3
    stopped.trainer.run()
    assert stopped.trainer.stopped
    assert newest_checkpoint(directory)[1]["step"] == 3


def test_fused_optimizers_skip_updates_by_the_switch_used_on_cuda():
    """The loop sets found_inf there, so that no update waits for the host."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], fused=True)
    assert optimizer._step_supports_amp_scaling
    weight.grad = torch.full((3,), float("nan"))
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert torch.equal(weight.detach(), torch.ones(3))


def test_bfloat16_trains_with_finite_float32_losses():
    trained = experiment(trainer__precision="bfloat16", model__posterior="gaussian", regularizer=KL)
    trained.trainer.run()
    assert all(torch.isfinite(p).all() for p in trained.trainer.model.parameters())


def test_no_steps_record_the_model_as_built(tmp_path):
    directory = run_directory(tmp_path)
    linear = {"name": "linear", "latent_dim": 4, "linear_skip": True}
    recorded = experiment(directory, model=linear, regularizer={"name": "none"}, trainer__steps=0)
    result = recorded.run()
    assert newest_checkpoint(directory)[1]["step"] == 0
    assert result.lps["mean", "linear"].score < 0.2


def test_a_single_latent_dimension_has_no_lps_but_trains():
    result = experiment(model__latent_dim=1).run()
    assert result.lps == {}
    assert result.effective_rank == pytest.approx(1)


def test_best_checkpoint_is_that_of_the_monitored_number(tmp_path):
    directory = run_directory(tmp_path)
    trained = experiment(directory, trainer__steps=3, evaluation__every=1, evaluation__monitor="lps/linear")
    scores = iter([0.3, 0.1, 0.2])
    trained.trainer.validate = lambda step: {"lps/linear": next(scores)}
    trained.trainer.run()
    assert trained.trainer.best == -0.1
    assert read_checkpoint(directory / "checkpoints" / "best.pt")["step"] == 2


def test_kept_checkpoints(tmp_path):
    directory = run_directory(tmp_path)
    kept = experiment(directory, trainer__keep_every=3)
    kept.trainer.run()
    names = {path.name for path in (directory / "checkpoints").iterdir()}
    assert names == {"last.pt", "previous.pt", "best.pt", "step_00000003.pt", "step_00000006.pt"}


def test_load_rebuilds_the_model_without_its_data(tmp_path):
    points = np.random.default_rng(0).normal(size=(40, 4))
    np.save(tmp_path / "z.npy", points)
    directory = run_directory(tmp_path)
    trained = experiment(directory, regularizer__prior={"name": "samples", "path": str(tmp_path / "z.npy")})
    trained.run()
    (tmp_path / "z.npy").unlink()
    path = directory / "checkpoints" / "last.pt"
    model = mmdprior.load(path)
    assert not model.training
    assert same(weights(model), weights(trained.trainer.model))
    images = torch.rand(3, 1, 64, 64)
    assert model.decode(model.encode(images).mean).shape == images.shape
    content = read_checkpoint(path)
    resumed = assemble(config_of(content, "x", trust=False), None, content, progress=False)
    assert torch.allclose(
        resumed.trainer.regularizer.prior.points.double(), torch.from_numpy(points).float().double()
    )


class TestCheckpointFiles:
    def written(self, tmp_path):
        directory = run_directory(tmp_path)
        trained = experiment(directory)
        trained.trainer.validate = None
        trained.trainer.run()
        return directory / "checkpoints" / "last.pt"

    def test_damage_is_named(self, tmp_path):
        path = self.written(tmp_path)
        whole = path.read_bytes()
        for content in (whole[: len(whole) // 2], whole[:100], b"", b"junk" * 100):
            path.write_bytes(content)
            with pytest.raises(InputError, match="damaged or no checkpoint"):
                read_checkpoint(path)
        with pytest.raises(InputError, match="no such file"):
            read_checkpoint(tmp_path / "gone.pt")

    def test_flipped_bytes_are_detected(self, tmp_path):
        path = self.written(tmp_path)
        whole = bytearray(path.read_bytes())
        for place in range(2000, len(whole) - 2000, len(whole) // 7):
            broken = bytearray(whole)
            broken[place : place + 40] = bytes(255 - byte for byte in broken[place : place + 40])
            path.write_bytes(broken)
            with pytest.raises(InputError, match="damaged|pickled|not a checkpoint"):
                read_checkpoint(path)

    @pytest.mark.parametrize(
        ("key", "value"), [("step", "3"), ("config", None), ("image_shape", None), ("format_version", "1")]
    )
    def test_content_of_the_wrong_type(self, tmp_path, key, value):
        content = read_checkpoint(self.written(tmp_path))
        write_checkpoint({**content, key: value}, tmp_path / "x.pt")
        with pytest.raises(InputError, match=f"{key} is"):
            read_checkpoint(tmp_path / "x.pt")

    @pytest.mark.parametrize("key", ["optimizer", "random", "best", "regularizer"])
    def test_states_that_do_not_fit_the_run(self, tmp_path, key):
        content = read_checkpoint(self.written(tmp_path))
        content.pop(key)
        with pytest.raises(InputError, match="does not fit this run"):
            experiment(resume=content)

    def test_optimizer_moments_of_another_shape(self, tmp_path):
        content = read_checkpoint(self.written(tmp_path))
        content["optimizer"]["state"][0]["exp_avg"] = torch.zeros(3)
        with pytest.raises(InputError, match=r"optimizer exp_avg: \(3,\)"):
            experiment(resume=content)

    def test_pickled_objects_are_never_run(self, tmp_path):
        marker = tmp_path / "ran"

        class Payload:
            def __reduce__(self):
                return (os.mkdir, (str(marker),))

        for save in (
            lambda f: torch.save({"config": Payload()}, f),
            lambda f: f.write_bytes(pickle.dumps(Payload())),
        ):
            save(tmp_path / "evil.pt")
            with pytest.raises(InputError, match="pickled objects|damaged"):
                read_checkpoint(tmp_path / "evil.pt")
        assert not marker.exists()

    def test_foreign_and_newer_files(self, tmp_path):
        torch.save({"state_dict": {}}, tmp_path / "x.pt")
        with pytest.raises(InputError, match="not a checkpoint of this package"):
            read_checkpoint(tmp_path / "x.pt")
        content = read_checkpoint(self.written(tmp_path))
        torch.save({**content, "format_version": 99}, tmp_path / "y.pt")
        with pytest.raises(InputError, match="format_version 99"):
            read_checkpoint(tmp_path / "y.pt")

    def test_targets_need_trust(self, tmp_path):
        content = read_checkpoint(self.written(tmp_path))
        content["config"]["regularizer"] = {"target": f"{TOYS}:Predicting"}
        write_checkpoint(content, tmp_path / "t.pt")
        with pytest.raises(InputError, match="pass --trust"):
            mmdprior.load(tmp_path / "t.pt")
        assert mmdprior.load(tmp_path / "t.pt", trust=True)
        content["config"]["regularizer"] = {"target": [f"{TOYS}:Predicting"]}
        write_checkpoint(content, tmp_path / "t.pt")
        with pytest.raises(InputError, match="pass --trust"):
            mmdprior.load(tmp_path / "t.pt")
        with pytest.raises(InputError, match="in quotes"):
            mmdprior.load(tmp_path / "t.pt", trust=True)

    def test_a_failed_write_leaves_the_old_file(self, tmp_path):
        path = self.written(tmp_path)
        before = path.read_bytes()
        with pytest.raises(Exception, match="pickle|lambda|Can't"):
            write_checkpoint({"f": lambda: 0}, path)
        assert path.read_bytes() == before
        assert {p.name for p in path.parent.iterdir()} == {"last.pt", "previous.pt"}


def test_run_directories_are_never_shared(tmp_path):
    directories = {create_run_directory(tmp_path, "a/b") for _ in range(5)}
    assert len(directories) == 5
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        create_run_directory(tmp_path / "file", "a")
    with pytest.raises(InputError, match="holds no checkpoints"):
        newest_checkpoint(directories.pop())


def test_logger_drops_what_a_resumed_run_logs_again(tmp_path):
    logger = RunLogger(tmp_path, metrics=tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        logger.scalars({"a": float(step), "b": math.nan}, step)
    logger.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "a"')
    RunLogger(tmp_path, start=2, metrics=tmp_path / "metrics.jsonl").close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "a": 1.0, "b": None}, {"step": 2, "a": 2.0, "b": None}]


def test_schedules():
    assert [Constant()(s) for s in (0, 99)] == [1.0, 1.0]
    assert [Warmup(4)(s) for s in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert [Cyclical(10, 0.5)(s) for s in (0, 1, 5, 9, 10, 11)] == pytest.approx([0, 0.2, 1, 1, 0, 0.2])
    cosine = Cosine(100, warmup_steps=10, final=0.1)
    assert cosine(0) == pytest.approx(0.1)
    assert cosine(10) == 1.0
    assert cosine(55) == pytest.approx(0.55)
    assert cosine(100) == pytest.approx(0.1)
    for bad in (lambda: Warmup(0), lambda: Cyclical(5, 0.0), lambda: Cosine(5, -1)):
        with pytest.raises(InputError):
            bad()


@pytest.mark.gpu
def test_non_finite_loss_on_cuda_keeps_the_weights():
    broken = experiment(
        regularizer={"target": f"{TOYS}:Exploding", "at": 3},
        trainer__device="cuda",
        trainer__log_every=50,
    )
    broken.trainer.validate = None
    with pytest.raises(NonFiniteLossError):
        broken.trainer.run()
    assert all(torch.isfinite(p).all() for p in broken.trainer.model.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_on_cuda(tmp_path, precision):
    directory = run_directory(tmp_path)
    experiment(directory, trainer__device="cuda", trainer__precision=precision).run()
    assert mmdprior.load(directory / "checkpoints" / "last.pt", device="cuda")
