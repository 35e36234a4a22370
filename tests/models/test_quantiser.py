"""Quantisers against the published formulas, brute force and closed forms, and in the autoencoder."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from helpers.fake_cuda import FakeCUDA
from helpers.shape_checks import no_checks
from torch import nn

from mmdprior import InputError
from mmdprior.flows import FixedLinear
from mmdprior.models import FSQ, QLAE, Autoencoder, GaussianPosterior, UniformQuantiser
from mmdprior.models.bins import BinQuantiser
from mmdprior.models.quantiser import QuantiserTraining
from mmdprior.testing import check_quantiser

D = 4


def codes(n=500, scale=1.5, seed=0, dim=D):
    return scale * torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def published_fsq(z, levels, eps=1e-3):
    """Appendix A.1 of arXiv 2309.15505 in NumPy: quantised values, and the index of each dimension."""
    levels = np.asarray(levels)
    half_l = (levels - 1) * (1 - eps) / 2
    offset = np.where(levels % 2 == 1, 0.0, 0.5)
    shift = np.tan(offset / half_l)
    rounded = np.round(np.tanh(z + shift) * half_l - offset)
    half_width = levels // 2
    quantised = rounded / half_width
    return quantised, (quantised * half_width + half_width).astype(int)


class TestFSQ:
    @pytest.mark.parametrize("levels", [2, 3, 4, 5, 8, 32, [8, 5, 5, 5], [7, 2, 16, 3]])
    def test_agrees_with_the_published_code(self, levels):
        z = codes(2000)
        quantiser = FSQ(D, levels).double().eval()
        values, indices = published_fsq(z.numpy(), [levels] * D if isinstance(levels, int) else levels)
        assert np.allclose(quantiser(z).numpy(), values, atol=1e-12)
        assert np.array_equal(quantiser.indices(z).numpy(), indices)
        assert torch.equal(quantiser.train()(z).detach(), quantiser(z).detach())

    @pytest.mark.parametrize("levels", [2, 3, 4, 7, 8])
    def test_every_level_is_reached_and_none_outside(self, levels):
        z = torch.linspace(-20, 20, 4001)[:, None].repeat(1, D)
        indices = FSQ(D, levels).indices(z)
        assert indices.unique().tolist() == list(range(levels))
        assert FSQ(D, levels).values(indices).abs().max() == 1.0

    @pytest.mark.parametrize("levels", [3, 4, 8])
    def test_the_gradient_is_that_of_the_bound(self, levels):
        z = codes(50).requires_grad_()
        quantiser = FSQ(D, levels).double()
        quantiser(z).sum().backward()
        half_l = (levels - 1) * (1 - 1e-3) / 2
        shift = math.tan((0.0 if levels % 2 else 0.5) / half_l)
        expected = half_l * (1 - np.tanh(z.detach().numpy() + shift) ** 2) / (levels // 2)
        assert np.allclose(z.grad.numpy(), expected, atol=1e-6)


class TestQLAE:
    def test_takes_the_nearest_value_of_the_codebook_of_each_dimension(self):
        quantiser, z = QLAE(D, levels=5).double().eval(), codes(scale=0.4)
        with torch.no_grad():
            quantiser.codebook.add_(0.1 * torch.randn(D, 5, dtype=torch.float64))
        book = quantiser.codebook.detach().numpy()
        values, indices = quantiser(z).detach().numpy(), quantiser.indices(z)
        for row, value, index in zip(z.numpy(), values, indices, strict=True):
            expected = [int(np.argmin((book[j] - row[j]) ** 2)) for j in range(D)]
            assert index.tolist() == expected
            assert value.tolist() == [book[j, k] for j, k in enumerate(expected)]

    def test_starts_at_equal_distances(self):
        assert np.allclose(QLAE(2, 10).codebook.detach().numpy(), np.linspace(-0.5, 0.5, 10))

    @pytest.mark.parametrize(("quantisation", "commitment"), [(0.01, 0.01), (1.0, 0.25), (0.5, 0.0)])
    def test_losses_and_gradients_are_the_published_ones(self, quantisation, commitment):
        quantiser = QLAE(D, 5, quantisation=quantisation, commitment=commitment).double()
        z = codes(60, scale=0.4).requires_grad_()
        loss = quantiser.loss(z)
        loss.backward()
        x, book = z.detach().numpy(), np.tile(np.linspace(-0.5, 0.5, 5), (D, 1)).astype(np.float32)
        index = np.abs(x[:, :, None] - book).argmin(2)
        gap = x - book[np.arange(D), index]
        assert float(loss.detach()) == pytest.approx((quantisation + commitment) * (gap**2).mean(), rel=1e-12)
        assert np.allclose(z.grad, 2 * commitment * gap / gap.size, atol=1e-14)
        expected = np.zeros((D, 5))
        np.add.at(expected, (np.arange(D)[None].repeat(60, 0), index), -2 * quantisation * gap / gap.size)
        assert np.allclose(quantiser.codebook.grad, expected, atol=1e-14)

    def test_the_gradient_of_the_decoder_reaches_the_codes_only(self):
        quantiser, z = QLAE(D, 5).double(), codes(20).requires_grad_()
        (quantiser(z) * torch.arange(D)).sum().backward()
        assert torch.equal(z.grad, torch.arange(D).double().expand(20, D))
        assert quantiser.codebook.grad is None

    def test_after_moves_only_the_codebook(self):
        quantiser, z = QLAE(D, 5, train="after").double(), codes(20).requires_grad_()
        assert torch.equal(quantiser(z), z)
        quantiser.loss(z).backward()
        assert z.grad is None
        assert bool(quantiser.codebook.grad.any())


class TestUniform:
    @pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (-3.0, 2.0)])
    @pytest.mark.parametrize("levels", [2, 3, 8, [4, 2, 7, 16]])
    def test_agrees_with_digitize(self, levels, low, high):
        z = codes(400)
        quantiser = UniformQuantiser(D, levels, low=low, high=high).double().eval()
        counts = [levels] * D if isinstance(levels, int) else levels
        for j, count in enumerate(counts):
            edges = np.linspace(low, high, count + 1)
            expected = np.digitize(z[:, j].numpy(), edges[1:-1])
            assert np.array_equal(quantiser.indices(z)[:, j].numpy(), expected)
            centres = (edges[1:] + edges[:-1]) / 2
            assert np.allclose(quantiser(z)[:, j].numpy(), centres[expected])

    @pytest.mark.parametrize("levels", [2, 3, 8, 32])
    def test_error_and_entropy_of_a_box_are_the_closed_forms(self, levels):
        n = levels * 1000
        z = ((torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1)[:, None]
        quantiser = UniformQuantiser(1, levels).double().eval()
        mse = float((quantiser(z) - z).square().mean())
        # A cell holds 1,000 equidistant points, whose variance is that of a uniform cell times 1 - 1e-6.
        assert mse == pytest.approx((2 / levels) ** 2 / 12 * (1 - 1e-6), rel=1e-9)
        assert quantiser.indices(z).flatten().bincount().tolist() == [1000] * levels

    @pytest.mark.parametrize("train", ["straight_through", "noise", "after"])
    def test_the_gradient_is_that_of_clamped_codes(self, train):
        z = codes(50).requires_grad_()
        (UniformQuantiser(D, 3, train).double()(z) * torch.arange(D)).sum().backward()
        inside = (z.abs() <= 1) if train != "after" else torch.ones_like(z)
        assert torch.equal(z.grad, torch.arange(D) * inside.double())

    def test_robust_bounds_are_means_of_the_quantiles_of_the_batches(self):
        quantiser = UniformQuantiser(D, bounds="robust", tail=0.02, train="after").double()
        batches = [codes(200, seed=seed) for seed in range(3)]
        for z in batches:
            assert torch.equal(quantiser(z), z)
        for tail, bound in ((0.02, quantiser.low), (0.98, quantiser.high)):
            expected = np.mean([np.quantile(z.numpy(), tail, axis=0) for z in batches], axis=0)
            assert np.allclose(bound.numpy(), expected)
        low = quantiser.low.clone()
        quantiser.eval()(10 * batches[0])
        assert torch.equal(quantiser.low, low)


@pytest.mark.parametrize("make", [FSQ, UniformQuantiser])
@pytest.mark.parametrize("levels", [4, 5])
def test_noise_is_uniform_on_a_cell_and_a_function_of_the_generator(make, levels):
    quantiser, z = make(D, levels, train="noise").double(), 0.2 * codes(4000)
    first, second = (quantiser(z, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    noise = (first - quantiser.continuous(z)) / quantiser.cell_width()
    assert float(noise.abs().max()) <= 0.5
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)  # 4 sd
    assert float(noise.var()) == pytest.approx(1 / 12, rel=0.03)


@pytest.mark.parametrize(
    ("make", "arguments", "text"),
    [
        (FSQ, {"levels": 1}, "levels: 1 received; give at least 2"),
        (UniformQuantiser, {"levels": [4, 4, 0, 4]}, "levels: 0 received; give at least 2"),
        (FSQ, {"levels": [8, 5, 5]}, "levels: 3 numbers received; give one per dimension, 4"),
        (QLAE, {"levels": -3}, "levels: -3 received; give at least 2"),
        (
            FSQ,
            {"train": "before"},
            "train: 'before' received; expected one of straight_through, noise, after",
        ),
        (QLAE, {"train": "noise"}, "train: 'noise' received; QLAE has no common cell width"),
        (UniformQuantiser, {"low": 1.0}, "low, high: 1 and 1 received; give low below high"),
        (UniformQuantiser, {"low": math.nan}, "low, high: nan and 1 received; give low below high"),
        (UniformQuantiser, {"bounds": "box"}, "bounds: 'box' received; expected fixed or robust"),
        (UniformQuantiser, {"tail": 0.5}, r"tail: 0.5 received; expected a share in \[0, 0.5\)"),
    ],
)
def test_wrong_arguments(make, arguments, text):
    with pytest.raises(InputError, match=text), no_checks():
        make(D, **arguments)


def autoencoder(quantiser, flow=None, posterior=None):
    torch.manual_seed(0)
    outputs = D if posterior is None else 2 * D
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, outputs))
    decoder = nn.Sequential(nn.Linear(D, 16), nn.Unflatten(1, (1, 4, 4)))
    return Autoencoder(encoder, decoder, posterior, flow=flow, quantiser=quantiser)


IMAGES = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(1))


class TestInTheAutoencoder:
    @pytest.mark.parametrize("quantiser", [FSQ(D, 4), QLAE(D, 4), UniformQuantiser(D, 4)])
    @pytest.mark.parametrize("posterior", [None, GaussianPosterior()])
    def test_codes_are_continuous_and_the_decoder_receives_values(self, quantiser, posterior):
        model = autoencoder(quantiser, posterior=posterior).eval()
        latent, output = model(IMAGES, torch.Generator().manual_seed(0))
        indices = quantiser.indices(latent.sample)
        assert len(latent.sample.unique()) > 100
        assert torch.allclose(output, model.decoder(quantiser.values(indices)))
        for decoded in (model.decode(latent.sample), model.decode_indices(indices)):
            assert torch.allclose(decoded, output)

    def test_a_flow_is_inverted_from_the_values(self):
        flow = FixedLinear(D, 3 * torch.eye(D), mean=torch.full((D,), 0.1))
        model = autoencoder(UniformQuantiser(D, 4), flow).eval()
        latent, output = model(IMAGES)
        h = model.encoder(IMAGES)
        z = flow(h)
        cells = ((z.clamp(-1, 0.999) + 1) / 0.5).floor()
        assert torch.allclose(latent.sample, z)
        assert torch.allclose(output, model.decoder(flow.inverse(-1 + 0.5 * (cells + 0.5))), atol=1e-6)

    def test_after_trains_like_a_model_without_a_quantiser(self):
        plain, after = autoencoder(None), autoencoder(UniformQuantiser(D, 4, train="after"))
        assert torch.equal(after.train()(IMAGES)[1], plain(IMAGES)[1])
        assert not torch.allclose(after.eval()(IMAGES)[1], plain(IMAGES)[1])

    def test_indices_need_a_quantiser(self):
        with pytest.raises(InputError, match=r"model\.quantiser: missing"):
            autoencoder(None).decode_indices(torch.zeros(2, D, dtype=torch.long))

    def test_a_state_dict_without_a_quantiser_has_the_former_keys(self):
        keys = autoencoder(None).state_dict().keys()
        assert set(keys) == {"encoder.1.weight", "encoder.1.bias", "decoder.0.weight", "decoder.0.bias"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: FSQ(D, [8, 5, 5, 5]),
        lambda: FSQ(D, 4, train="noise"),
        lambda: QLAE(D, 4),
        lambda: UniformQuantiser(D, 4, bounds="robust"),
        lambda: UniformQuantiser(D, 4, train="noise"),
        lambda: BinQuantiser([[0.0]] * D, [[-1.0, 1.0]] * D),
    ],
)
def test_a_second_device_is_not_waited_for(make):
    with FakeCUDA() as gpu, no_checks():
        quantiser = gpu.move(make())
        for mode in (True, False):
            z = gpu.randn(64, D)
            assert quantiser.train(mode)(z).device.type == "cuda"
            assert quantiser.loss(z) is None or quantiser.loss(z).device.type == "cuda"
        assert not gpu.waits


@pytest.mark.parametrize(
    "quantiser",
    [
        *(
            make(D, 4, train=train)
            for make in (FSQ, UniformQuantiser)
            for train in get_args(QuantiserTraining)
        ),
        FSQ(D, [8, 5, 2, 3]),
        QLAE(D, 4),
        QLAE(D, 4, train="after"),
        UniformQuantiser(D, [4, 2, 9, 30], bounds="robust"),
        BinQuantiser([[0.0], [0.0, 1.0]], [[-1.0, 1.0], [-1.0, 0.5, 2.0]]),
    ],
)
def test_every_implementation_has_the_contract(quantiser):
    check_quantiser(quantiser)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"indices": lambda self, z: z}, r"indices: \(202, 4\) torch.float32 returned; .* torch.int64"),
        ({"indices": lambda self, z: (z > z.mean()).long()}, "indices: a row depends on the other rows"),
        ({"values": lambda self, i: i}, r"values: \(202, 4\) torch.int64 returned; .* torch.float32"),
        ({"values": lambda self, i: 1 / (i - 1.0)}, "values: NaN or infinity"),
        ({"forward": lambda self, z, generator=None: z}, r"forward: not quantiser\.values\(indices\)"),
        ({"loss": lambda self, z: z.square()}, r"loss: \(202, 4\) torch.float32 returned"),
        ({"continuous": lambda self, z: z.detach()}, "forward: no gradient of the codes in training"),
        ({"indices": lambda self, z: 1 // 0}, "indices: ZeroDivisionError"),
    ],
)
def test_the_check_names_each_violation(members, text):
    with no_checks(), pytest.raises(InputError, match=text):
        check_quantiser(type("Broken", (FSQ,), members)(D, 4))
