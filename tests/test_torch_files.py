"""Files of torch.save with objects in them: harmless ones do not matter, others are named and never run."""

import argparse
import collections
import contextlib
import datetime
import decimal
import functools
import os
import pathlib
import shutil
import sys
import types

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.torch_files import load_torch_file

WEIGHT = torch.arange(3.0)


class Hostile:
    """An object whose unpickling calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def defaults():
    values = collections.defaultdict(list)
    values["losses"].append(0.5)
    return values


HARMLESS = {
    "namespace": argparse.Namespace(lr=0.1, layers=[1, 2]),
    "numpy float": np.float64(3.0),
    "numpy array": np.ones(4),
    "numpy bool": np.bool_(True),
    "path": pathlib.PurePosixPath("runs/vae"),
    "time": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
    "defaultdict": defaults(),
    "deque": collections.deque([1, 2], maxlen=2),
    "counter": collections.Counter("aab"),
    "simple namespace": types.SimpleNamespace(a=1),
    "decimal": decimal.Decimal("0.1"),
    "set and class": {int, float},
}


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_objects_do_not_matter(tmp_path, name, is_zip):
    path = tmp_path / "model.pt"
    torch.save({"extra": HARMLESS[name], "weight": WEIGHT}, path, _use_new_zipfile_serialization=is_zip)
    assert torch.equal(load_torch_file(path)["weight"], WEIGHT)


def test_configs_of_omegaconf_do_not_matter(tmp_path):
    omegaconf = pytest.importorskip("omegaconf", reason="Lightning checkpoints hold its configs")
    config = omegaconf.OmegaConf.create({"model": {"dims": [1, 2], "act": "relu"}, "seed": None})
    torch.save({"hyper_parameters": config, "weight": WEIGHT}, tmp_path / "model.ckpt")
    assert torch.equal(load_torch_file(tmp_path / "model.ckpt")["weight"], WEIGHT)


@pytest.mark.parametrize("name", ["yacs.config.CfgNode", "ml_collections.config_dict.ConfigDict"])
def test_classes_that_are_not_installed_do_not_matter(tmp_path, monkeypatch, name):
    module, _, last = name.rpartition(".")
    modules = {part: types.ModuleType(part) for part in (module.split(".")[0], module)}
    kind = type(last, (dict,), {"__module__": module})
    setattr(modules[module], last, kind)
    with monkeypatch.context() as patched:
        for part, content in modules.items():
            patched.setitem(sys.modules, part, content)
        state = {"config": Hostile(kind), "weight": WEIGHT}
        torch.save(state, tmp_path / "model.pt")
    assert torch.equal(load_torch_file(tmp_path / "model.pt")["weight"], WEIGHT)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda marker: Hostile(os.system, f"touch {marker}"), "posix.system"),
        (lambda marker: Hostile(eval, f"open({str(marker)!r}, 'w')"), "builtins.eval"),
        (lambda marker: Hostile(pathlib.Path.touch, marker), "Path.touch|builtins.getattr"),
        (lambda marker: torch.nn.Linear(2, 1), "torch.nn.modules.linear.Linear"),
        (lambda marker: pytest.approx(1.0), "ApproxScalar"),
    ],
)
def test_other_objects_are_named_and_never_run(tmp_path, build, name, is_zip):
    marker, path = tmp_path / "executed", tmp_path / "model.pt"
    torch.save({"extra": build(marker), "weight": WEIGHT}, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(InputError, match=rf"pickled objects \(.*({name}).*weights_only=False") as caught:
        load_torch_file(path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_checkpoints_of_lightning_may_hold_any_hyperparameters(tmp_path):
    """Nothing of them runs; only modules that torch blocks by name are refused."""
    marker, path = tmp_path / "executed", tmp_path / "last.ckpt"
    settings = {
        "activation": torch.nn.ReLU(),
        "optimizer": functools.partial(torch.optim.Adam, lr=0.1),
        "close": pytest.approx(1.0),
        "evil": Hostile(shutil.copyfile, __file__, str(marker)),
    }
    content = {"state_dict": {"weight": WEIGHT}, "hyper_parameters": settings}
    lightning = {**content, "pytorch-lightning_version": "2.0"}
    torch.save(lightning, path)
    loaded = load_torch_file(path)
    assert torch.equal(loaded["state_dict"]["weight"], WEIGHT)
    assert not marker.exists()
    torch.save(content, path)
    with pytest.raises(InputError, match="holds pickled objects"):
        load_torch_file(path)
    torch.save({**lightning, "x": Hostile(os.system, f"touch {marker}")}, path)
    with pytest.raises(InputError, match="holds pickled objects"):
        load_torch_file(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no file that torch.save wrote"),
        (b"a,b\n1,2\n", "no file that torch.save wrote"),
        (b"PK\x03\x04 cut", "no file that torch.save wrote"),
        (b"\x80\x02junk", "damaged"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "no file that torch.save wrote"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_torch_file(tmp_path / "model.pt")
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_every_changed_byte_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"weight": WEIGHT, "epoch": 3}, path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 61):
        changed = bytearray(whole)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        with contextlib.suppress(InputError):
            assert torch.equal(load_torch_file(path)["weight"], WEIGHT)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="model.pt"):
        load_torch_file(path)


def test_missing_files_and_torchscript_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_torch_file(tmp_path / "gone.pt")
    with pytest.warns(FutureWarning):
        torch.jit.script(torch.nn.Linear(2, 1)).save(str(tmp_path / "model.pt"))
    with pytest.raises(InputError, match="a TorchScript model"):
        load_torch_file(tmp_path / "model.pt")
