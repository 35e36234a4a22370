"""Codes in tables and containers: the good file, the missing package, the damaged and the hostile file."""

import builtins
import bz2
import gzip
import json
import lzma

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.columns import Columns
from mmdprior.data.codes import is_codes, read_labels, read_latent
from mmdprior.data.factor_files import read_factors

Z = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
LABELS = [f"batch {i % 4}" for i in range(40)]
NEEDS = {
    ".parquet": "pyarrow",
    ".feather": "pyarrow",
    ".h5": "h5py",
    ".h5ad": "h5py",
    ".zarr": "zarr",
    ".hf": "datasets",
}


def table():
    pyarrow = pytest.importorskip("pyarrow", reason="writes tables of Arrow")
    return pyarrow.table({"z0": Z[:, 0], "z1": Z[:, 1], "z2": Z[:, 2], "batch": LABELS})


def vectors(**more):
    pyarrow = pytest.importorskip("pyarrow", reason="writes tables of Arrow")
    return pyarrow.table({"id": range(40), "embedding": Z.tolist(), **more})


def write(folder, kind, content=None):
    """Write codes in a container of a kind; return its path."""
    path = folder / f"z{kind}"
    if kind == ".parquet":
        from pyarrow import parquet

        parquet.write_table(vectors() if content is None else content, path)
    elif kind == ".feather":
        from pyarrow import feather

        feather.write_feather(vectors() if content is None else content, str(path))
    elif kind in (".h5", ".h5ad"):
        h5py = pytest.importorskip("h5py", reason="writes HDF5")
        with h5py.File(path, "w") as file:
            for name, array in (content or {"obsm/X_pca": Z, "obs/age": np.arange(40)}).items():
                file[name] = array
    elif kind == ".zarr":
        zarr = pytest.importorskip("zarr", reason="writes Zarr stores")
        group = zarr.open_group(str(path), mode="w")
        for name, array in (content or {"obsm/X_pca": Z, "obs/age": np.arange(40)}).items():
            group[name] = array
    else:
        datasets = pytest.importorskip("datasets", reason="writes its data sets")
        datasets.Dataset(content or vectors()).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("kind", NEEDS)
def test_the_only_codes_are_found(tmp_path, kind):
    if kind in (".parquet", ".feather"):
        pytest.importorskip("pyarrow", reason="writes tables of Arrow")
    path = write(tmp_path, kind)
    assert is_codes(path)
    np.testing.assert_array_equal(read_latent(path).mean, Z)
    assert read_latent(path, limit=20).mean.shape == (20, 3)


@pytest.mark.parametrize("kind", NEEDS)
def test_a_missing_package_is_named_with_its_extra(tmp_path, kind, monkeypatch):
    path = tmp_path / f"z{kind}"
    if kind in (".zarr", ".hf"):
        path.mkdir()
        (path / (".zgroup" if kind == ".zarr" else "dataset_info.json")).write_text("{}")
    else:
        path.write_bytes(b"any")
    plain, missing = builtins.__import__, NEEDS[kind]

    def without(name, *arguments, **settings):
        if name.split(".")[0] == missing:
            raise ImportError(name)
        return plain(name, *arguments, **settings)

    if kind == ".hf":
        pytest.importorskip("pyarrow", reason="read before datasets")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=rf'needs {missing}; pip install "mmdprior\[tables\]", or save .npy'):
        read_latent(path)


@pytest.mark.parametrize("kind", [".parquet", ".feather", ".h5", ".h5ad"])
@pytest.mark.parametrize("content", [b"", b"junk", "cut"])
def test_damaged_files(tmp_path, kind, content):
    pytest.importorskip(NEEDS[kind], reason="reads the file")
    path = write(tmp_path, kind)
    path.write_bytes(path.read_bytes()[:-200] if content == "cut" else content)
    with pytest.raises(InputError, match=rf"z{kind}: (damaged|not a)") as caught:
        read_latent(path)
    assert "\n" not in str(caught.value)


def test_damaged_stores(tmp_path):
    path = write(tmp_path, ".zarr")
    for file in path.rglob("zarr.json"):
        file.write_text("junk")
    with pytest.raises(InputError, match="damaged"):
        read_latent(path)
    path = write(tmp_path, ".hf")
    for file in path.glob("*.arrow"):
        file.write_bytes(b"junk")
    with pytest.raises(InputError, match="a data set that cannot be read"):
        read_latent(path)


@pytest.mark.parametrize("kind", [".h5", ".zarr"])
def test_keys_of_hierarchies(tmp_path, kind):
    path = write(
        tmp_path, kind, {"X": np.zeros((40, 9), np.float32), "obsm/X_pca": Z, "obsm/name": np.ones(3)}
    )
    with pytest.raises(InputError, match=r"arrays X \(40, 9\), obsm/X_pca \(40, 3\) received; give one"):
        read_latent(path)
    np.testing.assert_array_equal(read_latent(path, key="obsm/X_pca").mean, Z)
    assert read_latent(path, key="X").mean.shape == (40, 9)
    assert read_latent(path, key="obsm/X_pca", columns=Columns(drop=["1"])).mean.shape == (40, 2)
    with pytest.raises(InputError, match="--key: 'obsm/umap' received.*no such array; its arrays are X"):
        read_latent(path, key="obsm/umap")


def test_codes_and_their_variances(tmp_path):
    path = write(tmp_path, ".h5", {"mean": Z, "sample": Z + 1, "log_var": -Z})
    latent = read_latent(path)
    np.testing.assert_array_equal(latent.sample, Z + 1)
    np.testing.assert_array_equal(latent.log_var, -Z)


class TestAnnData:
    def test_a_file_of_anndata(self, tmp_path):
        anndata = pytest.importorskip("anndata", reason="writes .h5ad")
        pandas = pytest.importorskip("pandas", reason="holds its annotations")
        sparse = pytest.importorskip("scipy.sparse", reason="holds its counts")
        obs = pandas.DataFrame({"batch": pandas.Categorical(LABELS)}, index=[str(i) for i in range(40)])
        data = anndata.AnnData(sparse.csr_matrix(np.eye(40, 7)), obs=obs, obsm={"X_pca": Z})
        data.write_h5ad(tmp_path / "z.h5ad")
        np.testing.assert_array_equal(read_latent(tmp_path / "z.h5ad").mean, Z)
        labels = np.asarray(read_labels(tmp_path / "z.h5ad", "obs/batch"))
        assert len(set(labels.tolist())) == 4
        assert labels[0] == labels[4] != labels[1]
        with pytest.raises(InputError, match="a sparse matrix; give a dense array"):
            read_latent(tmp_path / "z.h5ad", key="X")

    def test_labels(self, tmp_path):
        path = write(tmp_path, ".h5", {"z": Z, "obs/batch": np.array(LABELS, dtype="S")})
        assert read_labels(path, "obs/batch").tolist() == LABELS
        assert read_labels(path, "obs/other") is None


class TestHostileHierarchies:
    def test_links_and_external_storage_are_not_followed(self, tmp_path):
        h5py = pytest.importorskip("h5py", reason="writes HDF5")
        secret = write(tmp_path, ".h5")
        with h5py.File(tmp_path / "evil.h5", "w") as file:
            file["link"] = h5py.ExternalLink(str(secret), "obsm/X_pca")
            file["circle"] = h5py.SoftLink("/")
            file.create_group("inside")["again"] = file["/"]
            file.create_dataset("raw", (10, 3), np.float32, external=[(str(secret), 0, 120)])
            layout = h5py.VirtualLayout((40, 3), np.float32)
            layout[:] = h5py.VirtualSource(str(secret), "obsm/X_pca", shape=(40, 3))
            file.create_virtual_dataset("virtual", layout)
        with pytest.raises(InputError, match="arrays missing received"):
            read_latent(tmp_path / "evil.h5")
        for key in ("link", "raw", "virtual"):
            with pytest.raises(InputError, match=f"--key: '{key}' received"):
                read_latent(tmp_path / "evil.h5", key=key)

    def test_objects_are_not_read(self, tmp_path):
        path = write(tmp_path, ".h5", {"z": np.array([["a", "b"]] * 40, dtype="S")})
        with pytest.raises(InputError, match="give an array of numbers"):
            read_latent(path)

    def test_pickled_chunks_are_not_read(self, tmp_path):
        pytest.importorskip("zarr", reason="would read the store")
        path = tmp_path / "z.zarr"
        (path / "z").mkdir(parents=True)
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        codec = {"id": "pickle", "protocol": 4}
        array = {"zarr_format": 2, "shape": [4, 2], "chunks": [4, 2], "dtype": "|O", "order": "C"}
        array |= {"fill_value": None, "compressor": None, "filters": [codec]}
        (path / "z" / ".zarray").write_text(json.dumps(array))
        marker = tmp_path / "executed"
        (path / "z" / "0.0").write_bytes(f"cbuiltins\nopen\n(S'{marker}'\nS'w'\ntR.".encode())
        with pytest.raises(InputError, match="holds pickled objects"):
            read_latent(path)
        assert not marker.exists()


class TestTables:
    @pytest.mark.parametrize("kind", [".parquet", ".feather"])
    def test_numeric_columns(self, tmp_path, kind):
        path = write(tmp_path, kind, table())
        with pytest.raises(InputError, match="give --drop batch"):
            read_latent(path)
        np.testing.assert_array_equal(read_latent(path, columns=Columns(drop=["batch"])).mean, Z)
        np.testing.assert_array_equal(read_latent(path, columns=Columns(["z0", "z2"])).mean, Z[:, [0, 2]])
        assert read_labels(path, "batch") == LABELS
        np.testing.assert_array_equal(read_latent(path, leave_out="batch").mean, Z)
        assert list(read_factors(f"{path}:batch")) == ["batch"]

    def test_columns_of_vectors(self, tmp_path):
        path = write(tmp_path, ".parquet", vectors(other=(2 * Z).tolist(), text=["a"] * 40))
        with pytest.raises(InputError, match=r"give --drop id|\['embedding', 'other'\] received; give one"):
            read_latent(path)
        np.testing.assert_array_equal(read_latent(path, key="other").mean, 2 * Z)
        chosen = read_latent(path, key="other", columns=Columns(["0-1"])).mean
        np.testing.assert_array_equal(chosen, 2 * Z[:, :2])
        with pytest.raises(InputError, match="'z' received.*its columns are id, embedding, other, text"):
            read_latent(path, key="z")
        with pytest.raises(InputError, match="'text' of .* holds string; give a column of vectors"):
            read_latent(path, key="text")

    @pytest.mark.parametrize(
        ("cells", "message"),
        [
            ([[1.0, 2.0], [1.0]] * 20, "different lengths"),
            ([[1.0, 2.0], None] * 20, "20 of 40 cells are missing"),
        ],
    )
    def test_vectors_that_are_no_matrix(self, tmp_path, cells, message):
        pyarrow = pytest.importorskip("pyarrow", reason="writes tables of Arrow")
        path = write(tmp_path, ".parquet", pyarrow.table({"embedding": cells}))
        with pytest.raises(InputError, match=message):
            read_latent(path)

    def test_splits_of_data_sets(self, tmp_path):
        datasets = pytest.importorskip("datasets", reason="writes its data sets")
        splits = {name: datasets.Dataset(vectors()) for name in ("train", "test")}
        datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "hf"))
        with pytest.raises(InputError, match="splits train, test received; give --key SPLIT or SPLIT/COLUMN"):
            read_latent(tmp_path / "hf")
        for key in ("test", "test/embedding"):
            np.testing.assert_array_equal(read_latent(tmp_path / "hf", key=key).mean, Z)

    @pytest.mark.parametrize("suffix", [".csv.gz", ".tsv.bz2", ".txt.xz", ".CSV.GZ"])
    def test_compressed_text(self, tmp_path, suffix):
        opener = {".bz2": bz2.open, ".xz": lzma.open}.get(suffix[4:], gzip.open)
        path = tmp_path / f"z{suffix}"
        with opener(path, "wt") as file:
            file.write("z0,z1,z2,batch\n")
            file.writelines(
                f"{','.join(map(repr, row))},{name}\n" for row, name in zip(Z.tolist(), LABELS, strict=True)
            )
        assert is_codes(path)
        np.testing.assert_array_equal(read_latent(path, leave_out="batch").mean, Z.astype(float))
        assert read_labels(path, "batch") == LABELS
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], b"junk", whole[:20] + bytes(20) + whole[40:]):
            path.write_bytes(damaged)
            with pytest.raises(InputError, match=r"damaged|no numbers|not text") as caught:
                read_latent(path, columns=Columns(drop=["batch"]))
            assert "\n" not in str(caught.value)


class TestKeysOfArrays:
    def test_npz(self, tmp_path):
        np.savez(tmp_path / "z.npz", a=Z, b=2 * Z)
        np.testing.assert_array_equal(read_latent(tmp_path / "z.npz", key="b").mean, 2 * Z)
        with pytest.raises(InputError, match="arrays a, b received; give one of them to --key"):
            read_latent(tmp_path / "z.npz")
        with pytest.raises(InputError, match="'c' received for .*; it holds a, b"):
            read_latent(tmp_path / "z.npz", key="c")
        np.save(tmp_path / "z.npy", Z)
        with pytest.raises(InputError, match="one array without a name"):
            read_latent(tmp_path / "z.npy", key="c")

    def test_nested_dicts_of_torch(self, tmp_path):
        content = {"epoch": 3, "latents": {"z.mean": torch.from_numpy(Z), "n": 4}}
        torch.save(content, tmp_path / "z.pt")
        np.testing.assert_array_equal(read_latent(tmp_path / "z.pt", key="latents.z.mean").mean, Z)
        with pytest.raises(InputError, match="dict with epoch, latents received"):
            read_latent(tmp_path / "z.pt")
        for key, message in (
            ("latents.n", "is int"),
            ("latents", "holds z.mean, n"),
            ("x", "epoch, latents"),
        ):
            with pytest.raises(InputError, match=message):
                read_latent(tmp_path / "z.pt", key=key)

    @pytest.mark.parametrize("content", [b"junk", b"", b"\x89HDF", b"a,b\n1,2\n"])
    def test_other_files_never_show_the_advice_of_torch(self, tmp_path, content):
        (tmp_path / "z.pt").write_bytes(content)
        with pytest.raises(InputError, match="not a plain tensor") as caught:
            read_latent(tmp_path / "z.pt")
        assert "weights_only" not in str(caught.value)


def test_scores_take_keys_and_folders(tmp_path):
    from mmdprior.scoring import Scorer
    from mmdprior.scoring.foreign_encoder import EncoderOptions

    torch.save({"z": torch.from_numpy(Z), "y": torch.zeros(40, 1)}, tmp_path / "z.pt")
    result, _ = Scorer(["linear"], encoder_options=EncoderOptions(key="z")).file(str(tmp_path / "z.pt"))
    assert result.dim == 3
    result, _ = Scorer(["linear"]).file(str(write(tmp_path, ".zarr")))
    assert result.dim == 3
