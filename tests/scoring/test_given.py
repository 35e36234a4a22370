"""Labels in commands: sculpt --given, sample --given, traverse --factor, and their use in a run."""

import json

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.flows import FlowSettings, load_bijection
from mmdprior.priors import Factors, Gaussian, Given
from mmdprior.scoring.given import given_labels
from mmdprior.scoring.sculpt import Sculptor

PRIOR = "{name: factors, factors: {side: {dims: [1], kind: discrete, levels: 2}}}"
SCULPT = ("--steps", "20", "--layers", "2", "--predictor", "linear")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the directory of a run whose flow was fitted to the labels of 40 images after training."""
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, 400)
    images = rng.integers(0, 60, (400, 8, 8)).astype(np.uint8)
    images[np.arange(400), :, 6 * side] = 250
    np.savez(folder / "stripes.npz", images=images, factors=side[:, None], factor_names=np.array(["side"]))
    text = f"""
name: labelled
data:
  name: arrays
  path: {folder}/stripes.npz
  factors: factors
  validation: 100
  test: 100
  labelled: {{count: 40}}
model:
  name: mlp
  hidden: [8]
  latent_dim: 3
  flow: {{name: coupling, layers: 2, hidden: [16]}}
  flow_fit: {{steps: 60, learning_rate: 0.01}}
regularizer: {{name: cross_entropy, prior: {PRIOR}, weight: 0.1}}
trainer: {{steps: 20, device: cpu, learning_rate: 0.01}}
evaluation: {{every: 20, pictures: false, final_predictors: [linear], match_samples: 64, prior: {PRIOR}}}
"""
    (folder / "run.yaml").write_text(text)
    assert main(["train", str(folder / "run.yaml"), "--directory", str(folder / "run")]) == 0
    return folder / "run"


def test_a_run_scores_its_labels(run):
    test = json.loads((run / "report" / "test.json").read_text())
    side = test["semantics"]["labels"]["side"]
    assert side["accuracy"] > 0.9
    assert side["dims"] == [1]


def test_sample_and_traverse_take_labels(run, tmp_path, capsys):
    assert main(["sample", str(run), "--given", "side=1", "--n", "4", "--out", str(tmp_path / "s.png")]) == 0
    assert main(["traverse", str(run), "--factor", "side", "--rows", "2", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "s.png").is_file()
    assert (tmp_path / "run_side.png").is_file()
    for arguments, message in [
        (("sample", "--given", "side=2"), "side: values from 2 to 2 received; the prior has 0 to 1"),
        (("sample", "--given", "size=1"), "given: 'size' received; the labels of the prior are side"),
        (("sample", "--given", "side"), "--given: 'side' received; give LABEL=VALUE"),
        (("sample", "--given", "side=1_0"), "--given: 'side=1_0' received; give LABEL=VALUE"),
        (("traverse", "--factor", "size"), "factor: 'size' received; the prior has dimensions for side"),
    ]:
        command, *options = arguments
        assert main([command, str(run), *options, "--out", str(tmp_path / "x.png")]) == 2
        assert message in capsys.readouterr().err


def test_codes_are_sculpted_from_a_file_of_labels(tmp_path):
    g = torch.Generator().manual_seed(0)
    side = torch.randint(2, (600,), generator=g)
    codes = torch.randn(600, 2, generator=g) + 4 * side[:, None]
    np.save(tmp_path / "codes.npy", codes.numpy())
    labels = side.clone()
    labels[100:500] = -1
    np.savez(tmp_path / "labels.npz", labels=labels[:, None].numpy(), label_names=np.array(["side"]))
    sculptor = Sculptor(
        PRIOR,
        FlowSettings(layers=2, hidden=[16], steps=60, learning_rate=0.01),
        predictors=["linear"],
        given=str(tmp_path / "labels.npz"),
    )
    fit = sculptor.codes(str(tmp_path / "codes.npy")).fit
    read = fit.prior.read(fit.bijection(codes))[:, 0]
    assert (read == side).double().mean() > 0.95
    command = [
        "sculpt",
        str(tmp_path / "codes.npy"),
        "--prior",
        PRIOR,
        "--given",
        str(tmp_path / "labels.npz"),
    ]
    assert main([*command, *SCULPT, "--out", str(tmp_path / "map.pt")]) == 0
    assert load_bijection(tmp_path / "map.pt").dim == 2


def test_labels_that_do_not_fit(tmp_path):
    np.savez(tmp_path / "labels.npz", labels=np.zeros((5, 1), int), label_names=np.array(["side"]))
    with pytest.raises(InputError, match=r"--given: .*: 5 rows received; give 6, one per training row"):
        given_labels(str(tmp_path / "labels.npz"), (), torch.empty(6, 0))
    with pytest.raises(InputError, match="--given: 20 received, but the data have no labels"):
        given_labels("20", (), torch.empty(6, 0))
    few = given_labels(str(tmp_path / "labels.npz"), (), torch.empty(5, 0))
    with pytest.raises(InputError, match="--prior: Gaussian received; --given needs a conditional prior"):
        few.of(Gaussian(2), torch.arange(5))
    other = Factors(2, {"size": {"dims": [0], "levels": 2}})
    with pytest.raises(InputError, match="'size' received; the labels of the data are side"):
        few.of(other, torch.arange(5))
    with pytest.raises(InputError, match="given: Gaussian has no labels"):
        Given(Gaussian(2), {"side": 1})
