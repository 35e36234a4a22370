"""The examples in docstrings run and print what they say; every public name has one."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch

import mmdprior

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
ROOT = Path(mmdprior.__file__).parent
MODULES = sorted(
    ".".join(("mmdprior", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for file in ROOT.rglob("*.py")
    if ">>> " in file.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__):
        torch.manual_seed(0)
        failed = []
        doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=failed.append)
        assert not failed, "".join(failed)
