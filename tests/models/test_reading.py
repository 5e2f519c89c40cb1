"""read_model: operations, names, weights, what is refused; the graph's methods."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn import layers as ql
from kerasqnn.errors import KerasQNNError, UnsupportedModelError
from kerasqnn.models import read_model
from kerasqnn.quantizers import FixedPoint, get

from .zoo import EXACT, FLOAT, INPUT, KERNEL, RELU, data, fill, functional


def kinds(model):
    """Return the kinds of a model's operations, without the inputs."""
    return [o.kind for o in read_model(model) if o.kind != "input"]


def test_sequential():
    """Names, order, edges, shapes, attributes and quantized weights."""
    model = fill(
        keras.Sequential(
            [
                keras.Input((5, 4, 2), name="image"),
                ql.QuantInput(INPUT, name="in"),
                ql.NoisyQuantConv2D(
                    3, (2, 3), (2, 1), "same", activation=RELU, name="conv", **KERNEL
                ),
                kl.Flatten(name="flat"),
                ql.QuantDense(2, name="out", kernel_quantizer="binary"),
            ],
            name="net",
        )
    )
    graph = read_model(model)
    assert kerasqnn.read_model is read_model
    assert (graph.name, graph.inputs, graph.outputs) == ("net", ("image",), ("out",))
    assert [(o.name, o.kind, o.inputs, o.outputs, o.layer) for o in graph] == [
        ("image", "input", (), ("image",), "image"),
        ("in", "quantize", ("image",), ("in",), "in"),
        ("conv", "conv2d", ("in",), ("conv",), "conv"),
        ("conv/noise", "noise", ("conv",), ("conv/noise",), "conv"),
        ("conv/activation", "quantize", ("conv/noise",), ("conv/activation",), "conv"),
        ("flat", "reshape", ("conv/activation",), ("flat",), "flat"),
        ("out", "dense", ("flat",), ("out",), "out"),
    ]
    shapes = {n: t.shape for n, t in graph.tensors.items()}
    assert shapes["image"] == (None, 5, 4, 2)
    assert shapes["conv"] == shapes["conv/activation"] == (None, 3, 4, 3)
    assert shapes["flat"] == (None, 36)
    assert {t.dtype for t in graph.tensors.values()} == {"float32"}
    conv = graph.operation("conv")
    assert conv.attributes == {
        "strides": (2, 1), "padding": "same", "dilation": (1, 1), "groups": 1
    }  # fmt: skip
    layer = model.get_layer("conv")
    for name in ("kernel", "bias"):
        quantizer = get(KERNEL[f"{name}_quantizer"])
        parameter = conv.weights[name]
        assert parameter.quantizer == quantizer
        expected = quantizer.quantize(getattr(layer, name))
        np.testing.assert_array_equal(parameter.value, expected)
    bias = graph.operation("out").weights["bias"]
    assert bias.quantizer is None
    np.testing.assert_array_equal(bias.value, model.get_layer("out").bias)
    assert graph.operation("conv/noise").attributes["point"] is layer.noise_point
    assert graph.operation("flat").attributes == {"target_shape": (36,)}
    assert graph.operation("in").attributes == {"quantizer": get(INPUT)}


@pytest.mark.parametrize("name", EXACT)
def test_every_kind_is_read(name):
    """The first word says which kind occurs."""
    assert name.split()[0] in kinds(EXACT[name]())
    assert "layer" not in kinds(EXACT[name]())


@pytest.mark.parametrize("name", FLOAT)
def test_floating_point_kinds_are_read(name):
    """What has no reader is a `layer`."""
    assert name.split()[0] in kinds(FLOAT[name]())


def test_nested_models():
    """Names carry the models around; a model called twice is read twice."""
    inner = keras.Sequential(
        [keras.Input((4,)), ql.QuantDense(4, name="a", **KERNEL)], name="inner"
    )
    x = keras.Input((4,))
    middle = keras.Model(x, inner(ql.QuantActivation(INPUT, name="q")(x)), name="mid")
    y = keras.Input((4,))
    model = fill(keras.Model(y, middle(middle(y))))
    graph = read_model(model)
    assert [o.name for o in graph][1:] == [
        "mid/q", "mid/inner/a", "mid/q_1", "mid/inner/a_1"
    ]  # fmt: skip
    assert graph.operation("mid/q_1").inputs == ("mid/inner/a",)
    first, second = graph.of_kind("dense")
    np.testing.assert_array_equal(
        first.weights["kernel"].value, second.weights["kernel"].value
    )


def test_shared_layer():
    """One layer on two tensors: two operations with one layer's name."""
    layer = ql.QuantDense(4, name="shared", activation=RELU, **KERNEL)
    x = keras.Input((4,))
    graph = read_model(keras.Model(x, layer(layer(x))))
    assert [o.name for o in graph][1:] == [
        "shared", "shared/activation", "shared_1", "shared/activation_1"
    ]  # fmt: skip
    assert {o.layer for o in graph.operations[1:]} == {"shared"}


def test_several_inputs_and_outputs():
    """In the model's order, whatever order they were made in."""
    a, b, c = (keras.Input((3,), name=n) for n in "abc")
    left = kl.Add(name="left")([c, a])
    right = kl.Subtract(name="right")([left, b])
    graph = read_model(keras.Model([c, b, a], [right, left, a]))
    assert graph.inputs == ("c", "b", "a")
    assert graph.outputs == ("right", "left", "a")
    assert graph.operation("left").inputs == ("c", "a")
    assert graph.operation("right").inputs == ("left", "b")
    named = read_model(keras.Model({"b": b, "a": a}, {"y": kl.Add()([a, b])}))
    assert set(named.inputs) == {"a", "b"}


def test_one_tensor_twice():
    """Both arguments of a merge may be the same tensor."""
    x = keras.Input((3,), name="x")
    graph = read_model(keras.Model(x, kl.Multiply(name="square")([x, x])))
    assert graph.operation("square").inputs == ("x", "x")


def test_dead_branches_leave_no_trace():
    """Only what an output needs; unused inputs stay."""
    x, unused = keras.Input((3,), name="x"), keras.Input((3,), name="unused")
    kept = kl.Dense(2, name="kept")(x)
    kl.Dense(2, name="dropped")(kept)
    inner_in = keras.Input((2,))
    inner = keras.Model(
        inner_in,
        [kl.Dense(1, name="p")(inner_in), kl.Dense(1, name="q")(inner_in)],
        name="m",
    )
    graph = read_model(keras.Model([x, unused], inner(kept)[0]))
    assert [o.name for o in graph] == ["x", "unused", "kept", "m/p"]
    assert set(graph.tensors) == {"x", "unused", "kept", "m/p"}


def test_layers_without_effect_leave_no_trace():
    """Dropout, Keras's noise, identities, linear activations."""
    steps = [
        kl.Dropout(0.5),
        kl.GaussianNoise(1.0),
        kl.GaussianDropout(0.5),
        kl.AlphaDropout(0.5),
        kl.ActivityRegularization(l1=1.0),
        kl.Identity(),
        kl.Activation("linear"),
        kl.Activation(None),
        ql.QuantDense(2, activation="linear", **KERNEL),
    ]
    model = functional((4,), *steps)
    assert kinds(model) == ["dense"]
    whole = keras.Sequential([keras.Input((4,), name="x"), kl.Dropout(0.5)])
    assert read_model(whole).outputs == ("x",)


def test_weights_are_those_of_now():
    """A reading is a copy: training afterwards does not change it."""
    model = EXACT["dense"]()
    graph = read_model(model)
    before = graph.of_kind("dense")[0].weights["kernel"].value.copy()
    fill(model, seed=7)
    np.testing.assert_array_equal(
        graph.of_kind("dense")[0].weights["kernel"].value, before
    )
    after = read_model(model).of_kind("dense")[0].weights["kernel"].value
    assert np.any(after != before)


def test_batch_normalization_is_scale_and_offset():
    """Of Keras's layer without quantizers, of ours with them."""
    model = EXACT["scale_offset"]()
    layer = model.layers[-1]
    (operation,) = read_model(model).of_kind("scale_offset")
    scale, offset = layer.inference_scale_and_offset()
    np.testing.assert_array_equal(operation.weights["scale"].value, scale)
    np.testing.assert_array_equal(operation.weights["offset"].value, offset)
    assert operation.weights["scale"].quantizer == layer.scale_quantizer
    assert operation.attributes["axis"] == 3
    (plain,) = read_model(EXACT["scale_offset of Keras"]()).of_kind("scale_offset")
    assert plain.weights["scale"].quantizer is None


class Doubled(keras.Model):
    """A functional model whose call does something else."""

    def call(self, inputs, training=None, mask=None):
        """Twice the graph."""
        return 2 * super().call(inputs)


class Free(keras.Model):
    """A model without a graph."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = kl.Dense(2)

    def call(self, inputs):
        """Not a graph."""
        return self.dense(inputs)


class Stack(keras.Sequential):
    """A Sequential model whose call does something else."""

    def call(self, inputs, training=None, mask=None):
        """Twice the layers."""
        return 2 * super().call(inputs)


class Steps(keras.Model):
    """A subclass that only trains differently."""

    def train_step(self, data):
        """Not inference."""
        return super().train_step(data)


def doubled():
    """Return a model of the overriding class."""
    x = keras.Input((3,))
    return Doubled(x, kl.Dense(2)(x), name="model")


def nested(inner):
    """Return a model around another."""
    x = keras.Input((3,))
    return keras.Model(x, inner(x))


def free():
    """Return a built subclass."""
    model = Free(name="model")
    model(data(3))
    return model


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (free, "'model' is a subclass"),
        (doubled, "'model' is a subclass"),
        (lambda: Stack([keras.Input((3,)), kl.Dense(2)]), "is a subclass"),
        (lambda: nested(free()), "'model' is a subclass"),
        (lambda: nested(doubled()), "'model' is a subclass"),
        (lambda: keras.Sequential([kl.Dense(2)]), "no fixed input shape"),
        (lambda: keras.Sequential(), "no fixed input shape"),
    ],
)
def test_models_that_are_refused(make, text):
    """By name, with a way out."""
    with pytest.raises(UnsupportedModelError, match=text) as error:
        read_model(make())
    assert isinstance(error.value, (KerasQNNError, ValueError))


def test_a_subclass_with_a_graph_is_read():
    """One that does not override `call` computes its graph."""
    x = keras.Input((3,))
    assert kinds(Steps(x, kl.Dense(2)(x))) == ["dense"]


@pytest.mark.parametrize("wrong", [None, kl.Dense(2), "model", [kl.Dense(2)], Free])
def test_other_objects_are_refused(wrong):
    """A TypeError that says what is expected."""
    with pytest.raises(TypeError, match=r"keras\.Model"):
        read_model(wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weight", ["kernel", "bias"])
def test_weights_that_are_not_finite_are_refused(value, weight):
    """With the names of the weight and of the layer, also inside other models."""
    dense = ql.QuantDense(2, name="broken", **KERNEL)
    inner = keras.Sequential([keras.Input((3,)), dense], name="inner")
    model = nested(inner)
    values = np.array(getattr(dense, weight))
    values.flat[-1] = value
    getattr(dense, weight).assign(values)
    with pytest.raises(UnsupportedModelError, match=f"{weight}.*inner/broken") as error:
        read_model(model)
    assert error.value.layer == "inner/broken"


def test_sequential_called_on_data_is_built():
    """Without an Input, the first call fixes the shape."""
    model = keras.Sequential([ql.QuantDense(2, **KERNEL)])
    model(data(3))
    assert kinds(model) == ["dense"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: functional((4,), ql.QuantDense(2, dtype="mixed_float16")),
        lambda: functional((4,), kl.Dense(2, dtype="float64")),
        lambda: functional((4,), type("Mine", (ql.QuantDense,), {})(2)),
        lambda: functional((3, 4, 4), kl.MaxPooling2D(2, data_format="channels_first")),
        lambda: functional((4,), lambda x: keras.ops.maximum(x, 1.0)),
    ],
)
def test_unusual_layers_are_opaque(make):
    """Other precision, other layout, a subclass: `layer`, not misread."""
    assert set(kinds(make())) <= {"layer"}
    assert kinds(make())


def test_graph_methods():
    """Finding operations, and taking some out."""
    graph = read_model(EXACT["noise"]())
    x, quantize, noise, dense = graph.operations
    assert graph.operation(noise.name) is noise
    assert graph.producer(noise.output) is noise
    assert graph.consumers(noise.output) == (dense,)
    assert graph.of_kind("noise", "dense") == (noise, dense)
    assert (dense.input, dense.output) == (noise.output, dense.name)
    quiet = graph.without_noise()
    assert [o.kind for o in quiet] == ["input", "quantize", "dense"]
    assert quiet.of_kind("dense")[0].inputs == (quantize.output,)
    assert graph.of_kind("noise") == (noise,)
    short = graph.without(noise.name, dense.name)
    assert short.outputs == (quantize.output,)
    assert list(short) == [x, quantize]


def test_quantizers_of_an_activation():
    """A quantizer after a sum is an operation of its own."""
    model = functional((4,), kl.Dense(3, activation=FixedPoint(4, 1), name="d"))
    graph = read_model(model)
    assert [o.name for o in graph][1:] == ["d", "d/activation"]
    assert graph.operation("d/activation").attributes["quantizer"] == FixedPoint(4, 1)


def test_masks_as_arguments():
    """A mask among the tensors is not dropped, whatever its type and place."""
    x, mask = keras.Input((4,)), keras.Input((4,))
    for output in (
        keras.layers.Softmax()(x, mask=mask),
        keras.layers.Softmax()(x, mask),
    ):
        graph = read_model(keras.Model([x, mask], output))
        assert [o.kind for o in graph if o.kind == "softmax"] == []
