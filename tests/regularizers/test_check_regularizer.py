"""check_regularizer rejects every broken penalty with one line that names the violation."""

import pytest
import torch
from torch import nn

from mmdprior import KL, InputError
from mmdprior.latent import Latent
from mmdprior.regularizers import Regularizer
from mmdprior.testing import check_regularizer


class Good(Regularizer):
    def forward(self, latent, *, step=0, labels=None):
        value = latent.sample.square().mean()
        self.terms = {"size": value.detach()}
        return value


class Learned(Good):
    """A penalty with an auxiliary module, whose parts the broken ones replace."""

    auxiliary_steps = 2

    def __init__(self):
        super().__init__()
        self.network = nn.Linear(3, 3)

    def auxiliary_modules(self):
        return [self.network]

    def auxiliary_loss(self, latent):
        z = latent.sample.detach()
        return (self.network(z) - z).square().mean()


class ManyLines(Good):
    def describe(self):
        return "one\ntwo"


class NoText(Good):
    def describe(self):
        return None


class Rows(Good):
    def forward(self, latent, *, step=0, labels=None):
        return latent.sample.square().sum(1)


class Number(Good):
    def forward(self, latent, *, step=0, labels=None):
        return latent.sample.square().mean().item()


class Raising(Good):
    def forward(self, latent, *, step=0, labels=None):
        raise KeyError("boom")


class NeedsLabels(Good):
    def forward(self, latent, *, step=0, labels=None):
        return latent.sample[labels[:, 0] > 0].mean()


class NotFinite(Good):
    def forward(self, latent, *, step=0, labels=None):
        return super().forward(latent) / 0


class TermOfRows(Good):
    def forward(self, latent, *, step=0, labels=None):
        value = super().forward(latent)
        self.terms["rows"] = latent.sample.sum(1)
        return value


class TermAsNumber(Good):
    def forward(self, latent, *, step=0, labels=None):
        value = super().forward(latent)
        self.terms["size"] = float(value)
        return value


class TermWithGradient(Good):
    def forward(self, latent, *, step=0, labels=None):
        value = super().forward(latent)
        self.terms["size"] = value
        return value


class TermWithoutName(Good):
    def forward(self, latent, *, step=0, labels=None):
        value = super().forward(latent)
        self.terms[1] = value.detach()
        return value


class Detached(Good):
    def forward(self, latent, *, step=0, labels=None):
        return super().forward(latent).detach()


class OnlyParameters(Learned):
    def forward(self, latent, *, step=0, labels=None):
        return self.network(latent.sample.detach()).square().mean()


class InfiniteSlope(Good):
    def forward(self, latent, *, step=0, labels=None):
        z = latent.sample
        return (z - z.detach()).square().sum(1).sqrt().sum() + z.square().mean()


class HiddenRandom(Good):
    """Draws from a generator that nobody seeds."""

    def forward(self, latent, *, step=0, labels=None):
        generator = torch.Generator()
        generator.seed()
        return super().forward(latent) * torch.rand((), generator=generator)


class FirstRow(Good):
    def forward(self, latent, *, step=0, labels=None):
        return latent.sample[0].square().mean()


class Integer(Good):
    def forward(self, latent, *, step=0, labels=None):
        return super().forward(latent).round().long()


class DependsOnDtype(Good):
    def forward(self, latent, *, step=0, labels=None):
        return super().forward(latent) * (2 if latent.sample.dtype == torch.float64 else 1)


class CountsSteps(Good):
    """State that is neither a parameter nor a buffer."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, latent, *, step=0, labels=None):
        self.calls += 1
        return super().forward(latent) * self.calls


class NoCopy(Good):
    def __init__(self):
        super().__init__()
        self.generator = (x for x in ())


class ModuleItself(Learned):
    def auxiliary_modules(self):
        return self.network


class NoSteps(Learned):
    auxiliary_steps = 0


class NewModule(Learned):
    def auxiliary_modules(self):
        return [nn.Linear(3, 3)]


class NoLoss(Learned):
    auxiliary_loss = Regularizer.auxiliary_loss


class LossOfRows(Learned):
    def auxiliary_loss(self, latent):
        return self.network(latent.sample.detach()).sum(1)


class LossThroughCodes(Learned):
    def auxiliary_loss(self, latent):
        return (self.network(latent.sample) - latent.sample).square().mean()


class RaisingLoss(Learned):
    def auxiliary_loss(self, latent):
        raise RuntimeError("boom")


@pytest.mark.parametrize("penalty", [Good(), Learned(), KL()])
def test_accepts(penalty):
    check_regularizer(penalty, dim=3)


BROKEN = [
    (ManyLines, r"ManyLines has describe\(\) = 'one\\ntwo'; return one line of text"),
    (NoText, r"NoText has describe\(\) = None"),
    (Rows, r"Rows returned shape \(64,\); return a 0-dim tensor"),
    (Number, "Number returned float; return a 0-dim tensor"),
    (Raising, r"Raising raised KeyError in forward \('boom'\)"),
    (NeedsLabels, r"NeedsLabels raised TypeError in forward \(.*NoneType"),
    (NotFinite, "NotFinite returned inf; return a finite number"),
    (TermOfRows, r"TermOfRows has terms\['rows'\] of shape \(64,\); store a 0-dim tensor"),
    (TermAsNumber, r"TermAsNumber has terms\['size'\] of float; store a 0-dim tensor"),
    (TermWithGradient, r"TermWithGradient has terms\['size'\] with a gradient; store term.detach\(\)"),
    (TermWithoutName, "TermWithoutName has a term of name 1; name terms by strings"),
    (Detached, "Detached has no gradient in the latent"),
    (OnlyParameters, "OnlyParameters has no gradient in the latent"),
    (InfiniteSlope, "InfiniteSlope has a gradient that is not finite"),
    (HiddenRandom, "HiddenRandom returned .* and .* for equal codes, step and seed; draw from"),
    (FirstRow, "FirstRow returned .*, and .* for the same rows in another order"),
    (Integer, "Integer has no gradient in the latent|Integer returned torch.int64"),
    (DependsOnDtype, "DependsOnDtype returned .* for float32 codes and .* for float64 codes"),
    (CountsSteps, "CountsSteps has another value than a copy that loaded its state dict"),
    (NoCopy, r"NoCopy cannot be deep-copied \(.*generator"),
    (ModuleItself, r"ModuleItself has auxiliary_modules\(\) that are not a list of modules"),
    (NoSteps, "NoSteps has auxiliary_steps = 0; give an integer of at least 1"),
    (NewModule, "NewModule has an auxiliary module that is not a submodule"),
    (NoLoss, "NoLoss has an auxiliary_loss without gradient in its auxiliary modules"),
    (LossOfRows, r"LossOfRows has an auxiliary_loss of shape \(64, ?\); return a finite 0-dim tensor"),
    (LossThroughCodes, "LossThroughCodes has an auxiliary_loss with a gradient in the codes; detach them"),
    (RaisingLoss, r"RaisingLoss raised RuntimeError in auxiliary_loss \(boom\)"),
]


@pytest.mark.parametrize(("broken", "message"), BROKEN)
def test_rejects(broken, message):
    with pytest.raises(InputError, match=f"^regularizer: ({message})") as caught:
        check_regularizer(broken(), dim=3)
    assert "\n" not in str(caught.value)


def test_rejects_latents_that_the_penalty_cannot_take():
    with pytest.raises(InputError, match="latent: deterministic received"):
        check_regularizer(KL(), dim=3, stochastic=False)


def test_rejects_what_is_not_a_regularizer():
    with pytest.raises(Exception, match="regularizer: function received|Type-check|violates type hint"):
        check_regularizer(lambda latent: Latent, dim=3)
