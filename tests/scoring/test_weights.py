"""State dicts in files of every layout are found by themselves, and listed where several fit."""

import argparse
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mmdprior import InputError
from mmdprior.scoring.weights import read_weights, state_dicts, weights_for


class Model(nn.Module):
    """An encoder and a decoder, with a buffer."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        self.decoder = nn.Linear(3, 4)


@pytest.fixture(scope="module")
def model():
    return Model()


def renamed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def optimizer(module):
    """Return the state of an optimizer, whose moments are dicts of tensors as well."""
    adam = torch.optim.Adam(module.parameters())
    sum(p.sum() for p in module.parameters()).backward()
    adam.step()
    return adam.state_dict()


LAYOUTS = {
    "plain": lambda m: m.state_dict(),
    "pytorch tutorial": lambda m: {
        "epoch": 5,
        "model_state_dict": m.state_dict(),
        "optimizer_state_dict": optimizer(Model()),
        "loss": torch.tensor(0.3),
    },
    "pythae": lambda m: {"model_state_dict": m.state_dict()},
    "model": lambda m: {
        "model": m.state_dict(),
        "optimizer": optimizer(Model()),
        "args": argparse.Namespace(a=1),
    },
    "net": lambda m: {"net": m.state_dict(), "acc": 0.9, "losses": torch.zeros(7)},
    "model_states.net": lambda m: {
        "iter": 100,
        "model_states": {"net": m.state_dict()},
        "optim_states": {"optim": optimizer(Model())},
    },
    "lightning": lambda m: {
        "state_dict": renamed(m.state_dict(), "model."),
        "hyper_parameters": {"scale": torch.ones(3), "args": argparse.Namespace(lr=1.0)},
        "callbacks": {"Checkpoint": {"best": torch.ones(2)}},
        "optimizer_states": [optimizer(Model())],
    },
    "parallel": lambda m: renamed(m.state_dict(), "module."),
    "compiled": lambda m: renamed(m.state_dict(), "_orig_mod."),
    "ema only": lambda m: {"ema": renamed(m.state_dict(), "module."), "decay": 0.999},
    "deep": lambda m: {"checkpoint": {"networks": {"vae": renamed(m.state_dict(), "net.vae.")}}},
}


def same(state, expected):
    return state.keys() == expected.keys() and all(torch.equal(state[k], expected[k]) for k in expected)


@pytest.mark.parametrize("part", ["model", "encoder", "decoder"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_found_in_every_layout(tmp_path, model, layout, part):
    torch.save(LAYOUTS[layout](model), tmp_path / "w.pt")
    module = model if part == "model" else getattr(Model(seed=1), part)
    expected = (model if part == "model" else getattr(model, part)).state_dict()
    state = weights_for(module, tmp_path / "w.pt")
    assert same(state, expected)
    module.load_state_dict(state)


def test_a_pair_of_dicts(tmp_path, model):
    torch.save(
        {part: getattr(model, part).state_dict() for part in ("encoder", "decoder")}, tmp_path / "w.pt"
    )
    for part in ("encoder", "decoder"):
        assert same(
            weights_for(getattr(Model(1), part), tmp_path / "w.pt"), getattr(model, part).state_dict()
        )


def test_several_that_fit_are_listed_and_key_picks(tmp_path, model):
    other = Model(seed=1)
    torch.save({"model": model.state_dict(), "ema": {"net": other.state_dict()}}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"several state dicts fit; give --key model or --key ema.net"):
        weights_for(Model(2), tmp_path / "w.pt")
    assert same(weights_for(Model(2), tmp_path / "w.pt", key="ema.net"), other.state_dict())
    with pytest.raises(InputError, match=r"'best' received.*model \(9 tensors\), ema.net \(9 tensors\)"):
        weights_for(Model(2), tmp_path / "w.pt", key="best")


def test_several_prefixes_that_fit_are_listed_and_prefix_picks(tmp_path, model):
    other = Model(seed=1)
    states = {**renamed(model.state_dict(), "student."), **renamed(other.state_dict(), "teacher.")}
    torch.save({"state_dict": states}, tmp_path / "w.ckpt")
    with pytest.raises(
        InputError, match=r"--key state_dict --prefix student\. or --key state_dict --prefix teacher"
    ):
        weights_for(Model(2), tmp_path / "w.ckpt")
    assert same(weights_for(Model(2), tmp_path / "w.ckpt", prefix="teacher."), other.state_dict())
    encoder = weights_for(Model(2).encoder, tmp_path / "w.ckpt", prefix="teacher.encoder.")
    assert same(encoder, other.encoder.state_dict())
    with pytest.raises(InputError, match=r"'net.' received.*its names start with student\., teacher\."):
        read_weights(tmp_path / "w.ckpt", prefix="net.")


def test_weights_before_batch_counts_are_found(tmp_path, model):
    old = {name: value for name, value in model.state_dict().items() if "num_batches" not in name}
    torch.save({"net": renamed(old, "module.")}, tmp_path / "w.pt")
    state = weights_for(Model(1), tmp_path / "w.pt")
    assert same(state, old)
    Model(1).load_state_dict(state)


def test_a_key_may_name_any_entry(tmp_path, model):
    torch.save({"net": model.state_dict(), "scaler_net": Model(1).state_dict()}, tmp_path / "w.pt")
    assert same(weights_for(Model(2), tmp_path / "w.pt"), model.state_dict())
    assert same(weights_for(Model(2), tmp_path / "w.pt", key="scaler_net"), Model(1).state_dict())


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"loss": torch.tensor(1.0)}, {1: torch.ones(2)}])
def test_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    assert state_dicts(content) == {}
    with pytest.raises(InputError, match=r"no state dict; save model.state_dict\(\)"):
        read_weights(tmp_path / "w.pt")


class TestShards:
    def save(self, folder, model, name="model.safetensors.index.json"):
        state, places = model.state_dict(), {}
        folder.mkdir(exist_ok=True)
        for i, names in enumerate((list(state)[:3], list(state)[3:])):
            save_file({n: state[n] for n in names}, folder / f"model-{i}.safetensors")
            places |= dict.fromkeys(names, f"model-{i}.safetensors")
        (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": places}))
        return folder / name

    def test_index_and_folder(self, tmp_path, model):
        index = self.save(tmp_path / "m", model)
        (tmp_path / "m" / "optimizer.pt").write_bytes(b"not read")
        (tmp_path / "m" / "config.json").write_text("{}")
        for source in (index, tmp_path / "m"):
            assert same(weights_for(Model(1), source), model.state_dict())

    def test_shards_of_torch(self, tmp_path, model):
        state = model.state_dict()
        torch.save(dict(state), tmp_path / "pytorch_model-1.bin")
        index = tmp_path / "pytorch_model.bin.index.json"
        index.write_text(json.dumps({"weight_map": dict.fromkeys(state, "pytorch_model-1.bin")}))
        assert same(weights_for(Model(1), tmp_path), state)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda index: index.write_text("junk"), "no index of shards"),
            (lambda index: index.write_text('{"weight_map": [1]}'), "no index of shards"),
            (lambda index: index.write_text('{"weight_map": {"a": {}}}'), "no index of shards"),
            (lambda index: (index.parent / "model-1.safetensors").unlink(), "model-1.safetensors is missing"),
            (lambda index: (index.parent / "model-1.safetensors").write_bytes(b"cut"), "damaged"),
            (
                lambda index: save_file({"x": torch.ones(1)}, index.parent / "model-0.safetensors"),
                "no tensor",
            ),
            (lambda index: index.write_text('{"weight_map": {"a": "../../secret.bin"}}'), "next to it"),
            (lambda index: index.write_text('{"weight_map": {"a": "/etc/passwd"}}'), "next to it"),
        ],
    )
    def test_damaged_and_hostile_shards(self, tmp_path, model, change, message):
        index = self.save(tmp_path / "m", model)
        change(index)
        with pytest.raises(InputError, match=message) as caught:
            read_weights(tmp_path / "m")
        assert "\n" not in str(caught.value)


def test_folders_of_weights(tmp_path, model):
    with pytest.raises(InputError, match="a folder without weights"):
        read_weights(tmp_path)
    torch.save({"model_state_dict": model.state_dict()}, tmp_path / "model.pt")
    (tmp_path / "environment.json").write_text("{}")
    assert same(weights_for(Model(1), tmp_path), model.state_dict())
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert same(weights_for(Model(1), tmp_path), model.state_dict())
    save_file(model.state_dict(), tmp_path / "model.fp16.safetensors")
    with pytest.raises(
        InputError, match=r"a folder with model.fp16.safetensors, model.safetensors; give one"
    ):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("w.pt", b"junk"), ("w.pt", b""), ("w.safetensors", b"junk"), ("w.safetensors", b"\x10" + bytes(30))],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"--weights: .*{name}") as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)
