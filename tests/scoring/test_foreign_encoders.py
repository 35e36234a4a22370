"""Encoders as people write them: methods, pairs, spatial codes, other ranges of pixels, ONNX."""

import builtins
import sys

import numpy as np
import pytest
import torch
from torch import nn

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.scoring import Scorer
from mmdprior.scoring.foreign_encoder import EncoderOptions, ForeignEncoder, as_model

MODELS = '''
import torch
from torch import nn
from torch.distributions import Normal

class VAE(nn.Module):
    """Encodes rows of pixels, and returns images first."""

    def __init__(self, dim=3, size=64):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(size, 2 * dim)
        self.decoder = nn.Linear(dim, size)

    def encode(self, x):
        return self.encoder(x).chunk(2, dim=1)

    def forward(self, x):
        mean, log_var = self.encode(x)
        return self.decoder(mean), mean, log_var

class Spatial(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Conv2d(1, 3, 4, 4)

    def encode(self, x):
        return {"latent_dist": Normal(self.net(x), 0.1 * torch.ones(len(x), 3, 2, 2))}
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with images (60, 8, 8), models and weights."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "models.py").write_text(MODELS)
    np.save(folder / "x.npy", np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8))
    return folder


@pytest.fixture
def images(folder):
    return torch.from_numpy(np.load(folder / "x.npy"))[:, None].float() / 255


def scorer(folder, **options):
    settings = {
        name: options.pop(name) for name in ("posterior", "limit", "groups", "factors") if name in options
    }
    data = str(folder / "x.npy")
    return Scorer(["linear"], data=data, device="cpu", encoder_options=EncoderOptions(**options), **settings)


def vae(folder):
    sys.path.insert(0, str(folder))
    try:
        import models
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("models")
    return models.VAE()


@pytest.mark.parametrize(
    "options", [{"method": "encode"}, {"outputs": ["1", "2"]}, {"method": "encoder", "posterior": "gaussian"}]
)
def test_three_ways_to_the_same_codes(folder, images, options):
    codes = scorer(folder, **options).encode(f"{folder}/models.py:VAE")
    mean, log_var = vae(folder).encode(images.flatten(1))
    assert torch.allclose(codes.latent.mean, mean, atol=1e-6)
    assert torch.allclose(codes.latent.log_var, log_var, atol=1e-6)


def test_an_encoder_that_returns_images_lists_its_outputs(folder):
    with pytest.raises(
        InputError, match=r"0: \(16, 64\), 1: \(16, 3\), 2: \(16, 3\) returned; give --outputs"
    ):
        scorer(folder).encoder(f"{folder}/models.py:VAE")
    with pytest.raises(InputError, match="'encde' received; VAE has forward, encode, encoder, decoder"):
        scorer(folder, method="encde").encoder(f"{folder}/models.py:VAE")
    with pytest.raises(InputError, match="--method: 'encoder.weight' received, which cannot be called"):
        scorer(folder, method="encoder.weight").encoder(f"{folder}/models.py:VAE")


def test_every_batch_is_read_as_the_first(images):
    class Encoder(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :2], x.flatten(1)[:, 2:4] - 0.5

    encoder = ForeignEncoder(Encoder(), EncoderOptions())
    encoder(images)
    bright = encoder(torch.ones(4, 1, 8, 8))
    assert torch.equal(
        bright[:, 2:], torch.full((4, 2), 0.5)
    )  # log-variances as before, no standard deviations


def test_the_error_for_images_is_the_one_reported(images):
    class Encoder(nn.Module):
        def forward(self, x):
            raise RuntimeError(f"boom {x.ndim}")

    with pytest.raises(InputError, match=r"net does not accept images of \(1, 8, 8\) \(boom 4\)"):
        as_model(Encoder(), "net", None, images)


def test_input_range_and_moments(images):
    for options, expected in (
        ({"input_range": (-1, 1)}, 2 * images - 1),
        ({"input_mean": [0.5], "input_std": [0.25]}, (images - 0.5) / 0.25),
    ):
        encoder = ForeignEncoder(nn.Flatten(), EncoderOptions(**options))
        assert torch.allclose(encoder(images), expected.flatten(1))
    colours = torch.rand(4, 3, 2, 2)
    scaled = EncoderOptions(input_mean=[0.1, 0.2, 0.3], input_std=[1, 2, 4]).scaled(colours)
    assert torch.allclose(scaled[:, 2], (colours[:, 2] - 0.3) / 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_range": (1, -1)}, "--input-range"),
        ({"input_range": (-1, 1), "input_mean": [0.5], "input_std": [0.5]}, "--input-range"),
        ({"input_mean": [0.5]}, "give both"),
        ({"input_mean": [0.5], "input_std": [0.0]}, "numbers above 0"),
        ({"outputs": ["a", "b", "c"]}, "--outputs"),
    ],
)
def test_options_that_contradict(options, message):
    with pytest.raises(InputError, match=message):
        EncoderOptions(**options)


def test_options_that_do_not_suit_the_data(images):
    with pytest.raises(InputError, match="2 numbers received; the images have 1 channels"):
        EncoderOptions(input_mean=[0, 0], input_std=[1, 1]).scaled(images)
    with pytest.raises(InputError, match="no images"):
        EncoderOptions(input_range=(-1, 1)).scaled(torch.zeros(4, 3))


class TestPositions:
    def test_rows_are_grouped_by_image(self, folder, images):
        result, codes = scorer(folder, method="encode", spatial="positions").encoder(
            f"{folder}/models.py:Spatial"
        )
        assert codes.latent.mean.shape == (240, 3)
        score = result.lps["mean", "linear"]
        assert score.groups == 60
        assert {score.n_train % 4, score.n_test % 4} == {0}  # an image is in one part of the split

    def test_flatten_and_pool(self, folder):
        target = f"{folder}/models.py:Spatial"
        flat, pooled, rows = (
            scorer(folder, method="encode", spatial=spatial).encode(target).latent
            for spatial in ("flatten", "pool", "positions")
        )
        assert flat.mean.shape == (60, 12)
        assert torch.allclose(flat.mean.view(60, 3, 4).mean(2), pooled.mean, atol=1e-6)
        assert torch.allclose(flat.mean.view(60, 3, 4).mT.reshape(-1, 3), rows.mean)
        with pytest.raises(InputError, match="give --spatial flatten or pool or positions"):
            scorer(folder, method="encode").encode(target)

    def test_the_number_of_images_follows_from_the_positions(self, folder, monkeypatch):
        monkeypatch.setattr("mmdprior.scoring.score._ROWS", 200)
        monkeypatch.setattr("mmdprior.scoring.score._FEWEST", 40)
        run = scorer(folder, method="encode", spatial="positions").encoder(f"{folder}/models.py:Spatial")
        assert len(run[1].latent.mean) == 4 * 50

    @pytest.mark.parametrize("extra", [{"groups": "blocks"}, {"factors": "f.csv"}])
    def test_what_positions_cannot_have(self, folder, extra):
        chosen = scorer(folder, method="encode", spatial="positions", **extra)
        with pytest.raises(InputError, match="--spatial: positions cannot have factors or blocks"):
            chosen.encoder(f"{folder}/models.py:Spatial")


class TestOnnx:
    @pytest.fixture
    def path(self, folder):
        """Return the path of an encoder with a fixed batch size of 7."""
        pytest.importorskip("onnxruntime", reason="runs ONNX files")
        onnx = pytest.importorskip("onnx", reason="writes ONNX files")
        model = vae(folder).encoder
        arrays = {"weight": model.weight.detach().numpy(), "bias": model.bias.detach().numpy()}
        helper, numbers = onnx.helper, onnx.TensorProto.FLOAT
        nodes = [
            helper.make_node("Flatten", ["images"], ["rows"]),
            helper.make_node("Gemm", ["rows", "weight", "bias"], ["codes"], transB=1),
        ]
        graph = helper.make_graph(
            nodes,
            "encoder",
            [helper.make_tensor_value_info("images", numbers, [7, 1, 8, 8])],
            [helper.make_tensor_value_info("codes", numbers, [7, 6])],
            [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / "encoder.onnx")
        return folder / "encoder.onnx"

    def test_codes_are_those_of_the_module(self, folder, path, images):
        model = vae(folder).encoder
        _, codes = scorer(folder, posterior="gaussian").file(str(path))
        assert torch.allclose(codes.latent.mean, model(images.flatten(1)).chunk(2, 1)[0], atol=1e-5)

    def test_images_of_another_size_are_refused(self, path):
        from mmdprior.scoring.external import load_program

        with pytest.raises(InputError, match=r"does not accept images of \(1, 4, 4\)"):
            load_program(str(path), None, torch.zeros(2, 1, 4, 4), trust=False)

    @pytest.mark.parametrize("content", [b"", b"junk", b"\x08\x08\x12\x07pytorch"])
    def test_damaged_files(self, folder, tmp_path, content):
        pytest.importorskip("onnxruntime", reason="runs ONNX files")
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(InputError, match="bad.onnx: an ONNX file that cannot be loaded|bad.onnx: inputs"):
            scorer(folder).file(str(tmp_path / "bad.onnx"))

    def test_without_onnxruntime(self, folder, tmp_path, monkeypatch):
        (tmp_path / "model.onnx").write_bytes(b"junk")
        plain = builtins.__import__

        def without(name, *arguments, **settings):
            if name == "onnxruntime":
                raise ImportError(name)
            return plain(name, *arguments, **settings)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(InputError, match=r'need onnxruntime; pip install "mmdprior\[onnx\]"'):
            scorer(folder).file(str(tmp_path / "model.onnx"))


class TestLibraries:
    def test_diffusers(self, folder, tmp_path):
        diffusers = pytest.importorskip("diffusers", reason="its AutoencoderKL is scored from a folder")
        torch.manual_seed(0)
        sizes = {"block_out_channels": [4], "norm_num_groups": 2, "latent_channels": 3}
        model = diffusers.AutoencoderKL(in_channels=1, out_channels=1, **sizes)
        model.save_pretrained(tmp_path / "kl", max_shard_size="2KB")
        assert list((tmp_path / "kl").glob("*.index.json"))
        target = "{target: diffusers:AutoencoderKL.from_config, config: {in_channels: 1, out_channels: 1, "
        target += ", ".join(f"{key}: {value}" for key, value in sizes.items()) + "}}"
        options = {"method": "encode", "spatial": "positions", "input_range": (-1, 1)}
        codes = scorer(folder, **options).encode(target, str(tmp_path / "kl"))
        images = torch.from_numpy(np.load(folder / "x.npy"))[:, None].float() / 127.5 - 1
        with torch.no_grad():
            expected = model.eval().encode(images).latent_dist.mean
        assert torch.allclose(codes.latent.mean, expected.movedim(1, -1).reshape(-1, 3), atol=1e-4)

    def test_pythae(self, folder, tmp_path):
        models = pytest.importorskip("pythae.models", reason="its folders of a model are scored")
        torch.manual_seed(0)
        model = models.VAE(models.VAEConfig(input_dim=(1, 8, 8), latent_dim=3))
        model.save(str(tmp_path / "model"))
        (tmp_path / "pythae_encoder.py").write_text(
            "from pythae.models import VAEConfig\n"
            "from pythae.models.nn.default_architectures import Encoder_VAE_MLP\n"
            "encoder = Encoder_VAE_MLP(VAEConfig(input_dim=(1, 8, 8), latent_dim=3))\n"
        )
        codes = scorer(folder).encode(f"{tmp_path}/pythae_encoder.py:encoder", str(tmp_path / "model"))
        images = torch.from_numpy(np.load(folder / "x.npy"))[:, None].float() / 255
        assert torch.allclose(codes.latent.mean, model.encoder(images).embedding, atol=1e-5)


class TestCommands:
    def test_several_weights_give_one_table_and_rows_for_compare(self, folder, tmp_path, capsys):
        files = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            state = {name: torch.randn_like(value) for name, value in vae(folder).state_dict().items()}
            files.append(f"{tmp_path}/run_{seed}.pt")
            torch.save({"ema": state, "net": state}, files[-1])
        (tmp_path / "bad.pt").write_bytes(b"junk")
        rows, command = f"{tmp_path}/rows.jsonl", ["score", "--encoder", f"{folder}/models.py:VAE"]
        command += [
            "--data",
            f"{folder}/x.npy",
            "--method",
            "encode",
            "--predictor",
            "linear",
            "--device",
            "cpu",
        ]
        more = ["--rows", rows]
        assert main([*command, "--weights", *files, f"{tmp_path}/bad.pt", "--key", "ema", *more]) == 2
        printed = capsys.readouterr()
        assert "run_1.pt mean   linear" in printed.out
        assert "run_2.pt sample linear" in printed.out
        (line,) = (line for line in printed.err.splitlines() if line.startswith("error"))
        assert "bad.pt: no file that torch.save wrote" in line
        assert main(["compare", rows]) == 0
        assert "run_2.pt" in capsys.readouterr().out
        assert main([*command, "--weights", files[0]]) == 2
        assert "give --key ema or --key net" in capsys.readouterr().err

    def test_encode_writes_codes_that_score_reads(self, folder, tmp_path, images):
        out = f"{tmp_path}/codes.npz"
        command = ["encode", "--encoder", f"{folder}/models.py:VAE", "--method", "encode", "--device", "cpu"]
        assert main([*command, "--data", f"{folder}/x.npy", "--out", out]) == 0
        with np.load(out) as codes:
            expected = vae(folder).encode(images.flatten(1))[0].detach().numpy()
            np.testing.assert_allclose(codes["mean"], expected, atol=1e-6)
        assert main(["score", out, "--predictor", "linear"]) == 0

    @pytest.mark.parametrize(
        "arguments", [[], ["a.pt", "--encoder", "b:C"], ["--encoder", "b:C", "--weights", "1", "2"]]
    )
    def test_encode_needs_one_model(self, arguments, capsys):
        assert main(["encode", *arguments, "--out", "z.npz"]) == 2
        assert "give either a checkpoint, or --encoder" in capsys.readouterr().err

    def test_rows_need_their_suffix(self, capsys):
        assert main(["score", "z.npy", "--rows", "rows.csv"]) == 2
        assert "--rows: rows.csv received; give a file that ends in .jsonl" in capsys.readouterr().err
