"""What commands print: lines about the data, warnings, and nothing into a closed pipe."""

import contextlib
import os
import subprocess
import sys
import warnings

import pytest
from helpers.images import save_image

from mmdprior.cli.main import main
from mmdprior.cli.run import run
from mmdprior.cli.streams import is_closed, until_closed
from mmdprior.data import image_folder, make_splits
from mmdprior.errors import InputWarning


@contextlib.contextmanager
def closed_output():
    """Replace standard output by a pipe that its reader has closed."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, contextlib.redirect_stdout(stream):
        yield stream


class TestClosedOutput:
    @pytest.mark.parametrize("text", ["x", "x" * 100_000])  # flushed at the end, or while printing
    def test_commands_end_quietly(self, text, capfd):
        with closed_output() as stream:
            assert is_closed(stream)
            assert run(lambda words: print(text) or 0, []) == 141
            print("goes to the null device", flush=True)
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--schema"], ["score", "--help"]])
    def test_every_command_line(self, words):
        with closed_output():
            assert main(words) == 141

    def test_other_broken_pipes_are_errors(self, capsys):
        def broken(words):
            raise BrokenPipeError(32, "Broken pipe")

        assert run(broken, []) == 2
        assert capsys.readouterr().err == "error: Broken pipe\n"
        with pytest.raises(BrokenPipeError):
            until_closed(lambda: broken([]))

    def test_head(self):
        command = f"{sys.executable} -m mmdprior.cli.main --help | head -1"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        assert done.stdout == "usage: mmdprior COMMAND ...\n"
        assert done.stderr == ""


def test_lines_about_the_data_and_warnings(tmp_path, capsys):
    for split, count in (("train", 3), ("test", 2)):
        for i in range(count):
            save_image(tmp_path / split / f"{i}.png", i)  # the test images are copies
    (tmp_path / "train" / ".DS_Store").write_bytes(b"x")

    def command(words):
        warnings.warn("not about the input", UserWarning, stacklevel=1)
        source = image_folder(str(tmp_path), size=8)
        for _ in range(2):
            make_splits(source, validation=1)
        return 0

    before = warnings.filters[:]
    assert run(command, []) == 0
    assert warnings.filters == before
    printed = capsys.readouterr()
    assert printed.err == ""
    (line,) = printed.out.splitlines()
    assert line.startswith("warning: data: test images that are copies of train images: 2, such as")
    with pytest.warns(InputWarning):
        image_folder(str(tmp_path), size=8)
