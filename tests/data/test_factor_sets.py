"""Factor data sets, on small files in the published formats."""

import gzip
import io
import pickle
import tarfile
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.data import Source, make_splits
from mmdprior.data.cars3d import cars3d
from mmdprior.data.dsprites import dsprites
from mmdprior.data.factor_images import FactorImages, fetch
from mmdprior.data.factor_table import FactorTable, evenly, numbered
from mmdprior.data.mpi3d import mpi3d
from mmdprior.data.shapes3d import shapes3d
from mmdprior.data.smallnorb import smallnorb
from mmdprior.testing import check_source

# The package has functions of the same names as these modules.
dsprites_module, mpi3d_module, shapes3d_module, smallnorb_module = (
    import_module(f"mmdprior.data.{name}") for name in ("dsprites", "mpi3d", "shapes3d", "smallnorb")
)

SMALL = FactorTable(
    ("shape", "scale", "orientation", "x", "y"), numbered((3, 2, 4, 2, 2)), ("orientation",), ("shape",)
)


def pixels(n, *shape, high=256):
    return np.random.default_rng(0).integers(0, high, (n, *shape), dtype=np.uint8)


class TestFactorTable:
    def test_rows_are_those_of_numpy(self):
        rows = torch.arange(len(SMALL))
        grid = np.stack(np.unravel_index(np.arange(len(SMALL)), SMALL.sizes), 1)
        assert torch.equal(SMALL.factors_of(rows), torch.from_numpy(grid))
        assert torch.equal(SMALL.index_of(torch.from_numpy(grid)), rows)

    def test_every_keeps_values_and_order(self):
        table, rows = SMALL.every({"orientation": 2, "y": 2})
        assert table.sizes == (3, 2, 2, 2, 1)
        assert table.values[2] == (0.0, 2.0)
        kept = SMALL.factors_of(rows)
        assert kept[:, 2].unique().tolist() == [0, 2]
        assert rows.tolist() == sorted(rows.tolist())
        halves = torch.tensor([1, 1, 2, 1, 2])
        assert torch.equal(torch.div(kept, halves, rounding_mode="floor"), table.factors_of(torch.arange(24)))

    def test_samples_are_uniform_and_fixed_where_asked(self, generator):
        factors = SMALL.sample_factors(4000, generator, fixed={"scale": 1})
        assert factors[:, 1].unique().tolist() == [1]
        assert (factors[:, 0].bincount() / 4000 - 1 / 3).abs().max() < 0.04

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (
                lambda: SMALL.index_of(torch.zeros(2, 4, dtype=torch.long)),
                r"factors: shape \(2, 4\) received",
            ),
            (
                lambda: SMALL.index_of(torch.tensor([[3, 0, 0, 0, 0]])),
                "factors: shape 3 to 3 received; give 0 to 2",
            ),
            (lambda: SMALL.index_of(torch.tensor([[0, 0, -1, 0, 0]])), "orientation -1 to -1"),
            (
                lambda: SMALL.sample_factors(2, fixed={"colour": 0}),
                "factor: 'colour' received; give one of shape",
            ),
            (lambda: SMALL.every({"x": 0}), "every.x: 0 received; give an integer of at least 1"),
            (lambda: SMALL.every({"hue": 2}), "factor: 'hue' received"),
        ],
    )
    def test_bad_input_is_named(self, call, message):
        with pytest.raises(InputError, match=message):
            call()


class TestDsprites:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch):
        monkeypatch.setattr(dsprites_module, "_TABLE", SMALL)
        monkeypatch.setattr(dsprites_module, "_HDF5_SIZE", None)

    def npz(self, folder, images, **more):
        """Write a file with the arrays of the published one; its metadata is a pickled object."""
        path = folder / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
        classes = np.concatenate([np.zeros((len(images), 1)), SMALL.factors_of(torch.arange(len(images)))], 1)
        arrays = {"imgs": images, "latents_classes": classes.astype(np.int64), "latents_values": classes}
        np.savez_compressed(path, metadata=np.array(Explosive(), object), **{**arrays, **more})
        return path

    def test_the_published_npz(self, tmp_path):
        images = pixels(96, 64, 64, high=2)
        self.npz(tmp_path, images)
        source = dsprites(str(tmp_path))
        check_source(source)
        gathered, factors = source.train.gather(torch.tensor([95, 0, 7]))
        assert torch.equal(gathered[:, 0], torch.from_numpy(images[[95, 0, 7]]) * 255)
        assert factors.tolist() == [[2, 1, 3, 1, 1], [0, 0, 0, 0, 0], [0, 0, 1, 1, 1]]
        assert source.train.label_names == SMALL.names

    def test_a_coarser_grid_has_the_same_images(self, tmp_path):
        images = pixels(96, 64, 64, high=2)
        train = dsprites(str(self.npz(tmp_path, images)), every={"orientation": 2, "x": 2}).train
        assert len(train) == 24
        gathered, factors = train.gather(torch.arange(24))
        rows = SMALL.index_of(factors * torch.tensor([1, 1, 2, 2, 1]))
        assert torch.equal(gathered[:, 0], torch.from_numpy(images)[rows] * 255)

    def test_a_file_of_images_factors_and_values(self, tmp_path):
        images = pixels(96, 64, 64)
        factors = SMALL.factors_of(torch.arange(96)).numpy()
        np.savez(tmp_path / "grid.npz", images=images, factors=factors, values=factors * 0.5)
        train = dsprites(str(tmp_path / "grid.npz")).train
        assert train.factor_table.values[2] == (0.0, 0.5, 1.0, 1.5)
        assert torch.equal(train.gather(torch.tensor([50]))[0][0, 0], torch.from_numpy(images[50]))
        np.savez(tmp_path / "part.npz", images=images[:90], factors=factors[:90], values=factors[:90])
        with pytest.raises(
            InputError, match="no full grid in order received; open the file with data.name: arrays"
        ):
            dsprites(str(tmp_path / "part.npz"))

    def test_the_published_hdf5(self, tmp_path):
        h5py = pytest.importorskip("h5py")
        images = pixels(96, 64, 64, high=2)
        with h5py.File(tmp_path / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.hdf5", "w") as file:
            file.create_dataset("imgs", data=images, chunks=(10, 64, 64), compression="gzip")
        train = dsprites(str(tmp_path)).train
        assert torch.equal(train.gather(torch.arange(96))[0][:, 0], torch.from_numpy(images) * 255)

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (pixels(95, 64, 64), r"imgs \(95, 64, 64\) of uint8 received; give \(96, 64, 64\) of uint8"),
            (pixels(96, 32, 32), r"imgs \(96, 32, 32\)"),
            (np.zeros((96, 64, 64), np.float32), "of float32 received"),
        ],
    )
    def test_another_file_is_refused(self, tmp_path, images, message):
        with pytest.raises(InputError, match=message):
            dsprites(str(self.npz(tmp_path, images)))

    @pytest.mark.parametrize("kept", [0, 100, 9000])
    def test_damage_is_named_and_leaves_no_copy(self, tmp_path, kept):
        path = self.npz(tmp_path, pixels(96, 64, 64))
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(InputError, match="damaged"):
            dsprites(str(path))
        assert [file.name for file in tmp_path.iterdir()] == [path.name]

    def test_a_broken_member_is_named(self, tmp_path):
        path = self.npz(tmp_path, pixels(96, 64, 64))
        content = bytearray(path.read_bytes())
        place = content.index(b"imgs.npy") + 5000
        content[place : place + 64] = bytes(64)
        path.write_bytes(bytes(content))
        with pytest.raises(InputError, match="damaged"):
            dsprites(str(path))

    def test_a_cache_elsewhere_and_a_cache_that_cannot_be_written(self, tmp_path):
        path = self.npz(tmp_path, pixels(96, 64, 64))
        dsprites(str(path), cache=str(tmp_path / "cache"))
        assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".npy"]
        with pytest.raises(InputError, match="cannot be written .*; give another folder as cache"):
            dsprites(str(path), cache="/proc/nowhere")

    def test_it_is_pickled_without_its_images(self, tmp_path):
        train = dsprites(str(self.npz(tmp_path, pixels(96, 64, 64)))).train
        train.gather(torch.arange(3))
        content = pickle.dumps(train)
        assert len(content) < 10_000
        assert torch.equal(pickle.loads(content).gather(torch.arange(3))[0], train.gather(torch.arange(3))[0])


class Explosive:
    """An object that may not be unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("pickled metadata was read",))


def test_shapes3d(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    names = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
    monkeypatch.setattr(shapes3d_module, "_TABLE", FactorTable(names, numbered((2, 2, 2, 2, 2, 3))))
    monkeypatch.setattr(shapes3d_module, "_SIZE", None)
    images = pixels(96, 64, 64, 3)
    with h5py.File(tmp_path / "3dshapes.h5", "w") as file:
        file["images"] = images
    source = shapes3d(str(tmp_path), every={"orientation": 3})
    check_source(source)
    assert source.train.image_shape == (3, 64, 64)
    gathered = source.train.gather(torch.tensor([5]))[0][0]
    assert torch.equal(gathered, torch.from_numpy(images[15]).permute(2, 0, 1))
    with h5py.File(tmp_path / "3dshapes.h5", "w") as file:
        file["labels"] = np.zeros(3)
    (tmp_path / "3dshapes.h5.96x64x64x3.npy").unlink()
    with pytest.raises(InputError, match="images: no array received"):
        shapes3d(str(tmp_path))


def test_a_file_of_another_size_is_refused(tmp_path):
    (tmp_path / "3dshapes.h5").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="100 bytes received; the published file has 267573662"):
        shapes3d(str(tmp_path))


@pytest.mark.parametrize("variant", ["toy", "realistic", "real", "complex"])
def test_mpi3d(tmp_path, monkeypatch, variant):
    name, _ = mpi3d_module._FILES[variant]
    monkeypatch.setitem(mpi3d_module._FILES, variant, (name, (2, 2, 1, 2, 1, 2, 2)))
    images = pixels(32, 64, 64, 3)
    np.savez(tmp_path / name, images=images)
    train = mpi3d(str(tmp_path), variant=variant).train
    gathered, factors = train.gather(torch.tensor([19]))
    assert torch.equal(gathered[0], torch.from_numpy(images[19]).permute(2, 0, 1))
    assert factors.tolist() == [[1, 0, 0, 0, 0, 1, 1]]


class TestCars3d:
    def archive(self, folder, cars=3):
        """Write meshes in the published format, in an order that is not alphabetical."""
        scipy_io = pytest.importorskip("scipy.io")
        whole = np.broadcast_to(pixels(3, 24, 4), (128, 128, 3, 24, 4))
        views = {f"car_{i:03}_mesh.mat": whole // np.uint8(i + 1) for i in range(cars)}
        with tarfile.open(folder / "nips2015-analogy-data.tar.gz", "w:gz", compresslevel=1) as archive:
            for name, im in reversed(views.items()):
                buffer = io.BytesIO()
                scipy_io.savemat(buffer, {"im": im})
                entry = tarfile.TarInfo(f"data/cars/{name}")
                entry.size = buffer.getbuffer().nbytes
                buffer.seek(0)
                archive.addfile(entry, buffer)
        return views

    def test_the_published_archive(self, tmp_path):
        views = self.archive(tmp_path)
        train = cars3d(str(tmp_path), size=128).train
        assert train.factor_table.sizes == (4, 24, 3)
        image, factors = train.gather(train.factor_table.index_of(torch.tensor([[2, 7, 1]])))
        assert factors.tolist() == [[2, 7, 1]]
        expected = torch.from_numpy(views["car_001_mesh.mat"][..., 7, 2]).permute(2, 0, 1)
        assert torch.equal(image[0], expected)
        small = cars3d(str(tmp_path), size=32, every={"azimuth": 12}).train
        means = small.gather(torch.arange(len(small)))[0].float().mean((1, 2, 3))
        assert len(small) == 24
        assert (means[::3] / means[1::3] - 2).abs().max() < 0.1

    def test_damage_is_named(self, tmp_path):
        self.archive(tmp_path, cars=1)
        path = tmp_path / "nips2015-analogy-data.tar.gz"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(InputError, match="damaged"):
            cars3d(str(tmp_path))


class TestSmallnorb:
    SIZES = (2, 4, 1, 3, 2)

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        """Write the six files for half of the instances each, in random order."""
        table = replace(smallnorb_module._TABLE, values=numbered(self.SIZES))
        monkeypatch.setattr(smallnorb_module, "_TABLE", table)
        rows = torch.randperm(len(table))
        factors = table.factors_of(rows).numpy()
        for part, chosen in (("training", factors[:, 1] < 2), ("testing", factors[:, 1] >= 2)):
            own = factors[chosen].astype(np.int32)
            images = np.repeat(rows.numpy()[chosen], 2 * 96 * 96).astype(np.uint8).reshape(-1, 2, 96, 96)
            images[:, 1] = 255
            info = own[:, 1:] * np.array([1, 1, 2, 1], np.int32)
            for kind, array in (("dat", images), ("cat", own[:, 0].copy()), ("info", info)):
                self.write(tmp_path / smallnorb_module._FILES[part].format(kind), array)
        return tmp_path

    def write(self, path, array):
        magic = 0x1E3D4C55 if array.dtype == np.uint8 else 0x1E3D4C54
        sizes = [*array.shape, 1, 1][: max(3, array.ndim)]
        header = np.array([magic, array.ndim, *sizes], "<i4").tobytes()
        path.write_bytes(gzip.compress(header + np.ascontiguousarray(array).tobytes(), 1))

    def test_the_published_files(self, folder):
        source = smallnorb(str(folder), size=48)
        check_source(source)
        images, factors = source.train.gather(torch.arange(len(source.train)))
        assert images[:, 0, 20, 20].tolist() == list(range(48))
        assert torch.equal(factors, source.train.factor_table.factors_of(torch.arange(48)))
        azimuths = smallnorb(str(folder), size=48, every={"azimuth": 2}).train
        assert len(azimuths) == 32
        assert azimuths.gather(torch.tensor([2]))[0][0, 0, 0, 0] == 4

    def test_damage_is_named(self, folder):
        path = folder / smallnorb_module._FILES["testing"].format("cat")
        whole = path.read_bytes()
        for content in (whole[:30], b"", gzip.compress(b"x" * 100), gzip.compress(b"")):
            path.write_bytes(content)
            with pytest.raises(InputError, match="damaged|not a file of Small NORB"):
                smallnorb(str(folder))


def test_a_dead_link_is_named(tmp_path):
    url = (tmp_path / "gone.h5").as_uri()
    with pytest.raises(InputError, match=r"download: .*gone.h5 failed .*; get x.h5 elsewhere and put it in"):
        fetch(str(tmp_path), "x.h5", url, download=True)
    assert not list(tmp_path.iterdir())


def test_a_download_is_verified(tmp_path):
    (tmp_path / "served").write_bytes(b"other")
    url = (tmp_path / "served").as_uri()
    with pytest.raises(InputError, match="invalid hash value"):
        fetch(str(tmp_path / "root"), "x.h5", url, download=True, sha256="0" * 64)
    path = fetch(str(tmp_path / "root"), "x.h5", url, download=True, size=5)
    assert path.read_bytes() == b"other"


def test_splits_of_a_grid_train_without_its_images_in_memory(tmp_path):
    table = FactorTable(("a", "b"), (evenly(10), evenly(20)))
    np.save(tmp_path / "grid.npy", pixels(200, 8, 8))
    splits = make_splits(Source(FactorImages(tmp_path / "grid.npy", table)))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (160, 20, 20)
