"""Comparisons of finished runs: what differs, numbers over seeds, verdicts, the page, TensorBoard."""

import json
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.comparison import read_runs, write_page, write_tensorboard
from mmdprior.comparison.differences import differences, fingerprint, setting_text, shared_settings
from mmdprior.comparison.quantities import seed_statistics
from mmdprior.comparison.tensorboard import mean_curve
from mmdprior.comparison.verdict import independence_verdict, prior_verdict
from mmdprior.metrics import lps
from mmdprior.runs.read import find_runs, scalars_of

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "helpers" / "toys.py"
CONFIG = {
    "name": "set/vae",
    "seed": 0,
    "data": {"name": "sprites", "root": "here", "batch_size": 64},
    "model": {"latent_dim": 3},
    "regularizer": {"name": "kl", "weight": 1.0},
    "trainer": {"steps": 100, "device": "cpu"},
}
MMD = {"name": "mmd", "weight": 9.0, "prior": {"name": "uniform", "low": -1}, "kernel": {"name": "imq"}}


def entry(representation, score, null=0.001):
    part = {"representation": representation, "predictor": "mlp", "score": score, "max": 2 * score}
    part |= {"r2": [score] * 3, "null_r2": [0.0] * 3, "active": [True] * 3, "null": null, "p_value": 0.01}
    return part | {"interval": [score - 0.01, score + 0.01]}


def write_run(folder, *, name="set/vae", seed=0, psnr=20.0, match=1.0, lps=0.002, test=True, **sections):
    folder.mkdir(parents=True)
    config = {**CONFIG, "name": name, "seed": seed, **sections}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [
        {"step": step, "loss/total": 1.0 / step, "lps/linear": None, "trainer/steps_per_second": 5.0}
        for step in (50, 100)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 1')
    (folder / "report").mkdir()
    scores = {"dim": 3, "active": 3, "effective_rank": 2.9, "match": {"mmd_standardised": match}}
    scores["lps"] = [entry("mean", lps), entry("sample", lps / 2)]
    scores["reconstruction"] = {"mse": 10 ** (-psnr / 10), "psnr": psnr, "loss": 5.0}
    scores["independence"] = {"mean": {"n": 9, "total_correlation": 0.5, "effective_rank": 2.9}}
    if test:
        (folder / "report" / "test.json").write_text(json.dumps(scores))
    return folder


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "runs"
    for seed, psnr in ((0, 20.0), (1, 20.4)):
        write_run(root / "vae" / f"seed_{seed}", seed=seed, psnr=psnr, match=30.0, lps=0.3)
        write_run(root / "mmd" / f"seed_{seed}", seed=seed, name="set/mmd", psnr=psnr - 1, regularizer=MMD)
    return root


class TestReading:
    def test_finds_runs_at_any_depth_each_once(self, runs):
        run = runs / "vae" / "seed_0"
        (runs / "other").mkdir()
        (runs / "other" / "config.yaml").write_text("{}")
        assert find_runs([run, runs, run]) == [run, *(p for p in find_runs([runs]) if p != run)]
        assert len(find_runs([runs])) == 4
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "last.pt").touch()
        assert find_runs([run / "checkpoints" / "last.pt"]) == [run]

    def test_a_place_without_runs_is_told_in_one_line(self, tmp_path, capsys):
        for path in (tmp_path, tmp_path / "gone"):
            assert main(["compare", str(path)]) == 2
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert str(path) in error

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("config.yaml", "a: ["),
            ("config.yaml", "!!python/object:os.system {}"),
            ("config.yaml", "3"),
            ("report/test.json", "{"),
            ("report/test.json", "[]"),
            ("report/test.json", '{"lps": 3}'),
            ("report/run.json", "nan?"),
        ],
    )
    def test_a_damaged_run_is_told_and_costs_nothing_of_the_others(self, runs, capsys, file, text):
        (runs / "vae" / "seed_0" / file).write_text(text)
        assert main(["compare", str(runs)]) == 2
        out = capsys.readouterr().out
        assert re.search(r"^error: .*seed_0", out, re.MULTILINE)
        assert "mmd" in out
        with pytest.raises(InputError, match="none can be read"):
            read_runs([runs / "vae" / "seed_0"])

    def test_numbers_carry_the_tags_of_tensorboard(self, runs):
        run = read_runs([runs / "vae" / "seed_0"]).runs[0]
        assert run.scalars["lps/mlp"] == 0.3
        assert run.scalars["lps/mlp_sample"] == 0.15
        assert run.scalars["independence/total_correlation"] == 0.5
        assert run.scalars["cost/train_seconds"] == 20.0
        assert np.isnan(run.curves["lps/linear"][1]).all()
        assert run.curves["loss/total"][0].tolist() == [50, 100]
        assert scalars_of({}) == {}

    def test_a_run_that_was_not_scored_has_empty_cells_and_says_so(self, tmp_path):
        write_run(tmp_path / "a")
        write_run(tmp_path / "b", name="set/b", test=False, regularizer=MMD)
        found = read_runs([tmp_path])
        assert "incomplete reports: 2 runs" in found.subtitle
        assert found.runs[1].missing == ("test.json", "run.json", "codes.npz")
        assert "not measured" in str(found)
        row = next(r for r in found.tables()["Reconstruction"].rows if r[0].text == "b")
        assert [cell.text for cell in row[1:]] == ["", ""]


class TestDifferences:
    def test_are_found_and_named_and_the_rest_is_shared(self):
        other = {**CONFIG, "name": "x", "regularizer": MMD, "trainer": {"steps": 200, "device": "cuda"}}
        found = differences([CONFIG, other])
        assert found["trainer.steps"] == [100, 200]
        assert found["regularizer.weight"] == [1.0, 9.0]
        assert setting_text(found["regularizer"][1]) == "mmd(prior=uniform(low=-1), kernel=imq)"
        assert "name" not in found
        assert "data" not in " ".join(found)
        assert shared_settings([CONFIG, other])["data"] == CONFIG["data"]
        assert shared_settings([CONFIG, other])["seed"] == 0
        assert differences([CONFIG, CONFIG]) == {}

    def test_go_into_slots_of_one_name_and_lists_of_them(self):
        def penalties(weight, low):
            parts = [{**MMD, "weight": weight, "prior": {"name": "uniform", "low": low}}, {"name": "kl"}]
            return {"regularizer": {"name": "sum", "penalties": parts}}

        found = differences([penalties(1, -1), penalties(2, -3)])
        assert found == {
            "regularizer.penalties[mmd].weight": [1, 2],
            "regularizer.penalties[mmd].prior.low": [-1, -3],
        }

    def test_null_and_absent_are_the_same(self):
        assert differences([{"data": {"limit": None}}, {"data": {}}]) == {}

    def test_fingerprint_tells_what_is_computed_from_where_and_with_which_seed(self):
        machine = {**CONFIG, "seed": 5, "data": {**CONFIG["data"], "root": "there"}}
        assert fingerprint(machine) == fingerprint(CONFIG)
        assert fingerprint({**CONFIG, "model": {"latent_dim": 4}}) != fingerprint(CONFIG)


class TestSeeds:
    def test_spread_is_mean_and_standard_deviation(self):
        values = [20.0, 20.4, 21.0]
        found = seed_statistics([*values, float("nan")])
        assert found.mean == pytest.approx(statistics.mean(values))
        assert found.sd == pytest.approx(statistics.stdev(values))
        assert seed_statistics([3.0]).text(".1f") == "3.0"
        assert seed_statistics([]).text() == ""

    def test_runs_of_one_config_go_together(self, runs):
        found = read_runs([runs])
        assert [(group.label, group.seeds) for group in found.groups] == [("mmd", (0, 1)), ("vae", (0, 1))]
        assert found.groups[1].value("reconstruction/psnr").mean == pytest.approx(20.2)

    def test_seeds_named_in_the_run_name_go_together(self, tmp_path):
        for seed in (0, 1):
            write_run(tmp_path / str(seed), seed=seed, name=f"set/vae/seed_{seed}")
        assert [group.label for group in read_runs([tmp_path]).groups] == ["vae"]

    def test_configs_of_one_name_are_told_apart_by_what_differs(self, tmp_path):
        for weight in (1.0, 4.0):
            write_run(tmp_path / str(weight), regularizer={"name": "kl", "weight": weight})
        assert [group.label for group in read_runs([tmp_path]).groups] == ["vae weight=1", "vae weight=4"]


class TestVerdicts:
    @pytest.mark.parametrize(("match", "word"), [(-0.5, "yes"), (3.0, "yes"), (4.0, "nearly"), (11.0, "no")])
    def test_prior_by_match(self, tmp_path, match, word):
        write_run(tmp_path / "a", match=match)
        assert prior_verdict(read_runs([tmp_path]).groups[0]).text == word

    def test_prior_by_the_worst_marginal_too(self, tmp_path):
        run = write_run(tmp_path / "a", match=0.0)
        (run / "report" / "run.json").write_text(json.dumps({"marginal_distance": 0.2}))
        assert prior_verdict(read_runs([tmp_path]).groups[0]).text == "no"

    @pytest.mark.parametrize(("lps", "word"), [(0.0105, "yes"), (0.04, "nearly"), (0.06, "no")])
    def test_independence_is_above_chance(self, tmp_path, lps, word):
        write_run(tmp_path / "a", lps=lps)
        assert independence_verdict(read_runs([tmp_path]).groups[0]).text == word

    def test_collapse_is_told_beside_a_match(self, tmp_path):
        run = write_run(tmp_path / "a")
        path = run / "report" / "test.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "active": 1}))
        assert "only 1 of 3 dimensions active" in prior_verdict(read_runs([tmp_path]).groups[0]).note


class TestPage:
    def test_stands_alone_and_names_every_picture(self, runs, tmp_path, capsys):
        out = tmp_path / "out"
        assert main(["compare", str(runs), "--out", str(out)]) == 0
        page = (out / "index.html").read_text()
        assert not re.search(r"""(src|href)=["']?(?!["']?data:)|url\(|@import|<script""", page)
        images = re.findall(r"<img [^>]*>", page)
        assert images
        assert all(re.search(r'alt="[^"]{10,}"', image) for image in images)
        for text in (
            "Prior matched",
            "19.20 ± 0.28",
            "regularizer",
            "prior=uniform(low=-1)",
            "mmdprior compare",
        ):
            assert text in page
        assert (
            page.index("codes independent?")
            < page.index("Settings that differ")
            < page.index("Codes and images")
        )

    def test_markdown_and_json_say_the_same(self, runs, tmp_path):
        found = read_runs([runs])
        write_page(found, tmp_path / "out", command="the command", versions={"torch": "9"})
        text = (tmp_path / "out" / "comparison.md").read_text()
        assert "19.20 ± 0.28" in text
        assert "    the command" in text
        for file in re.findall(r"\]\((figures/[^)]*)\)", text):
            assert (tmp_path / "out" / file).is_file()
            assert (tmp_path / "out" / file).with_suffix(".svg").is_file()
        plain = json.loads((tmp_path / "out" / "comparison.json").read_text())
        numbers = {group["label"]: group["numbers"] for group in plain["groups"]}
        assert numbers["mmd"]["reconstruction/psnr"]["mean"] == pytest.approx(19.2)
        assert numbers["vae"]["lps/mlp"]["by_run"] == [0.3, 0.3]

    def test_names_are_escaped(self, tmp_path):
        write_run(tmp_path / "a", name="<script>x</script>")
        page = write_page(read_runs([tmp_path]), tmp_path / "out").read_text()
        assert "<script" not in page

    def test_notebooks_show_the_verdicts(self, runs):
        assert "<pre>LPS linear" in lps(np.random.default_rng(0).normal(size=(60, 2)), "linear")._repr_html_()
        html = read_runs([runs])._repr_html_()
        assert "prior matched?" in html
        assert "</table>" in html

    def test_a_folder_that_cannot_be_written_is_told(self, runs, tmp_path, capsys):
        (tmp_path / "file").touch()
        assert main(["compare", str(runs), "--out", str(tmp_path / "file")]) == 2
        assert "--out" in capsys.readouterr().err


class TestTensorBoard:
    def test_has_overlays_and_means_over_seeds(self, runs, tmp_path):
        folder = write_tensorboard(read_runs([runs]), tmp_path / "tb")
        both = EventAccumulator(str(folder / "comparison"), size_guidance={"images": 0}).Reload()
        assert "overlays/frontier" in both.Tags()["images"]
        assert "custom_scalars__config__" in both.Tags()["tensors"]
        own = EventAccumulator(str(folder / "vae")).Reload()
        assert [event.value for event in own.Scalars("loss/total")] == pytest.approx([1 / 50, 1 / 100])
        assert own.Scalars("test/reconstruction/psnr")[0].value == pytest.approx(20.2)
        again = write_tensorboard(read_runs([runs]), folder)
        assert len(list((again / "vae").iterdir())) == 1

    def test_every_group_has_a_folder_of_its_own(self, tmp_path):
        for name in ("a b", "a?b", "comparison"):
            write_run(tmp_path / "runs" / name, name=f"set/{name}")
        folder = write_tensorboard(read_runs([tmp_path / "runs"]), tmp_path / "tb")
        found = {path.name: len(list(path.iterdir())) for path in folder.iterdir() if path.is_dir()}
        assert found == {"comparison": 1, "a_b": 1, "a_b_2": 1, "comparison_2": 1}

    def test_never_overwrites_what_is_not_its_own(self, runs):
        with pytest.raises(InputError, match="contains other files"):
            write_tensorboard(read_runs([runs]), runs)

    def test_mean_is_over_common_steps(self):
        first = (np.array([1, 2, 3]), np.array([1.0, np.nan, 3.0]))
        steps, values = mean_curve([first, (np.array([2, 3, 4]), np.array([5.0, 5.0, 5.0]))])
        assert (steps.tolist(), values.tolist()) == ([3], [4.0])
        assert len(mean_curve([])[0]) == 0


SHORT = [
    "trainer.steps=2",
    "data.images=300",
    "data.batch_size=32",
    "data.test=60",
    "trainer.device=cpu",
    "evaluation.final_predictors=[linear]",
    "evaluation.match_samples=16",
    "evaluation.every=2",
]


class TestFromTraining:
    @pytest.fixture(scope="class")
    @staticmethod
    def trained(tmp_path_factory):
        runs = tmp_path_factory.mktemp("runs")
        config = str(ROOT / "configs" / "quickstart.yaml")
        assert main(["train", config, *SHORT, "model.posterior=gaussian", "--runs", str(runs)]) == 0
        (path,) = runs.rglob("config.yaml")
        return path.parent

    def test_a_run_leaves_all_that_a_comparison_needs(self, trained):
        run = read_runs([trained]).runs[0]
        assert run.missing == ()
        assert {"reconstructions", "prior_samples", "traversals", "traversals_moving"} <= set(run.pictures)
        assert run.facts["versions"]["torch"]
        assert "train" in run.commands[0]
        assert 0 < run.scalars["reconstruction/ssim"] < 1

    def test_its_events_hold_pictures_figures_charts_and_codes(self, trained):
        events = EventAccumulator(str(trained), size_guidance={"images": 0}).Reload()
        images = set(events.Tags()["images"])
        assert {"reconstructions", "traversals", "aggregate_posterior/marginals", "dependence/lps"} <= images
        assert "custom_scalars__config__" in events.Tags()["tensors"]
        assert (trained / "projector_config.pbtxt").is_file()
        (labels,) = trained.glob("*/codes/metadata.tsv")
        assert len(labels.read_text().splitlines()) == 1 + 60

    def test_completion_gives_what_training_gave(self, trained, tmp_path, capsys):
        import shutil

        copy = shutil.copytree(trained, tmp_path / "copy")
        before = read_runs([copy]).runs[0]
        codes = before.arrays()
        for name in ("test.json", "run.json", "codes.npz"):
            (copy / "report" / name).unlink()
        assert main(["compare", str(copy), "--complete", "--out", str(tmp_path / "out")]) == 0
        after = read_runs([copy]).runs[0]
        assert after.missing == ()
        for tag in ("reconstruction/psnr", "lps/linear", "reconstruction/ssim", "match/mmd_standardised"):
            assert after.scalars[tag] == pytest.approx(before.scalars[tag], rel=1e-5)
        assert np.allclose(after.arrays()["sample"], codes["sample"], atol=1e-6)
        assert "Codes against the prior, per dimension" in (tmp_path / "out" / "index.html").read_text()

    def test_completion_without_a_checkpoint_is_told(self, tmp_path, capsys):
        write_run(tmp_path / "a")
        assert main(["compare", str(tmp_path), "--complete"]) == 2
        told = capsys.readouterr()
        assert "checkpoints/last.pt" in told.err
        assert "PSNR" in told.out

    def test_damaged_codes_are_told_on_the_page(self, runs, tmp_path):
        (runs / "vae" / "seed_0" / "report" / "codes.npz").write_bytes(b"PK not an archive")
        page = write_page(read_runs([runs]), tmp_path / "out").read_text()
        assert "codes.npz: not readable" in page

    def test_traverse_draws_one_or_several(self, trained, tmp_path, capsys):
        checkpoint = str(trained / "checkpoints" / "last.pt")
        assert main(["traverse", checkpoint, "--out", str(tmp_path / "one"), "--columns", "3"]) == 0
        assert sorted(p.suffix for p in (tmp_path / "one").iterdir()) == [".gif", ".png"]
        both = ["traverse", str(trained), checkpoint, "--no-data", "--out", str(tmp_path / "two")]
        assert main([*both, "--columns", "3"]) == 0
        assert (tmp_path / "two" / "side_by_side.png").is_file()

    def test_sample_decodes_any_prior(self, trained, tmp_path, capsys):
        out = tmp_path / "new" / "draws.png"
        for prior in ([], ["--prior", "{name: uniform, low: -3}"], ["--prior", f"{TOYS}:wide"]):
            assert main(["sample", str(trained), *prior, "--n", "5", "--out", str(out)]) == 0
            assert out.stat().st_size > 1000
        capsys.readouterr()
        for bad in (["--prior", "no_such"], ["--out", "x.txt"], ["--n", "0"]):
            assert main(["sample", str(trained), *bad]) == 2
            assert capsys.readouterr().err.count("\n") == 1
