"""The score command on real files of every kind."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.data.codes import read_codes, read_latent
from mmdprior.data.table import read_table
from mmdprior.naming import short_names
from mmdprior.scoring.file_kind import file_kind
from mmdprior.training import read_checkpoint, write_checkpoint

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "helpers" / "toys.py"
DATA = ["--data", "{name: sprites, images: 400}"]
LINEAR = ["--predictor", "linear"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Return a checkpoint of a stochastic conv model: its codes could depend on batch size and device."""
    runs = tmp_path_factory.mktemp("runs")
    settings = [
        *("trainer.steps=2", "data.images=600", "data.batch_size=32", "trainer.device=cpu"),
        *("model.latent_dim=4", "model.posterior=gaussian", "evaluation.final_predictors=[linear]"),
        "evaluation.pictures=false",
        *("evaluation.match_samples=16", "evaluation.predictors=[linear]"),
    ]
    quickstart = str(ROOT / "configs" / "quickstart.yaml")
    assert main(["train", quickstart, *settings, "--runs", str(runs)]) == 0
    (path,) = runs.rglob("last.pt")
    return path


@pytest.fixture
def z():
    return np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def foreign():
    sys.path.insert(0, str(TOYS.parent))
    from helpers.toys import ForeignEncoder

    sys.path.pop(0)
    torch.manual_seed(0)
    return ForeignEncoder(width=3).eval()


def score(tmp_path, *arguments, predictors=("linear",)):
    """Run a command that must succeed; return the JSON that it wrote."""
    out = tmp_path / "out.json"
    chosen = ["--predictor", *predictors, "--scores", "mig"]
    assert main(["score", *map(str, arguments), *chosen, "--json", str(out)]) == 0
    return json.loads(out.read_text())


def fails(capsys, *arguments):
    """Run a command that must fail with status 2 and one line; return the line."""
    capsys.readouterr()
    assert main(["score", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


class TestCodes:
    def test_every_format_gives_one_score(self, tmp_path, z):
        np.save(tmp_path / "a.npy", z)
        np.savez(tmp_path / "a.npz", codes=z, labels=np.arange(300))
        np.save(tmp_path / "fortran.npy", np.asfortranarray(z))
        np.save(tmp_path / "big_endian.npy", z.astype(">f4"))
        torch.save(torch.from_numpy(z), tmp_path / "a.pt")
        torch.save(torch.from_numpy(z), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
        torch.save({"codes": torch.from_numpy(z)}, tmp_path / "named.pt")
        (tmp_path / "noname").write_bytes((tmp_path / "a.npy").read_bytes())
        expected = score(tmp_path, tmp_path / "a.npy")
        for name in ("a.npz", "fortran.npy", "big_endian.npy", "a.pt", "old.pt", "named.pt", "noname"):
            assert file_kind(str(tmp_path / name)) == "codes"
            assert score(tmp_path, tmp_path / name) == expected, name
        assert score(tmp_path, "--codes", tmp_path / "a.pt") == expected

    @pytest.mark.parametrize(
        "head",
        ["", "a,b,c\n", '"x 1","x 2","x 3"\n', "# saved by numpy\n\n", "0,1,2\n", "\ufeffz0,z1,z2\n"],
    )
    def test_tables_with_and_without_a_header(self, tmp_path, z, head):
        text = head + "\n".join(",".join(map(repr, row)) for row in z.tolist()) + "\n\n"
        (tmp_path / "z.csv").write_text(text, encoding="utf-8")
        np.testing.assert_array_equal(read_table(tmp_path / "z.csv"), z.astype(float))

    @pytest.mark.parametrize("mark", [";", "\t", " ", '","'])
    def test_tables_with_other_delimiters(self, tmp_path, z, mark, monkeypatch):
        monkeypatch.setattr("mmdprior.data.table._CHUNK_LINES", 7)
        quote = '"' if '"' in mark else ""
        rows = (quote + mark.join(map(repr, row)) + quote for row in z[:50].tolist())
        (tmp_path / "z.txt").write_text("\n".join(rows))
        np.testing.assert_array_equal(read_table(tmp_path / "z.txt"), z[:50].astype(float))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1,2\n3,abc\n", "line 2, column 2: 'abc'"),
            ("a,b\n1,2\n\n3,\n", "line 4, column 2: ''"),
            ("a,b\n1,2\n3,4,5\n", "line 3: 3 cells where others have 2"),
            ("id,1,2\n1,2,3\n", "line 1, column 1: 'id'"),
            (",z0,z1\n0,2,3\n", "index=False"),
            ("", "empty"),
            ("a,b\n", "no numbers below"),
            ("a,b\n1,nan\n" + "1,2\n" * 40, "NaN or infinity in 1 of 41 rows, the first at row 0"),
        ],
    )
    def test_errors_in_tables_name_line_and_column(self, capsys, tmp_path, text, message):
        (tmp_path / "z.csv").write_text(text)
        line = fails(capsys, tmp_path / "z.csv")
        assert message in line
        assert "z.csv" in line

    def test_bad_cells_far_down_are_found(self, tmp_path):
        (tmp_path / "z.csv").write_text("1,2\n" * 30_000 + "1,x\n")
        with pytest.raises(InputError, match="line 30001, column 2: 'x'"):
            read_table(tmp_path / "z.csv")
        (tmp_path / "z.csv").write_text("1,2\n" * 30_000 + "1\n" * 20_000)
        with pytest.raises(InputError, match="line 30001: 1 cells where others have 2"):
            read_table(tmp_path / "z.csv")

    @pytest.mark.parametrize(
        ("codes", "message"),
        [
            (np.full((50, 3), np.nan), "NaN or infinity in 50"),
            (np.full((50, 3), -np.inf), "NaN or infinity in 50"),
            (np.zeros((50, 1)), "1 column"),
            (np.zeros((50, 3, 3)), "two axes"),
            (np.zeros(50), "two axes"),
            (np.zeros((0, 3)), "0 rows"),
            (np.zeros((50, 3), complex), "give real numbers"),
            (np.array([["a", "b"]] * 50), "give real numbers"),
            (np.array([[{}, 1]] * 50, dtype=object), "not a plain"),
            (np.ones((29, 3)), "29 rows"),
            (np.ones((41, 40)), "at least 42"),
        ],
    )
    def test_errors_in_arrays_name_the_file(self, capsys, tmp_path, codes, message):
        np.save(tmp_path / "bad.npy", codes)
        line = fails(capsys, tmp_path / "bad.npy")
        assert message in line
        assert "bad.npy" in line

    def test_options_of_images_have_no_effect_on_codes(self, capsys, tmp_path):
        np.save(tmp_path / "z.npy", np.random.default_rng(0).standard_normal((60, 2)))
        assert main(["score", str(tmp_path / "z.npy"), "--split", "test", "--predictor", "linear"]) == 0
        assert "--split: no effect on" in capsys.readouterr().out

    def test_unsupported_files(self, capsys, tmp_path, foreign, z):
        torch.save(foreign.state_dict(), tmp_path / "w.pt")
        save_file(foreign.state_dict(), tmp_path / "w.safetensors")
        for name in ("w.pt", "w.safetensors"):
            line = fails(capsys, tmp_path / name)
            assert "only weights" in line
            assert "--encoder" in line
        torch.save(foreign, tmp_path / "module.pt")
        assert "pickled objects" in fails(capsys, tmp_path / "module.pt")
        assert "module.pt: not a plain tensor" in fails(capsys, "--codes", tmp_path / "module.pt")
        torch.save([z.tolist()], tmp_path / "list.pt")
        assert "list.pt: not a checkpoint" in fails(capsys, tmp_path / "list.pt")
        torch.save(torch.zeros(50, 3, dtype=torch.complex64), tmp_path / "complex.pt")
        assert "complex.pt" in fails(capsys, tmp_path / "complex.pt")
        (tmp_path / "junk.npy").write_bytes(b"junk")
        assert "junk.npy: not a plain" in fails(capsys, tmp_path / "junk.npy")
        np.savez(tmp_path / "two.npz", a=z, b=z)
        assert "two.npz: arrays a, b received; give one" in fails(capsys, tmp_path / "two.npz")
        np.savez(tmp_path / "odd.npz", mean=z, sample=z[:-1], log_var=z)
        assert "odd.npz: sample, mean and log_var" in fails(capsys, tmp_path / "odd.npz")
        np.savez(tmp_path / "nan.npz", mean=z, sample=z, log_var=np.full_like(z, np.inf))
        assert "nan.npz: log_var: NaN or infinity" in fails(capsys, tmp_path / "nan.npz")
        assert "no such file" in fails(capsys, "--codes", tmp_path / "gone.csv")
        (tmp_path / "latin.csv").write_bytes(b"\xff\xfe1,2\n")
        assert "latin.csv: not text" in fails(capsys, tmp_path / "latin.csv")

    @pytest.mark.parametrize("kind", [np.float16, np.int8, np.uint16, np.int32, np.bool_, np.longdouble])
    def test_half_precision_and_integers_are_scored(self, tmp_path, kind):
        codes = np.random.default_rng(0).integers(0, 2, (200, 3)).astype(kind)
        np.save(tmp_path / "z.npy", codes)
        found = read_latent(tmp_path / "z.npy").mean
        assert found.is_floating_point()
        assert (found.dtype == torch.float16) == (kind == np.float16)
        np.testing.assert_array_equal(found.double().numpy(), codes.astype(float))
        assert score(tmp_path, tmp_path / "z.npy")["active"] == 3

    def test_warnings_are_printed_and_saved(self, capsys, tmp_path, z):
        codes = np.concatenate([z, z[:, :1], np.ones((300, 1))], axis=1).astype(np.float16)
        np.save(tmp_path / "z.npy", codes)
        np.save(tmp_path / "y.npy", codes[:40].astype(np.float32))
        kept = score(tmp_path, tmp_path / "z.npy")["lps"][0]["warnings"]
        printed = capsys.readouterr().out
        for text in ("float16", "constant column 4", "duplicated"):
            assert f"warning: {next(line for line in kept if text in line)}" in printed
        score(tmp_path, tmp_path / "z.npy", tmp_path / "y.npy")
        printed = capsys.readouterr().out
        assert "warning: z.npy: codes in float16" in printed
        assert "warning: y.npy: 40 rows" in printed

    def test_bfloat16_tensors_are_scored(self, tmp_path, z):
        torch.save(torch.from_numpy(z).bfloat16(), tmp_path / "z.pt")
        assert score(tmp_path, tmp_path / "z.pt")["dim"] == 3

    def test_arrays_are_memory_mapped(self, tmp_path, z, monkeypatch):
        mapped = []
        load = np.load

        def watched(*arguments, **settings):
            mapped.append(load(*arguments, **settings))
            return mapped[-1]

        monkeypatch.setattr(np, "load", watched)
        np.save(tmp_path / "z.npy", z)
        found = read_latent(tmp_path / "z.npy").mean
        assert isinstance(mapped[0], np.memmap)
        assert found.data_ptr() == mapped[0].ctypes.data
        assert read_codes(tmp_path / "z.npy").data_ptr() != mapped[1].ctypes.data

    def test_limit_selects_evenly_spaced_rows(self, tmp_path, z):
        np.save(tmp_path / "z.npy", z)
        assert torch.equal(read_latent(tmp_path / "z.npy", 100).mean, torch.from_numpy(z[::3]))
        report = score(tmp_path, tmp_path / "z.npy", "--limit", 100)
        assert report["independence"]["mean"]["n"] == 100


class TestModels:
    def save(self, net, folder):
        images = torch.zeros(4, 1, 64, 64)
        torch.jit.trace(net, images[:2]).save(str(folder / "traced.pt"))
        torch.jit.script(net).save(str(folder / "scripted.ts"))
        torch.export.save(torch.export.export(net, (images,)), folder / "fixed.pt2")
        free = torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("n")},))
        torch.export.save(free, folder / "free.pt2")
        return [folder / name for name in ("traced.pt", "scripted.ts", "fixed.pt2", "free.pt2")]

    @pytest.mark.filterwarnings("ignore")
    def test_torchscript_and_exported_programs(self, capsys, tmp_path, foreign):
        torch.save(foreign.state_dict(), tmp_path / "w.pt")
        target = f"{{target: {TOYS}:ForeignEncoder, width: 3}}"
        expected = score(tmp_path, "--encoder", target, "--weights", tmp_path / "w.pt", *DATA)
        for path in self.save(foreign, tmp_path):
            line = fails(capsys, path, *DATA)
            assert path.name in line
            assert "--trust" in line
            assert "--data: missing" in fails(capsys, path, "--trust")
            found = score(tmp_path, path, "--trust", "--batch-size", "7", *DATA)
            assert found["lps"][0]["score"] == pytest.approx(expected["lps"][0]["score"], abs=1e-5)
        assert "traced.pt" in fails(capsys, "--codes", tmp_path / "traced.pt")

    @pytest.mark.filterwarnings("ignore")
    def test_models_that_reject_the_images(self, capsys, tmp_path, foreign):
        class Pair(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.net = torch.nn.Linear(4, 3)

            def forward(self, x):
                return self.net(x), self.net(x)

        small = torch.jit.trace(Pair(), torch.zeros(2, 4))
        small.save(str(tmp_path / "small.pt"))
        line = fails(capsys, tmp_path / "small.pt", "--trust", *DATA)
        assert "small.pt does not accept images of (1, 64, 64)" in line
        (tmp_path / "cut.pt2").write_bytes(b"junk")
        assert "cut.pt2: damaged or no checkpoint" in fails(capsys, tmp_path / "cut.pt2", "--trust")

    def test_untrusted_models_are_not_loaded(self, capsys, tmp_path, monkeypatch, foreign):
        with pytest.warns(FutureWarning):
            torch.jit.script(foreign).save(str(tmp_path / "model.pt"))

        def never(*arguments, **settings):
            raise AssertionError("loaded")

        monkeypatch.setattr(torch.jit, "load", never)
        assert "--trust" in fails(capsys, tmp_path / "model.pt", *DATA)


class TestCheckpoint:
    def test_scores_do_not_depend_on_the_batch_size(self, checkpoint, tmp_path):
        """Scores of trained predictors may differ by what early stopping makes of rounding errors."""
        tolerances = {"linear": 1e-4, "additive": 1e-4, "mlp": 0.01, "experts": 0.01, "information": 0.01}
        common = [checkpoint, "--seeds", 3, "--data", "{name: sprites, images: 2000}"]
        whole, parts = (
            score(tmp_path, *common, "--batch-size", size, predictors=tolerances) for size in (512, 7)
        )
        assert {entry["representation"] for entry in whole["lps"]} == {"mean", "sample"}
        assert len(whole["lps"]) == 2 * len(tolerances)
        for a, b in zip(whole["lps"], parts["lps"], strict=True):
            assert abs(a["score"] - b["score"]) < tolerances[a["predictor"]], a["predictor"]
            if a["predictor"] in ("linear", "additive"):
                np.testing.assert_allclose(a["r2"], b["r2"], atol=1e-4)
        assert whole["reconstruction"]["psnr"] == pytest.approx(parts["reconstruction"]["psnr"], abs=1e-4)

    @pytest.mark.gpu
    def test_scores_do_not_depend_on_the_device(self, checkpoint, tmp_path):
        cpu, gpu = (score(tmp_path, checkpoint, "--device", device) for device in ("cpu", "cuda"))
        for a, b in zip(cpu["lps"], gpu["lps"], strict=True):
            assert abs(a["score"] - b["score"]) < 1e-4

    def test_seeds_folds_and_transform_reach_the_protocol(self, tmp_path, z):
        np.save(tmp_path / "z.npy", z)
        out = tmp_path / "s.json"
        arguments = ["score", str(tmp_path / "z.npy"), "--predictor", "mlp", "--json", str(out)]
        assert main([*arguments, "--seeds", "2", "--folds", "3", "--transform", "rank_gaussian"]) == 0
        (found,) = json.loads(out.read_text())["lps"]
        assert (found["folds"], len(found["seed_scores"])) == (3, 2)
        assert found["transform"] == "rank_gaussian"

    def test_encoded_files_score_as_their_checkpoint(self, checkpoint, tmp_path):
        out = tmp_path / "codes.npz"
        assert main(["encode", str(checkpoint), "--out", str(out)]) == 0
        whole, codes = score(tmp_path, checkpoint), score(tmp_path, out)
        assert codes["lps"] == whole["lps"]
        assert codes["independence"] == whole["independence"]
        assert "match" in whole

    def test_a_checkpoint_with_a_target_needs_trust_among_several_files(
        self, capsys, checkpoint, tmp_path, z
    ):
        content = read_checkpoint(checkpoint)
        content["config"]["regularizer"] = {"target": f"{TOYS}:Predicting"}
        write_checkpoint(content, tmp_path / "target.pt")
        np.save(tmp_path / "z.npy", z)
        line = fails(capsys, tmp_path / "target.pt", tmp_path / "z.npy", *LINEAR)
        assert "toys.py:Predicting" in line
        assert "--trust" in line


class TestSeveral:
    def test_one_table_one_json_file_and_figures(self, capsys, checkpoint, tmp_path, z):
        (tmp_path / "a").mkdir()
        np.save(tmp_path / "a" / "z.npy", z)
        np.save(tmp_path / "z.npy", 2 * z + 1)
        paths = [checkpoint, tmp_path / "a" / "z.npy", tmp_path / "z.npy"]
        report = score(tmp_path, *paths)
        assert list(report) == [str(path) for path in paths]
        assert report[str(paths[1])] == score(tmp_path, paths[1])
        table = capsys.readouterr().out
        assert "last.pt" in table
        assert "a/z.npy " in table
        assert "our definition" in table
        np.savez(tmp_path / "y.npz", mean=z, sample=z + 0.1, log_var=-z)
        score(tmp_path, paths[1], tmp_path / "y.npz", "--figures", tmp_path / "f")
        assert sorted(path.name for path in (tmp_path / "f").iterdir()) == ["y.npz", "z.npy"]
        names = {path.name for path in (tmp_path / "f" / "y.npz").iterdir()}
        assert {"marginals.png", "lps.svg", "mutual_information_sample.png"} <= names

    def test_a_failing_file_does_not_affect_the_others(self, capsys, tmp_path, z):
        np.save(tmp_path / "z.npy", z)
        np.save(tmp_path / "bad.npy", np.full((50, 3), np.nan))
        out = tmp_path / "new" / "out.json"
        arguments = [tmp_path / "bad.npy", tmp_path / "z.npy", tmp_path / "gone.pt", *LINEAR, "--json", out]
        capsys.readouterr()
        assert main(["score", *map(str, arguments)]) == 2
        printed = capsys.readouterr()
        errors = printed.err.splitlines()
        assert len(errors) == 2
        assert "bad.npy: NaN" in errors[0]
        assert "gone.pt: no such file" in errors[1]
        assert "z.npy mean   linear" in printed.out
        report = json.loads(out.read_text())
        assert "NaN" in report[str(tmp_path / "bad.npy")]["error"]
        assert report[str(tmp_path / "z.npy")]["active"] == 3

    def test_an_interruption_keeps_finished_scores(self, tmp_path, z, monkeypatch):
        np.save(tmp_path / "z.npy", z)
        (tmp_path / "y.npy").write_bytes((tmp_path / "z.npy").read_bytes())
        from mmdprior.scoring.score import Scorer

        codes = Scorer.codes

        def interrupted(self, path):
            if "y.npy" in path:
                raise KeyboardInterrupt
            return codes(self, path)

        monkeypatch.setattr(Scorer, "codes", interrupted)
        out = tmp_path / "out.json"
        arguments = ["score", str(tmp_path / "z.npy"), str(tmp_path / "y.npy"), *LINEAR, "--json", str(out)]
        assert main(arguments) == 130
        assert list(json.loads(out.read_text())) == [str(tmp_path / "z.npy")]

    def test_repeated_scoring_gives_identical_json(self, tmp_path, z):
        np.save(tmp_path / "z.npy", z)
        np.save(tmp_path / "y.npy", z**3)
        first = score(tmp_path, tmp_path / "z.npy", tmp_path / "y.npy")
        assert score(tmp_path, tmp_path / "z.npy", tmp_path / "y.npy") == first

    def test_short_names_are_distinct(self):
        paths = ["/r/vae/1/last.pt", "/r/mmd/1/last.pt", "z.npy", "a/z.npy"]
        assert list(short_names(paths).values()) == ["vae/1/last.pt", "mmd/1/last.pt", "z.npy", "a/z.npy"]

    @pytest.mark.parametrize("shape", [(40, 2), (100, 40)])
    def test_figures_of_collapsed_and_wide_codes(self, tmp_path, shape):
        codes = np.random.default_rng(0).normal(size=shape)
        codes[:, 1] = 0
        np.save(tmp_path / "z.npy", codes)
        score(tmp_path, tmp_path / "z.npy", "--figures", tmp_path / "f")
        assert (tmp_path / "f" / "z.npy" / "marginals.png").stat().st_size > 1000
