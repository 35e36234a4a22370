"""Small versions of the shipped networks."""

from mmdprior.models import (
    Autoencoder,
    ConvDecoder,
    ConvEncoder,
    DCTDecoder,
    DCTEncoder,
    DeterministicPosterior,
    LinearDecoder,
    LinearEncoder,
    MixerDecoder,
    MixerEncoder,
    MLPDecoder,
    MLPEncoder,
    ResNetDecoder,
    ResNetEncoder,
)

PAIRS = {
    "conv": (ConvEncoder, ConvDecoder, {"channels": [4, 8, 8], "hidden": 16}),
    "resnet": (ResNetEncoder, ResNetDecoder, {"channels": [4, 8], "blocks": 1}),
    "patched_resnet": (ResNetEncoder, ResNetDecoder, {"channels": [4, 8], "blocks": 1, "patch": 2}),
    "mixer": (MixerEncoder, MixerDecoder, {"width": 8, "depth": 1, "patch": 4}),
    "dct": (DCTEncoder, DCTDecoder, {"frequencies": 6, "width": 16, "depth": 1}),
    "mlp": (MLPEncoder, MLPDecoder, {"hidden": [16]}),
    "linear": (LinearEncoder, LinearDecoder, {}),
}


def autoencoder(name, shape, dim=3, posterior=None, likelihood=None):
    posterior = posterior or DeterministicPosterior()
    encoder, decoder, settings = PAIRS[name]
    return Autoencoder(
        encoder(shape, posterior.num_params(dim), **settings),
        decoder(shape, dim, **settings),
        posterior,
        likelihood,
    )
