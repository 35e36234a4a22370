"""What users ask of a training: averaged weights, an early end, parts, augmentation, profiles."""

import json
import time

import pytest
import torch
from helpers.small_runs import experiment, run_directory, same, weights
from torch import nn

import mmdprior
from mmdprior import InputError
from mmdprior.build.restore import config_of
from mmdprior.cli.main import main
from mmdprior.data import Augmentation
from mmdprior.models import Autoencoder
from mmdprior.runs import assemble
from mmdprior.seeding import stream
from mmdprior.training import WeightAverage, newest_checkpoint, read_checkpoint
from mmdprior.training.profiling import PHASES, table
from mmdprior.training.retention import BackgroundWriter


def little_model():
    model = Autoencoder(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model.encoder.register_buffer("seen", torch.zeros(1))
    return model


def test_weight_average_is_the_mean_first_and_exponential_later():
    model = little_model()
    average = WeightAverage(model, decay=0.75)
    expected = None
    for update in range(1, 9):
        with torch.no_grad():
            model.encoder.weight.fill_(float(update))
            model.encoder.seen.fill_(update)
        average.update(update)
        share = max(0.25, 1 / update)
        expected = update if expected is None else (1 - share) * expected + share * update
        assert torch.allclose(average.model.encoder.weight, torch.full((2, 2), float(expected)))
        if update <= 4:
            assert expected == pytest.approx((update + 1) / 2)
    assert float(average.model.encoder.seen) == 8
    assert not average.model.training
    with pytest.raises(InputError, match=r"average: 1\.0 received"):
        WeightAverage(model, 1.0)


def test_averaged_weights_are_kept_scored_and_loaded(tmp_path):
    directory = run_directory(tmp_path)
    trained = experiment(directory, trainer__average=0.5, trainer__learning_rate=0.01)
    assert trained.trainer.validate.model is trained.trainer.evaluated
    trained.trainer.validate = None
    trained.trainer.run()
    content = read_checkpoint(directory / "checkpoints" / "last.pt")
    assert same(content["model"], weights(trained.trainer.model))
    assert same(content["averaged"], weights(trained.trainer.evaluated))
    assert not same(content["averaged"], content["model"])
    path = directory / "checkpoints" / "last.pt"
    assert same(weights(mmdprior.load(path)), content["averaged"])
    assert same(weights(mmdprior.load(path, averaged=False)), content["model"])


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer__average": 0.9, "data__flip": True, "data__shift": 3},
        {"trainer__accumulate": 4, "trainer__gradient_clip": 1.0, "data__flip": True},
        {"data__resident": False, "data__workers": 0, "data__shift": 3, "trainer__channels_last": True},
    ],
    ids=["averaged", "in parts", "streamed"],
)
def test_resumed_run_is_the_same_run(tmp_path, changes):
    whole, part = run_directory(tmp_path), run_directory(tmp_path)
    finished, begun = experiment(whole, **changes), experiment(part, **changes)
    finished.trainer.validate = begun.trainer.validate = None
    finished.trainer.run()
    begun.trainer.stop = lambda: begun.trainer.step == 3
    begun.run()
    _, content = newest_checkpoint(part)
    resumed = assemble(config_of(content, "x", trust=False), part, content, progress=False)
    resumed.trainer.validate = None
    resumed.trainer.run()
    a, b = finished.trainer.state_dict(), resumed.trainer.state_dict()
    assert same(a["model"], b["model"])
    assert changes.get("trainer__average") is None or same(a["averaged"], b["averaged"])


def test_parts_change_memory_and_not_the_run():
    models = []
    for parts in (1, 4):
        run = experiment(trainer__accumulate=parts, trainer__steps=3)
        run.trainer.validate = None
        run.trainer.run()
        models.append(weights(run.trainer.model))
    assert all(torch.allclose(models[0][key], models[1][key], atol=1e-5) for key in models[0])


def test_shares_that_do_not_come_out_even_are_named():
    with pytest.raises(InputError, match=r"data\.batch_size: 16 received; give a multiple of 3, 1 processes"):
        experiment(trainer__accumulate=3)


def test_training_ends_once_patience_does_and_stays_ended(tmp_path):
    directory = run_directory(tmp_path)
    changes = {"trainer__steps": 20, "evaluation__every": 1, "evaluation__patience": 2}
    run = experiment(directory, **changes)
    scores = iter([10.0, 12.0, 11.0, 12.0, 99.0])
    run.trainer.validate = lambda step: {"reconstruction/psnr": next(scores)}
    run.trainer.run()
    assert run.trainer.step == 4
    assert not run.trainer.stopped
    assert read_checkpoint(directory / "checkpoints" / "best.pt")["step"] == 2
    content = read_checkpoint(directory / "checkpoints" / "last.pt")
    assert (content["step"], content["stale"]) == (4, 2)
    resumed = experiment(directory, content, **changes)
    resumed.trainer.run()
    assert resumed.trainer.step == 4


class TestAugmentation:
    images = torch.randint(0, 256, (64, 3, 8, 10), dtype=torch.uint8, generator=stream(0, "images"))

    def changed(self, augmentation, images=images, share=slice(0, 64)):
        return augmentation(images[share], 64, share, stream(0, "augmentation", 3))

    def test_flips_half_of_the_images(self):
        found = self.changed(Augmentation(flip=True))
        flipped = [torch.equal(a, b.flip(2)) for a, b in zip(found, self.images, strict=True)]
        kept = [torch.equal(a, b) for a, b in zip(found, self.images, strict=True)]
        assert all(a != b for a, b in zip(flipped, kept, strict=True))
        assert 16 < sum(flipped) < 48

    def test_shifts_are_crops_of_an_image_padded_by_reflection(self):
        found = self.changed(Augmentation(shift=3))
        padded = nn.functional.pad(self.images.float(), (3, 3, 3, 3), mode="reflect").to(torch.uint8)
        windows = padded.unfold(2, 8, 1).unfold(3, 10, 1)
        places = [(windows[i].permute(1, 2, 0, 3, 4) == found[i]).flatten(2).all(2) for i in range(64)]
        assert all(bool(place.any()) for place in places)
        assert torch.stack(places).float().mean(0).count_nonzero() > 30

    def test_processes_change_their_share_of_one_batch(self):
        augmentation = Augmentation(flip=True, shift=2)
        parts = [self.changed(augmentation, share=slice(a, a + 16)) for a in range(0, 64, 16)]
        assert torch.equal(torch.cat(parts), self.changed(augmentation))

    def test_mistakes_are_named(self):
        with pytest.raises(InputError, match=r"shift: -1 received"):
            Augmentation(shift=-1)
        with pytest.raises(InputError, match=r"data\.shift: 64 received; shift images of 64 x 64 by less"):
            experiment(data__shift=64)


def test_profile_writes_a_trace_and_a_table(tmp_path, capsys):
    changes = (
        "evaluation.pictures=false",
        "model.linear_skip=false",
        "data.images=400",
        "data.batch_size=16",
        "model.channels=[4, 4, 4, 4]",
        "trainer.steps=9",
    )
    last = (
        "trainer.device=cpu",
        "evaluation.final_predictors=[linear]",
        "--runs",
        str(tmp_path),
        "--profile",
    )
    assert main(["train", "configs/quickstart.yaml", *changes, *last]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{phase} " in out for phase in (*PHASES, "all"))
    (trace,) = tmp_path.glob("*/*/profile/trace.json")
    names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert {f"step/{phase}" for phase in PHASES} <= names


def test_profile_table_adds_up():
    text = table([("data", 1.0), ("encoder", 2.0), ("data", 1.0)], steps=2)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()[1:]}
    assert rows["data"] == ["1000.000", "50.0%"]
    assert rows["all"] == ["2000.000", "100.0%"]


def test_background_writer_keeps_the_state_of_the_moment_and_raises_later(tmp_path):
    written = {}

    def slow(content, path):
        time.sleep(0.05)
        written[path.name] = content
        if path.name == "bad":
            raise OSError("full")

    writer, tensor = BackgroundWriter(slow), torch.zeros(3)
    writer.submit({"nested": [{"a": tensor}]}, tmp_path / "good")
    tensor.fill_(1)
    writer.submit({"a": tensor}, tmp_path / "bad")
    assert torch.equal(written["good"]["nested"][0]["a"], torch.zeros(3))
    with pytest.raises(OSError, match="full"):
        writer.wait()
    writer.wait()


@pytest.mark.gpu
@pytest.mark.parametrize("parts", [1, 2])
def test_steps_between_logged_ones_never_wait_for_the_gpu(parts):
    run = experiment(
        trainer__device="cuda", trainer__log_every=100, trainer__accumulate=parts, data__flip=True
    )
    run.trainer.validate = None
    run.trainer.steps = 3
    run.trainer.run()
    run.trainer.steps = 20
    run.trainer.stop = lambda: torch.cuda.set_sync_debug_mode("error" if run.trainer.step < 18 else "default")
    try:
        run.trainer.run()
    finally:  # a mode left behind would fail every later test
        torch.cuda.set_sync_debug_mode("default")
