"""The public loaders, one a data set, and the registry of their names."""

from __future__ import annotations

import os

import numpy as np

from ..errors import unknown_name
from ._dataset import Dataset
from ._formats import RawArrays, read_cifar_folder, read_idx_folder
from ._sources import Files, find

_DIGITS_TEST_SAMPLES = 450
_DIGITS_SEED = 0
_DIGIT_NAMES = tuple("0123456789")

_FASHION_MNIST = Files(
    name="fashion_mnist",
    folders=("fashion-mnist", "fashion_mnist"),
    read_folder=read_idx_folder,
    debian="dataset-fashion-mnist",
)
_MNIST = Files(
    name="mnist",
    folders=("mnist",),
    read_folder=read_idx_folder,
)
_CIFAR10 = Files(
    name="cifar10",
    folders=(
        "cifar-10-batches-py",
        "cifar-10-batches-py-target/cifar-10-batches-py",
        "cifar10",
    ),
    read_folder=read_cifar_folder,
)


def load_digits() -> Dataset:
    """Load the 8x8 handwritten digits that scikit-learn ships; nothing is downloaded.

    The 1,797 samples are split into 1,347 for training and 450 for testing, stratified
    by class with a fixed seed, so that every call gives the same split.

    Output shape:
        `x`: `(n, 64)` float32, the pixels row by row. The pixels count from 0 to 16;
        they become `x / 16`, exact multiples of 1/16 from 0.0 to 1.0 inclusive
        (unsigned fixed point with 1 integer and 4 fraction bits). `y`: `(n,)` int64.

    Returns:
        The `Dataset`.

    Example:

    >>> from kerasqnn.data import load_digits
    >>> digits = load_digits()
    >>> digits.x_train.shape, digits.x_test.shape, float(digits.x_train.max())
    ((1347, 64), (450, 64), 1.0)

    References:
        E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI
        Machine Learning Repository, 1998.
    """
    import sklearn
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = sklearn_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        (pixels / 16).astype(np.float32),
        labels.astype(np.int64),
        test_size=_DIGITS_TEST_SAMPLES,
        random_state=_DIGITS_SEED,
        stratify=labels,
    )
    return Dataset(
        name="digits",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        classes=_DIGIT_NAMES,
        source=f"scikit-learn {sklearn.__version__}",
    )


def load_fashion_mnist(
    path: str | os.PathLike[str] | None = None, *, download: bool = True
) -> Dataset:
    """Load Fashion-MNIST: 60,000 training and 10,000 test images of clothing.

    Looked for in this order: `path`, and then nowhere else; the folder that the
    environment variable KERASQNN_DATA names; the Keras cache; the Debian package
    dataset-fashion-mnist; a download by Keras. `Dataset.source` says which it was.

    Args:
        path: A folder with the four idx files (plain or `.gz`) or with
            `fashion_mnist.npz`, or an `.npz` file with the arrays `x_train`, `y_train`,
            `x_test` and `y_test`. None searches.
        download: Whether to download it when it is found nowhere else.

    Output shape:
        `x`: `(n, 28, 28, 1)` float32. The 8-bit pixels become `x / 256`, exact
        multiples of 1/256 from 0.0 to 255/256 (unsigned fixed point with 8 fraction
        bits). `y`: `(n,)` int64.

    Returns:
        The `Dataset`.

    Raises:
        FileNotFoundError: If no place has it; the message lists what was tried.
        ValueError: If a file was found but is corrupt.

    References:
        H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
        Benchmarking Machine Learning Algorithms", arXiv:1708.07747, 2017.
    """
    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    arrays, source = find(_FASHION_MNIST, path, download)
    return _images(_FASHION_MNIST.name, arrays, (28, 28, 1), classes, source)


def load_mnist(
    path: str | os.PathLike[str] | None = None, *, download: bool = True
) -> Dataset:
    """Load MNIST: 60,000 training and 10,000 test images of handwritten digits.

    Looked for in this order: `path`, and then nowhere else; the folder that the
    environment variable KERASQNN_DATA names; the Keras cache; a download by Keras.
    `Dataset.source` says which it was.

    Args:
        path: A folder with the four idx files (plain or `.gz`) or with `mnist.npz`, or
            an `.npz` file with the arrays `x_train`, `y_train`, `x_test` and `y_test`.
            None searches.
        download: Whether to download it when it is found nowhere else.

    Output shape:
        `x`: `(n, 28, 28, 1)` float32. The 8-bit pixels become `x / 256`, exact
        multiples of 1/256 from 0.0 to 255/256 (unsigned fixed point with 8 fraction
        bits). `y`: `(n,)` int64.

    Returns:
        The `Dataset`.

    Raises:
        FileNotFoundError: If no place has it; the message lists what was tried.
        ValueError: If a file was found but is corrupt.

    References:
        Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-Based Learning Applied
        to Document Recognition", Proceedings of the IEEE 86(11), 1998.
    """
    arrays, source = find(_MNIST, path, download)
    return _images(_MNIST.name, arrays, (28, 28, 1), _DIGIT_NAMES, source)


def load_cifar10(
    path: str | os.PathLike[str] | None = None, *, download: bool = True
) -> Dataset:
    """Load CIFAR-10: 50,000 training and 10,000 test colour images.

    Looked for in this order: `path`, and then nowhere else; the folder that the
    environment variable KERASQNN_DATA names; the Keras cache; a download by Keras.
    `Dataset.source` says which it was.

    Args:
        path: A folder with the batches of the Python version (`data_batch_1` to
            `data_batch_5` and `test_batch`) or with `cifar10.npz`, or an `.npz` file
            with the arrays `x_train`, `y_train`, `x_test` and `y_test`. None searches.
        download: Whether to download it when it is found nowhere else.

    Output shape:
        `x`: `(n, 32, 32, 3)` float32. The 8-bit values become `x / 256`, exact
        multiples of 1/256 from 0.0 to 255/256 (unsigned fixed point with 8 fraction
        bits). `y`: `(n,)` int64.

    Returns:
        The `Dataset`.

    Raises:
        FileNotFoundError: If no place has it; the message lists what was tried.
        ValueError: If a file was found but is corrupt.

    References:
        A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
        University of Toronto, 2009.
    """
    classes = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    arrays, source = find(_CIFAR10, path, download)
    return _images(_CIFAR10.name, arrays, (32, 32, 3), classes, source)


_FROM_FILES = {
    "cifar10": load_cifar10,
    "fashion_mnist": load_fashion_mnist,
    "mnist": load_mnist,
}


def available() -> tuple[str, ...]:
    """Return the names that `load` knows, sorted."""
    return tuple(sorted(("digits", *_FROM_FILES)))


def load(
    name: str, path: str | os.PathLike[str] | None = None, *, download: bool = True
) -> Dataset:
    """Load a data set by its name.

    Args:
        name: One of `available()`; `-` and `_`, upper and lower case are the same.
        path: Where its files are; see its loader. `"digits"` has none.
        download: Whether to download it when it is found nowhere else.

    Returns:
        The `Dataset`.

    Raises:
        FileNotFoundError: If no place has it; the message lists what was tried.
        ValueError: If the name is unknown (the message names the nearest one), if a
            path is given for `"digits"`, or if a file was found but is corrupt.

    Example:

    >>> from kerasqnn import data
    >>> data.load("digits").input_shape
    (64,)
    """
    key = str(name).lower().replace("-", "_")
    if key == "digits":
        if path is not None:
            raise ValueError(
                "path must be None for 'digits', which scikit-learn ships. "
                f"Received: path={path!r}"
            )
        return load_digits()
    if key not in _FROM_FILES:
        raise ValueError(unknown_name("data set", name, available()))
    return _FROM_FILES[key](path, download=download)


def _images(
    name: str,
    arrays: RawArrays,
    shape: tuple[int, int, int],
    classes: tuple[str, ...],
    source: str,
) -> Dataset:
    scaled = {}
    for split in ("train", "test"):
        x, y = getattr(arrays, f"x_{split}"), getattr(arrays, f"y_{split}")
        if x.shape[1:] == shape[:-1] and shape[-1] == 1:
            x = x[..., np.newaxis]
        elif x.shape[1:] == (shape[-1], *shape[:-1]):  # channels first
            x = np.moveaxis(x, 1, -1)
        if x.shape[1:] != shape:
            raise ValueError(
                f"The images of {name!r} must be {shape}. "
                f"Received: x_{split}.shape={x.shape} from {source}"
            )
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        scaled[f"x_{split}"] = x.astype(np.float32) / np.float32(256)
        scaled[f"y_{split}"] = y.astype(np.int64)
    return Dataset(name=name, classes=classes, source=source, **scaled)
