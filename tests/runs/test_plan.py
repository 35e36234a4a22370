"""Studies and sweeps: reading plans, running them, and continuing after an interruption."""

import json
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.runs.execute import Job, JobPool
from mmdprior.runs.plan import _sweep_points, is_plan, read_plan
from mmdprior.runs.rows import find_rows
from mmdprior.training import read_checkpoint

BASE = {
    "name": "base",
    "data": {"name": "sprites", "images": 400, "batch_size": 16},
    "model": {"name": "mlp", "hidden": [8], "latent_dim": 4, "likelihood": "bernoulli"},
    "regularizer": {"name": "mmd", "prior": "gaussian"},
    "trainer": {"steps": 3, "device": "cpu", "checkpoint_every": 1},
    "evaluation": {"every": 100, "final_predictors": ["linear"], "match_samples": 32, "pictures": False},
}


@pytest.fixture
def plan_file(tmp_path):
    """Return a function that writes a plan next to two configs."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    vae = {**BASE, "model": {**BASE["model"], "posterior": "gaussian"}, "regularizer": {"name": "kl"}}
    (tmp_path / "vae.yaml").write_text(yaml.safe_dump(vae))

    def write(**content):
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump({"name": "p", **content}, sort_keys=False))
        return path

    return write


def plan_with_data(folder, data):
    """Return the plan of one run with these data."""
    (folder / "base.yaml").write_text(yaml.safe_dump({**BASE, "data": data}))
    plan = folder / "plan.yaml"
    plan.write_text(yaml.safe_dump({"name": "p", "config": "base.yaml", "runs": {"a": {}}}))
    return read_plan(plan)


class TestReading:
    def test_a_study_names_its_runs(self, plan_file):
        path = plan_file(
            config="base.yaml",
            seeds=[3, 5],
            overrides={"trainer.steps": 7, "regularizer.weight": 2.0},
            runs={
                "vae": "vae.yaml",
                "heavy": {"overrides": {"regularizer.weight": 1e-5, "model.hidden": [4, 4]}, "seeds": [1]},
            },
        )
        plan = read_plan(path, ["trainer.log_every=9"], "study")
        assert [run.label for run in plan.runs] == ["vae/seed_3", "heavy/seed_1", "vae/seed_5"]
        vae, heavy, _ = (run.load() for run in plan.runs)
        assert (vae.name, vae.seed, vae.slots["regularizer"].name) == ("p/vae", 3, "kl")
        assert (vae.trainer.steps, vae.trainer.log_every) == (7, 9)
        assert (vae.regularizer.weight, heavy.regularizer.weight) == (2.0, 1e-5)
        assert heavy.slots["model.encoder"].arguments["hidden"] == [4, 4]
        assert plan.runs[0].directory("r") == Path("r/p/vae/seed_3")

    def test_a_sweep_runs_every_combination(self, plan_file):
        path = plan_file(
            grid={
                "config": ["vae.yaml", "base.yaml"],
                "regularizer.weight": [1, 10.5],
                "trainer.betas": [[0, 0.5]],
            },
        )
        runs = read_plan(path, kind="sweep").runs
        assert [run.name for run in runs] == [
            f"{config}_weight_{weight}_betas_0_0.5" for config in ("vae", "base") for weight in ("1", "10.5")
        ]
        assert [run.load().regularizer.weight for run in runs] == [1, 10.5, 1, 10.5]
        assert {run.seed for run in runs} == {0}

    def test_list_entries_are_combined_with_the_grid(self):
        entries = [
            {"name": "a", "model.latent_dim": 2},
            {"regularizer": {"name": "kl"}, "model.posterior": "gaussian"},
        ]
        made = list(_sweep_points({"seedling": [True, None]}, entries))
        assert [point.name for point in made] == [
            *("a_seedling_True", "a_seedling_None"),
            *("kl_posterior_gaussian_seedling_True", "kl_posterior_gaussian_seedling_None"),
        ]
        assert made[1].overrides == {"model.latent_dim": 2, "seedling": None}

    def test_equal_labels_are_numbered(self):
        kernels = [{"name": "rbf", "lengthscale": 1.0}, {"name": "rbf", "lengthscale": 2.0}, "energy"]
        names = [point.name for point in _sweep_points({"regularizer.kernel": kernels}, [{}])]
        assert names == ["rbf_1", "rbf_2", "kernel_energy"]

    def test_plans_and_configs_are_distinguished(self, plan_file):
        assert is_plan(yaml.safe_load(plan_file(runs={"a": "base.yaml"}).read_text()))
        assert not is_plan(BASE)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"runs": {"a": "gone.yaml"}}, "a/seed_0: gone.yaml: no such file"),
            ({"runs": {"a": "base.yaml"}, "sedes": [1]}, "sedes: unknown key; did you mean 'seeds'"),
            ({"runs": {"a": {"confg": "base.yaml"}}}, "runs.a.confg: unknown key; did you mean 'config'"),
            (
                {"runs": {"a": {"overrides": {"trainer.step": 3}}}, "config": "base.yaml"},
                "did you mean 'steps'",
            ),
            ({"runs": {"a": {}}}, "runs.a: config is missing"),
            ({"runs": {"a": 3}}, "runs.a: 3 received"),
            ({"runs": {"a b": "base.yaml"}}, "'a b' received; give a name of letters"),
            ({"runs": {"../a": "base.yaml"}}, "received; give a name of letters and digits"),
            ({"runs": {"comparison": "base.yaml"}}, "received; give a name of letters and digits"),
            ({"runs": {}}, "runs: {} received"),
            ({"runs": {"a": "base.yaml"}, "grid": {"seed": [1]}}, "cannot be combined with grid or list"),
            ({"config": "base.yaml"}, "runs, grid, list: missing"),
            ({"runs": {"a": "base.yaml"}, "seeds": 3}, "seeds: 3 received"),
            ({"runs": {"a": "base.yaml"}, "seeds": [1, 1]}, "give each seed once"),
            ({"runs": {"a": "base.yaml"}, "seeds": [-1]}, "seed: -1 received"),
            ({"config": "base.yaml", "grid": {"seed": [1, 2]}}, "give seeds"),
            ({"config": "base.yaml", "grid": {"trainer.steps": 3}}, "grid.trainer.steps: 3 received"),
            ({"grid": {"config": [3]}}, "config 3 received"),
            ({"config": "base.yaml", "list": [{"name": "a"}, {"name": "a"}]}, "second point is named a"),
            ({"config": "base.yaml", "list": ["a"]}, "list.0: 'a' received"),
            (
                {"runs": {"a": {"overrides": {"name": "x"}}}, "config": "base.yaml"},
                "name cannot be overridden",
            ),
            ({"runs": {"a": "base.yaml"}, "overrides": {"trainer.steps": float("nan")}}, "give plain values"),
        ],
    )
    def test_bad_plans_give_a_one_line_error(self, plan_file, capsys, content, message):
        path = plan_file(**content)
        with pytest.raises(InputError) as error:
            read_plan(path)
        assert message in str(error.value)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("override", ["seed=7", "name=other"])
    def test_name_and_seed_cannot_be_overridden(self, plan_file, capsys, override):
        path = plan_file(runs={"a": "base.yaml"})
        assert main(["study", str(path), override, "--emit"]) == 2
        key = override.partition("=")[0]
        assert f"overrides: {key} cannot be overridden in a plan" in capsys.readouterr().err

    def test_study_and_sweep_reject_plans_of_the_other_kind(self, plan_file, capsys):
        path = plan_file(runs={"a": "base.yaml"})
        assert main(["sweep", str(path)]) == 2
        assert "plan: a study received; expected a sweep; use mmdprior study" in capsys.readouterr().err

    def test_emitted_commands_train_the_runs(self, plan_file, capsys, tmp_path):
        path = plan_file(config="base.yaml", grid={"model.hidden": [[4], [4, 4]]}, seeds=[0, 1])
        assert main(["sweep", str(path), "trainer.steps=1", "--emit", "--runs", str(tmp_path / "r")]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 4
        program, *arguments = shlex.split(lines[-1])
        assert program == "mmdprior"
        assert main(arguments) == 0
        (report,) = tmp_path.rglob("test.json")
        assert report.parent.parent == tmp_path / "r" / "p" / "hidden_4_4" / "seed_1"
        assert read_checkpoint(report.parents[1] / "checkpoints" / "last.pt")["step"] == 1


def signal_when(condition):
    """Send SIGTERM to this process once a condition holds."""

    def wait():
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if condition():
                os.kill(os.getpid(), signal.SIGTERM)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


class TestRunning:
    def test_a_sweep_continues_after_an_interruption_and_prints_one_table(
        self, plan_file, capsys, tmp_path, monkeypatch
    ):
        path = plan_file(
            config="base.yaml",
            list=[
                {"name": "kl", "config": "vae.yaml"},
                {"name": "mmd", "trainer.checkpoint_every": 100},
                {"name": "bad", "data.batch_size": 999},
            ],
            overrides={"trainer.steps": 60},
        )
        first, second = (tmp_path / "r" / "p" / name / "seed_0" for name in ("kl", "mmd"))
        command = ["sweep", str(path), "--runs", str(tmp_path / "r")]
        signalling = signal_when((first / "checkpoints" / "previous.pt").is_file)
        assert main(command) == 143
        signalling.join()
        assert "interrupted; run the same command again to continue" in capsys.readouterr().err
        stopped = read_checkpoint(first / "checkpoints" / "last.pt")["step"]
        assert 1 < stopped < 60
        assert not second.exists()
        assert main(command) == 2
        printed = capsys.readouterr()
        assert "error: bad/seed_0" in printed.err
        assert "data.batch_size: 999 received" in printed.err
        assert "p: 2 of 3 runs finished" in printed.out
        assert "\nkl " in printed.out
        assert "\nmmd " in printed.out
        steps = [json.loads(line)["step"] for line in (first / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(steps)
        assert len((first / "commands.txt").read_text().splitlines()) == 2
        assert (tmp_path / "r" / "p" / "comparison" / "index.html").is_file()
        pages = []
        place = "mmdprior.cli.finished.write_page"
        monkeypatch.setattr(place, lambda comparison, folder: pages.append(folder))
        assert main([*command, "--table"]) == 0
        assert pages == [tmp_path / "r" / "p" / "comparison"]
        assert main([*command, "trainer.steps=59"]) == 2
        assert "holds a run of another config (trainer.steps 60, not 59)" in capsys.readouterr().err

    def test_a_directory_of_another_config_is_refused_before_any_run_starts(
        self, plan_file, capsys, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("mmdprior.cli.finished.write_page", lambda comparison, folder: None)
        other = plan_file(name="q", runs={"b": "base.yaml"}, overrides={"trainer.steps": 3})
        runs = ["--runs", str(tmp_path / "r")]
        assert main(["study", str(other), *runs]) == 0
        there = tmp_path / "r" / "p" / "b" / "seed_0"
        there.parent.mkdir(parents=True)
        (tmp_path / "r" / "q" / "b" / "seed_0").rename(there)
        (there / "report" / "test.json").unlink()  # as if it had stopped before its end
        path = plan_file(name="p", runs={"a": "base.yaml", "b": "base.yaml"}, overrides={"trainer.steps": 3})
        assert main(["study", str(path), *runs]) == 2
        assert f"{there}: holds a run of another config" in capsys.readouterr().err
        assert not (tmp_path / "r" / "p" / "a").exists()


class TestJobs:
    def job(self, folder, name, code):
        return Job(name, [sys.executable, "-S", "-c", code], folder / f"{name}.log")

    def test_statuses_and_last_lines(self, tmp_path):
        lines = []
        jobs = [
            self.job(tmp_path, "good", "print('fine')"),
            self.job(tmp_path, "bad", "import sys; print('so\\nlong'); sys.exit(3)"),
        ]
        assert JobPool(2, lines.append).run(jobs) == {"good": 0, "bad": 3}
        assert "good: done" in lines
        assert "bad: status 3: long" in lines

    def test_last_line_is_that_of_the_current_start(self, tmp_path):
        lines = []
        job = self.job(tmp_path, "killed", "import os; os.kill(os.getpid(), 9)")
        job.log.write_text("error: full disk, last week\n")
        JobPool(1, lines.append).run([job])
        assert lines[-1] == "killed: status -9: no output"

    def test_a_job_that_cannot_start_does_not_stop_the_others(self, tmp_path):
        lines = []
        (tmp_path / "file").touch()
        bad = Job("bad", ["true"], tmp_path / "file" / "bad.log")
        gone = Job("gone", [str(tmp_path / "gone")], tmp_path / "gone.log")
        jobs = [self.job(tmp_path, "first", "pass"), bad, gone, self.job(tmp_path, "last", "pass")]
        assert JobPool(2, lines.append).run(jobs) == {"first": 0, "bad": 127, "gone": 127, "last": 0}
        assert sum("not started" in line for line in lines) == 2

    def test_an_error_in_the_pool_leaves_no_process_behind(self, tmp_path):
        ended = tmp_path / "ended"
        touch = f"pathlib.Path({str(ended)!r}).touch()"
        code = f"import signal, time, pathlib; signal.signal(15, lambda *_: {touch})"
        job = self.job(tmp_path, "long", f"{code}; print('up', flush=True); time.sleep(30)")

        def fail(line):
            deadline = time.monotonic() + 20
            while job.last_line() != "up" and "last" in line and time.monotonic() < deadline:
                time.sleep(0.05)
            if "last: started" in line:
                raise ValueError(line)

        with pytest.raises(ValueError, match="last"):
            JobPool(2, fail).run([job, self.job(tmp_path, "last", "pass")])
        deadline = time.monotonic() + 20
        while not ended.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ended.exists()

    def test_jobs_use_the_devices_in_turn(self, tmp_path, monkeypatch):
        monkeypatch.setattr("mmdprior.runs.execute.devices", lambda: ["4", "7"])
        code = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(.5)"
        jobs = [self.job(tmp_path, f"{i}", code) for i in range(3)]
        assert len(JobPool(3, lambda line: None).run(jobs)) == 3
        assert sorted(job.last_line() for job in jobs) == ["4", "4", "7"]

    def test_a_signal_stops_running_jobs_and_starts_no_more(self, tmp_path):
        gentle = (
            "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(143)); print('up', flush=True)"
        )
        stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True)"
        jobs = [
            self.job(tmp_path, "gentle", f"{gentle}; time.sleep(60)"),
            self.job(tmp_path, "next", "print(1)"),
        ]
        pool = JobPool(1, lambda line: None)
        signalling = signal_when(lambda: jobs[0].last_line() == "up")
        assert pool.run(jobs) == {"gentle": 143}
        signalling.join()
        assert pool.signal == signal.SIGTERM
        assert not jobs[1].log.exists()

        job = self.job(tmp_path, "stubborn", f"{stubborn}; time.sleep(60)")
        pool = JobPool(1, lambda line: None)
        first = signal_when(lambda: job.last_line() == "up")
        second = signal_when(lambda: pool.signal is not None)
        assert pool.run([job]) == {"stubborn": -9}
        first.join()
        second.join()


class TestRows:
    @pytest.fixture(scope="class")
    def finished(self, tmp_path_factory):
        """Return the folder of a study of two runs that has been run once."""
        folder = tmp_path_factory.mktemp("study")
        (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
        runs = {"a": {}, "b": {"overrides": {"regularizer.weight": 2.0}}}
        path = folder / "plan.yaml"
        path.write_text(yaml.safe_dump({"name": "p", "config": "base.yaml", "runs": runs}))
        for run in read_plan(path).runs:
            assert main(["train", *run.settings(), "--directory", str(run.directory(folder / "r"))]) == 0
        assert (
            main(["study", str(path), "--runs", str(folder / "r"), "--rows", str(folder / "rows"), "--table"])
            == 0
        )
        return folder

    @pytest.fixture
    def study(self, finished, tmp_path, capsys):
        """Return rows, command and output of the study, in a copy of its folder."""
        folder = tmp_path / "copy"
        shutil.copytree(finished, folder)
        rows = folder / "rows"
        command = ["study", str(folder / "plan.yaml"), "--runs", str(folder / "r"), "--rows", str(rows)]
        assert main([*command, "--table"]) == 0
        return rows, command, capsys.readouterr().out

    def test_a_run_with_a_row_is_not_trained_again(self, study, tmp_path, capsys):
        rows, command, first = study
        lines = rows.read_text().splitlines()
        assert len(lines) == 2
        assert str(tmp_path) not in rows.read_text()
        assert "device" not in json.loads(lines[0])["config"]["trainer"]
        shutil.rmtree(rows.parent / "r")
        assert main(command) == 0
        printed = capsys.readouterr()
        assert "2 runs, 2 finished, 0 to do" in printed.err
        scores = [line for line in printed.out.splitlines() if line.startswith(("a ", "b "))]
        known = [line.split() for line in first.splitlines()]
        assert scores
        assert [line for line in scores if line.split() not in known] == []
        assert rows.read_text().splitlines() == lines
        assert not (rows.parent / "r" / "p" / "a").exists()
        shutil.copy(rows, tmp_path / "rows.jsonl")
        assert main(["compare", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "page")]) == 0
        assert "2 runs of 2 configurations" in (tmp_path / "page" / "comparison.md").read_text()

    def test_settings_of_the_machine_may_differ(self, study, capsys):
        command = study[1]
        assert main([*command, "--table", "trainer.log_every=3"]) == 2  # the directories refuse it
        shutil.rmtree(command[3])
        assert main([*command, "trainer.log_every=3"]) == 0
        assert "0 to do" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (lambda line: line.replace('"steps":3', '"steps":4', 1), "(trainer.steps 4, not 3)"),
            (lambda line: line[:50], "line 1 is not a row"),
            (lambda line: "[1, 2]", "line 1 is not a row"),
            (lambda line: '{"config":{"name":"p/a","seed":0},"test":{"dim":1},"facts":{}}', "is not a row"),
        ],
    )
    def test_rows_that_do_not_fit(self, study, edit, message, capsys):
        rows, command, _ = study
        first, second = rows.read_text().splitlines()
        rows.write_text(f"{edit(first)}\n{second}\n")
        assert main(command) == 2
        assert message in capsys.readouterr().err

    def test_data_files_are_compared_by_name(self, study, tmp_path):
        def plan_of(path):
            return plan_with_data(tmp_path, {"name": "arrays", "path": str(path), "batch_size": 16})

        rows = study[0]
        row = json.loads(rows.read_text().splitlines()[0])
        row["config"] = plan_of("elsewhere/images.npz").runs[0].load().to_dict()
        rows.write_text(json.dumps(row))
        assert list(find_rows(plan_of(tmp_path / "images.npz"), rows)) == ["a/seed_0"]
        with pytest.raises(InputError, match=r"data\.path"):
            find_rows(plan_of(tmp_path / "others.npz"), rows)

    def test_image_folders_are_compared_by_their_last_part(self, study, tmp_path):
        def plan_of(root):
            return plan_with_data(
                tmp_path, {"name": "image_folder", "root": root, "size": 8, "batch_size": 16}
            )

        rows = study[0]
        row = json.loads(rows.read_text().splitlines()[0])
        row["config"] = plan_of("here/cats").runs[0].load().to_dict()
        rows.write_text(json.dumps(row))
        assert list(find_rows(plan_of("there/cats"), rows)) == ["a/seed_0"]
        with pytest.raises(InputError, match=r"data\.root"):
            find_rows(plan_of("here/dogs"), rows)
        del row["config"]["data"]["root"]  # as earlier releases wrote it
        rows.write_text(json.dumps(row))
        assert list(find_rows(plan_of("here/dogs"), rows)) == ["a/seed_0"]

    def test_a_missing_file_of_rows_is_one_line(self, tmp_path, capsys):
        assert main(["compare", str(tmp_path / "rows.jsonl")]) == 2
        assert "no such file; give a file of rows" in capsys.readouterr().err
