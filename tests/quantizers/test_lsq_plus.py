"""Zero points: formula, gradients of LSQ+, the chain up to QONNX, refusals."""

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import numpy_helper

import kerasqnn
from kerasqnn import layers
from kerasqnn.errors import QuantizationWarning, UnsupportedModelError
from kerasqnn.export import run_reference
from kerasqnn.models import analyse, read_model
from kerasqnn.models.evaluation import evaluate_exactly
from kerasqnn.quantizers import (
    Affine,
    LSQPlus,
    QuantizedWeight,
    deserialize,
    get,
    serialize,
)
from kerasqnn.quantizers.quantizer import without_denormals

from .test_fixed_point import gradient
from .values import corners, same

NAMES = ("step_start", "offset_start", "step_change", "offset_change")


def made(bits, step, offset, shape=(4, 3), **options):
    """An LSQPlus as training may leave it."""
    quantizer = LSQPlus(bits, **options)
    quantizer.build(shape)
    values = (step / 2, offset / 4, step / 2, offset * 0.75)
    for name, value in zip(NAMES, values, strict=True):
        getattr(quantizer, name).assign(value)
    return quantizer


@pytest.mark.parametrize("zero_point", [0, 1, 5, 200, -3])
@pytest.mark.parametrize("scale", [0.25, 0.1, 3.0])
def test_affine(scale, zero_point):
    """QONNX's order of operations, one float32 rounding each; in every compiler."""
    grid = Affine(4, scale, zero_point)
    x = np.concatenate([corners(scale, 40), np.linspace(-60, 60, 500)])
    x = without_denormals(x[np.abs(x) < 1e30])
    s, z = np.float32(scale), np.float32(zero_point)
    codes = np.rint(np.minimum(np.maximum(x / s + z, np.float32(0)), np.float32(15)))
    wanted = (codes - z) * s + np.float32(0)
    same(grid.quantize(x) + 0, wanted)
    same(np.asarray(grid(x)) + 0, wanted)
    same(np.asarray(tf.function(grid, jit_compile=True)(x)) + 0, wanted)
    assert (grid.codes(x) == codes - z).all()
    assert (wanted.min(), wanted.max()) == (grid.min, grid.max)
    assert grid.is_power_of_two == (scale == 0.25)
    inside = (x >= grid.min) & (x <= grid.max)
    same(gradient(grid, x, np.ones_like(x)), inside.astype(np.float32))
    assert get(repr(grid)) == grid == deserialize(serialize(grid))


def test_golden():
    assert Affine(2, 0.5, 1).quantize([-9, -0.25, 0.25, 0.3, 9]).tolist() == [
        -0.5, -0.5, 0.5, 0.5, 1.0,
    ]  # fmt: skip  # ties go to even codes: 0 and 2
    assert Affine(2, 1.0, 5).quantize([-9, 9]).tolist() == [-5.0, -2.0]


@pytest.mark.parametrize("power_of_two", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_the_grid_is_the_call(bits, power_of_two):
    for step, offset in ((0.25, -1.1), (0.1, -0.3), (0.7, 0.0), (0.03, 0.4)):
        quantizer = made(bits, step, offset, power_of_two=power_of_two)
        grid = quantizer.fixed()
        assert grid.is_power_of_two >= power_of_two
        assert grid.zero_point == round(-offset / float(grid.step))
        x = np.concatenate([corners(float(grid.step)), np.linspace(-9, 9, 999)])
        x = x.astype(np.float32)
        same(np.asarray(quantizer(x)) + 0, grid.quantize(x) + 0)
        if bits == 4:
            compiled = tf.function(quantizer, jit_compile=True)
            same(np.asarray(compiled(x)) + 0, grid.quantize(x) + 0)


def rounded(x):
    return x + tf.stop_gradient(tf.round(x) - x)


@pytest.mark.parametrize("shape", [(20, 3), (None, 3)])
def test_gradients(shape):
    """The paper's, by automatic differentiation of its formula, over sqrt(n top)."""
    random = np.random.default_rng(0)
    x, upstream = random.normal(0, 2, (2, 20, 3)).astype(np.float32)
    quantizer = made(3, 0.5, -1.5, shape)
    sources = [tf.Variable(x), *(tf.Variable(v) for v in (0.5, -1.5))]
    with tf.GradientTape() as tape:
        tensor, s, b = (tf.convert_to_tensor(v) for v in sources)
        wanted = rounded(tf.clip_by_value((tensor - b) / s, 0.0, 7.0)) * s + b
    expected = tape.gradient(wanted, sources, tf.constant(upstream))
    variables = [quantizer.step_change.value, quantizer.offset_change.value]
    with tf.GradientTape() as tape:
        tensor = tf.constant(x)
        tape.watch(tensor)
        y = quantizer(tensor)
    same(y.numpy(), wanted.numpy())
    received = tape.gradient(y, [tensor, *variables], tf.constant(upstream))
    scale = 1 / np.sqrt((3 if shape[0] is None else 60) * 7)
    same(received[0].numpy(), expected[0].numpy())
    for got, want in zip(received[1:], expected[1:], strict=True):
        np.testing.assert_allclose(got, want * scale, rtol=1e-5)
        assert abs(float(want)) > 0.1


@pytest.mark.parametrize("start", ["min_max", "three_sigma"])
def test_first_batch(start):
    """Its range, once, in training; equal numbers set nothing."""
    x = np.random.default_rng(0).gamma(0.5, 2.0, (500, 3)).astype(np.float32) - 0.5
    quantizer = LSQPlus(4, start=start)
    quantizer.build((None, 3))
    quantizer(x)
    quantizer(np.ones((2, 3)), training=True)
    with pytest.warns(QuantizationWarning, match="no values in training"):
        assert quantizer.fixed() == Affine(4, 0.125, 8)  # FixedPoint(4, 0)
    quantizer(x, training=True)
    high = x.max() if start == "min_max" else x.mean() + 3 * x.std()
    assert high <= x.max()
    step = (high - x.min()) / 15
    np.testing.assert_allclose(quantizer.fixed().scale, step, rtol=1e-5)
    assert quantizer.fixed().zero_point == round(-x.min() / step)
    first = quantizer.fixed()
    quantizer(3 * x, training=True)
    assert quantizer.fixed() == first


def trained(quantizer, tmp_path, last="quantized_bits(5,1,1)"):
    """A model after training, from a file."""
    keras.utils.set_random_seed(0)
    kernel = {"kernel_quantizer": "quantized_bits(5,1,1)", "use_bias": False}
    inputs = keras.Input((6, 6, 2))
    x = layers.QuantInput("quantized_bits(6,2)", name="grid")(inputs)
    x = layers.QuantConv2D(3, 3, activation=quantizer, name="first", **kernel)(x)
    x = layers.QuantActivation(quantizer.replace("LSQPlus(4", "LSQPlus(3"))(x)
    x = layers.QuantConv2D(2, 3, padding="same", name="conv", **kernel)(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(
        inputs, layers.QuantDense(3, kernel_quantizer=last, use_bias=False)(x)
    )
    x = np.random.default_rng(0).normal(0.5, 1.5, (64, 6, 6, 2)).astype(np.float32)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.fit(x, np.ones((64, 3)), epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras"), model, x


@pytest.mark.parametrize("weights", [False, True])
def test_chain(weights, tmp_path):
    """Trained, saved, loaded, exported: the same bits, with zero points."""
    text = "LSQPlus(4, power_of_two=True)"
    last = text if weights else "quantized_bits(5,1,1)"
    model, before, x = trained(text, tmp_path, last)
    wanted = model.predict(x, verbose=0)
    np.testing.assert_array_equal(before.predict(x, verbose=0), wanted)
    assert len(np.unique(wanted)) > 50
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), wanted)
    np.testing.assert_array_equal(run_reference(path, x), wanted)
    graph = read_model(model)
    arithmetic = analyse(graph)
    assert arithmetic.facts[graph.outputs[0]].faithful
    exact = evaluate_exactly(graph, arithmetic, [x])
    np.testing.assert_array_equal(exact[graph.outputs[0]], wanted)
    constants = {
        t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer
    }
    zeros = [v for name, v in constants.items() if name.endswith("/zeropt")]
    assert np.count_nonzero(zeros) == 2 + weights
    if weights:
        weight = model.layers[-1].quantized_weights()["kernel"]
        assert weight.codes.min() >= 0 and weight.codes.max() <= 15
        same(
            ((weight.codes - weight.zero_point) * weight.scale).astype(np.float32),
            weight.values,
        )
        assert isinstance(weight, QuantizedWeight)
    with pytest.raises(UnsupportedModelError, match="'first'.*zero points") as error:
        kerasqnn.deploy(model, "arty", tmp_path / "project")
    assert error.value.layer == "first"


def test_other_steps(tmp_path):
    """A step that is no power of two is exact up to the next sum, which is refused."""
    inputs = keras.Input((6,))
    activation = layers.QuantActivation("LSQPlus(4)", name="last")
    model = keras.Model(
        inputs, activation(layers.QuantInput("quantized_bits(9,2)")(inputs))
    )
    x = np.random.default_rng(0).gamma(0.5, 1.0, (64, 6)).astype(np.float32) - 0.3
    model(x, training=True)
    assert activation.activation.fixed().zero_point not in (0, 8)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    wanted = model.predict(x, verbose=0)
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), wanted)
    np.testing.assert_array_equal(run_reference(path, x), wanted)
    behind = layers.QuantDense(2, name="behind", kernel_quantizer="binary")
    model = keras.Model(inputs, behind(model.output))
    with pytest.raises(UnsupportedModelError, match="'behind'.*no power-of-two grid"):
        kerasqnn.export_qonnx(model, tmp_path / "other.onnx")


def test_sums_with_the_zero_point_round():
    """`x / scale + zero_point` beyond 24 bits is float32's, and is said to be so."""
    inputs = keras.Input((2,))
    x = layers.QuantInput("quantized_bits(20,0)")(inputs)
    kinds = (2.0**-12, 100, True), (2.0**-7, 100, True), (2.0**-7, 2**12, False)
    for scale, zero_point, faithful in kinds:
        quantizer = Affine(8, scale, zero_point)
        graph = read_model(keras.Model(inputs, layers.QuantActivation(quantizer)(x)))
        assert analyse(graph).facts[graph.outputs[0]].faithful == faithful


def test_input_is_refused_on_hardware(tmp_path):
    model = keras.Sequential([
        keras.Input((4,)),
        layers.QuantInput(Affine(4, 0.5, 3), name="in"),
        layers.QuantDense(2, kernel_quantizer="quantized_bits(4,0,1)"),
    ])  # fmt: skip
    with pytest.raises(UnsupportedModelError, match="'in'.*ignores zero points"):
        kerasqnn.deploy(model, "arty", tmp_path / "project", backend="Vitis")
    with pytest.raises(UnsupportedModelError, match="no integer evaluation.*Affine"):
        kerasqnn.integer_reference(model, np.zeros((1, 4)))


@pytest.mark.parametrize(
    "text", ["LSQPlus(4)", "LSQPlus(bits=3, start='three_sigma', power_of_two=True)"]
)
def test_text_and_configuration(text):
    quantizer = get(text)
    for copy in (get(repr(quantizer)), deserialize(serialize(quantizer))):
        assert type(copy) is LSQPlus and repr(copy) == repr(quantizer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LSQPlus(1)", "`bits` must be"),
        ("LSQPlus(4, start='max')", "`start`.*'max'"),
        ("Affine(17, 1.0)", "`bits` must be"),
        ("Affine(4, 0.0)", "`scale` must be a positive"),
        ("Affine(4, 1.0, 0.5)", "`zero_point` must be an integer"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(ValueError, match=message):
        get(text)
    with pytest.raises(ValueError, match="before it is built"):
        LSQPlus(4).fixed()
