"""Codes in every kind of array: scored as the same numbers, or refused in one line."""

import warnings

import numpy as np
import pytest
import torch
from helpers.codes import QUICK
from scipy import sparse

from mmdprior import InputError, importance, independence, lps
from mmdprior.columns import counting_columns, doubtful_names
from mmdprior.metrics.inputs import to_tensor

Z = np.random.default_rng(0).normal(size=(60, 3)) + np.array([[0.0, 0.0, 1.0]])


class Protocol:
    """An object with one array protocol only."""

    def __init__(self, array, protocol):
        self.array = array
        setattr(
            type(self), protocol, lambda self, *args, **kwargs: getattr(self.array, protocol)(*args, **kwargs)
        )


def with_array(array):
    return type("WithArray", (Protocol,), {})(array, "__array__")


def with_dlpack(array):
    kind = type("WithDlpack", (Protocol,), {})
    kind.__dlpack_device__ = lambda self: self.array.__dlpack_device__()
    return kind(array, "__dlpack__")


class Frame:
    """The part of a data frame of polars that is used."""

    def __init__(self, **columns):
        self.data, self.columns = columns, list(columns)

    def __getitem__(self, name):
        return type("Series", (), {"to_numpy": lambda _: self.data[name]})()

    def to_numpy(self):
        return np.stack(list(self.data.values()), 1)


class Table(Frame):
    """The part of a table of Arrow that is used: ``columns`` are the values."""

    def __init__(self, **columns):
        super().__init__(**columns)
        self.column_names, self.columns = list(columns), list(columns.values())


def read_only(z):
    z = z.copy()
    z.flags.writeable = False
    return z


def negated(z):
    """Return a view whose negation is pending."""
    return torch.complex(torch.zeros(z.shape, dtype=torch.float64), -torch.from_numpy(z)).conj().imag


FORMS = {
    "nested lists": lambda z: z.tolist(),
    "tuple of rows": lambda z: tuple(map(tuple, z)),
    "list of arrays": list,
    "list of tensors": lambda z: list(torch.from_numpy(z)),
    "tensor that requires grad": lambda z: torch.from_numpy(z).requires_grad_(),
    "parameter": lambda z: torch.nn.Parameter(torch.from_numpy(z)),
    "pending negation": negated,
    "pending conjugation": lambda z: (
        torch.complex(torch.from_numpy(z), torch.ones_like(torch.from_numpy(z))).conj().real
    ),
    "negative strides": lambda z: z[::-1, ::-1].copy()[::-1, ::-1],
    "Fortran order": np.asfortranarray,
    "every second column": lambda z: np.repeat(z, 2, 1)[:, ::2],
    "transposed view": lambda z: np.ascontiguousarray(z.T).T,
    "big endian": lambda z: z.astype(">f8"),
    "np.matrix": np.asmatrix,
    "masked, nothing masked": lambda z: np.ma.masked_array(z, mask=False),
    "read-only": read_only,
    "expanded tensor": lambda z: torch.from_numpy(z)[None].expand(2, -1, -1)[1],
    "__array__": with_array,
    "__dlpack__": with_dlpack,
    "polars": lambda z: Frame(z0=z[:, 0], z1=z[:, 1], z2=z[:, 2]),
    "Arrow": lambda z: Table(z0=z[:, 0], z1=z[:, 1], z2=z[:, 2]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_codes_has_the_same_score(form):
    codes = FORMS[form](Z)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lps(codes, **QUICK).to_json() == lps(Z, **QUICK).to_json()


def test_read_only_memory_maps_are_scored_without_a_warning_of_torch(tmp_path):
    np.save(tmp_path / "z.npy", Z)
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lps(mapped, **QUICK).score == lps(Z, **QUICK).score
        assert independence(mapped, thorough=False).n == 60
        assert importance(mapped, repeats=1).shape == (3, 3)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "uint16", "int32", "int64", "uint32", "uint64"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_integers_are_scored_as_their_values(kind, library):
    high = 2 if kind == "bool" else 100
    z = np.random.default_rng(0).integers(0, high, (200, 3)).astype(kind)
    codes = torch.from_numpy(z) if library == "torch" else z
    with pytest.warns(UserWarning, match="only integers"):
        assert lps(codes, **QUICK).r2 == pytest.approx(lps(z.astype(float), **QUICK).r2, abs=1e-5)


def test_large_integers_keep_their_digits():
    z = np.random.default_rng(0).integers(0, 1000, (200, 2)) + 10**9  # float32 has steps of 64 here
    with pytest.warns(UserWarning, match="only integers"):
        ours = lps(torch.from_numpy(z), **QUICK).r2
    with pytest.warns(UserWarning, match="only integers"):
        np.testing.assert_allclose(ours, lps(z - 10**9, **QUICK).r2, atol=1e-5)


def masked(z):
    return np.ma.masked_array(z, mask=z > 2)


STRUCTURED = np.zeros(60, dtype=[("a", float), ("b", float)])


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (masked(Z), r"masked entries in \d+ of 60 rows received; remove those rows, or give codes.filled"),
        (np.ma.masked_invalid(np.where(Z > 2, np.nan, Z)), "masked entries"),
        (np.ma.masked_equal(np.ones((60, 2)), 1), "120 masked entries in 60 of 60 rows"),
        (STRUCTURED, r"fields \['a', 'b'\] received; give numpy.lib.recfunctions"),
        (Z.astype(object), "object entries received"),
        (Z.astype(str), "entries received; give real numbers"),
        (Z.astype("datetime64[s]"), "datetime64"),
        (Z + 1j, "complex128 entries"),
        (torch.from_numpy(Z + 1j), "complex128 received; give real numbers"),
        (torch.from_numpy(Z).to_sparse(), "sparse_coo received; give a dense array, codes.to_dense"),
        (torch.from_numpy(Z).to_sparse_csr(), "sparse_csr received"),
        (sparse.csr_matrix(Z), "sparse csr_matrix received; give codes.toarray()"),
        (sparse.coo_array(Z), "sparse coo_array received"),
        (torch.nested.nested_tensor([torch.randn(3, 2), torch.randn(4, 2)]), "nested tensor received"),
        (torch.quantize_per_tensor(torch.randn(60, 2), 0.1, 0, torch.qint8), "codes.dequantize"),
        ([[1.0, 2.0], [3.0]], "rows of different lengths received"),
        ([torch.zeros(3), torch.zeros(2)], "tensors of different shapes"),
        ([["a", "b"]] * 60, "entries received; give real numbers"),
        ([], r"shape \(0,\) received"),
        ("codes.npy", "str received; give an .n, d. array of real numbers; load the file first"),
        ({"z": Z}, "dict received"),
        (3.0, "float received"),
        (None, "NoneType received"),
        (torch.randn(50, 4, 3), r"give two axes, \(n, d\), such as codes.reshape\(50, -1\)"),
        (torch.randn(50, 4, 1, 1), r"reshape\(50, -1\)"),
        (torch.randn(()), r"shape \(\) received"),
        (np.zeros((0, 3)), "0 rows received"),
        (np.zeros((50, 0)), "0 columns received"),
        (torch.randn(8, 500), "8 rows received for 500 columns; give at least 502, or codes.T"),
        (np.full((50, 2), 1e5).astype(np.float16), "float16 overflows above 65504"),
        (Frame(z0=Z[:, 0], z1=Z[:, 1], label=Z[:, 2]), r"columns \['label'\] received, which are no code"),
        (Frame(**{"Unnamed: 0": Z[:, 0], "a": Z[:, 1], "b": Z[:, 2]}), "Unnamed: 0"),
        (Table(a=Z[:, 0], b=Z[:, 1], image_id=Z[:, 2]), "image_id"),
        (Frame(z0=Z[:, 0], z1=Z[:, 1].astype(str)), r"columns \['z1'\] are not numeric"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:.*nested tensors", "ignore:Sparse")
def test_what_is_no_array_of_codes_is_refused_in_one_line(codes, message):
    with pytest.raises(InputError, match=message) as caught:
        lps(codes)
    assert "\n" not in str(caught.value)


def test_data_frames_of_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(Z, columns=["a", "b", "c"])
    expected = lps(Z, **QUICK).score
    assert lps(frame, **QUICK).score == expected
    assert lps(pandas.DataFrame(Z), **QUICK).score == expected
    assert lps(frame.iloc[::-1].iloc[::-1].astype("Float64"), **QUICK).score == expected
    assert lps(frame.astype({"a": "float32"}), **QUICK).score == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match="target"):
        lps(frame.rename(columns={"b": "target"}))
    with pytest.raises(InputError, match=r"columns \['c'\] are not numeric"):
        lps(frame.astype({"c": str}))
    missing = frame.astype("Float64")
    missing.iloc[3, 1] = pandas.NA
    with pytest.raises(InputError, match="NaN or infinity in 1 of 60 rows, the first at row 3"):
        lps(missing)


@pytest.mark.parametrize(
    "column",
    [
        np.arange(60),
        np.arange(60)[::-1] * 10.0,
        np.random.default_rng(1).permutation(60),
        np.geomspace(1, 9, 60),
    ],
)
def test_a_column_that_numbers_the_rows_is_named(column):
    with pytest.warns(UserWarning, match="column 3 number the rows, like an index or a time"):
        lps(np.c_[Z, column], **QUICK)
    assert counting_columns(torch.from_numpy(Z)) == []


def test_columns_that_are_no_codes_by_their_names():
    for name in (
        "label",
        "Class",
        "targets",
        "ID",
        "index",
        "Unnamed: 0",
        "",
        "time",
        "orientation",
        "y_true_label",
    ):
        assert doubtful_names(["a", name, "b"]) == [1], name
    assert doubtful_names(["z0", "z1", "y"]) == [2]
    assert doubtful_names(["z_0", "z_1", "label_0", "label_1"]) == [2, 3]
    for names in (
        ["x", "y"],
        ["0", "1", "2"],
        ["mu_0", "mu_1"],
        ["sample_0", "sample_1"],
        ["classic", "identity"],
    ):
        assert doubtful_names(names) == [], names


def test_long_runs_of_constant_columns_are_all_named():
    z = np.zeros((600, 40))
    z[:, [0, 20, 21]] = np.random.default_rng(0).normal(size=(600, 3))
    with pytest.warns(UserWarning, match="constant columns 1-19, 22-39: neither"):
        lps(z, **QUICK)


def test_to_tensor_copies_no_plain_array():
    z = torch.randn(5, 2)
    assert to_tensor(z).data_ptr() == z.data_ptr()
    array = np.zeros((5, 2))
    assert to_tensor(array).data_ptr() == array.ctypes.data
