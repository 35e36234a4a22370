"""Averaged weights: their values, and where they are saved and loaded."""

import pytest
import torch
from helpers.small_runs import experiment, run_directory, same, weights
from torch import nn

import mmdprior
from mmdprior import InputError
from mmdprior.models import Autoencoder
from mmdprior.training import WeightAverage, read_checkpoint


def two_by_two_model():
    model = Autoencoder(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model.encoder.register_buffer("seen", torch.zeros(1))
    return model


def test_weight_average_is_the_mean_first_and_exponential_later():
    model = two_by_two_model()
    average = WeightAverage(model, decay=0.75)
    expected = None
    for update in range(1, 9):
        with torch.no_grad():
            model.encoder.weight.fill_(float(update))
            model.encoder.seen.fill_(update)
        average.update(update)
        share = max(0.25, 1 / update)
        expected = update if expected is None else (1 - share) * expected + share * update
        assert torch.allclose(average.model.encoder.weight, torch.full((2, 2), float(expected)))
        if update <= 4:
            assert expected == pytest.approx((update + 1) / 2)
    assert float(average.model.encoder.seen) == 8
    assert not average.model.training
    with pytest.raises(InputError, match=r"average: 1\.0 received"):
        WeightAverage(model, 1.0)


def test_averaged_weights_are_saved_validated_and_loaded(tmp_path):
    directory = run_directory(tmp_path)
    trained = experiment(directory, trainer__average=0.5, trainer__learning_rate=0.01)
    assert trained.trainer.validate.model is trained.trainer.evaluated
    trained.trainer.validate = None
    trained.trainer.run()
    path = directory / "checkpoints" / "last.pt"
    content = read_checkpoint(path)
    assert same(content["model"], weights(trained.trainer.model))
    assert same(content["averaged"], weights(trained.trainer.evaluated))
    assert not same(content["averaged"], content["model"])
    assert same(weights(mmdprior.load(path)), content["averaged"])
    assert same(weights(mmdprior.load(path, averaged=False)), content["model"])
