"""FastICA codes without training, of images and of another run's codes."""

import sys

import numpy as np
import pytest
import torch
from helpers.small_runs import experiment, run_directory

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.errors import InputWarning
from mmdprior.models import (
    Autoencoder,
    LinearDecoder,
    LinearEncoder,
    add_linear_skip,
    fit_fastica,
    fit_pca,
)


def mixed(n=3000, pixels=12, seed=0):
    """Return independent sources of unit variance, of three shapes, and a linear mixture of them."""
    g = torch.Generator().manual_seed(seed)
    uniform = (torch.rand(n, generator=g) - 0.5) * 12**0.5
    sparse = torch.randn(n, generator=g) * torch.randn(n, generator=g)
    two = (torch.rand(n, generator=g) > 0.5).float() * 2 - 1
    sources = torch.stack([uniform, sparse, two], 1)
    return sources, sources @ torch.randn(3, pixels, generator=g)


def match(codes, sources):
    """Return the smallest best correlation of any source with a code."""
    correlation = torch.corrcoef(torch.cat([codes, sources], 1).T)[:3, 3:].abs()
    return float(correlation.max(0).values.min())


def test_it_finds_the_sources_that_pca_mixes():
    sources, data = mixed()
    pca, ica = (fit(lambda: data.split(500), 3) for fit in (fit_pca, fit_fastica))
    assert match((data - ica.mean) @ ica.projection, sources) > 0.995
    assert match((data - pca.mean) @ pca.projection, sources) < 0.95


def test_codes_are_white_and_the_reconstruction_is_that_of_pca():
    _, data = mixed()
    data = data + 0.1 * torch.randn(data.shape, generator=torch.Generator().manual_seed(1))
    pca, ica = (fit(lambda: data.split(500), 3) for fit in (fit_pca, fit_fastica))
    codes = (data - ica.mean) @ ica.projection
    assert torch.allclose(torch.cov(codes.T), torch.eye(3), atol=1e-3)
    by_pca = (data - pca.mean) @ pca.projection @ pca.expansion
    assert torch.allclose(codes @ ica.expansion, by_pca, atol=1e-3)
    variances = ica.expansion.square().sum(1)
    assert (variances.diff() <= 0).all()
    again = fit_fastica(lambda: data.split(700), 3, seed=5)
    assert torch.allclose(again.projection, ica.projection, atol=0.02)


def test_the_skip_starts_at_its_codes():
    _, data = mixed(pixels=16)
    ica = fit_fastica(lambda: data.split(500), 3)
    images = data.view(-1, 1, 4, 4)
    model = Autoencoder(LinearEncoder((1, 4, 4), 3), LinearDecoder((1, 4, 4), 3))
    model = add_linear_skip(model, ica, (1, 4, 4))
    codes = model.encode(images).mean
    assert torch.allclose(codes, (data - ica.mean) @ ica.projection, atol=1e-4)
    assert torch.allclose(model.decode(codes).flatten(1), data, atol=1e-3)


def test_gaussian_data_gets_a_warning():
    data = torch.randn(400, 30, generator=torch.Generator().manual_seed(0))
    with pytest.warns(InputWarning, match="fastica has not converged after 500 iterations"):
        fit_fastica(lambda: [data], 20)


def test_a_run_without_training_then_another_on_its_codes(tmp_path, monkeypatch):
    """Both start at FastICA; the second reads the file that ``mmdprior encode`` writes of the first."""
    linear = {"model": {"name": "linear", "latent_dim": 4, "linear_skip": "fastica"}}
    none = {"regularizer": {"name": "none"}, "trainer__steps": 0}
    directory = run_directory(tmp_path)
    first = experiment(directory, **linear, **none)
    first.trainer.write_last()
    codes = tmp_path / "codes.npz"
    assert main(["encode", str(directory), "--split", "train", "--out", str(codes)]) == 0
    written = torch.from_numpy(np.load(codes)["mean"])
    assert torch.allclose(torch.cov(written.T), torch.eye(4), atol=0.1)
    data = {"name": "arrays", "path": str(codes), "batch_size": 16}
    second = experiment(None, data=data, **linear, **none)
    images = second.splits.train.gather(torch.arange(50))[0]
    latent = second.trainer.model.encode(images)
    assert latent.mean.shape == (50, 4)
    assert second.splits.train.image_shape == (4,)


def test_scikit_learn_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(InputError, match="linear_skip: 'fastica' received; it needs scikit-learn"):
        fit_fastica(lambda: [torch.randn(10, 4)], 2)
