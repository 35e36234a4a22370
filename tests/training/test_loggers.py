"""What a run logs: files, TensorBoard tags, and numbers of a resumed run."""

import json
import math

import pytest
from helpers.small_runs import experiment, run_directory
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmdprior.figures.charts import SUMMARY
from mmdprior.training import RunLogger, read_checkpoint

KL = {"name": "kl", "weight": 0.5, "schedule": {"name": "warmup", "warmup_steps": 4}}
TAGS = {
    *("loss/total", "loss/reconstruction", "penalty/value", "penalty/weighted", "penalty/kl"),
    *("lps/linear", "lps/linear_max", "match/mmd_standardised", "reconstruction/psnr", "latents/active"),
    *("independence/effective_rank", "test/lps/linear"),
}


@pytest.fixture(scope="module")
def kl_run(tmp_path_factory):
    """Directory and scores of a finished run with a KL penalty and pictures."""
    directory = run_directory(tmp_path_factory.mktemp("kl"))
    changes = {"model__posterior": "gaussian", "regularizer": KL, "evaluation__pictures": True}
    return directory, experiment(directory, **changes).run()


@pytest.fixture(scope="module")
def kl_events(kl_run):
    return EventAccumulator(str(kl_run[0])).Reload()


def test_run_writes_config_checkpoints_metrics_and_report(kl_run):
    directory, result = kl_run
    names = {path.name for path in directory.iterdir()}
    assert names >= {"config.yaml", "checkpoints", "metrics.jsonl", "report"}
    content = read_checkpoint(directory / "checkpoints" / "last.pt")
    assert content["step"] == 6
    assert {"torch", "python"} <= content["versions"].keys()
    assert (directory / "checkpoints" / "best.pt").is_file()
    assert not list(directory.rglob("*.tmp"))
    report = json.loads((directory / "report" / "test.json").read_text())
    assert report["reconstruction"]["psnr"] == pytest.approx(result.reconstruction.psnr)


def test_event_files_hold_scalars_images_histograms_and_hparams(kl_events):
    tags = kl_events.Tags()
    assert set(tags["scalars"]) >= TAGS
    assert {"reconstructions", "prior_samples", "traversals"} <= set(tags["images"])
    assert len([tag for tag in tags["histograms"] if tag.startswith("z/")]) == 4
    assert "_hparams_/session_start_info" in kl_events.summary_metadata


def test_logged_total_is_reconstruction_plus_scheduled_penalty(kl_events):
    values = {
        tag: {event.step: event.value for event in kl_events.Scalars(tag)}
        for tag in ("penalty/value", "penalty/weighted", "loss/total", "loss/reconstruction")
    }
    value, weighted = values["penalty/value"], values["penalty/weighted"]
    assert weighted[2] == pytest.approx(0.5 * 0.5 * value[2], rel=1e-5)
    assert weighted[6] == pytest.approx(0.5 * value[6], rel=1e-5)
    assert values["loss/total"][6] == pytest.approx(values["loss/reconstruction"][6] + weighted[6], rel=1e-5)


def test_kl_and_mmd_runs_share_their_tags(tmp_path, kl_events):
    directory = run_directory(tmp_path)
    experiment(directory).run()
    mmd_tags = set(EventAccumulator(str(directory)).Reload().Tags()["scalars"])
    specific = {"penalty/mmd", "penalty/standardised", "penalty/kl"}
    assert mmd_tags - specific <= set(kl_events.Tags()["scalars"])


def test_logger_drops_what_a_resumed_run_logs_again(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    logger = RunLogger(tmp_path, metrics=metrics)
    for step in (1, 2, 3):
        logger.scalars({"a": float(step), "b": math.nan}, step)
    logger.close()
    with metrics.open("a") as file:
        file.write('{"step": 4, "a"')
    RunLogger(tmp_path, start=2, metrics=metrics).close()
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert lines == [{"step": 1, "a": 1.0, "b": None}, {"step": 2, "a": 2.0, "b": None}]


def test_the_first_scalars_are_loss_psnr_lps_and_match(kl_events):
    scalars = sorted(kl_events.Tags()["scalars"])
    assert scalars[:4] == list(dict.fromkeys(SUMMARY[tag] for tag in SUMMARY if "r2" not in tag))
    for tag, copy in SUMMARY.items():
        if copy in scalars:
            assert kl_events.Scalars(copy)[0].value == kl_events.Scalars(tag)[0].value
