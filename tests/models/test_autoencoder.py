"""The autoencoder names a network whose output has the wrong shape, and restores its modes."""

import pytest
import torch
from torch import nn

from mmdprior import InputError
from mmdprior.models import Autoencoder, LinearDecoder, LinearEncoder, evaluation_mode


def test_rejects_an_encoder_with_the_wrong_shape():
    with pytest.raises(InputError, match=r"encoder: shape \(2, 1, 8, 8\) returned; return \(n, outputs\)"):
        Autoencoder(nn.Identity(), nn.Identity()).encode(torch.rand(2, 1, 8, 8))


def test_rejects_a_decoder_with_the_wrong_shape():
    model = Autoencoder(LinearEncoder((1, 8, 8), 3), LinearDecoder((3, 8, 8), 3))
    with pytest.raises(InputError, match=r"decoder: shape \(2, 3, 8, 8\) returned; return \(2, 1, 8, 8\)"):
        model(torch.rand(2, 1, 8, 8))


def test_evaluation_mode_restores_each_mode_after_an_error():
    model = Autoencoder(LinearEncoder((1, 8, 8), 3), LinearDecoder((1, 8, 8), 3))
    model.encoder.eval()

    def fail():
        with evaluation_mode(model):
            assert not model.decoder.training
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert model.training
    assert model.decoder.training
    assert not model.encoder.training
