"""Random streams, short names, atomic files, one-line reasons, moved names and number precision."""

import importlib
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from mmdprior import InputError, Latent
from mmdprior.deprecation import moved
from mmdprior.errors import reason, shorten
from mmdprior.files import write_whole
from mmdprior.naming import short_names
from mmdprior.precision import (
    full_convolutions,
    full_matmul,
    full_precision,
    full_precision_dtype,
    in_float64,
    to_numbers,
)
from mmdprior.seeding import stream


class TestLatent:
    def test_dim_and_stochastic(self):
        codes = torch.randn(5, 3)
        assert Latent(codes, codes).dim == 3
        assert not Latent(codes, codes).stochastic
        assert Latent(codes, codes, torch.zeros(5, 3)).stochastic

    def test_detach_cuts_every_part_from_the_graph(self):
        z = torch.randn(5, 3, requires_grad=True)
        latent = Latent(2 * z, 3 * z, 4 * z).detach()
        assert not any(part.requires_grad for part in (latent.sample, latent.mean, latent.log_var))
        assert torch.equal(latent.log_var, 4 * z.detach())
        assert Latent(z, z).detach().log_var is None


class TestErrors:
    def test_reason_is_the_first_line_or_the_type(self):
        assert reason(ValueError("first\nsecond")) == "first"
        assert reason(KeyError()) == "KeyError"
        assert len(reason(ValueError("x" * 500))) == 123

    def test_shorten_keeps_120_characters(self):
        assert shorten("x" * 120) == "x" * 120
        assert shorten("x" * 121) == "x" * 120 + "..."


class TestStream:
    def test_each_argument_changes_the_numbers(self):
        draws = [
            torch.randn(8, generator=stream(*arguments))
            for arguments in ((0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1))
        ]
        assert len({tuple(draw.tolist()) for draw in draws}) == 4

    def test_the_numbers_are_fixed_for_ever(self):
        """Recorded once: saved runs resume with these numbers."""
        assert stream(0, "posterior", 3).initial_seed() == 7358799877249070512
        assert stream(7, "order").initial_seed() == 5806554439271297204

    def test_the_global_generator_is_not_touched(self):
        before = torch.random.get_rng_state()
        torch.randn(8, generator=stream(0, "a"))
        assert torch.equal(torch.random.get_rng_state(), before)


class TestWriteWhole:
    def test_replaces_a_file_and_leaves_no_other(self, tmp_path):
        path = tmp_path / "a.txt"
        write_whole(path, "first")
        write_whole(path, "second")
        assert path.read_text() == "second"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_failed_write_keeps_the_previous_content(self, tmp_path, monkeypatch):
        path = tmp_path / "a.txt"
        write_whole(path, "first")

        def full_disk(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", full_disk)
        with pytest.raises(InputError, match=r"a\.txt: not written \(No space left on device\)"):
            write_whole(path, "second")
        assert path.read_text() == "first"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_missing_folder_is_named(self, tmp_path):
        with pytest.raises(InputError, match=r"nowhere/a\.txt: not written \(No such file"):
            write_whole(tmp_path / "nowhere" / "a.txt", "")


class TestShortNames:
    @pytest.mark.parametrize(
        ("paths", "names"),
        [
            (["runs/a/last.pt", "runs/b/last.pt"], ["a/last.pt", "b/last.pt"]),
            (["x/y.npy"], ["y.npy"]),
            (["y.npy", "x/y.npy"], ["y.npy", "x/y.npy"]),
            (["/a/b/c", "/d/b/c", "/d/b/e"], ["a/b/c", "d/b/c", "e"]),
            (["runs\\a\\last.pt", "runs\\b\\last.pt"], ["a/last.pt", "b/last.pt"]),
            ([], []),
        ],
    )
    def test_shortest_unique_suffix(self, paths, names):
        assert list(short_names(paths).values()) == names


class TestMoved:
    def test_old_names_warn_and_give_the_new_object(self):
        attribute = moved("old", {"Gaussian": "mmdprior.models:GaussianLikelihood"})
        with pytest.warns(DeprecationWarning, match=r"old\.Gaussian is now mmdprior\.models\.Gaussian"):
            from_old = attribute("Gaussian")
        from mmdprior.models import GaussianLikelihood

        assert from_old is GaussianLikelihood

    def test_unknown_names_are_attribute_errors(self):
        with pytest.raises(AttributeError, match="module 'old' has no attribute 'x'"):
            moved("old", {})("x")

    @pytest.mark.parametrize(
        ("package", "names"),
        [
            ("config", "Builder Experiment assemble load_model"),
            (
                "evaluation",
                "Independence LPSResult PriorMatch Protocol active_dimensions complete effective_rank "
                "importance independence lps measure",
            ),
            ("kernels", "Product"),
            ("models", "Bernoulli Gaussian Laplace"),
            (
                "reporting",
                "Comparison Panels PriorShape Run Traversal correlation_map curves figures_of frontier "
                "importance_map lps_figure marginals pair_grid pair_map prior_samples quantiles read_runs "
                "reconstructions save_figures side_by_side traverse",
            ),
            ("training", "Gradient Phases create_run_directory"),
        ],
    )
    def test_packages_keep_their_old_names(self, package, names):
        module = importlib.import_module(f"mmdprior.{package}")
        for name in names.split():
            with pytest.warns(DeprecationWarning, match=rf"{package}\.{name} is now .* will be removed"):
                assert callable(getattr(module, name))


class TestPrecision:
    def test_full_precision_inside_autocast(self):
        x = torch.randn(16, 16)
        with torch.autocast("cpu", torch.bfloat16):
            with full_precision("cpu"):
                assert torch.equal(x @ x, full := x @ x)
                assert full.dtype == torch.float32
            assert (x @ x).dtype == torch.bfloat16

    def test_a_traced_call_computes_in_float64_where_products_are_reduced(self):
        def cast(x):
            return x.to(full_precision_dtype(x))

        torch._dynamo.reset()
        x = torch.zeros(3, dtype=torch.bfloat16)
        calls = (cast, torch.compile(cast, backend="eager", fullgraph=True), torch.func.vmap(cast))
        matmul = torch.backends.cuda.matmul
        before = matmul.allow_tf32
        try:
            # Outside of a trace `full_precision` changes the setting.
            for tf32, traced in ((False, torch.float32), (True, torch.float64), (False, torch.float32)):
                matmul.allow_tf32 = tf32
                assert [call(x).dtype for call in calls] == [torch.float32, traced, traced]
        finally:
            matmul.allow_tf32 = before

    def test_full_precision_inside_a_compiled_graph_under_autocast(self):
        def product(x):
            with full_precision("cpu"):
                return x @ x

        torch._dynamo.reset()
        x, compiled = torch.randn(16, 16), torch.compile(product, backend="eager", fullgraph=True)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(compiled(x), product(x))
            assert compiled(x).dtype == torch.float32

    @pytest.mark.parametrize("context", [lambda: full_precision("cpu"), full_convolutions])
    def test_settings_are_restored_after_an_error(self, context):
        backends = torch.backends
        before = (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32)
        with pytest.raises(KeyError), context():
            raise KeyError
        assert (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32) == before

    def test_full_matmul_is_the_rounded_float64_product(self):
        x, y = torch.randn(30, 40), torch.randn(40, 20)
        with torch.autocast("cpu", torch.bfloat16):
            product = full_matmul(x, y)
        assert torch.equal(product, (x.double() @ y.double()).float())

    def test_in_float64(self):
        assert in_float64(torch.zeros(2)).dtype == torch.float64

    @pytest.mark.parametrize(
        ("array", "dtype"),
        [
            (np.zeros(3, np.float16), torch.float16),
            (np.zeros(3, ">f4"), torch.float32),
            (np.zeros(3, np.int64), torch.int64),
            (np.zeros(3, np.uint16), torch.float64),
            (np.array([True, False]), torch.float64),
        ],
    )
    def test_to_numbers(self, array, dtype):
        assert to_numbers(array, "codes").dtype == dtype

    @pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
    def test_to_numbers_of_a_file_that_cannot_be_written_to(self, tmp_path, kind):
        np.save(tmp_path / "z.npy", np.arange(6, dtype=kind).reshape(3, 2))
        mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            numbers = to_numbers(mapped, "codes")
        assert numbers.data_ptr() == mapped.ctypes.data
        np.testing.assert_array_equal(numbers, mapped)

    @pytest.mark.parametrize("array", [np.array(["a"]), np.zeros(2, complex), np.zeros(2, "M8[s]")])
    def test_to_numbers_rejects_other_entries(self, array):
        with pytest.raises(InputError, match="codes: .* entries received; give real numbers"):
            to_numbers(array, "codes")


def test_models_and_data_import_without_torchvision_and_pillow():
    code = (
        "import sys, mmdprior.data, mmdprior.models; "
        "print([m for m in ('torchvision', 'PIL', 'sklearn', 'scipy', 'pydantic') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
