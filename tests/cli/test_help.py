"""Help, hints, verbosity, dry runs and completion of the commands."""

import json
import subprocess
import sys

import pytest
import yaml
from helpers.configs import SMALL

from mmdprior.cli.commands import COMMANDS, get_parser
from mmdprior.cli.main import main
from mmdprior.runs.plan_schema import plan_schema


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return str(path)


def help_of(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    return " ".join(capsys.readouterr().out.split())


class TestHelp:
    def test_no_help_loads_torch_or_takes_half_a_second(self):
        code = (
            "import sys, time\n"
            "from mmdprior.cli.main import main\n"
            "for words in (['--help'], ['nonsense'], *([name, '--help'] for name in sys.argv[1:])):\n"
            "    start = time.process_time()\n"
            "    try: main(words)\n"
            "    except SystemExit as stop: assert stop.code == 0\n"
            "    assert time.process_time() - start < 0.5, words\n"
            "heavy = {'torch', 'numpy', 'pydantic', 'yaml', 'matplotlib'} & sys.modules.keys()\n"
            "assert not heavy, heavy\n"
        )
        command = [sys.executable, "-c", code, *COMMANDS]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def test_the_module_is_the_command(self):
        command = [sys.executable, "-m", "mmdprior", "--version"]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        assert result.stdout.startswith("mmdprior ")

    def test_every_command_has_a_line(self, capsys):
        assert main(["--help"]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert all(f"{name} {line}" in printed for name, line in COMMANDS.items())

    @pytest.mark.parametrize(
        ("command", "text"),
        [
            ("score", "(default: linear mlp)"),
            ("score", "one of linear, additive, mlp, experts, information, trees"),
            ("score", "one of all, train, validation, test (default: test;"),
            ("encode", "images per batch (default: 512)"),
            ("sculpt", "with w the whitened codes (default: 0.0)"),
            ("train", "(default: runs)"),
            ("sample", "seed of the draws (default: 0)"),
            ("sweep", "(default: one per CUDA device, otherwise one)"),
        ],
    )
    def test_defaults_and_choices(self, command, text, capsys):
        assert text in help_of(command, capsys)

    def test_every_option_is_explained(self):
        (commands,) = [action for action in get_parser()._actions if action.dest == "==SUPPRESS=="]
        for name, parser in commands.choices.items():
            assert parser.prog == f"mmdprior {name}"
            assert all(action.help for action in parser._actions), name


class TestHints:
    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (["trian"], "'trian' received; did you mean 'train'?"),
            (["tranverse"], "did you mean 'traverse'?"),
            (["train", "x.yaml", "--dryrun"], "--dryrun: unknown option; did you mean '--dry-run'?"),
            (["compare", "runs", "--tensorbord"], "did you mean '--tensorboard'?"),
            (["score", "--predictor", "linaer"], "invalid choice: 'linaer'"),
            (["train", "x.yaml", "--resume", "r", "--dry-run"], "give either a config or --resume"),
            (["train", "--resume", "r", "--dry-run"], "--dry-run: cannot be combined with --resume"),
            (["study"], "study: missing a plan; give a YAML file"),
        ],
    )
    def test_mistakes(self, words, text, capsys):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1


class TestVerbosity:
    def test_quiet_leaves_results(self, config, capsys):
        assert main(["train", config, "--dry-run", "-q"]) == 0
        printed = capsys.readouterr()
        assert printed.out.startswith("config ")
        assert printed.err == ""

    def test_verbose_shows_where_an_error_was_raised(self, capsys):
        assert main(["train", "gone.yaml", "-v"]) == 2
        error = capsys.readouterr().err
        assert "Traceback (most recent call last)" in error
        assert error.splitlines()[-1].startswith("error: gone.yaml: no such file")


class TestDryRun:
    def test_train_writes_nothing(self, config, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = sorted(tmp_path.iterdir())
        assert main(["train", config, "--dry-run", "trainer.steps=7"]) == 0
        out = capsys.readouterr().out
        assert "7 steps of" in out
        assert "Nothing was trained or written." in out
        assert sorted(tmp_path.iterdir()) == before

    @pytest.mark.parametrize("override", ["regularizer.prior.dim=99", "model.hidden=3", "trainer.step=1"])
    def test_train_finds_what_does_not_fit(self, config, override, capsys):
        assert main(["train", config, "--dry-run", override]) == 2
        assert capsys.readouterr().err.startswith("error: ")

    def test_plans_print_the_state_of_every_run(self, config, capsys, tmp_path):
        plan = tmp_path / "plan.yaml"
        plan.write_text(yaml.safe_dump({"name": "p", "config": config, "grid": {"trainer.steps": [1, 2]}}))
        assert main(["sweep", str(plan), "--dry-run", "--runs", str(tmp_path / "r")]) == 0
        assert capsys.readouterr().out == "steps_1/seed_0: not started\nsteps_2/seed_0: not started\n"
        assert not (tmp_path / "r").exists()


class TestPlanSchema:
    def test_the_command_prints_it(self, capsys):
        assert main(["study", "--schema"]) == 0
        assert json.loads(capsys.readouterr().out) == plan_schema()

    @pytest.mark.parametrize(
        ("plan", "is_valid"),
        [
            ({"name": "p", "runs": {"a": "a.yaml", "b": {"config": "b.yaml", "seeds": [0, 1]}}}, True),
            ({"name": "p", "config": "a.yaml", "grid": {"seed": [1]}, "list": [{"name": "x"}]}, True),
            ({"name": "p", "config": "a.yaml"}, False),
            ({"name": "p", "runs": {"a": "a.yaml"}, "grid": {"seed": [1]}}, False),
            ({"name": "p", "runs": {"a": {"confg": "a.yaml"}}}, False),
            ({"runs": {"a": "a.yaml"}}, False),
            ({"name": "p", "runs": {"a": "a.yaml"}, "seeds": "0"}, False),
        ],
    )
    def test_plans(self, plan, is_valid):
        jsonschema = pytest.importorskip("jsonschema", reason="validates schemas in tests")
        assert jsonschema.Draft202012Validator(plan_schema()).is_valid(plan) == is_valid


def test_completion_of_commands_options_and_files(capsys):
    pytest.importorskip("shtab", reason="shell completion is an extra")
    for shell in ("bash", "zsh", "tcsh"):
        with pytest.raises(SystemExit) as stop:
            main(["--print-completion", shell])
        assert stop.value.code == 0
        script = capsys.readouterr().out
        assert "traverse" in script
        assert "dry-run" in script


def test_completion_names_the_missing_package(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--print-completion", "bash"]) == 2
    assert 'needs shtab; pip install "mmdprior[completion]"' in capsys.readouterr().err
