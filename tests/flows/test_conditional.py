"""Labels put on dimensions of given codes by a bijection, from few labels."""

import pytest
import torch
from helpers.shape_checks import no_checks

from mmdprior import InputError
from mmdprior.flows import FlowSettings, ReaderSettings, bijection_from_spec, fit_conditional
from mmdprior.priors import ClassMixture, Factors, GaussianMixture, Uniform

FACTORS = {
    "shape": {"dims": [2], "kind": "discrete", "levels": 3, "noise": 0.2},
    "x": {"dims": [0], "kind": "continuous"},
}
SETTINGS = FlowSettings(layers=4, hidden=[32], steps=150, learning_rate=5e-3, dropout=0.0)
READERS = ReaderSettings(hidden=32, steps=150, dropout=0.0)


def codes(n, seed):
    """Return bent and rotated codes of a class, a number in [0, 1] and two free numbers."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.stack([torch.randint(3, (n,), generator=g).float(), torch.rand(n, generator=g)], 1)
    free = torch.randn(n, 2, generator=g)
    s = torch.stack([labels[:, 0] - 1 + 0.1 * free[:, 0], 3 * labels[:, 1], *free.unbind(1)], 1)
    s[:, 3] += s[:, 1].square() / 4
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(7)))[0]
    return s @ rotation, labels


@pytest.fixture(scope="module")
def fitted():
    (h, _), (few, labels), (held_out, _) = codes(2000, 0), codes(150, 1), codes(300, 2)
    labels[:20, 0], labels[10:30, 1] = torch.nan, torch.nan
    prior = Factors(4, FACTORS, Uniform(2))
    return fit_conditional(h, prior, few, labels, SETTINGS, readers=READERS, validation=held_out)


def test_labels_of_new_codes_are_read_off_their_dimensions(fitted):
    h, labels = codes(1000, 3)
    z = fitted.bijection(h)
    read = fitted.prior.read(z)
    assert (read[:, 0] == labels[:, 0]).double().mean() > 0.95
    assert (read[:, 1] - labels[:, 1]).abs().mean() < 0.05
    assert torch.corrcoef(torch.cat([z, labels], 1).T)[[1, 3], 4:].abs().max() < 0.15
    assert (z[:, [1, 3]].abs() <= 1).double().mean() > 0.98  # the free prior


def test_the_map_is_invertible_and_can_be_stored(fitted):
    h, _ = codes(500, 4)
    z = fitted.bijection(h)
    assert (fitted.bijection.inverse(z) - h).abs().max() < 1e-3
    copy = bijection_from_spec(fitted.bijection.spec())
    copy.load_state_dict(fitted.bijection.state_dict())
    assert torch.equal(copy.eval()(h), z)
    assert "150 labelled codes" in str(fitted)


def test_mistakes():
    h, labels = codes(60, 0)
    prior = Factors(4, FACTORS)
    cases = [
        (prior, h[:9], labels[:9], "9 labelled codes received; give at least 10"),
        (prior, h[:20], labels[:20, :1], r"labels: shape \(20, 1\) received; give \(20, 2\)"),
        (Factors(5, FACTORS), h[:20], labels[:20], "prior: dim 5 received; the codes have 4"),
        (
            ClassMixture(GaussianMixture.ring(3, dim=4)),
            h[:20],
            labels[:20],
            "labels on dimensions need factors",
        ),
    ]
    for wrong, few, values, message in cases:
        with no_checks(), pytest.raises(InputError, match=message):
            fit_conditional(h, wrong, few, values, SETTINGS, readers=READERS, validation=h)
