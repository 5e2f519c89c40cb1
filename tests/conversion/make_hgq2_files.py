"""Writes the files hgq2_*.keras and .npz of tests/conversion/files with HGQ2.

Not run by the tests. In an environment of its own, beside TensorFlow and Keras:

    pip install --no-deps hgq2==0.2.0 quantizers==1.2.2
    python tests/conversion/make_hgq2_files.py

Each model becomes `hgq2_NAME.keras` and `hgq2_NAME.npz`, with inputs `x` and HGQ2's
predictions `y0`, `y1` ... The wheel's folder `qkeras` hides qkeras-v3: keep it apart.
"""

import zipfile
from pathlib import Path

import hgq.layers as h
import keras
import numpy as np
from hgq.config import QuantizerConfig

FILES = Path(__file__).with_name("files")
PER_TENSOR = {"heterogeneous_axis": (), "homogeneous_axis": None}


def uniform(place, k, b, i, **options):
    """Return the configuration of a quantizer with one width for all."""
    return QuantizerConfig("kbi", place, k0=k, b0=b, i0=i, **options, **PER_TENSOR)


def default():
    """HGQ2's defaults: widths an element, activations that wrap."""
    inputs = keras.Input((6, 6, 2))
    x = h.QConv2D(3, 3, padding="same", activation="relu")(inputs)
    x = h.QBatchNormalization(center=False)(x)
    pooled = [h.QMaxPooling2D(2)(x), h.QAveragePooling2D(2)(x)]
    x = h.QAdd(enable_oq=True)(pooled)
    x = keras.layers.Flatten()(x)
    x = h.QDense(5, enable_oq=True)(x)
    y = h.QEinsumDenseBatchnorm("bc,cd->bd", 4, bias_axes="d")(x)
    return keras.Model(inputs, [y, h.QUnaryFunctionLUT("tanh")(x)])


def per_tensor():
    """One width a tensor: every layer has quantizers that can be exported."""
    lane = {"round_mode": "RND", "overflow_mode": "SAT"}
    weights = {
        "kq_conf": uniform("weight", 1, 5, 0, overflow_mode="SAT_SYM"),
        "bq_conf": uniform("bias", 1, 7, 2, overflow_mode="SAT"),
    }
    convolved = uniform("datalane", 0, 7, 3, round_mode="TRN", overflow_mode="SAT")
    return keras.Sequential(
        [
            keras.layers.InputLayer((7, 2)),
            h.QConv1D(
                4, 2, iq_conf=uniform("datalane", 1, 7, 2, **lane), activation="relu",
                **weights,
            ),
            h.QGlobalMaxPooling1D(iq_conf=convolved),
            h.QDense(
                3, enable_oq=True, oq_conf=uniform("datalane", 1, 6, 2, **lane),
                iq_conf=uniform("datalane", 0, 8, 3, round_mode="RND_CONV"), **weights,
            ),
        ]
    )  # fmt: skip


def modes():
    """Every rounding and overflow, widths a channel, a layer that is called twice."""
    inputs = x = keras.Input((4,))
    shared = h.QDense(4, kq_conf=QuantizerConfig("kif", "weight", i0=0, f0=5))
    for number, rounding in enumerate(
        ("RND", "RND_CONV", "TRN", "TRN_ZERO", "RND_ZERO", "RND_MIN_INF", "RND_INF")
    ):
        overflow = ("WRAP", "SAT", "SAT_SYM")[number % 3]
        kind = ("kif", "kbi")[number % 2]
        x = h.Quantizer(
            QuantizerConfig(
                kind, "datalane", round_mode=rounding, overflow_mode=overflow,
                heterogeneous_axis=(-1,),
            )
        )(x)  # fmt: skip
        if number in (2, 5):
            x = shared(x)
    return keras.Model(inputs, x)


def fill(model, seed, are_widths_random):
    """Give every variable random values, the widths too."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        name, shape = variable.path.rpartition("/")[2], variable.shape
        if name in ("i", "f", "b"):
            if are_widths_random:
                low, high = {"i": (-1, 3), "f": (1, 5), "b": (0, 7)}[name]
                variable.assign(rng.uniform(low, high, shape))
        elif "variance" in name:
            variable.assign(rng.uniform(0.2, 2.0, shape))
        elif name in ("kernel", "bias", "moving_mean") or "gamma" in name:
            around = 1.0 if "gamma" in name else 0.0
            variable.assign(rng.normal(around, 0.5, shape))


def compress(path):
    """Write an archive anew, a tenth of its size."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name), part, zipfile.ZIP_DEFLATED)


def write(make):
    """Write the files of one model."""
    keras.backend.clear_session()  # names start anew
    keras.utils.set_random_seed(0)
    model = make()
    fill(model, len(make.__name__), make is not per_tensor)
    path = FILES / f"hgq2_{make.__name__}"
    model.save(f"{path}.keras")
    compress(f"{path}.keras")
    x = np.random.default_rng(1).normal(0, 1.5, (32, *model.input_shape[1:]))
    x[:8] = np.round(x[:8] * 8) / 8  # ties
    x = x.astype(np.float32)
    outputs = keras.tree.flatten(model.predict(x, verbose=0))
    eager = keras.tree.flatten(model(x, training=False))
    if not all(np.array_equal(*pair) for pair in zip(outputs, eager, strict=True)):
        raise RuntimeError(f"{make.__name__}: eager and traced calls differ")
    np.savez_compressed(
        f"{path}.npz", x=x, **{f"y{i}": y for i, y in enumerate(outputs)}
    )


if __name__ == "__main__":
    for make in (default, per_tensor, modes):
        write(make)
