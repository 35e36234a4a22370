"""Supervised scores in training, at its end, in the report and of the checkpoint."""

import json
import math
from typing import get_args

import pytest
from helpers.small_runs import experiment, run_directory, same
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmdprior.build.data import select_split
from mmdprior.build.factor_scores import final_scores, images_to_score, validation_scores
from mmdprior.config.schema import ScoreName
from mmdprior.errors import InputError, InputWarning
from mmdprior.metrics.supervised import scores
from mmdprior.runs.complete import complete
from mmdprior.runs.read import read_run
from mmdprior.scoring import Scorer
from mmdprior.training import read_checkpoint

NAMES = ["mig", "sap_r2"]
SETTINGS = {"data__images": 400, "data__batch_size": 16, "evaluation__disentanglement": NAMES}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Directory and scores of a finished run."""
    directory = run_directory(tmp_path_factory.mktemp("run"))
    return directory, experiment(directory, **SETTINGS).run()


def test_validations_log_the_scores(run):
    directory, _ = run
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    logged = {line["step"]: line for line in lines if "disentanglement/mig" in line}
    assert sorted(logged) == [0, 3, 6]
    assert all(0 <= line[f"disentanglement/{name}"] <= 1 for line in logged.values() for name in NAMES)
    tags = EventAccumulator(str(directory)).Reload().Tags()["scalars"]
    assert {*(f"disentanglement/{name}" for name in NAMES), "test/disentanglement/mig"} <= set(tags)
    assert "disentanglement/irs" not in tags


def test_the_end_scores_all_images_of_a_grid(run):
    directory, result = run
    report = json.loads((directory / "report" / "test.json").read_text())
    assert report["disentanglement"] == result.disentanglement.to_dict()
    assert (result.disentanglement.n, result.disentanglement.copies) == (400, 1)
    assert list(result.disentanglement.scores) == NAMES
    assert "disentanglement, mean codes" in str(result)


def test_the_checkpoint_has_the_scores_of_the_run(run):
    directory, result = run
    again, _ = Scorer(["linear"], seed=0).file(str(directory))
    assert again.disentanglement == result.disentanglement


@pytest.mark.parametrize(
    ("choice", "n"), [({"split": "test"}, 40), ({"split": "all"}, 400), ({"limit": 100}, 100), ({}, 400)]
)
def test_a_split_or_a_limit_restricts_the_end(choice, n):
    built = experiment(**{**SETTINGS, "evaluation__disentanglement": {"chance": 0, **choice}})
    stored = built.stored
    images = images_to_score(built.config, stored.test, lambda split: select_split(stored, split))
    assert len(images) == n
    assert images.label_names == ("shape", "scale", "orientation", "x", "y")


def test_scores_leave_training_and_resuming_unchanged(run, tmp_path):
    directory, result = run
    whole = read_checkpoint(directory / "checkpoints" / "last.pt")
    plain = run_directory(tmp_path)
    experiment(plain, **{**SETTINGS, "evaluation__disentanglement": False}).run()
    assert same(read_checkpoint(plain / "checkpoints" / "last.pt")["model"], whole["model"])
    part = run_directory(tmp_path / "part")
    stopped = experiment(part, **SETTINGS)
    stopped.trainer.steps = 4
    stopped.trainer.run()
    content = read_checkpoint(part / "checkpoints" / "last.pt")
    assert content["step"] == 4
    resumed = experiment(part, content, **SETTINGS).run()
    assert resumed.disentanglement == result.disentanglement
    logged = [_logged(path) for path in (directory, part)]
    assert {step: logged[1][step] for step in (0, 3, 6)} == logged[0]


def _logged(directory):
    """Return the MIG of validations by step."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["disentanglement/mig"] for line in lines if "disentanglement/mig" in line}


def test_a_completed_report_has_the_scores(run, tmp_path):
    directory, result = run
    saved = directory / "report" / "test.json"
    text = saved.read_text()
    saved.unlink()
    try:
        complete(read_run(directory))
        assert json.loads(saved.read_text())["disentanglement"] == json.loads(text)["disentanglement"]
    finally:
        saved.write_text(text)
    assert read_run(directory).scalars["disentanglement/mig"] == result.disentanglement.scores["mig"]
    assert read_run(directory).scalars["disentanglement/mig_chance"] == result.disentanglement.chance["mig"]


class TestChoice:
    def test_the_config_has_the_names_of_all_scores(self):
        assert get_args(ScoreName) == scores.SCORES

    def test_true_scores_the_fast_ones_in_training_and_all_at_the_end(self):
        config = experiment(evaluation__disentanglement=True).config
        assert config.to_dict()["evaluation"]["disentanglement"] is True
        assert validation_scores(config).scores == scores.QUICK_SCORES
        assert (validation_scores(config).chance, final_scores(config).chance) == (0, 1)
        assert final_scores(config).scores == scores.SCORES
        assert not {"dci_disentanglement", "info_e"} & set(scores.QUICK_SCORES)

    def test_off_by_default(self, monkeypatch):
        built = experiment(trainer__steps=0)

        def never(*arguments, **settings):
            raise AssertionError("images of a grid encoded")

        monkeypatch.setattr("mmdprior.runs.experiment.encode", never)
        assert built.run().disentanglement is None
        config = built.config
        assert config.to_dict()["evaluation"]["disentanglement"] is False
        assert validation_scores(config) is final_scores(config) is None

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (["mig", "migg"], r"evaluation.disentanglement.1: 'migg' received; expected 'beta_vae'"),
            ([], r"evaluation.disentanglement: \[\] received; expected a list of at least 1 item"),
            ("mig", r"evaluation.disentanglement: 'mig' received; expected true, false, a list of"),
            (3, r"evaluation.disentanglement: 3 received; expected true, false"),
            ({"score": ["mig"]}, r"disentanglement.score: unknown key; did you mean 'scores'\?"),
            ({"probe": "tree"}, r"disentanglement.probe: 'tree' received; expected 'histogram'"),
            ({"bins": 1}, r"bins: 1 received; expected greater than or equal to 2"),
            (
                {"kinds": {"form": "ordinal"}},
                r"kinds: 'form' received; the factors of the data are shape, scale",
            ),
        ],
    )
    def test_a_wrong_setting_is_one_line(self, value, message):
        with pytest.raises(InputError, match=message) as error:
            experiment(evaluation__disentanglement=value)
        assert "\n" not in str(error.value)

    def test_data_without_factors_give_a_warning(self, tmp_path):
        (tmp_path / "noise.py").write_text(
            "import torch\nfrom mmdprior.data import InMemory, Source\n\n\n"
            "def noise():\n    return Source(InMemory(torch.rand(400, 1, 8, 8)))\n"
        )
        data = {"target": f"{tmp_path}/noise.py:noise", "batch_size": 16}
        with pytest.warns(InputWarning, match="evaluation.disentanglement: the data have no known factors"):
            built = experiment(data=data, evaluation__disentanglement=True, trainer__steps=0)
        assert built.run().disentanglement is None

    def test_missing_packages_are_reported_before_training(self, monkeypatch):
        monkeypatch.setattr(scores.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(InputError, match="'mcc_pearson' received; it needs scikit-learn"):
            experiment(evaluation__disentanglement=["mig", "mcc_pearson"])
        config = experiment(evaluation__disentanglement=True).config
        assert {"mig", "sap", "irs"} <= set(final_scores(config).scores)
        assert not {"mcc_pearson", "dci_disentanglement"} & set(final_scores(config).scores)


def test_few_validation_images_have_no_scores():
    small = {**SETTINGS, "data__validation": 3, "evaluation__limit": 3}
    with pytest.warns(InputWarning, match="LPS"):
        result = experiment(**small).run()
    assert math.isfinite(result.disentanglement.scores["mig"])
