"""What the loop passes to a regularizer: update numbers, the model and training images."""

import torch
from torch import nn

from mmdprior import Latent
from mmdprior.data import InMemory
from mmdprior.models import Autoencoder, LinearDecoder, LinearEncoder
from mmdprior.regularizers import Regularizer, SumOfPenalties
from mmdprior.training.auxiliary import LearnedParts, auxiliary_optimizer, prepare
from mmdprior.world import World


class Counting(Regularizer):
    """A penalty that records the numbers of the updates and what it receives before training."""

    auxiliary_steps = 3

    def __init__(self):
        super().__init__()
        self.network = nn.Linear(2, 1)
        self.updates = []
        self.images = None

    def forward(self, latent, *, step=0, labels=None):
        return latent.sample.square().mean()

    def before_training(self, *, model, images, examples=None):
        self.images = (images, examples(3), examples(100))

    def auxiliary_modules(self):
        return [self.network]

    def auxiliary_loss(self, latent, *, step=0):
        self.updates.append(step)
        return self.network(latent.sample).square().mean()


class WithoutStep(Counting):
    """The same with the auxiliary loss of earlier versions."""

    def auxiliary_loss(self, latent):
        self.updates.append(None)
        return self.network(latent.sample).square().mean()


def train(regularizer, step):
    codes = torch.randn(4, 2)
    optimizer = auxiliary_optimizer(regularizer)
    before = [p.detach().clone() for m in regularizer.auxiliary_modules() for p in m.parameters()]
    LearnedParts(regularizer, optimizer, World()).train(Latent(codes, codes), step)
    after = [p for m in regularizer.auxiliary_modules() for p in m.parameters()]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_every_update_has_a_number_of_its_own():
    penalty = Counting()
    train(penalty, 0)
    train(penalty, 5)
    assert penalty.updates == [0, 1, 2, 15, 16, 17]


def test_a_sum_passes_the_number_to_those_that_take_it():
    new, old = Counting(), WithoutStep()
    train(SumOfPenalties([new, SumOfPenalties([old])]), 2)
    assert new.updates == [6, 7, 8]
    assert old.updates == [None] * 3


def test_penalties_receive_the_training_images_as_floats():
    pixels = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    model = Autoencoder(LinearEncoder((1, 2, 2), 2), LinearDecoder((1, 2, 2), 2))
    penalty = Counting()
    prepare(SumOfPenalties([penalty]), model, InMemory(pixels))
    count, three, all_images = penalty.images
    assert count == 10
    assert three[:, 0, 0, 0].mul(255).round().tolist() == [0, 4, 9]
    assert len(all_images) == 10
