"""model.flow: reconstruction unchanged, checkpoints complete, and each way of training the flow."""

from pathlib import Path

import pytest
import torch

from mmdprior import InputError
from mmdprior.build.restore import load_model
from mmdprior.config.load import make_config
from mmdprior.evaluation import encode
from mmdprior.flows import coupling_flow
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder, GaussianPosterior, LinearDecoder, LinearEncoder
from mmdprior.priors import Uniform
from mmdprior.regularizers import KL
from mmdprior.runs.assembly import assemble
from mmdprior.training import read_checkpoint

COUPLING = {"name": "coupling", "layers": 2, "hidden": [8]}


def experiment(runs=None, *, penalty=True, posterior="deterministic", trainer=None, resume=None, **model):
    raw = {
        "name": "small",
        "data": {
            "name": "sprites",
            "images": 320,
            "batch_size": 32,
            "validation": 60,
            "test": 60,
        },
        "model": {"name": "mlp", "hidden": [16], "latent_dim": 3, "posterior": posterior, **model},
        "regularizer": {"name": "mmd", "prior": "gaussian", "weight": 10.0} if penalty else {"name": "none"},
        "trainer": {"steps": 6, "device": "cpu", **(trainer or {})},
        "evaluation": {"final_predictors": ["linear"], "pictures": False},
    }
    return assemble(make_config(raw, Path(), "test"), resume=resume, runs=runs, progress=False)


def networks(run):
    model = run.trainer.model
    return [*model.encoder.parameters(), *model.decoder.parameters()]


@pytest.mark.parametrize("posterior", ["deterministic", "gaussian"])
@pytest.mark.parametrize("trainer", [{}, {"gradient_clip": 0.1}, {"accumulate": 2}, {"average": 0.9}])
def test_flow_only_does_not_touch_the_autoencoder(posterior, trainer):
    """Bit by bit the weights and the PSNR of the same run without a penalty."""
    plain = experiment(penalty=False, posterior=posterior, trainer=trainer)
    flow = experiment(posterior=posterior, trainer=trainer, flow=COUPLING, flow_training="flow_only")
    start = [p.clone() for p in flow.trainer.model.flow.parameters()]
    expected, scores = plain.run(), flow.run()
    assert all(torch.equal(a, b) for a, b in zip(networks(plain), networks(flow), strict=True))
    assert scores.reconstruction == expected.reconstruction
    end = flow.trainer.model.flow.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(start, end, strict=True))


def test_joint_trains_encoder_and_flow():
    plain, joint = experiment(penalty=True), experiment(flow=COUPLING, flow_training="joint")
    start = [p.clone() for p in joint.trainer.model.flow.parameters()]
    plain.run()
    joint.run()
    assert any(not torch.equal(a, b) for a, b in zip(networks(plain), networks(joint), strict=True))
    end = joint.trainer.model.flow.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(start, end, strict=True))


@pytest.mark.parametrize("posterior", ["deterministic", "gaussian"])
def test_a_flow_after_training_keeps_the_reconstruction(posterior, tmp_path):
    plain = experiment(penalty=False, posterior=posterior)
    run = experiment(
        tmp_path, penalty=False, posterior=posterior, flow=COUPLING, flow_fit={"steps": 5, "batch_size": 64}
    )
    expected, scores = plain.run(), run.run()
    assert scores.reconstruction == expected.reconstruction
    model = load_model(run.directory)
    images = run.splits.test
    codes, h = encode(model, images).latent, encode(plain.trainer.model, images).latent
    assert torch.allclose(codes.base.sample, h.sample)
    assert torch.allclose(codes.sample.mean(0), torch.zeros(3), atol=0.7)
    decoded, direct = model.decode(codes.sample), plain.trainer.model.decode(h.sample)
    assert (decoded - direct).abs().max() < 1e-4


@pytest.mark.parametrize("flow_training", ["joint", "flow_only", "after"])
def test_checkpoint_restores_model_and_run(flow_training, tmp_path):
    options = {"flow": COUPLING, "flow_training": flow_training, "flow_fit": {"steps": 5, "batch_size": 64}}
    run = experiment(tmp_path, **options)
    run.run()
    file = run.directory / "checkpoints" / "last.pt"
    content = read_checkpoint(file)
    codes = encode(run.trainer.evaluated, run.splits.test).latent.sample
    assert torch.equal(encode(load_model(file), run.splits.test).latent.sample, codes)
    resumed = assemble(make_config(content["config"], Path(), "test"), resume=content, progress=False)
    resumed.run()
    assert torch.equal(encode(resumed.trainer.evaluated, run.splits.test).latent.sample, codes)


def test_averaged_weights_have_the_flow(tmp_path):
    run = experiment(tmp_path, flow=COUPLING, trainer={"average": 0.9}, flow_fit={"steps": 5})
    run.run()
    loaded = load_model(run.directory)
    codes = encode(run.trainer.evaluated, run.splits.test).latent.sample
    assert torch.equal(encode(loaded, run.splits.test).latent.sample, codes)


OWN = """
import torch
from mmdprior.flows import Bijection

class Scale(Bijection):
    def __init__(self, dim, start=1.0):
        super().__init__(dim)
        self.log_scale = torch.nn.Parameter(torch.full((dim,), start))

    def forward_and_log_det(self, h):
        return h * self.log_scale.exp(), self.log_scale.sum().expand(len(h))

    def inverse(self, z):
        return z * torch.exp(-self.log_scale)
"""


def test_a_flow_of_ones_own(tmp_path):
    (tmp_path / "my_flow.py").write_text(OWN)
    flow = {"target": f"{tmp_path / 'my_flow.py'}:Scale", "start": 0.5}
    run = experiment(tmp_path, flow=flow, flow_training="joint")
    run.run()
    codes = encode(run.trainer.evaluated, run.splits.test).latent
    assert torch.allclose(codes.sample, codes.base.sample * run.trainer.model.flow.log_scale.exp())
    with pytest.raises(InputError, match="--trust"):
        load_model(run.directory)
    loaded = encode(load_model(run.directory, trust=True), run.splits.test).latent
    assert torch.equal(loaded.sample, codes.sample)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"flow": "couplings"}, "model.flow.name: 'couplings' received"),
        ({"flow": {"name": "coupling", "layer": 2}}, "model.flow.layer: unknown key"),
        ({"flow": COUPLING, "flow_training": "before"}, "model.flow_training: 'before' received"),
        ({"flow": COUPLING, "flow_fit": {"step": 2}}, "model.flow_fit.step"),
        ({"flow": {"name": "coupling", "layers": 0}, "flow_training": "joint"}, "model.flow.layers: 0"),
    ],
)
def test_mistakes_in_yaml(model, message):
    with pytest.raises(InputError, match=message):
        experiment(**model)


def stochastic_model(flow):
    shape = (1, 4, 4)
    return Autoencoder(LinearEncoder(shape, 6), LinearDecoder(shape, 3), GaussianPosterior(), flow=flow)


def random_flow():
    flow = coupling_flow(3, 2, hidden=[8]).eval()
    for part in flow.parts:
        torch.nn.init.normal_(part.network.last.weight, std=0.3)
    return flow


def test_samples_and_means_pass_through_the_flow():
    model, images = stochastic_model(random_flow()), torch.rand(8, 1, 4, 4)
    latent = model.encode(images, torch.Generator().manual_seed(0))
    before = model.posterior(model.posterior_params(images), torch.Generator().manual_seed(0))
    assert torch.allclose(latent.sample, model.flow(before.sample))
    assert torch.allclose(latent.mean, model.flow(before.mean))
    assert torch.allclose(latent.log_var.exp(), (latent.sample - latent.mean).square(), atol=1e-6)
    assert torch.allclose(model.before_flow(latent.sample), before.sample, atol=1e-5)


@pytest.mark.parametrize("prior", [None, Uniform(3, low=-50.0, high=50.0)])
def test_kl_behind_a_flow_is_that_to_the_flow_prior(prior):
    """Against the density of h from log p(f(h)) and the Jacobian by autograd."""
    model, images = stochastic_model(random_flow()), torch.rand(5, 1, 4, 4)
    latent = model.encode(images, torch.Generator().manual_seed(0))
    h = latent.base
    expected = torch.distributions.Normal(h.mean, (0.5 * h.log_var).exp()).log_prob(h.sample).sum(1)
    for row in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda x: model.flow(x[None])[0], h.sample[row])
        log_p = -3 * torch.tensor(100.0).log()
        if prior is None:
            log_p = torch.distributions.Normal(0.0, 1.0).log_prob(latent.sample[row]).sum()
        expected[row] -= log_p + torch.linalg.slogdet(jacobian).logabsdet
    assert torch.allclose(KL(prior)(latent), expected.mean(), atol=1e-4)


def test_kl_without_a_flow_is_unchanged():
    mean, log_var = torch.randn(6, 2), torch.randn(6, 2)
    latent = Latent(mean + torch.randn(6, 2), mean, log_var)
    expected = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
    assert torch.allclose(KL()(latent), expected)
