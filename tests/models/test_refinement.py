"""Refined codes: their error, what they leave unchanged, and their settings."""

import copy
import math

import pytest
import torch
from helpers.small_runs import experiment, raw_config, run_directory, same, weights
from torch import nn

import mmdprior
from mmdprior import InputError
from mmdprior.build.dry_run import dry_run
from mmdprior.config.load import make_config
from mmdprior.data import InMemory
from mmdprior.evaluation import encode
from mmdprior.models import FSQ, Autoencoder, BernoulliLikelihood, GaussianPosterior, Refinement
from mmdprior.regularizers import NoPenalty

SHAPE = (1, 4, 4)


def linear_model(posterior=None, likelihood=None, params=3):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, params))
    decoder = nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, SHAPE))
    return Autoencoder(encoder, decoder, posterior, likelihood).eval()


def noisy_encoder(image_shape, num_params):
    size = math.prod(image_shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.Dropout(0.5), nn.Linear(8, num_params))


def images(n=12):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_codes_of_a_linear_decoder_reach_least_squares():
    model, x = linear_model(), images()
    weight, bias = model.decoder[0].weight.detach(), model.decoder[0].bias.detach()
    wanted = torch.linalg.lstsq(weight.double(), (x.flatten(1) - bias).double().T).solution.T
    model.refinement = Refinement(steps=600, rate=0.1)
    assert torch.allclose(model.encode(x).mean.double(), wanted, atol=1e-4)


@pytest.mark.parametrize(("steps", "distance"), [(1, 1.0), (2, 1.5), (4, 2.5)])
def test_the_rate_falls_linearly_to_zero(steps, distance):
    model, x = linear_model(), images()
    with torch.no_grad():
        model.encoder[1].bias.add_(1e4)  # far from the minimum: each step of Adam is its rate
    before = model.encode(x).mean
    model.refinement = Refinement(steps, rate=8.0)
    moved = (model.encode(x).mean - before).abs()
    assert torch.allclose(moved, torch.full_like(moved, 8.0 * distance), rtol=0.02)


@pytest.mark.parametrize("likelihood", [None, BernoulliLikelihood()])
def test_the_loss_of_the_likelihood_falls_with_the_steps(likelihood):
    model, x = linear_model(likelihood=likelihood), images()
    losses = []
    for steps in (0, 5, 40):
        model.refinement = Refinement(steps) if steps else None
        with torch.no_grad():
            output = model.decode_raw(model.encode(x).mean, x.shape)
        losses.append(float(model.likelihood.loss(output, x)))
    assert losses[0] > losses[1] > losses[2]


def test_optimal_codes_stay_and_no_loss_rises():
    model, x = linear_model(), images()
    model.refinement = Refinement(steps=600)
    optimal = model.encode(x).mean
    model.refinement = Refinement(steps=3)
    codes = torch.cat([optimal[:6], model.encoder(x[6:])])
    stay = model.refinement(codes, x, lambda z: model.decode_raw(z, x.shape), model.likelihood.loss)
    assert torch.equal(stay[:6], optimal[:6])
    assert not torch.isclose(stay[6:], codes[6:]).all(1).any()
    errors = [(model.decode(z) - x).square().sum((1, 2, 3)) for z in (codes, stay)]
    assert bool((errors[1] <= errors[0]).all())


def test_an_empty_batch_stays_empty():
    model = linear_model()
    model.refinement = Refinement()
    assert model.encode(images(0)).mean.shape == (0, 3)


def test_rows_do_not_depend_on_other_rows():
    model, x = linear_model(), images()
    model.refinement = Refinement()
    together = model.encode(x).mean
    alone = torch.cat([model.encode(row[None]).mean for row in x])
    assert torch.allclose(together, alone, atol=1e-6)


def test_variances_stay_means_move_and_no_global_noise_is_drawn():
    model, x = linear_model(GaussianPosterior(), params=6), images()
    before = model.encode(x)
    model.refinement = Refinement()
    state = torch.get_rng_state()
    after = model.encode(x, torch.Generator())
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(before.log_var, after.log_var)
    assert not torch.equal(before.mean, after.mean)


def test_training_mode_weights_and_gradients_are_unchanged():
    model, x = linear_model(), images()
    before, state = model.encode(x).mean, copy.deepcopy(model.state_dict())
    model.encode(x).mean.sum().backward()
    gradient = model.encoder[1].weight.grad.clone()
    model.zero_grad()
    model.refinement = Refinement()
    model.encode(x).mean.sum().backward()
    assert torch.allclose(model.encoder[1].weight.grad, gradient)
    assert model.decoder[0].weight.grad is None
    assert same(state, model.state_dict())
    assert torch.equal(model.train().encode(x).mean, before)


@pytest.mark.parametrize("likelihood", [None, BernoulliLikelihood()])  # the second saves images for backward
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_every_gradient_mode_gives_the_same_codes(mode, likelihood):
    model, x = linear_model(likelihood=likelihood), images()
    model.refinement = Refinement()
    expected = model.encode(x).mean.detach()
    with mode():
        assert torch.equal(model.encode(x.clone()).mean.detach(), expected)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert torch.equal(model.encode(x).mean, expected)


def test_data_sets_are_encoded_alike_for_any_batch_size():
    model = linear_model()
    model.refinement = Refinement()
    data = InMemory((images(20) * 255).to(torch.uint8))
    whole, parts = (encode(model, data, batch_size=size).latent.mean for size in (20, 7))
    assert torch.allclose(whole, parts, atol=1e-5)


def test_bad_settings_exports_and_quantisers_are_refused(tmp_path):
    for settings, text in [
        ({"steps": 0}, "steps: 0 received"),
        ({"rate": float("inf")}, "rate: inf received"),
    ]:
        with pytest.raises(InputError, match=text):
            Refinement(**settings)
    model = linear_model()
    model.refinement = Refinement()
    with pytest.raises(InputError, match="cannot be exported or compiled"):
        torch.func.vmap(lambda image: model.encode(image[None]).mean)(images())
    model.quantiser = FSQ(3, levels=4)
    with pytest.raises(InputError, match="received with a quantiser"):
        model.encode(images())
    with pytest.raises(InputError, match=r"model\.refinement\.steps: .*0"):
        make_config(raw_config(model={**raw_config()["model"], "refinement": {"steps": 0}}), tmp_path, "x")


def test_a_dry_run_names_the_part_that_fails():
    x = InMemory((images() * 255).to(torch.uint8))
    settings = {"latent_dim": 3, "batch_size": 8, "device": torch.device("cpu")}
    wrong, fixed = linear_model(), linear_model()
    wrong.decoder = nn.Linear(3, 16)
    fixed.decoder.register_forward_hook(lambda module, args, output: output.detach())
    for model, text in [(wrong, "model.decoder: shape"), (fixed, "model.refinement: ")]:
        model.refinement = Refinement()
        with pytest.raises(InputError, match=text):
            dry_run(model, NoPenalty(), x, **settings)


def test_a_run_trains_alike_and_is_loaded_with_its_refinement(tmp_path):
    # Noise and dropout draw random numbers in training, which those of validation must not change.
    noisy = {
        "latent_dim": 4,
        "posterior": "gaussian",
        "encoder": {"target": f"{__file__}:noisy_encoder"},
        "decoder": {"name": "mlp", "hidden": [8]},
    }
    plain = experiment(run_directory(tmp_path / "plain"), model=noisy)
    plain.trainer.run()
    directory = run_directory(tmp_path / "refined")
    refined = experiment(directory, model={**noisy, "refinement": {"steps": 5}})
    refined.trainer.run()
    assert same(weights(plain.trainer.model), weights(refined.trainer.model))
    loaded = mmdprior.load(directory / "checkpoints" / "last.pt", trust=True)
    assert loaded.refinement == Refinement(steps=5, rate=0.1)
    quantised = {**noisy, "refinement": {"steps": 5}, "quantiser": {"name": "fsq", "levels": 4}}
    with pytest.raises(InputError, match=r"model\.refinement: received with a quantiser"):
        experiment(run_directory(tmp_path / "q"), model=quantised)
