"""Loaders: values, search order, and the refusal of missing or corrupt files."""

import dataclasses
import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasqnn import data
from kerasqnn.data import _sources
from kerasqnn.data._formats import read_cifar_folder, read_idx, read_npz

IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def idx_bytes(array, dtype_code=8):
    header = struct.pack(">HBB", 0, dtype_code, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def made_up(shape=(28, 28), n_train=6, n_test=3, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (n_train, *shape), dtype=np.uint8),
        "y_train": rng.integers(0, 10, n_train, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (n_test, *shape), dtype=np.uint8),
        "y_test": rng.integers(0, 10, n_test, dtype=np.uint8),
    }


def write_idx(folder, arrays, compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    for key, name in IDX_NAMES.items():
        content = idx_bytes(arrays[key])
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def write_cifar(folder, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    parts = np.array_split(np.arange(len(arrays["x_train"])), 5)
    batches = {
        f"data_batch_{i}": (arrays["x_train"][p], arrays["y_train"][p])
        for i, p in enumerate(parts, 1)
    }
    batches["test_batch"] = (arrays["x_test"], arrays["y_test"])
    for name, (x, y) in batches.items():
        batch = {b"data": x.reshape(len(x), -1), b"labels": y.tolist()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder


def assert_holds(dataset, arrays):
    for split in ("train", "test"):
        x, y = getattr(dataset, f"x_{split}"), getattr(dataset, f"y_{split}")
        raw = arrays[f"x_{split}"]
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert x.shape == (len(raw), *dataset.input_shape)
        np.testing.assert_array_equal(x.reshape(raw.shape) * 256, raw)
        np.testing.assert_array_equal(y, arrays[f"y_{split}"])


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No place has any data set, and a download is a failure of the test."""
    monkeypatch.delenv("KERASQNN_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "no_cache"))
    monkeypatch.setattr(_sources, "DEBIAN_FOLDER", tmp_path / "no_debian")

    def refuse():
        raise AssertionError("a test must not download")

    for name in ("cifar10", "fashion_mnist", "mnist"):
        monkeypatch.setattr(getattr(keras.datasets, name), "load_data", refuse)


# Digits


def test_digits_are_multiples_of_one_sixteenth():
    digits = data.load_digits()
    assert digits.x_train.shape == (1347, 64)
    assert digits.x_test.shape == (450, 64)
    assert digits.input_shape == (64,)
    assert digits.num_classes == 10
    both = np.concatenate([digits.x_train, digits.x_test])
    assert both.dtype == np.float32
    assert set(np.unique(both * 16)) == set(range(17))
    assert digits.y_train.dtype == np.int64
    assert digits.source.startswith("scikit-learn ")


def test_digits_split_is_a_stratified_partition():
    from sklearn.datasets import load_digits

    digits = data.load_digits()
    pixels, labels = load_digits(return_X_y=True)
    rows = sorted(map(tuple, np.concatenate([digits.x_train, digits.x_test]) * 16))
    assert rows == sorted(map(tuple, pixels))
    share = np.bincount(digits.y_test) / np.bincount(labels)
    assert np.all(np.abs(share - 450 / 1797) < 0.01)


def test_digits_split_never_changes():
    # Figures in the documentation hold for this split. It changes if scikit-learn
    # changes its sampling or someone changes the seed.
    digits = data.load_digits()
    content = digits.y_train.astype("<i8").tobytes() + digits.x_test.tobytes()
    assert (
        hashlib.sha256(content).hexdigest()
        == "68ca2d24d263788104d847663391d2cff7f8471fa65ecac385a5e3f3b337118c"
    )


# Image sets from files


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("loader", [data.load_mnist, data.load_fashion_mnist])
def test_idx_folder(tmp_path, loader, compress):
    arrays = made_up()
    folder = write_idx(tmp_path / "files", arrays, compress)
    dataset = loader(folder)
    assert_holds(dataset, arrays)
    assert dataset.input_shape == (28, 28, 1)
    assert dataset.source == f"path ({folder})"


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
def test_npz_file(tmp_path, shape):
    arrays = made_up(shape)
    np.savez(tmp_path / "any_name.npz", **arrays)
    assert_holds(data.load_mnist(str(tmp_path / "any_name.npz")), arrays)


def test_cifar_batches_become_channels_last(tmp_path):
    arrays = made_up((3, 32, 32), n_train=11)
    dataset = data.load_cifar10(write_cifar(tmp_path / "batches", arrays))
    for split in ("train", "test"):
        arrays[f"x_{split}"] = arrays[f"x_{split}"].transpose(0, 2, 3, 1)
    assert dataset.input_shape == (32, 32, 3)
    assert dataset.classes[6] == "frog"
    assert_holds(dataset, arrays)


def test_cifar_npz_may_be_channels_first_with_column_labels(tmp_path):
    arrays = made_up((3, 32, 32))
    columns = {k: a[:, None] if k[0] == "y" else a for k, a in arrays.items()}
    np.savez(tmp_path / "cifar10.npz", **columns)
    dataset = data.load_cifar10(tmp_path)
    for split in ("train", "test"):
        arrays[f"x_{split}"] = arrays[f"x_{split}"].transpose(0, 2, 3, 1)
    assert_holds(dataset, arrays)


def test_images_of_another_shape_are_refused(tmp_path):
    np.savez(tmp_path / "mnist.npz", **made_up((27, 28)))
    with pytest.raises(ValueError, match=r"\(28, 28, 1\).*x_train.shape=\(6, 27, 28\)"):
        data.load_mnist(tmp_path)


def test_labels_without_a_class_are_refused(tmp_path):
    arrays = made_up() | {"y_test": np.array([0, 10, 3], np.uint8)}
    with pytest.raises(
        ValueError, match="y_test must hold labels from 0 to 9.* 0 to 10"
    ):
        data.load_mnist(write_idx(tmp_path, arrays))


def test_counts_that_differ_are_refused(tmp_path):
    arrays = made_up() | {"y_train": np.zeros(5, np.uint8)}
    with pytest.raises(ValueError, match=r"'mnist' from path .*y_train.shape=\(5,\)"):
        data.load_mnist(write_idx(tmp_path, arrays))


# The search


def test_search_order(tmp_path, monkeypatch):
    sets = {}
    for seed, place in enumerate(["path", "variable", "cache", "debian", "download"]):
        sets[place] = made_up(seed=seed)
    folders = {
        "path": tmp_path / "given",
        "variable": tmp_path / "variable/fashion_mnist",
        "cache": tmp_path / "home/datasets/fashion-mnist",
        "debian": tmp_path / "share/fashion-mnist",
    }
    for place, folder in folders.items():
        write_idx(folder, sets[place], compress=True)
    monkeypatch.setenv("KERASQNN_DATA", str(tmp_path / "variable"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(_sources, "DEBIAN_FOLDER", tmp_path / "share")
    s = sets["download"]
    monkeypatch.setattr(
        keras.datasets.fashion_mnist,
        "load_data",
        lambda: ((s["x_train"], s["y_train"]), (s["x_test"], s["y_test"])),
    )

    def check(place, source, path=None):
        dataset = data.load_fashion_mnist(path)
        assert_holds(dataset, sets[place])
        assert dataset.source == source

    check("path", f"path ({folders['path']})", folders["path"])
    check("variable", f"KERASQNN_DATA ({folders['variable']})")
    monkeypatch.delenv("KERASQNN_DATA")
    check("cache", f"Keras cache ({folders['cache']})")
    (folders["cache"] / f"{IDX_NAMES['y_test']}.gz").unlink()
    check("debian", f"Debian package dataset-fashion-mnist ({folders['debian']})")
    monkeypatch.setattr(_sources, "DEBIAN_FOLDER", tmp_path / "empty")
    check("download", "download (keras.datasets.fashion_mnist)")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_keras_cache_is_read_as_keras_lays_it_out(tmp_path, monkeypatch, name):
    datasets = tmp_path / "home/datasets"
    datasets.mkdir(parents=True)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    if name == "mnist":
        place = datasets / "mnist.npz"
        np.savez(place, **made_up())
    else:
        place = datasets / "cifar-10-batches-py-target/cifar-10-batches-py"
        write_cifar(place, made_up((3, 32, 32)))
    assert data.load(name).source == f"Keras cache ({place})"


def test_variable_may_name_the_set_itself(tmp_path, monkeypatch):
    arrays = made_up()
    monkeypatch.setenv("KERASQNN_DATA", str(write_idx(tmp_path / "mnist", arrays)))
    assert_holds(data.load_mnist(download=False), arrays)


@pytest.mark.parametrize("as_file", [False, True])
def test_variable_never_passes_one_set_off_as_another(tmp_path, monkeypatch, as_file):
    # Fashion-MNIST has the file names, shapes and labels of MNIST.
    place = write_idx(tmp_path / "mnist", made_up())
    if as_file:
        place = tmp_path / "mnist.npz"
        np.savez(place, **made_up())
    monkeypatch.setenv("KERASQNN_DATA", str(place))
    with pytest.raises(FileNotFoundError, match="KERASQNN_DATA: .*fashion_mnist.npz"):
        data.load_fashion_mnist(download=False)


def test_variable_that_names_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASQNN_DATA", str(tmp_path / "typing_error"))
    with pytest.raises(
        FileNotFoundError, match="Received: KERASQNN_DATA=.*typing_error"
    ):
        data.load_mnist()


def test_given_path_is_not_replaced_by_another_place(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASQNN_DATA", str(tmp_path))
    write_idx(tmp_path / "mnist", made_up())
    with pytest.raises(FileNotFoundError, match="path: .*absent does not exist"):
        data.load_mnist(tmp_path / "absent")


def test_missing_data_says_what_was_tried_and_what_helps(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        data.load_fashion_mnist(download=False)
    message = str(caught.value)
    for part in (
        "'fashion_mnist' was not found",
        "KERASQNN_DATA: not set",
        f"Keras cache: {tmp_path / 'no_cache/datasets'} does not exist",
        f"Debian package dataset-fashion-mnist: {tmp_path / 'no_debian'}",
        "download=False",
        "sudo apt-get install dataset-fashion-mnist",
        "keras.datasets.fashion_mnist.load_data()",
    ):
        assert part in message


def test_missing_idx_file_is_named(tmp_path):
    write_idx(tmp_path, made_up())
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="has no t10k-labels-idx1-ubyte or"):
        data.load_mnist(tmp_path)


def test_missing_cifar_batch_is_named(tmp_path):
    write_cifar(tmp_path, made_up((3, 32, 32)))
    (tmp_path / "data_batch_4").unlink()
    with pytest.raises(FileNotFoundError, match="has no data_batch_4"):
        data.load_cifar10(tmp_path)


def test_failed_download_is_reported(monkeypatch):
    def fail():
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(FileNotFoundError, match="download: URL fetch failure"):
        data.load_mnist()


def test_corrupt_file_is_an_error_not_a_reason_to_search_on(tmp_path, monkeypatch):
    folder = write_idx(tmp_path / "home/datasets/fashion-mnist", made_up())
    (folder / IDX_NAMES["x_train"]).write_bytes(b"<html>not found</html>")
    write_idx(tmp_path / "share/fashion-mnist", made_up())
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(_sources, "DEBIAN_FOLDER", tmp_path / "share")
    with pytest.raises(ValueError, match="train-images-idx3-ubyte is corrupt"):
        data.load_fashion_mnist()


def test_debian_package(monkeypatch):
    folder = Path("/usr/share/datasets")
    if not (folder / "fashion-mnist").is_dir():
        pytest.fail(
            "The Debian package dataset-fashion-mnist is not installed; this test "
            "reads it. Run: sudo apt-get install dataset-fashion-mnist"
        )
    monkeypatch.setattr(_sources, "DEBIAN_FOLDER", folder)
    fashion = data.load("Fashion-MNIST", download=False)
    assert fashion.x_train.shape == (60000, 28, 28, 1)
    assert fashion.x_test.shape == (10000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(fashion.y_train), [6000] * 10)
    np.testing.assert_array_equal(np.bincount(fashion.y_test), [1000] * 10)
    codes = fashion.x_test * 256
    np.testing.assert_array_equal(codes, np.rint(codes))
    assert (codes.min(), codes.max()) == (0, 255)
    assert fashion.classes[fashion.y_test[0]] == "Ankle boot"
    assert fashion.source.startswith("Debian package dataset-fashion-mnist (/usr/share")


# Corrupt files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header has 16 bytes, the file 0"),
        (b"\0\0\x08\x03\0\0", "header has 16 bytes, the file 6"),
        (b"\x01" + idx_bytes(np.zeros((2, 3, 4), np.uint8))[1:], "0x0000, not 0x0100"),
        (idx_bytes(np.zeros((2, 3, 4), np.uint8), 0x0D), "not type 0x0d"),
        (idx_bytes(np.zeros((9, 9), np.uint8)), "must have 3 dimensions, not 2"),
        (idx_bytes(np.zeros((2, 3, 4), np.uint8))[:-1], "takes 24 bytes.*it has 23"),
        (idx_bytes(np.zeros((2, 3, 4), np.uint8)) + b"\0", "takes 24 bytes.*it has 25"),
        (struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), "it has 0"),
        (
            gzip.compress(idx_bytes(np.zeros((2, 3, 4), np.uint8)), mtime=0)[:-9],
            "gzip stream",
        ),
        (b"\x1f\x8b not gzip", "gzip stream is broken"),
    ],
)
def test_corrupt_idx_is_refused(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path, ndim=3)
    assert str(path) in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    array=st.lists(st.integers(0, 255), min_size=1, max_size=20),
    compress=st.booleans(),
    where=st.data(),
)
def test_idx_reads_back_and_no_cut_or_header_change_goes_unnoticed(
    tmp_path_factory, array, compress, where
):
    array = np.array(array, np.uint8)
    content = idx_bytes(array)
    path = tmp_path_factory.getbasetemp() / "labels"
    path.write_bytes(gzip.compress(content) if compress else content)
    np.testing.assert_array_equal(read_idx(path, 1), array)

    stored = path.read_bytes()
    path.write_bytes(stored[: where.draw(st.integers(0, len(stored) - 1))])
    with pytest.raises(ValueError, match="labels is corrupt"):
        read_idx(path, 1)

    damaged = bytearray(content)
    damaged[where.draw(st.integers(0, 7))] ^= where.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="labels is corrupt"):
        read_idx(path, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_test": None}, "has no array x_test"),
        ({"x_train": np.zeros((6, 28, 28), np.float32)}, "x_train must hold uint8"),
        (
            {"y_train": np.zeros(6, np.float32)},
            "y_train must hold integers, not float32",
        ),
        ({"y_test": np.array([{}, {}, {}])}, "corrupt"),
    ],
)
def test_npz_with_wrong_arrays_is_refused(tmp_path, change, message):
    arrays = {k: v for k, v in (made_up() | change).items() if v is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_npz(tmp_path / "a.npz")


def test_broken_npz_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **made_up())
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[300:400] = bytes(100)
    for content in (b"", b"not a zip file", whole[: len(whole) // 2], bytes(damaged)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="a.npz is corrupt"):
            read_npz(path)


def test_cifar_batch_that_would_run_code_is_refused(tmp_path):
    write_cifar(tmp_path, made_up((3, 32, 32)))
    # A pickle that calls os.mkdir: REDUCE of a global on a tuple.
    target = tmp_path / "made_by_the_pickle"
    text = str(target).encode()
    attack = b"cos\nmkdir\n(X" + struct.pack("<I", len(text)) + text + b"tR."
    (tmp_path / "test_batch").write_bytes(attack)
    with pytest.raises(ValueError, match="os.mkdir is not allowed"):
        read_cifar_folder(tmp_path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (b"not a pickle", "not a CIFAR-10 batch"),
        (pickle.dumps([1, 2]), "not a CIFAR-10 batch"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8)}), "labels"),
        (
            pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [1, 2]}),
            r"\(n, 3072\) uint8, not \(2, 5\)",
        ),
        (
            pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}),
            r"labels must be \(2,\) integers",
        ),
    ],
)
def test_corrupt_cifar_batch_is_refused(tmp_path, batch, message):
    write_cifar(tmp_path, made_up((3, 32, 32)))
    (tmp_path / "data_batch_2").write_bytes(batch)
    with pytest.raises(ValueError, match=message) as caught:
        read_cifar_folder(tmp_path)
    assert "data_batch_2" in str(caught.value)


def test_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "mnist.csv"
    path.touch()
    with pytest.raises(
        ValueError, match="folder or an .npz file. Received: .*mnist.csv"
    ):
        data.load_mnist(path)


# The registry and the value object


def test_load_knows_every_name():
    assert data.available() == ("cifar10", "digits", "fashion_mnist", "mnist")
    assert data.load("Digits").name == "digits"


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(
        ValueError, match="mean 'fashion_mnist'.*Received: 'fashionmnist'"
    ):
        data.load("fashionmnist")


def test_digits_take_no_path(tmp_path):
    with pytest.raises(ValueError, match="path must be None for 'digits'"):
        data.load("digits", tmp_path)


def test_dataset_is_frozen_and_prints_its_shapes():
    digits = data.load_digits()
    with pytest.raises(dataclasses.FrozenInstanceError):
        digits.name = "other"
    assert "1347 train and 450 test samples of shape (64,), 10 classes" in repr(digits)


def test_dataset_refuses_samples_of_two_shapes():
    digits = data.load_digits()
    with pytest.raises(ValueError, match=r"one shape.*x_test.shape=\(450, 63\)"):
        dataclasses.replace(digits, x_test=digits.x_test[:, 1:])
