"""Structural similarity against its definition."""

import numpy as np
import pytest
import torch
from helpers.painter import linear_autoencoder, random_images

from mmdprior import InputError
from mmdprior.evaluation import encode
from mmdprior.evaluation.reconstruction import reconstruction_ssim, ssim


class TestSSIM:
    def test_follows_the_definition(self):
        """Wang et al. (2004), equation 13, pixel by pixel in float64."""
        rng = np.random.default_rng(0)
        x, y = rng.random((2, 13, 12)), rng.random((2, 13, 12))
        places = np.arange(-5, 6)
        window = np.exp(-(places[:, None] ** 2 + places[None] ** 2) / (2 * 1.5**2))
        window /= window.sum()
        values = []
        for c in range(2):
            for i in range(3):
                for j in range(2):
                    a, b = x[c, i : i + 11, j : j + 11], y[c, i : i + 11, j : j + 11]
                    ma, mb = (window * a).sum(), (window * b).sum()
                    va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                    cov = (window * (a - ma) * (b - mb)).sum()
                    top = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
                    values.append(top / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
        result = ssim(torch.from_numpy(x)[None], torch.from_numpy(y)[None])
        assert float(result) == pytest.approx(np.mean(values), abs=1e-12)

    def test_is_one_only_for_equal_images_of_any_size(self):
        for size in (1, 4, 11, 32):
            x = torch.rand(3, 3, size, size)
            assert torch.allclose(ssim(x, x), torch.ones(3), atol=1e-5)
            assert (ssim(x, 1 - x) < 1).all()
        with pytest.raises(InputError, match="shapes"):
            ssim(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 5))

    def test_of_reconstructions_does_not_depend_on_the_batch(self):
        net, data = linear_autoencoder(), random_images()
        codes = encode(net, data).latent.sample
        whole = reconstruction_ssim(net, data, codes)
        assert reconstruction_ssim(net, data, codes, batch_size=9) == pytest.approx(whole, abs=1e-6)
        decoded = net.decode(codes).clamp(0, 1)
        assert whole == pytest.approx(float(ssim(data.images / 255, decoded).mean().detach()), abs=1e-6)
