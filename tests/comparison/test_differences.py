"""Settings that differ between configs, and those that they share."""

from helpers.run_directories import CONFIG, MMD

from mmdprior.comparison.differences import differences, fingerprint, setting_text, shared_settings


def test_differing_settings_are_named_and_the_others_shared():
    other = {**CONFIG, "name": "x", "regularizer": MMD, "trainer": {"steps": 200, "device": "cuda"}}
    values = differences([CONFIG, other])
    assert values["trainer.steps"] == [100, 200]
    assert values["regularizer.weight"] == [1.0, 9.0]
    assert setting_text(values["regularizer"][1]) == "mmd(prior=uniform, kernel=imq)"  # low is the default
    assert "name" not in values
    assert "data" not in " ".join(values)
    assert shared_settings([CONFIG, other])["data"] == CONFIG["data"]
    assert shared_settings([CONFIG, other])["seed"] == 0
    assert differences([CONFIG, CONFIG]) == {}


def test_slots_with_one_name_and_lists_of_them_are_compared_by_argument():
    def penalties(weight, low):
        parts = [{**MMD, "weight": weight, "prior": {"name": "uniform", "low": low}}, {"name": "kl"}]
        return {"regularizer": {"name": "sum", "penalties": parts}}

    values = differences([penalties(1, -1), penalties(2, -3)])
    assert values == {
        "regularizer.penalties[mmd].weight": [1, 2],
        "regularizer.penalties[mmd].prior.low": [-1, -3],
    }


def test_null_and_missing_settings_are_equal():
    assert differences([{"data": {"limit": None}}, {"data": {}}]) == {}


def test_fingerprint_ignores_seed_and_machine():
    machine = {**CONFIG, "seed": 5, "data": {**CONFIG["data"], "root": "there"}}
    assert fingerprint(machine) == fingerprint(CONFIG)
    assert fingerprint({**CONFIG, "model": {"latent_dim": 4}}) != fingerprint(CONFIG)
