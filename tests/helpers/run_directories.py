"""Run directories written without training, as a comparison reads them."""

import json

import yaml

CONFIG = {
    "name": "set/vae",
    "seed": 0,
    "data": {"name": "sprites", "root": "here", "batch_size": 64},
    "model": {"latent_dim": 3},
    "regularizer": {"name": "kl", "weight": 1.0},
    "trainer": {"steps": 100, "device": "cpu"},
}
MMD = {"name": "mmd", "weight": 9.0, "prior": {"name": "uniform", "low": -1}, "kernel": {"name": "imq"}}


def lps_entry(representation, score, null=0.001):
    """Return the entry of an LPS score in ``test.json``."""
    entry = {"representation": representation, "predictor": "mlp", "score": score, "max": 2 * score}
    entry |= {"r2": [score] * 3, "null_r2": [0.0] * 3, "active": [True] * 3, "null": null, "p_value": 0.01}
    return entry | {"interval": [score - 0.01, score + 0.01]}


def write_run(folder, *, name="set/vae", seed=0, psnr=20.0, match=1.0, lps=0.002, test=True, **sections):
    """Write a run directory with a config, two logged steps, a truncated line and test scores."""
    folder.mkdir(parents=True)
    config = {**CONFIG, "name": name, "seed": seed, **sections}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [
        {"step": step, "loss/total": 1.0 / step, "lps/linear": None, "trainer/steps_per_second": 5.0}
        for step in (50, 100)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 1')
    (folder / "report").mkdir()
    scores = {"dim": 3, "active": 3, "effective_rank": 2.9, "match": {"mmd_standardised": match}}
    scores["lps"] = [lps_entry("mean", lps), lps_entry("sample", lps / 2)]
    scores["reconstruction"] = {"mse": 10 ** (-psnr / 10), "psnr": psnr, "loss": 5.0}
    scores["independence"] = {"mean": {"n": 9, "total_correlation": 0.5, "effective_rank": 2.9}}
    if test:
        (folder / "report" / "test.json").write_text(json.dumps(scores))
    return folder


def write_two_groups(root):
    """Write two configurations with two seeds each: vae with dependent codes, mmd that matches its prior."""
    for seed, psnr in ((0, 20.0), (1, 20.4)):
        write_run(root / "vae" / f"seed_{seed}", seed=seed, psnr=psnr, match=30.0, lps=0.3)
        write_run(root / "mmd" / f"seed_{seed}", seed=seed, name="set/mmd", psnr=psnr - 1, regularizer=MMD)
    return root
