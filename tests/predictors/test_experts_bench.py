"""The benchmark of mixtures of experts: its settings, its races and its rows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benches import experts
from benches.mixtures import inverted
from benches.mixtures.race import Run, tuned
from benches.mixtures.symmetric import draw
from benches.mixtures.synthetic import _em, _gradient, race

CONFIGS = Path(__file__).parents[2] / "configs" / "experts"
SMALL = {
    "rates": ["seeds=2", "n=100", "dim=2", "iterations=5", "snr=4.0"],
    "symmetric": [
        "seeds=2",
        "n=100",
        "dim=2",
        "iterations=10",
        "snr=4.0",
        "step_sizes=[1.0]",
        "learning_rates=[0.1]",
    ],
    "several": [
        "seeds=2",
        "n=100",
        "dim=2",
        "iterations=4",
        "experts=2",
        "step_sizes=[1.0]",
        "learning_rates=[0.1]",
    ],
    "inverted_mnist": [
        *(
            "seeds=2",
            "train=80",
            "features=4",
            "epochs=1",
            "tuning_iterations=1",
            "step_sizes=[1.0]",
            "learning_rates=[0.1]",
        ),
        "iterations={em: 2, gradient: 3, gradient_em: 2, adam: 3}",
    ],
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Return a folder with images in the layout of MNIST: a bar whose row is the digit."""
    folder = tmp_path_factory.mktemp("mnist")
    for split, n in (("train", 120), ("test", 60)):
        labels = np.random.default_rng(n).integers(0, 10, n)
        images = np.random.default_rng(n).integers(0, 60, (n, 28, 28), dtype=np.uint8)
        images[np.arange(n), 2 * labels + 3] = 255
        np.savez(folder / f"mnist_{split}.npz", images=images, factors=labels[:, None])
    return folder


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_settings_become_rows_tables_and_a_figure(config, digits, tmp_path, capsys, monkeypatch):
    """The first settings of every file; of the images all of them, since each is another method."""
    every, count = experts.settings, None if config.stem == "inverted_mnist" else 1
    assert all(setting["seeds"] >= 2 for setting in every(config))
    monkeypatch.setattr(experts, "settings", lambda path: list(every(path))[:count])
    rows = tmp_path / "rows.jsonl"
    call = [str(config), "--rows", str(rows), "--data", str(digits), "--set", *SMALL[config.stem]]
    experts.main(call)
    lines = rows.read_text().splitlines()
    first = json.loads(lines[0])
    assert set(first) == {"setting", "result", "machine", "spent"}
    experts.main(call)  # nothing is run again
    assert rows.read_text().splitlines() == lines
    capsys.readouterr()
    experts.main(["--rows", str(rows), "--table", "--figure", str(tmp_path / "figure.png")])
    assert len(capsys.readouterr().out.splitlines()) >= 4
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("step", [_em(1), _gradient(1.0)], ids=["em", "gradient"])
@pytest.mark.parametrize("family", ["linear", "logistic"])
def test_a_race_counts_as_a_plain_loop(step, family):
    x, y, truth, start = draw(family, range(4), n=200, dim=2, snr=3.0)
    goal = truth.fixed_point(x, y, em_steps=5).loss(x, y) + 1e-2
    run = race(x, y, start, goal, step, torch.full_like(goal, 300.0), 1.0)
    for q in range(4):
        m, count = type(start)(start.b[q : q + 1], start.w[q : q + 1], family), 0
        while float(m.loss(x[q : q + 1], y[q : q + 1])) > float(goal[q]) and count < 300:
            m, count = step(m, x[q : q + 1], y[q : q + 1], [])[0], count + 1
        assert float(run.iterations[q]) == (count if count < 300 else float("inf"))
    assert bool(run.iterations.isfinite().any())
    stopped = race(x, y, start, goal, step, torch.ones_like(goal), 1.0)
    assert bool((stopped.iterations.isinf() | (stopped.iterations <= 1)).all())


def test_every_problem_has_its_best_step_size():
    costs = {1.0: [5.0, 9.0, torch.inf], 2.0: [7.0, 3.0, torch.inf], 4.0: [torch.inf, 8.0, torch.inf]}
    gaps = {1.0: [0.0, 0.0, 0.5], 2.0: [0.0, 0.0, 0.2], 4.0: [1.0, 0.0, torch.nan]}
    limits = []

    def run(size, limit):
        limits.append(limit.tolist())
        iterations = torch.tensor(costs[size])
        return Run(iterations, iterations, iterations, torch.tensor(gaps[size]), torch.full((3,), size))

    best = tuned(run, [1.0, 2.0, 4.0], torch.full((3,), 10.0))
    assert best.iterations.tolist() == [5.0, 3.0, torch.inf]
    assert best.size.tolist() == [1.0, 2.0, 2.0]
    assert limits == [[10, 10, 10], [5, 9, 10], [5, 3, 10]]


def test_half_of_the_images_are_inverted(digits):
    setting = {"data": digits, "train": 100, "features": "pixels", "seeds": 2}
    train, test = inverted.load(setting, torch.device("cpu"))
    assert train.x.shape == (2, 100, 785)
    assert test.y.shape == (2, 60, 1)
    assert 0.3 < float(train.inverted.double().mean()) < 0.7
    assert not torch.equal(train.inverted[0], train.inverted[1])
    brightness = (train.x * train.scale)[..., :-1].mean(2)
    assert float(brightness[train.inverted].min()) > float(brightness[~train.inverted].max())
    torch.testing.assert_close(train.x[..., :-1].mean(1), torch.zeros(2, 784), atol=1e-4, rtol=0)
