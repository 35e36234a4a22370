"""A labelled batch per step: seen by penalties on labels only, and the same after a resume."""

import torch
from torch import nn

from mmdprior import MMD
from mmdprior.data import InMemory, ResidentBatches, Subset
from mmdprior.models import Autoencoder
from mmdprior.priors import Factors
from mmdprior.regularizers import ConditionalMMD, LinearHead, Regularizer, SumOfPenalties
from mmdprior.training import Trainer

PRIOR = Factors(2, {"row": {"dims": [0], "levels": 4}})


class Recorder(Regularizer):
    """Record the labels that a penalty sees."""

    def __init__(self, on_labelled):
        super().__init__()
        self.on_labelled = on_labelled
        self.seen = []

    def forward(self, latent, *, step=0, labels=None):
        self.seen.append(labels[:, 0])
        return latent.sample.square().mean()


def make(regularizer, labelled=True):
    torch.manual_seed(0)
    images = InMemory(
        torch.randint(0, 256, (40, 1, 4, 4), dtype=torch.uint8), torch.arange(40)[:, None] % 4, ("row",)
    )
    few = Subset(images, torch.arange(3, 40, 4))  # all of row 3
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    decoder = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (1, 4, 4)))
    model = Autoencoder(encoder, decoder)
    return Trainer(
        model=model,
        regularizer=regularizer,
        batches=ResidentBatches(images, 8, 0),
        optimizer=torch.optim.Adam([*model.parameters(), *regularizer.parameters()], lr=1e-2),
        steps=6,
        progress=False,
        labelled=ResidentBatches(few, 4, 1) if labelled else None,
    )


def test_only_penalties_on_labels_see_the_labelled_batch():
    free, on_labels = Recorder(False), Recorder(True)
    make(SumOfPenalties([free, on_labels])).run()
    assert all(len(labels) == 8 for labels in free.seen)
    assert torch.cat(free.seen).unique().tolist() == [0, 1, 2, 3]
    assert all(labels.tolist() == [3] * 4 for labels in on_labels.seen)
    alone = Recorder(True)
    make(alone).run()
    assert all(labels.tolist() == [3] * 4 for labels in alone.seen)
    everything = Recorder(True)
    make(everything, labelled=False).run()
    assert all(len(labels) == 8 for labels in everything.seen)


def test_a_resumed_run_draws_the_same_labelled_batches():
    def penalty():
        return SumOfPenalties([MMD(PRIOR, seed=0), ConditionalMMD(PRIOR, seed=0), LinearHead(PRIOR, seed=0)])

    whole = make(penalty())
    whole.run()
    first = make(penalty())
    first.steps = 3
    first.run()
    second = make(penalty())
    second.load_state_dict(first.state_dict())
    second.run()
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole.regularizer.parameters(), second.regularizer.parameters(), strict=True):
        assert torch.equal(a, b)
