"""`mmdprior init`: a commented copy of a config that means the same."""

import re

import pytest
import yaml

from mmdprior.cli.main import main
from mmdprior.config import load_config
from mmdprior.config.base import shipped_folder, shipped_names
from mmdprior.config.template import commented
from mmdprior.runs.plan import is_plan

CONFIGS = [
    name
    for name in shipped_names()
    if not is_plan(yaml.safe_load((shipped_folder() / f"{name}.yaml").read_text()))
]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_copy_means_the_same_with_and_without_its_defaults(name, tmp_path):
    text = commented(name)
    config = load_config(name)
    path = tmp_path / "copy.yaml"
    path.write_text(text)
    assert load_config(path) == config
    path.write_text(re.sub(r"^( *)#(\w+: )", r"\1\2", text, flags=re.MULTILINE))
    assert load_config(path) == config


def test_every_key_has_a_line_of_its_own_below_its_description():
    lines = commented("quickstart").splitlines()
    keys = [i for i, line in enumerate(lines) if re.match(r" *#?\w+:", line)]
    assert len(keys) > 50
    assert all(re.match(r" *# \S", lines[i - 1]) for i in keys)
    assert all(len(line) <= 120 for line in lines)
    assert "``" not in "".join(lines)


class TestCommand:
    @pytest.mark.parametrize(
        ("words", "file"),
        [
            ([], "quickstart.yaml"),
            (["cifar10/vae"], "vae.yaml"),
            (["sprites/ae", "--out", "a/b.yaml"], "a/b.yaml"),
        ],
    )
    def test_it_writes_a_config_that_trains(self, words, file, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert main(["init", *words]) == 0
        out = capsys.readouterr().out
        assert f"mmdprior train {file}" in out
        assert load_config(file) == load_config(words[0] if words else "quickstart")
        assert main(["init", *words]) == 2
        assert f"--out: {file} exists; give another file" in capsys.readouterr().err

    def test_a_config_of_the_user_with_a_base(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine.yaml").write_text("base: quickstart\nname: mine\ntrainer: {steps: 5}\n")
        assert main(["init", "mine.yaml", "--out", "full.yaml"]) == 0
        text = (tmp_path / "full.yaml").read_text()
        assert "base:" not in text
        assert load_config("full.yaml") == load_config("mine.yaml")

    def test_list_and_unknown_names(self, capsys):
        assert main(["init", "--list"]) == 0
        assert "tiny_imagenet/mmd_uniform" in capsys.readouterr().out.split()
        assert main(["init", "cifar10/vaee"]) == 2
        assert "did you mean 'cifar10/vae'?" in capsys.readouterr().err
