"""Muon: its update, the parameters that get it, its state and its settings."""

import copy
import json
import math

import pytest
import torch
from helpers.small_runs import experiment, raw_config, run_directory, same, weights
from torch import nn

from mmdprior import InputError
from mmdprior.config.load import make_config
from mmdprior.errors import InputWarning
from mmdprior.models import Autoencoder, ResNetDecoder, ResNetEncoder
from mmdprior.training import read_checkpoint
from mmdprior.training.muon import Muon, hidden_weights, orthogonalised


def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(96, 12), nn.Linear(12, 3))


def split(network):
    matrices = [network[0].weight, network[3].weight]
    return matrices, [p for p in network.parameters() if all(p is not weight for weight in matrices)]


def gradients(network, step):
    network.zero_grad()
    images = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(step))
    loss = network(images).square().sum()
    loss.backward()
    return float(loss.detach())


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (7, 7), (1, 5)])
def test_singular_vectors_stay_and_singular_values_are_near_one(shape):
    matrix = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    middle = left.T @ orthogonalised(matrix * 1e-4) @ right.T
    values = middle.diagonal()
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
    assert torch.allclose(middle, values.diag(), atol=1e-6)


def test_a_matrix_of_zeros_stays_zero():
    assert not orthogonalised(torch.zeros(3, 4)).any()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has no Muon before version 2.9")
def test_updates_are_those_of_torch():
    network = layers()
    # torch accepts matrices only: the kernel as one, whose gradient is copied.
    matrices, others = split(network)
    expected = [nn.Parameter(weight.detach().flatten(1).clone()) for weight in matrices]
    theirs = torch.optim.Muon(expected, lr=0.03, weight_decay=0.1, momentum=0.95)
    copies = [nn.Parameter(p.detach().clone()) for p in others]
    adamw = torch.optim.AdamW(copies, lr=0.01, betas=(0.8, 0.9), weight_decay=0.1)
    ours = Muon(matrices, others, matrix_lr=0.03, lr=0.01, betas=(0.8, 0.9), weight_decay=0.1)
    start = [weight.detach().flatten(1).clone() for weight in matrices]
    for _ in range(4):
        for parameter, source in zip([*expected, *copies], [*matrices, *others], strict=True):
            # Of full rank: torch computes in bfloat16, which is inexact at small singular values.
            source.grad = torch.randn_like(source)
            parameter.grad = source.grad.reshape(parameter.shape).clone()
        ours.step()
        theirs.step()
        adamw.step()
    for weight, wanted, first in zip(matrices, expected, start, strict=True):
        moved = (wanted - first).norm()
        assert (weight.flatten(1) - wanted).norm() < 0.02 * moved
    for parameter, wanted in zip(others, copies, strict=True):
        assert torch.allclose(parameter, wanted, rtol=1e-5, atol=1e-7)


def test_the_update_has_the_scale_of_its_step_size():
    network = layers()
    matrices, others = split(network)
    before = matrices[0].detach().clone()
    gradients(network, 0)
    Muon(matrices, others, matrix_lr=0.5).step()
    change = (before - matrices[0]).detach().flatten(1)
    # Six orthonormal rows: a Frobenius norm of sqrt(6) times the step size, up to the iteration's accuracy.
    assert float(change.norm()) == pytest.approx(0.5 * math.sqrt(6), rel=0.25)


def test_loss_falls_and_a_loaded_state_continues_alike():
    network = layers()
    optimizer = Muon(*split(network))
    losses = []
    for step in range(20):
        losses.append(gradients(network, 0))
        optimizer.step()
        if step == 9:
            other = copy.deepcopy(network)
            state = copy.deepcopy(optimizer.state_dict())
    assert losses[-1] < 0.2 * losses[0]
    resumed = Muon(*split(other), matrix_lr=9.0, lr=9.0)
    resumed.load_state_dict(state)
    for _ in range(10):
        gradients(other, 0)
        resumed.step()
    assert same(network.state_dict(), other.state_dict())


def test_found_inf_skips_every_update():
    network = layers()
    optimizer = Muon(*split(network))
    gradients(network, 0)
    for parameter in network.parameters():
        parameter.grad.fill_(math.nan)
    before = copy.deepcopy(network.state_dict())
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert same(before, network.state_dict())
    # The next step is that of an optimizer without the skipped one.
    other = copy.deepcopy(network)
    gradients(network, 1)
    gradients(other, 1)
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    Muon(*split(other)).step()
    for ours, wanted in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.allclose(ours, wanted, rtol=1e-5, atol=1e-7)


def test_a_closure_is_evaluated():
    network = layers()
    optimizer = Muon(*split(network))
    before = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        loss = optimizer.step(lambda: gradients(network, 0))
    assert loss == gradients(layers(), 0)
    assert not same(before, network.state_dict())


def test_added_parameters_are_updated_also_after_loading():
    network, added = layers(), nn.Linear(2, 2)
    optimizer = Muon(*split(network), lr=0.01)
    optimizer.add_param_group({"params": added.parameters()})
    assert optimizer.param_groups[2]["lr"] == 0.01
    for _ in range(2):
        before = added.weight.detach().clone()
        added(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        assert not torch.equal(added.weight, before)
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def test_bad_arguments():
    for settings, text in [
        ({"matrix_lr": -1.0}, "matrix_lr: -1.0 received"),
        ({"matrix_lr": math.nan}, "matrix_lr: nan received"),
        ({"lr": -1.0}, "learning rate"),
    ]:
        with pytest.raises(ValueError, match=text):
            Muon(*split(layers()), **settings)
    with pytest.raises(ValueError, match="give it in others"):
        Muon([nn.Parameter(torch.zeros(3))], layers().parameters())


def test_copies_and_scaled_gradients_give_the_same_weights():
    network = layers()
    optimizer = Muon(*split(network))
    gradients(network, 0)
    optimizer.step()
    other, twin = copy.deepcopy([network, optimizer])
    gradients(network, 1)
    gradients(other, 1)
    optimizer.step()
    for parameter in other.parameters():
        parameter.grad.mul_(1024)
    twin.grad_scale, twin.found_inf = torch.tensor(1024.0), torch.tensor(0.0)
    twin.step()
    for ours, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_hidden_weights_are_those_between_first_and_last_layer():
    encoder = ResNetEncoder((3, 16, 16), 4, channels=[8], blocks=1)
    decoder = ResNetDecoder((3, 16, 16), 4, channels=[8], blocks=1)
    chosen = {id(weight) for weight in hidden_weights(Autoencoder(encoder, decoder))}
    for network in (encoder, decoder):
        for name, parameter in network.named_parameters():
            assert (id(parameter) in chosen) == (parameter.ndim > 1 and name != "last.weight"), name


def test_shared_parametrised_and_fixed_weights():
    first, last = nn.Linear(4, 4), nn.Linear(4, 4)
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    fixed = nn.Linear(4, 4).requires_grad_(False)
    model = Autoencoder(
        nn.Sequential(first, normed, fixed, nn.Linear(4, 4)), nn.Sequential(first, last, nn.Tanh())
    )
    assert [id(weight) for weight in hidden_weights(model)] == [id(first.weight)]
    # No linear layer at all: everything is left to AdamW.
    assert hidden_weights(Autoencoder(nn.Flatten(), nn.Identity())) == []


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(tmp_path):
    settings = {"trainer__optimizer": "muon", "trainer__matrix_learning_rate": 0.01}
    whole = experiment(run_directory(tmp_path / "whole"), trainer__steps=6, **settings)
    whole.trainer.run()
    directory = run_directory(tmp_path / "half")
    half = experiment(directory, trainer__steps=6, **settings)
    half.trainer.steps = 3
    half.trainer.run()
    resumed = experiment(
        directory, resume=read_checkpoint(directory / "checkpoints" / "last.pt"), trainer__steps=6, **settings
    )
    resumed.trainer.run()
    assert same(weights(whole.trainer.model), weights(resumed.trainer.model))


def test_step_size_of_matrices_needs_muon(tmp_path):
    with pytest.raises(InputError, match=r"matrix_learning_rate: 0\.01 received; it needs optimizer: muon"):
        make_config(raw_config(trainer__matrix_learning_rate=0.01), tmp_path, "config.yaml")


def test_penalty_and_all_parameters_are_trained(tmp_path):
    directory = run_directory(tmp_path)
    built = experiment(directory, trainer__optimizer="muon")
    optimizer = built.trainer.optimizer
    assert isinstance(optimizer, Muon)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in built.trainer.model.parameters())
    rate = built.config.trainer.learning_rate
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, rate]
    built.trainer.run()
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    rates = [
        (line["trainer/learning_rate"], line["trainer/matrix_learning_rate"])
        for line in lines
        if "trainer/learning_rate" in line
    ]
    assert rates == [(rate, 0.02)] * 3


@pytest.mark.gpu
def test_a_gpu_takes_nearly_the_same_step():
    matrix = torch.randn(20, 50, generator=torch.Generator().manual_seed(1))
    difference = orthogonalised(matrix.cuda()).cpu() - orthogonalised(matrix)  # bfloat16 against float32
    assert float(difference.norm()) < 0.05 * math.sqrt(20)


def test_networks_without_hidden_weights_are_a_warning():
    with pytest.warns(InputWarning, match=r"trainer\.optimizer: muon received; the networks have only last"):
        experiment(model={"name": "linear", "latent_dim": 4}, trainer__optimizer="muon")
