"""Vectors and signals: arrays, tables, kinds, and sources of one's own."""

import warnings

import numpy as np
import pytest
import torch
import yaml

from mmdprior import InputError
from mmdprior.build.data import open_splits
from mmdprior.config.schema import DataSection
from mmdprior.data import Concatenated, ImageSet, InMemory, Source, arrays, make_splits
from mmdprior.data.codes import read_latent
from mmdprior.data.source import load_into_memory
from mmdprior.errors import InputWarning
from mmdprior.testing import check_source

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(40, 5)) * [1, 1000, 1e-3, 1, 1] + [0, 1e4, 0, -5, 100]
SIGNALS = 10 * RNG.normal(size=(40, 2, 30))


def saved(folder, array, name="x.npy"):
    np.save(folder / name, array)
    return str(folder / name)


def table(folder, header, rows, name="x.csv"):
    (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return str(folder / name)


@pytest.mark.parametrize(
    ("array", "options", "shape"),
    [
        (TABLE, {}, (5,)),
        (TABLE.astype(np.float32), {"kind": "vectors"}, (5,)),
        (RNG.integers(-3, 9, (40, 6)), {}, (6,)),
        (RNG.random((40, 6)) < 0.5, {}, (6,)),
        (TABLE, {"kind": "signals"}, (1, 5)),
        (SIGNALS, {"kind": "signals"}, (2, 30)),
        (RNG.integers(0, 255, (40, 3, 20)).astype(np.uint8), {"kind": "signals"}, (3, 20)),
        (RNG.random((40, 8, 8)), {"kind": "images"}, (1, 8, 8)),
    ],
)
def test_kinds_of_arrays(tmp_path, array, options, shape):
    source = arrays(saved(tmp_path, array), **options)
    assert source.train.image_shape == shape
    if len(shape) < 3:
        assert source.train.dtype == torch.float32
        np.testing.assert_allclose(source.train.images.numpy().ravel(), array.ravel(), rtol=1e-6)
        assert source.summary.startswith(f"40 {options.get('kind', 'vectors')} in")


@pytest.mark.parametrize(
    ("key", "array", "shape"),
    [
        ("signals", SIGNALS, (2, 30)),
        ("signals", TABLE, (1, 5)),
        ("vectors", TABLE, (5,)),
        ("features", TABLE, (5,)),
        ("imgs", RNG.random((40, 6, 9)), (1, 6, 9)),
    ],
)
def test_names_of_arrays_and_their_labels(tmp_path, key, array, shape):
    np.savez(tmp_path / "x.npz", **{key: array, "factors": np.arange(40)})
    train = arrays(str(tmp_path / "x.npz")).train
    assert train.image_shape == shape
    assert train.labels[:, 0].tolist() == list(range(40))


def test_three_axes_without_a_kind_are_images_or_an_error_that_names_the_option(tmp_path):
    with pytest.warns(
        InputWarning, match=r"images of 2 x 30; give kind: signals if .* otherwise kind: images"
    ):
        assert arrays(saved(tmp_path, RNG.random((9, 2, 30)))).train.image_shape == (1, 2, 30)
    for array in (SIGNALS, SIGNALS.astype(np.float16), RNG.integers(-9, 9, (9, 3, 8))):
        with pytest.raises(
            InputError, match=r"give value_range: .*, or kind: signals for \(n, channels"
        ) as caught:
            arrays(saved(tmp_path, array))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (SIGNALS, {"kind": "vectors"}, r"vectors of shape \(40, 2, 30\) received; give \(n, features\)"),
        (np.zeros((4, 2, 8, 8)), {"kind": "signals"}, r"signals of shape .* give \(n, channels, length\)"),
        (TABLE, {"kind": "images"}, "or kind: vectors"),
        (np.where(TABLE > 1e4, np.nan, TABLE), {}, r"x\.npy: vectors: NaN or infinity in \d+ of 40 vectors"),
        (np.where(SIGNALS > 20, np.inf, SIGNALS), {"kind": "signals"}, "signals: NaN or infinity in"),
        (1e300 * TABLE, {}, "vectors: NaN or infinity in 40 of 40"),
        (np.array([["a", "b"]]), {}, "vectors of type <U1 received; give numbers"),
        (np.zeros((0, 4)), {}, r"vectors of shape \(0, 4\)"),
        (TABLE, {"value_range": [0, 1]}, "value_range: received for vectors; only images"),
        (SIGNALS, {"background": "white", "kind": "signals"}, "background: received for signals"),
        (TABLE, {"drop": ["a"]}, r"drop: \['a'\] received .* only tables"),
    ],
)
def test_rejects_vectors_and_signals(tmp_path, array, options, message):
    with pytest.raises(InputError, match=message) as caught:
        arrays(saved(tmp_path, array), **options)
    assert "\n" not in str(caught.value)


class TestResolution:
    """Float64 data that float32 does not resolve."""

    @pytest.mark.parametrize("offset", [1e7, -1e9])
    @pytest.mark.parametrize(("kind", "unit"), [("vectors", "feature"), ("signals", "channel")])
    def test_features_with_a_large_mean_are_refused(self, tmp_path, offset, kind, unit):
        shape = (200, 5) if kind == "vectors" else (200, 5, 7)
        data = RNG.normal(size=shape)
        data[:, 3] += offset
        for array in (data, np.round(data * 3).astype(np.int64)):
            with pytest.raises(InputError, match=rf"x\.npy: {unit} 3: standard deviation \d") as caught:
                arrays(saved(tmp_path, array), kind=kind)
            assert "too small for float32; subtract its mean" in str(caught.value)

    def test_a_table_is_refused_too(self, tmp_path):
        rows = [f"{x},{y + 1e9}" for x, y in RNG.normal(size=(50, 2))]
        with pytest.raises(InputError, match=r"x\.csv: feature 1: standard deviation"):
            arrays(table(tmp_path, "a,b", rows))

    @pytest.mark.parametrize(
        "column",
        [
            RNG.normal(size=200) + 1e4,
            np.full(200, 1e9),
            np.where(np.arange(200) % 2, 0.3, 0.1 + 0.2),
            1e-30 * RNG.normal(size=200),
            RNG.standard_cauchy(200) ** 3,
            1e9 * RNG.random(200),
        ],
    )
    def test_other_features_are_read(self, tmp_path, column):
        data = np.stack([RNG.normal(size=200), column], 1)
        assert arrays(saved(tmp_path, data)).train.image_shape == (2,)
        # Few rows do not have the standard deviation of the training data.
        arrays(
            saved(tmp_path, data), test_path=saved(tmp_path, np.array([[0, 1e9], [0, 1e9 + 1]]), "few.npy")
        )
        arrays(saved(tmp_path, data[:3] + 1e9))
        arrays(saved(tmp_path, data.astype(np.float32)))


class TestTables:
    ROWS = ("1.5,2,3", "4,5.5,6", "7,8,9")

    def test_a_table_holds_vectors(self, tmp_path):
        assert arrays(table(tmp_path, "a,b,c", self.ROWS)).train.images.tolist()[1] == [4, 5.5, 6]
        semicolons = table(tmp_path, "a;b", ["1;2", "3;4"], "x.tsv")
        assert arrays(semicolons, test_path=semicolons).test.image_shape == (2,)
        without_header = table(tmp_path, "1 2 3", ["4 5 6"], "x.txt")
        assert arrays(without_header).train.images.tolist() == [[1, 2, 3], [4, 5, 6]]

    def test_columns_of_labels_and_row_numbers_are_dropped_by_name(self, tmp_path):
        species = table(tmp_path, "a,b,species", ["1,2,setosa", "3,4,virginica"])
        assert arrays(species, drop=["species"]).train.images.tolist() == [[1, 2], [3, 4]]
        with pytest.raises(
            InputError, match="line 2, column 3: 'setosa' received; .* leave the column out with drop$"
        ):
            arrays(species)
        named = table(tmp_path, "a,hue,label", self.ROWS)
        with pytest.raises(
            InputError, match=r"columns \['hue', 'label'\] .*; give drop: \[hue, label\], or drop: \[\]"
        ):
            arrays(named)
        assert arrays(named, drop=[]).train.image_shape == (3,)
        assert arrays(named, drop=["label"]).train.image_shape == (2,)
        numbered = table(tmp_path, "a,b", [f"{i},{x}" for i, x in enumerate(RNG.normal(size=20))])
        with pytest.raises(InputError, match=r"columns \['a'\] .* row numbers"):
            arrays(numbered)

    @pytest.mark.parametrize("header", ["", "a,b,c,", "a,b,c,id: 0", "a,b,c,label"])
    def test_the_error_about_columns_names_a_drop_that_works(self, tmp_path, header):
        path = table(tmp_path, header, [",".join(map(str, [*RNG.normal(size=3), i])) for i in range(20)])
        with pytest.raises(InputError, match="may be labels or row numbers; give drop: ") as caught:
            arrays(path)
        text = str(caught.value).partition("drop: ")[2].partition(", or drop:")[0]
        for drop in (yaml.safe_load(text), [3], ["3"]):
            assert arrays(path, drop=drop).train.image_shape == (3,)
        settings = DataSection(name="arrays", path=path, drop=yaml.safe_load(text), validation=4, test=4)
        assert open_splits(settings.source, settings).train.image_shape == (3,)

    @pytest.mark.parametrize(
        ("drop", "message"),
        [
            ("label", r"^drop: 'label' received; give a list, \['label'\]$"),
            ([7], "^drop: '7' received for .*; its columns are a, b, label"),
            ([-1], "^drop: '-1' received for .*; its columns are a, b, label"),
        ],
    )
    def test_rejects_drop(self, tmp_path, drop, message):
        with pytest.raises(InputError, match=message):
            arrays(table(tmp_path, "a,b,label", self.ROWS), drop=drop)

    @pytest.mark.parametrize(
        ("rows", "options", "message"),
        [
            (["1,2,nan"], {}, "vectors: NaN or infinity in 1 of 1 vectors, the first at row 0"),
            (["1,2,"], {}, "line 2, column 3: '' received"),
            (["1,2"], {}, "rows of 2 cells received where the first line has 3"),
            (ROWS, {"drop": ["d"]}, "^drop: 'd' received for .*; its columns are a, b, c"),
            (ROWS, {"drop": ["a", "b", "c"]}, "no column is left; give fewer columns to drop"),
            (ROWS, {"kind": "images"}, "kind: 'images' received .* a table holds vectors"),
            ([], {}, "no numbers below the header"),
        ],
    )
    def test_rejects_tables(self, tmp_path, rows, options, message):
        with pytest.raises(InputError, match=message) as caught:
            arrays(table(tmp_path, "a,b,c", rows), **options)
        assert "\n" not in str(caught.value)


class TestNumbersInTheFirstLine:
    @pytest.mark.parametrize(
        "names",
        ["400.0,410.0,420.0,430.0", "1000.5,999,998.25,400", "-10,-9.5,-9,-8.5", "400,410,420,430"],
    )
    @pytest.mark.parametrize("read", [arrays, read_latent])
    def test_names_that_are_numbers_give_a_warning(self, tmp_path, names, read):
        spectra = RNG.random((30, 4))
        path = table(tmp_path, names, [",".join(map(str, row)) for row in spectra])
        with pytest.warns(InputWarning) as caught:
            read(path)
        message = str(caught[0].message)
        assert len(caught) == 1
        assert message.startswith(f"{path}: first row {names.replace(',', ', ')} received")
        assert message.endswith("put a letter before each name if it is")
        assert "\n" not in message

    @pytest.mark.parametrize(
        "make",
        [
            lambda rng: rng.normal(size=(rng.integers(2, 60), 3)),
            lambda rng: rng.normal(size=(rng.integers(2, 9), 4)) ** 3,
            lambda rng: rng.random((40, 5)) + np.arange(5),
            lambda rng: np.sort(rng.normal(size=(50, 3)), 0) + np.arange(3),
            lambda rng: np.exp(-np.arange(50.0))[:, None] * [1, 2, 3],
            lambda rng: np.cumsum(rng.normal(size=(50, 3)), 0) + 10 * np.arange(3),
            lambda rng: np.sort(rng.normal(size=(30, 4)), 1),
            lambda rng: np.array([[400.0, 410], [1, 2], *rng.random((20, 2))]),
        ],
    )
    def test_data_give_no_warning(self, tmp_path, make):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for seed in range(40):
                numbers = make(np.random.default_rng(seed))
                arrays(table(tmp_path, "", [",".join(map(str, row)) for row in numbers]), drop=[])


class Ramps(ImageSet):
    """A source of one's own, of vectors computed on access."""

    image_shape = (6,)
    dtype = torch.float32
    label_names = ("slope",)

    def __len__(self):
        return 50

    def gather(self, indices):
        slope = indices[:, None].float() - 20
        return 100 * slope * torch.arange(1, 7), slope


class TestSources:
    def test_sources_of_ones_own(self):
        check_source(Ramps())
        check_source(InMemory(torch.randn(40, 2, 9), kind="signals"))
        splits = make_splits(Source(Ramps()), validation=5, test=0.2)
        assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [35, 5, 10]
        loaded = load_into_memory(Concatenated([splits.train, splits.test]))
        assert loaded.to("cpu").image_shape == (6,)
        assert loaded.images.shape == (45, 6)

    @pytest.mark.parametrize(
        ("samples", "kind", "message"),
        [
            (torch.rand(5, 28, 28), None, r"give \(n, channels, height, width\), or kind='signals'"),
            (torch.rand(5, 28, 28), "images", r"give \(n, channels, height, width\) for kind='images'"),
            (torch.rand(5, 3), "signals", r"give \(n, channels, length\) for kind='signals'"),
            (torch.rand(5, 3, 4), "vectors", r"give \(n, features\) for kind='vectors'"),
            (torch.rand(5), None, r"shape \(5,\) received"),
            (torch.tensor([[1.0, torch.nan]]), None, "vectors: NaN or infinity in 1 of 1"),
        ],
    )
    def test_in_memory_rejects(self, samples, kind, message):
        with pytest.raises(InputError, match=message):
            InMemory(samples, kind=kind)

    def test_check_source_rejects_other_vectors(self):
        class Bytes(Ramps):
            dtype = torch.uint8

        class Infinite(Ramps):
            def gather(self, indices):
                samples, labels = super().gather(indices)
                return samples / (labels != 3), labels

        with pytest.raises(InputError, match="dtype float32 for vectors"):
            check_source(Bytes())
        with pytest.raises(InputError, match="NaN or infinity in vectors"):
            check_source(Infinite())
        with pytest.raises(InputError, match="vectors with NaN"):
            make_splits(Source(Infinite()))

    def test_too_few_rows(self):
        few = Source(InMemory(torch.randn(2, 3)))
        with pytest.raises(InputError, match="hold out at least 1 of the 2 vectors, but not all"):
            make_splits(few)
        with pytest.raises(InputError, match="2 vectors leave none to train on"):
            make_splits(few, validation=1, test=1)
