"""Images in tar and Parquet shards: what is read, in which order, by several processes and after a resume."""

import io
import pickle
import tarfile
from itertools import islice

import numpy as np
import pytest
import torch
from helpers.small_runs import experiment
from PIL import Image

from mmdprior import InputError
from mmdprior.data import ResidentBatches, StreamingBatches, make_splits, shards
from mmdprior.data.source import load_into_memory
from mmdprior.world import World

SIZES = [7, 5, 1, 8, 6, 9]


def pixels(number):
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def encoded(number):
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, "png")
    return file.getvalue()


def write_tar(path, entries):
    with tarfile.open(path, "w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_tars(folder, labels=True):
    first = 0
    for shard, size in enumerate(SIZES):
        entries = []
        for number in range(first, first + size):
            entries.append((f"./some/{number:04}.png", encoded(number)))
            entries += [(f"./some/{number:04}.cls", str(number).encode())] if labels else []
        write_tar(folder / f"train-{shard}.tar", entries)
        first += size
    return folder


def write_parquet(folder, form):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for shard in range(2):
        numbers = range(18 * shard, 18 * (shard + 1))
        cells = [
            encoded(n) if form == "bytes" else {"bytes": encoded(n), "path": f"{n}.png"} for n in numbers
        ]
        table = pyarrow.table({"image": cells, "label": list(numbers)})
        parquet.write_table(table, folder / f"{shard}.parquet", row_group_size=7)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tars(tmp_path_factory.mktemp("shards"))


@pytest.mark.parametrize("form", ["tar", "bytes", "struct"])
def test_images_and_labels_are_those_that_were_written(tmp_path, form):
    place = write_tars(tmp_path) if form == "tar" else write_parquet(tmp_path, form)
    images = shards(str(place), size=8).train
    assert len(images) == 36
    rows = torch.tensor([35, 0, 12, 13, 20, 0])
    values, labels = pickle.loads(pickle.dumps(images)).gather(rows)
    assert labels.flatten().tolist() == rows.tolist()
    for value, number in zip(values, rows.tolist(), strict=True):
        assert np.array_equal(value.permute(1, 2, 0), pixels(number))


def test_one_channel_other_sizes_and_a_test_split(folder):
    pattern = str(folder / "train-[0-3].tar")
    source = shards(pattern, size=4, channels=1, test_path=str(folder / "train-5.tar"))
    assert (len(source.train), len(source.test), source.train.image_shape) == (21, 9, (1, 4, 4))
    assert "21 images in 4 shards" in source.summary
    assert source.train.label_names == ("class",)


@pytest.mark.parametrize("shuffle", [1, 2, 6])
def test_an_epoch_mixes_a_few_shards_at_a_time(folder, shuffle):
    images = shards(str(folder), size=8, shuffle=shuffle).train
    orders = [images.read_order(torch.arange(36), torch.Generator().manual_seed(seed)) for seed in (0, 1, 1)]
    assert torch.equal(orders[0].sort().values, torch.arange(36))
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[1], orders[2])
    shard = torch.repeat_interleave(torch.arange(6), torch.tensor(SIZES))
    for order in orders:
        seen = list(dict.fromkeys(shard[order].tolist()))  # in order of their first image
        for start in range(0, 6, shuffle):
            group = set(seen[start : start + shuffle])
            rows = sum(SIZES[number] for number in group)
            first = sum(SIZES[number] for number in seen[:start])
            assert set(shard[order[first : first + rows]].tolist()) == group


@pytest.mark.parametrize("shuffle", [1, 3])
def test_a_resumed_run_and_two_processes_read_the_same_images(folder, shuffle):
    train = make_splits(shards(str(folder), size=8, shuffle=shuffle), validation=4, test=4).train
    whole = list(islice(StreamingBatches(train, 6, seed=2).stream(), 14))
    assert len({int(row) for batch in whole[:4] for row in batch.indices}) == 24
    resumed = list(islice(StreamingBatches(train, 6, seed=2).stream(start=9), 5))
    ranks = [islice(StreamingBatches(train, 6, 2, world=World(r, 2)).stream(start=9), 5) for r in (0, 1)]
    for expected, again, parts in zip(whole[9:], resumed, zip(*ranks, strict=True), strict=True):
        assert torch.equal(expected.images, again.images)
        assert torch.equal(expected.labels, again.labels)
        assert torch.equal(expected.images, torch.cat([part.images for part in parts]))


def test_shards_in_memory_have_the_order_of_shards_on_disk(folder):
    """Whether images fit in memory may change when a run is resumed."""
    train = make_splits(shards(str(folder), size=8, shuffle=1), validation=4, test=4).train
    streamed = islice(StreamingBatches(train, 6, seed=2).stream(), 14)
    resident = ResidentBatches(load_into_memory(train).to("cpu"), 6, seed=2).stream()
    for one, two in zip(streamed, resident, strict=False):
        assert torch.equal(one.indices, two.indices)
        assert torch.equal(one.images, two.images)


def test_a_config_trains_on_shards(folder):
    data = {"name": "shards", "path": str(folder), "size": 8, "batch_size": 4, "validation": 8, "test": 8}
    data |= {"resident": False, "workers": 0}
    run = experiment(data=data, model={"name": "linear", "latent_dim": 4}, trainer__steps=3).trainer
    run.validate = None
    run.run()
    assert run.step == 3


def failing(folder, name):
    path = folder / "x.tar"
    if name == "no shards":
        return folder
    if name == "no images":
        write_tar(path, [("a.txt", b"1")])
    elif name == "some labels":
        write_tar(path, [("a.png", encoded(0)), ("a.cls", b"1"), ("b.png", encoded(1))])
    elif name == "compressed":
        write_tar(folder / "y", [("a.png", encoded(0))])
        import gzip

        path.write_bytes(gzip.compress((folder / "y").read_bytes()))
    elif name == "damaged":
        (folder / "x.parquet").write_bytes(b"PAR1 is not enough")
    elif name == "hidden file":
        write_tar(path, [("a.cls", b"1"), ("some/._a.png", b"attributes")])
    elif name == "class":
        write_tar(path, [("a.png", encoded(0)), ("a.cls", b"cat")])
    elif name == "long class":
        write_tar(path, [("a.png", encoded(0)), ("a.cls", b"1" * 23)])
    elif name == "unlike labels":
        write_tar(path, [("a.png", encoded(0))])
        write_tar(folder / "z.tar", [("a.png", encoded(0)), ("a.cls", b"3")])
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no shards", "path: .* received; give a folder or a pattern of .parquet files, or of .tar files"),
        ("no images", r"x\.tar: no images; give tar files of png or jpg files"),
        ("some labels", r"x\.tar: 1 of 2 images have a \.cls file; give all or none"),
        ("compressed", r"x\.tar: not a readable tar file .*; give complete files"),
        ("damaged", r"x\.parquet: not a readable parquet file .*; give complete files"),
        ("unlike labels", r"x\.tar: no labels, unlike other shards"),
        ("hidden file", r"x\.tar: no images"),
        ("long class", r"x\.tar: a\.cls holds '1+'; give an integer of 64 bits"),
        ("class", r"x\.tar: a\.cls holds 'cat'; give an integer"),
    ],
)
def test_shards_that_cannot_be_used_are_one_line_errors(tmp_path, name, message):
    with pytest.raises(InputError, match=message) as caught:
        shards(str(failing(tmp_path, name)), size=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ([0, 1], [1, None], r"x\.parquet: column label holds None; give an integer in every row"),
        ([0, 1], np.array([1, 2**63], np.uint64), r"x\.parquet: column label holds 9223372036854775808"),
        ([0, 1], ["a", "b"], r"x\.parquet: column label holds 'a'"),
        ([0, 1], [1.0, 1.5], r"x\.parquet: column label holds 1\.5"),
        ([], [], "path: 1 files without images received"),
    ],
)
def test_parquet_files_that_cannot_be_used_are_one_line_errors(tmp_path, images, labels, message):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    cells = pyarrow.array([encoded(number) for number in images], pyarrow.binary())
    parquet.write_table(pyarrow.table({"image": cells, "label": labels}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=message):
        shards(str(tmp_path), size=8)


IMAGES = [(f"{number}.png", encoded(number)) for number in range(4)]


@pytest.mark.parametrize("length", [1, 512, 1024])
def test_a_damaged_header_is_found(tmp_path, length):
    """`tarfile` takes it for the end of the archive, and so drops the images after it."""
    write_tar(tmp_path / "x.tar", IMAGES)
    with tarfile.open(tmp_path / "x.tar") as tar:
        offset = tar.getmember("2.png").offset
    content = bytearray((tmp_path / "x.tar").read_bytes())
    content[offset : offset + length] = bytes(length)
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.tar: damaged at byte \d+, or several archives in one file"):
        shards(str(tmp_path), size=8)


def test_archives_one_after_another_and_archives_that_are_cut_off_are_refused(tmp_path):
    write_tar(tmp_path / "x", IMAGES)
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "x.tar").write_bytes(2 * content)
    with pytest.raises(InputError, match="or several archives in one file"):
        shards(str(tmp_path), size=8)
    with tarfile.open(tmp_path / "x") as tar:
        offset = tar.getmember("2.png").offset
    (tmp_path / "x.tar").write_bytes(content[:offset])
    with pytest.raises(InputError, match=f"cut off at byte {offset}"):
        shards(str(tmp_path), size=8)


def test_hard_links_are_images(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.size = len(encoded(3))
        tar.addfile(info, io.BytesIO(encoded(3)))
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.LNKTYPE, "a.png"
        tar.addfile(link)
    images, _ = shards(str(tmp_path), size=8).train.gather(torch.arange(2))
    assert torch.equal(images[0], images[1])


class TestSamples:
    """The naming of WebDataset."""

    def test_a_class_belongs_to_the_names_up_to_the_first_dot(self, tmp_path):
        write_tar(tmp_path / "x.tar", [("a/0.left.png", encoded(0)), ("a/0.CLS", b"5"), ("a/0.json", b"{}")])
        assert shards(str(tmp_path), size=8).train.labels.tolist() == [[5]]

    def test_several_images_need_a_choice(self, tmp_path):
        entries = [(f"{k}.{end}", encoded(k)) for k in range(2) for end in ("png", "mask.png")]
        write_tar(tmp_path / "x.tar", entries)
        with pytest.raises(InputError, match=r"sample 0 has images mask\.png and png; give .* as image"):
            shards(str(tmp_path), size=8)
        train = shards(str(tmp_path), size=8, image="png").train
        assert torch.equal(train.gather(torch.tensor([1]))[0][0], shards_pixels(1))
        with pytest.raises(InputError, match=r"no images; give tar files of files that end in \.left\.png"):
            shards(str(tmp_path), size=8, image="left.png")

    def test_two_formats_of_one_image_need_a_choice(self, tmp_path):
        write_tar(tmp_path / "x.tar", [("0.png", encoded(0)), ("0.jpg", encoded(0)), ("1.gif", encoded(1))])
        with pytest.raises(InputError, match="sample 0 has images jpg and png"):
            shards(str(tmp_path), size=8)

    def test_names_with_dots_are_samples_of_their_own(self, tmp_path):
        entries = [
            (f"photo.{k}.5.{end}", encoded(k) if end == "png" else f"{k}".encode())
            for k in (1, 2)
            for end in ("png", "cls")
        ]
        write_tar(tmp_path / "x.tar", entries)
        assert shards(str(tmp_path), size=8).train.labels.tolist() == [[1], [2]]


def shards_pixels(number):
    return torch.from_numpy(pixels(number)).permute(2, 0, 1)


def test_a_path_with_brackets_and_hidden_files_in_a_folder(tmp_path):
    folder = tmp_path / "[1]"
    folder.mkdir()
    write_tar(folder / "X.TAR", IMAGES)
    (folder / "._X.TAR").write_bytes(b"attributes of macOS")
    assert len(shards(str(folder), size=8).train) == len(shards(str(folder / "X.TAR"), size=8).train) == 4


def test_errors_of_an_image_name_it_and_keep_their_remedy(tmp_path):
    write_tar(tmp_path / "x.tar", IMAGES)
    train = shards(str(tmp_path), size=8, crop=64).train
    with pytest.raises(InputError, match=r"x\.tar: 1\.png: crop 64 received; the image has 8 x 8 pixels"):
        train.gather(torch.tensor([1]))


def test_hidden_entries_of_tar_files_are_left_out(tmp_path):
    write_tar(tmp_path / "x.tar", [("./a.png", encoded(0)), ("./._a.png", b"-"), ("./a.cls", b"7\n")])
    assert shards(str(tmp_path), size=8).train.labels.tolist() == [[7]]


def test_entries_that_are_no_images_and_vanished_shards_name_the_file(tmp_path):
    write_tar(tmp_path / "x.tar", [("a.png", b"no image"), ("b.png", encoded(1))])
    images = shards(str(tmp_path), size=8).train
    with pytest.raises(
        InputError, match=r"x\.tar: a\.png is not a readable image \(unknown format\); repair or remove it"
    ):
        images.gather(torch.tensor([1, 0]))
    (tmp_path / "x.tar").unlink()
    with pytest.raises(InputError, match=r"x\.tar: not readable"):
        images.gather(torch.tensor([1]))
