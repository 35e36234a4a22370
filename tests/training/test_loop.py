"""The trainer: what it minimises, when it stops, and that a resumed run is the same run."""

import json
from pathlib import Path

import pytest
import torch
from helpers.small_runs import experiment, run_directory, same, trainer, weights

import mmdprior
from mmdprior import InputError
from mmdprior.build.restore import config_of
from mmdprior.runs import assemble
from mmdprior.training import newest_checkpoint, read_checkpoint

TOYS = Path(__file__).parents[1] / "helpers" / "toys.py"
KL = {"name": "kl", "weight": 0.5, "schedule": {"name": "warmup", "warmup_steps": 4}}


def test_loss_decreases_and_the_penalty_acts():
    losses = {}
    for weight in (0.0, 3000.0):
        trained = trainer(regularizer__weight=weight, trainer__steps=60, data__batch_size=64)
        images = next(trained.batches.stream()).images
        penalty = mmdprior.MMD(mmdprior.priors.Gaussian(4), seed=0)

        def values(t=trained, x=images, p=penalty):
            with torch.no_grad():
                latent, output = t.model(x)
                return float(t.model.likelihood.loss(output, x)), float(p(latent))

        before = values()
        trained.run()
        losses[weight] = (before, values())
    assert losses[0.0][1][0] < losses[0.0][0][0]
    assert losses[3000.0][1][1] < losses[0.0][1][1]


def metrics(directory):
    """Return the logged numbers of a run, without speeds."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "trainer/steps_per_second"} for line in lines]


def resume(directory):
    """Return the experiment of a run directory, assembled from its newest checkpoint alone."""
    content = newest_checkpoint(directory)[1]
    torch.manual_seed(99)
    return assemble(config_of(content, "x", trust=True), directory, content, progress=False)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__posterior": "gaussian", "regularizer": KL, "trainer__gradient_clip": 1.0},
        {"regularizer": {"target": f"{TOYS}:Predicting"}, "trainer__optimizer": "adamw"},
        {"data__resident": False, "data__workers": 0, "trainer__schedule": "cosine"},
        {"regularizer__prior": {"target": f"{TOYS}:two_sided"}},
        {"regularizer__schedule": {"name": "target", "quantity": "loss/reconstruction", "value": 300.0}},
    ],
    ids=["mmd", "kl", "auxiliary", "streamed", "callable", "target"],
)
def test_a_run_resumed_after_a_crash_is_the_same_run(tmp_path, changes):
    whole, part = run_directory(tmp_path), run_directory(tmp_path)
    finished = experiment(whole, **changes).trainer
    finished.run()
    crashed = experiment(part, **changes).trainer
    write = crashed._write

    def write_then_crash(name):
        write(name)
        if crashed.step == 4:
            raise InterruptedError

    crashed._write = write_then_crash
    with pytest.raises(InterruptedError):
        crashed.run()
    resumed = resume(part).trainer
    assert resumed.step == 4
    resumed.run()
    assert same(weights(resumed.model), weights(finished.model))
    assert same(weights(resumed.regularizer), weights(finished.regularizer))
    assert finished.best == resumed.best
    assert metrics(whole) == metrics(part)


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer__average": 0.9, "data__flip": True, "data__shift": 3},
        {"trainer__accumulate": 4, "trainer__gradient_clip": 1.0, "data__flip": True},
        {"data__resident": False, "data__workers": 0, "data__shift": 3, "trainer__channels_last": True},
    ],
    ids=["averaged", "in parts", "streamed"],
)
def test_a_run_resumed_after_a_stop_is_the_same_run(tmp_path, changes):
    part = run_directory(tmp_path)
    finished, stopped = trainer(**changes), experiment(part, **changes)
    finished.run()
    stopped.trainer.validate = None
    stopped.trainer.stop = lambda: stopped.trainer.step == 3
    assert stopped.run() is None
    resumed = resume(part).trainer
    resumed.validate = None
    resumed.run()
    a, b = finished.state_dict(), resumed.state_dict()
    assert same(a["model"], b["model"])
    assert changes.get("trainer__average") is None or same(a["averaged"], b["averaged"])


def test_stopping_finishes_the_step_and_writes_it(tmp_path):
    directory = run_directory(tmp_path)
    stopped = trainer(directory, trainer__steps=20, trainer__checkpoint_every=100)
    stopped.stop = lambda: stopped.step == 3
    stopped.run()
    assert stopped.stopped
    assert newest_checkpoint(directory)[1]["step"] == 3


def test_training_ends_when_patience_is_exhausted_and_stays_ended(tmp_path):
    directory = run_directory(tmp_path)
    changes = {"trainer__steps": 20, "evaluation__every": 1, "evaluation__patience": 2}
    run = experiment(directory, **changes).trainer
    scores = iter([50.0, 10.0, 12.0, 11.0, 12.0, 99.0])  # the first one is at step 0
    run.validate = lambda step: {"reconstruction/psnr": next(scores)}
    run.run()
    assert run.step == 4
    assert not run.stopped
    assert read_checkpoint(directory / "checkpoints" / "best.pt")["step"] == 2
    content = read_checkpoint(directory / "checkpoints" / "last.pt")
    assert (content["step"], content["stale"]) == (4, 2)
    resumed = experiment(directory, content, **changes).trainer
    resumed.run()
    assert resumed.step == 4


def test_best_checkpoint_is_that_of_the_monitored_number(tmp_path):
    directory = run_directory(tmp_path)
    trained = trainer(directory, trainer__steps=3, evaluation__every=1, evaluation__monitor="lps/linear")
    scores = iter([0.0, 0.3, 0.1, 0.2])  # the first one is at step 0
    trained.validate = lambda step: {"lps/linear": next(scores)}
    trained.run()
    assert trained.best == -0.1
    assert read_checkpoint(directory / "checkpoints" / "best.pt")["step"] == 2


def test_learned_parts_are_trained_separately():
    trained = trainer(regularizer={"target": f"{TOYS}:Predicting"}, trainer__steps=3)
    penalty = trained.regularizer
    penalty.seen_gradient = False
    before = weights(penalty)
    main = {id(p) for group in trained.optimizer.param_groups for p in group["params"]}
    assert not main & {id(p) for p in penalty.net.parameters()}
    trained.run()
    assert not penalty.seen_gradient
    assert not same(before, weights(penalty))
    state = trained.state_dict()["auxiliary_optimizer"]["state"]
    assert float(state[0]["step"]) == 6


def test_parts_change_memory_but_not_the_run():
    models = []
    for parts in (1, 4):
        run = trainer(trainer__accumulate=parts, trainer__steps=3)
        run.run()
        models.append(weights(run.model))
    assert all(torch.allclose(models[0][key], models[1][key], atol=1e-5) for key in models[0])


def test_a_batch_that_does_not_split_evenly_is_an_error():
    with pytest.raises(InputError, match=r"data\.batch_size: 16 received; give a multiple of 3, 1 processes"):
        experiment(trainer__accumulate=3)


def test_bfloat16_trains_with_finite_float32_losses():
    trained = experiment(trainer__precision="bfloat16", model__posterior="gaussian", regularizer=KL).trainer
    trained.run()
    assert all(torch.isfinite(p).all() for p in trained.model.parameters())


def test_zero_steps_save_and_score_the_model_as_built(tmp_path):
    directory = run_directory(tmp_path)
    linear = {"name": "linear", "latent_dim": 4, "linear_skip": True}
    built = experiment(directory, model=linear, regularizer={"name": "none"}, trainer__steps=0)
    result = built.run()
    assert newest_checkpoint(directory)[1]["step"] == 0
    assert result.lps["mean", "linear"].score < 0.2


def test_a_single_latent_dimension_trains_without_lps():
    result = experiment(model__latent_dim=1).run()
    assert result.lps == {}
    assert result.effective_rank == pytest.approx(1)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_on_cuda(tmp_path, precision):
    directory = run_directory(tmp_path)
    experiment(directory, trainer__device="cuda", trainer__precision=precision).run()
    assert mmdprior.load(directory / "checkpoints" / "last.pt", device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("parts", [1, 2])
def test_steps_between_logged_ones_never_wait_for_the_gpu(parts):
    settings = {"trainer__log_every": 100, "trainer__accumulate": parts, "data__flip": True}
    run = trainer(trainer__device="cuda", data__images=800, **settings)  # one epoch
    run.steps = 17  # the checks of the penalty at its calls 1 and 16 wait
    run.run()
    run.steps = 30

    def never_stop():
        torch.cuda.set_sync_debug_mode("error" if run.step < 28 else "default")
        return False

    run.stop = never_stop
    try:
        run.run()
    finally:  # a mode left in force would fail every later test
        torch.cuda.set_sync_debug_mode("default")
