"""The metric with a state: exact for the linear predictor, a uniform sample for the others."""

import copy
import math
import multiprocessing
import pickle

import numpy as np
import pytest
import torch

from mmdprior import InputError, lps
from mmdprior.errors import InputWarning
from mmdprior.metrics import LPS, Protocol
from mmdprior.metrics.running_moments import RunningMoments, hashed_rows
from mmdprior.predictors import LinearPredictor


def codes(n=3000, d=5, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=generator, dtype=torch.float64)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return (z @ mix).to(dtype)


def filled(metric, z, size=700):
    for batch in z.split(size):
        metric.update(batch)
    return metric


def r2_of_the_split(z, seed=0):
    """Return R2 of NumPy's least squares with an intercept, fitted and tested on the split of the metric."""
    is_test = (hashed_rows(0, len(z), seed) < int(0.2 * 2**53)).numpy()
    z = z.double().numpy()
    scores = []
    for i in range(z.shape[1]):
        x, y = np.c_[np.delete(z, i, 1), np.ones(len(z))], z[:, i]
        weights = np.linalg.lstsq(x[~is_test], y[~is_test], rcond=None)[0]
        residual = y[is_test] - x[is_test] @ weights
        scores.append(1 - (residual**2).sum() / ((y[is_test] - y[is_test].mean()) ** 2).sum())
    return np.array(scores), is_test


class TestLinear:
    @pytest.mark.parametrize("size", [1, 50, 5000])
    @pytest.mark.parametrize("seed", [0, -7])
    def test_r2_is_that_of_least_squares_on_the_split(self, size, seed):
        z = codes(100 if size == 1 else 3000)
        result = filled(LPS("linear", seed=seed), z, size).compute()
        expected, is_test = r2_of_the_split(z, seed)
        np.testing.assert_allclose(result.r2, expected, atol=1e-6)
        assert result.score == pytest.approx(np.maximum(expected, 0).mean(), abs=1e-6)
        assert (result.n_train, result.n_test) == ((~is_test).sum(), is_test.sum())

    @pytest.mark.parametrize("scale", [1e-300, 1e-20, 1.0, 1e20, 1e290])
    def test_it_does_not_depend_on_offset_and_scale(self, scale):
        z = codes(dtype=torch.float64)
        factors, offsets = torch.tensor([[1.0, 10, 1e-3, 1, 1], [1e6, 0, 0, -5, 1e3]], dtype=torch.float64)
        moved = (z * factors + offsets) * scale
        expected = filled(LPS(), z).compute()
        np.testing.assert_allclose(filled(LPS(), moved).compute().r2, expected.r2, atol=1e-7)

    def test_it_agrees_with_lps_up_to_the_split(self):
        z = codes(20_000)
        expected = lps(z, "linear", null=0, permutations=0, bootstrap=0).score
        assert filled(LPS(), z).compute().score == pytest.approx(expected, abs=0.01)

    def test_dependent_and_independent_codes(self):
        z = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0))
        assert filled(LPS(), z).compute().score < 0.005
        r2 = filled(LPS(), torch.cat([z, z.sum(1, keepdim=True)], 1)).compute().r2
        np.testing.assert_allclose(r2, 1, atol=1e-6)

    def test_constant_columns_are_left_out(self):
        z = torch.cat([codes(), torch.full((3000, 1), 0.1), codes(d=1, seed=1)], 1)
        result = filled(LPS(), z).compute()
        assert result.active.tolist() == [True] * 5 + [False, True]
        assert math.isnan(result.r2[5])
        kept = filled(LPS(), z[:, [0, 1, 2, 3, 4, 6]]).compute().r2
        np.testing.assert_allclose(result.r2[result.active], kept, atol=1e-9)

    def test_a_column_that_varies_in_the_test_rows_only(self):
        z, seed = codes(200), 0
        row = int((hashed_rows(0, 200, seed) < int(0.2 * 2**53)).int().argmax())
        rare = torch.zeros(200, 1)
        rare[row] = 1.0
        result = filled(LPS(seed=seed), torch.cat([z, rare], 1)).compute()
        assert not result.active[-1]
        assert np.isfinite(result.r2[:5]).all()

    @pytest.mark.parametrize("ridge", [0.0, 0.1])
    def test_the_ridge_of_an_instance(self, ridge):
        z, model = codes(), LinearPredictor(ridge)
        result = filled(LPS(model), z).compute()
        is_test = hashed_rows(0, len(z), 0) < int(0.2 * 2**53)
        train, test = z[~is_test].double(), z[is_test].double()
        mean, std = train.mean(0), train.std(0, correction=0)
        parts = [((part - mean) / std)[None] for part in (train, test)]
        expected = model.fit(parts[0], parts[0][:, :0], [])(parts[1]).r2()[0]
        np.testing.assert_allclose(result.r2, expected, atol=1e-10)

    @pytest.mark.parametrize(
        "kind", [torch.float16, torch.bfloat16, torch.int8, torch.float64, "numpy", "list"]
    )
    def test_kinds_of_codes(self, kind):
        z = (2 * codes(100)).round()
        given = {"numpy": z.numpy(), "list": z.tolist()}.get(
            kind, z.to(kind) if not isinstance(kind, str) else z
        )
        metric = LPS()
        metric.update(given)
        np.testing.assert_allclose(metric.compute().r2, filled(LPS(), z).compute().r2, atol=1e-6)

    def test_gradients_are_not_kept(self):
        z = codes(100).requires_grad_()
        metric = filled(LPS(), z)
        assert not metric._state.train.mean.requires_grad


class TestOther:
    def test_few_rows_give_the_score_of_lps(self):
        z = codes(400)
        metric = filled(LPS("additive", max_rows=500), z)
        rows, hashes = metric._state.kept()
        assert bool((hashes.diff() > 0).all())
        order = hashed_rows(0, 400, 0).argsort()
        assert torch.equal(rows, z[order])
        np.testing.assert_array_equal(
            metric.compute().r2, lps(rows, "additive", null=0, permutations=0, bootstrap=0).r2
        )

    def test_the_sample_is_uniform_and_bounded(self):
        z = torch.arange(20_000.0)[:, None].expand(-1, 2)
        metric = LPS("mlp", max_rows=1000)
        for batch in z.split(300):
            metric.update(batch)
            assert sum(map(len, metric._state._rows)) <= 2000
        rows, _ = metric._state.kept()
        assert len(rows) == len(set(rows[:, 0].tolist())) == 1000
        counts = torch.histc(rows[:, 0], 10, 0, 20_000)
        assert float(((counts - 100) ** 2 / 100).sum()) < 27.9  # chi-squared with 9 degrees, p = 0.001

    def test_the_protocol_and_the_size_of_the_sample_are_reported(self):
        metric = filled(
            LPS("additive", max_rows=100, protocol=Protocol(null=1, permutations=0, bootstrap=0)), codes(300)
        )
        result = metric.compute()
        assert result.copies == 1
        assert result.warnings[-1] == "100 of 300 rows, drawn uniformly"


class TestMerge:
    @pytest.mark.parametrize("predictor", ["linear", "additive"])
    def test_parts_give_the_whole(self, predictor):
        whole = filled(LPS(predictor, max_rows=200), codes(900))
        parts = [LPS(predictor, max_rows=200) for _ in range(3)]
        for i, part in enumerate(parts):
            part.rows = 300 * i  # so that the rows have the numbers of the whole
            filled(part, codes(900)[300 * i : 300 * (i + 1)], 110)
            part.rows = 300
        empty = LPS(predictor, max_rows=200)
        for part in (*parts, LPS(predictor, max_rows=200)):
            empty.merge(part)
        assert empty.rows == 900
        np.testing.assert_allclose(empty.compute().r2, whole.compute().r2, atol=1e-9)
        assert parts[0].rows == 300

    def test_the_other_metric_is_kept(self):
        first, second = (filled(LPS(), codes(300, seed=seed)) for seed in (0, 1))
        before = second.compute().r2
        first.merge(second)
        first.update(codes(100, seed=2))
        np.testing.assert_array_equal(second.compute().r2, before)
        empty = LPS()
        empty.merge(second)
        empty.update(codes(300, seed=3))
        np.testing.assert_array_equal(second.compute().r2, before)

    @pytest.mark.parametrize("scales", [(1e-200, 1e-200), (1.0, 1e30), (1e30, 1.0)])
    def test_parts_of_other_scales(self, scales):
        """The exponents of parts follow from their first batches."""
        first, second = (codes(600, seed=i, dtype=torch.float64) * scales[i] for i in range(2))
        whole, parts = filled(LPS(), torch.cat([first, second]), 600), [LPS(), LPS()]
        parts[0].update(first)
        parts[1].rows = 600
        parts[1].update(second)
        parts[0].merge(parts[1])
        np.testing.assert_allclose(parts[0].compute().r2, whole.compute().r2, atol=1e-7)

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (LPS("mlp"), "name 'mlp' received for 'linear'"),
            (LPS(seed=1), "seed 1"),
            (LPS(max_rows=100), "max_rows 100"),
            (filled(LPS(), codes(50, d=3)), "3 columns received for 5"),
        ],
    )
    def test_other_settings_are_refused(self, other, message):
        with pytest.raises(InputError, match=message):
            filled(LPS(), codes(50)).merge(other)

    def test_moments_merge_as_one(self):
        z = codes(500, dtype=torch.float64) + 1e8
        whole, parts = RunningMoments.empty(5), RunningMoments.empty(5)
        whole.update(z)
        for batch in z.split(7):
            parts.update(batch)
        assert torch.allclose(parts.covariance, whole.covariance, rtol=1e-9)
        assert torch.allclose(whole.covariance, z.T.cov(correction=0), rtol=1e-6)


class TestEnds:
    @pytest.mark.parametrize("rows", [0, 1, 29])
    @pytest.mark.parametrize("predictor", ["linear", "additive"])
    def test_too_few_rows_are_nan_with_a_warning(self, rows, predictor):
        metric = LPS(predictor)
        if rows:
            metric.update(codes(rows))
        with pytest.warns(InputWarning, match=f"no score: {rows} rows; LPS needs at least 30"):
            result = metric.compute()
        assert math.isnan(result.score)
        assert "no score" in str(result)

    def test_one_active_column_is_nan_with_a_warning(self):
        metric = filled(LPS(), torch.cat([codes(100, 1), torch.ones(100, 2)], 1))
        with pytest.warns(InputWarning, match="1 of 3 dimensions active"):
            assert math.isnan(metric.compute().score)

    def test_reset_and_copies(self):
        metric = filled(LPS(), codes())
        score = metric.compute().score
        for copied in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
            copied.update(codes(seed=1))
            assert copied.compute().score != score
        assert metric.compute().score == score
        metric.reset()
        assert metric.rows == 0
        assert filled(metric, codes()).compute().score == score

    def test_empty_batches(self):
        metric = LPS()
        metric.update(codes(0))
        filled(metric, codes()).update(torch.zeros(0, 5))
        assert metric.compute().score == filled(LPS(), codes()).compute().score

    @pytest.mark.parametrize(
        ("z", "message"),
        [
            (torch.zeros(5), "two axes"),
            (torch.zeros(5, 1), "1 column"),
            (torch.zeros(5, 3), "3 columns received; the first batch had 5"),
            (torch.full((5, 5), math.nan), "NaN or infinity in 5 of 5 rows"),
            ("z.npy", "load the file first"),
        ],
    )
    def test_codes_of_other_forms(self, z, message):
        metric = filled(LPS(), codes(40))
        with pytest.raises(InputError, match=message):
            metric.update(z)
        assert metric.rows == 40

    @pytest.mark.parametrize("settings", [{"predictor": "linea"}, {"max_rows": 5}, {"max_rows": -1}])
    def test_settings_are_checked(self, settings):
        with pytest.raises(InputError):
            LPS(**settings)

    @pytest.mark.gpu
    def test_a_gpu_gives_the_same(self):
        z = codes()
        expected = filled(LPS(), z).compute().r2
        on_gpu = z.cuda()
        torch.cuda.set_sync_debug_mode("error")
        try:
            metric = filled(LPS(), on_gpu)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        np.testing.assert_allclose(metric.compute().r2, expected, atol=1e-9)


def _rank(rank, size, port, queue):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://localhost:{port}", rank=rank, world_size=size)
    results = []
    for predictor in ("linear", "additive"):
        metric = LPS(predictor, max_rows=200)
        for batch in codes(600)[rank::size].split(100) if rank < 2 else []:
            metric.update(batch)
        results.append((metric.rows, metric.compute().r2))
    queue.put((rank, results, [filled(LPS(synchronise=False), codes(600)[rank::size]).compute().r2]))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="forks processes")
def test_ranks_are_merged(unused_port):
    """Three processes, of which one has no rows, return the score of the rows of all."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_rank, args=(rank, 3, unused_port, queue)) for rank in range(3)]
    for process in processes:
        process.start()
    results = {
        rank: (synchronised, own) for rank, synchronised, own in (queue.get(timeout=60) for _ in range(3))
    }
    for process in processes:
        process.join()
    z, hashes = codes(600), torch.empty(600, dtype=torch.int64)
    for rank in range(3):
        hashes[rank::3] = hashed_rows(0, 200, 0, rank)
    is_test = hashes < int(0.2 * 2**53)
    kept = torch.cat([torch.arange(600)[rank::3] for rank in range(2)])
    moments = [RunningMoments.empty(5) for _ in range(2)]
    moments[0].update(z[kept][~is_test[kept]])
    moments[1].update(z[kept][is_test[kept]])
    from mmdprior.metrics.running_moments import held_out_r2

    expected = held_out_r2(*moments, torch.ones(5, dtype=torch.bool), 1e-8)
    sample = z[kept][hashes[kept].argsort()[:200]]
    scored = lps(sample, "additive", null=0, permutations=0, bootstrap=0).r2
    for rank in range(3):
        (linear, additive), own = results[rank]
        assert linear[0] == (200 if rank < 2 else 0)
        np.testing.assert_allclose(linear[1], expected, atol=1e-9)
        np.testing.assert_allclose(additive[1], scored, atol=1e-9)
        assert not np.allclose(own[0], expected)


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as place:
        place.bind(("localhost", 0))
        return place.getsockname()[1]


class TestTorchmetrics:
    def test_it_is_a_metric(self):
        torchmetrics = pytest.importorskip("torchmetrics", reason="the metric is one of its own")
        from mmdprior.metrics.torchmetrics_lps import LPSMetric

        z = codes()
        collection = torchmetrics.MetricCollection(
            {"lps": LPSMetric(), "lps_additive": LPSMetric("additive")}
        )
        for batch in z.split(700):
            collection.update(batch)
        expected = filled(LPS(), z).compute().score
        assert float(collection.compute()["lps"]) == pytest.approx(expected)
        collection.reset()
        metric = collection["lps"]
        assert metric.lps.rows == 0
        step = metric(z[:1000])
        metric(z[1000:])
        assert float(step) == pytest.approx(filled(LPS(), z[:1000]).compute().score)
        assert float(metric.compute()) == pytest.approx(expected, abs=1e-6)
        other = LPSMetric()
        other.merge_state(pickle.loads(pickle.dumps(metric)))
        assert float(other.compute()) == pytest.approx(expected, abs=1e-6)

    def test_without_torchmetrics(self, monkeypatch):
        from mmdprior.metrics import torchmetrics_lps

        monkeypatch.setattr(torchmetrics_lps, "Metric", object)
        with pytest.raises(InputError, match=r'needs torchmetrics; pip install "mmdprior\[torchmetrics\]"'):
            torchmetrics_lps.LPSMetric()
