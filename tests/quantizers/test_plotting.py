"""Plots of quantizers: the lines are the numbers, and every quantizer has one."""

from __future__ import annotations

import importlib.util
import inspect
import re
import warnings
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf

import kerasqnn
from kerasqnn import quantizers
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.layers import QuantActivation, QuantDense, QuantInput
from kerasqnn.quantizers import (
    AutoFixedPoint,
    FixedPoint,
    Gradual,
    LearnedBits,
    LearnedStepSize,
    Quantizer,
    StatefulQuantizer,
    StochasticRounding,
    plot_quantizer,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quantizers.md").read_text()
ROWS = {
    name: [cell.strip() for cell in rest.split("|")]
    for name, rest in re.findall(r"^\| \[`(\w+)`\](.*)\|$", PAGE, re.M)
}
PUBLIC = sorted(
    name
    for name, kind in vars(quantizers).items()
    if inspect.isclass(kind)
    and issubclass(kind, (Quantizer, StatefulQuantizer))
    and not inspect.isabstract(kind)
    and kind is not StatefulQuantizer
)


def _program():
    path = ROOT / "docs" / "make_quantizers.py"
    spec = importlib.util.spec_from_file_location("make_quantizers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROGRAM = _program()


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def lines(ax):
    """Return `x` and the columns of `y` of each label."""
    drawn: dict[str, tuple] = {}
    label = ""
    for line in ax.get_lines():
        own = line.get_label()
        if own.startswith("_child"):  # an axis, a border
            continue
        label = label if own == "_" else own
        x, y = line.get_data()
        drawn[label] = (x, np.column_stack([*drawn.get(label, (x,))[1:], y]))
    return drawn


# -- docstrings ------------------------------------------------------------------------

# Gradients as the docstrings have them, in numpy.
ONE = np.ones_like
TANH = lambda x: 1 - np.tanh(np.float64(x)) ** 2  # noqa: E731


def _between(low, high):
    """1 from `low` to `high`, both included, else 0."""
    return lambda x: ((x >= low) & (x <= high)).astype(np.float64)


def _relu(high):
    return lambda x: ((x > 0) & (x <= high)).astype(np.float64)


def _table(x):
    codes = np.clip(np.round(x * 8.0), -32, 31) / 8.0
    return (1 - np.tanh(codes) ** 2) * ((x >= -4) & (x <= 3.875))


def _hard_swish(x):
    inner = (np.clip(x + 3, 0, 6) + x * ((x > -3) & (x <= 3))) / 6
    return inner


GRADIENTS = {
    "Affine": _between(-1, 2.5),
    "AutoBinary": ONE,
    "AutoFixedPoint": ONE,
    "AutoLinear": ONE,  # the range is that of the numbers
    "AutoTernary": ONE,
    "Binary": TANH,
    "FixedPoint": ONE,
    "Gradual": ONE,
    "Heaviside": TANH,
    "HeterogeneousFixedPoint": _between(-2, 1.75),
    "LSQPlus": _between(-1, 0.75),
    "LearnedBits": _between(-2, 1.75),
    "LearnedStepSize": _between(-1, 0.75),
    "PACT": lambda x: ((x > 0) & (x < 2)).astype(np.float64),
    "PowerOfTwo": ONE,
    "PowerOfTwoReLU": _relu(4),
    "QuantizedHardSwish": _hard_swish,
    "QuantizedLeakyReLU": lambda x: np.where(x > 0, 1.0, 0.25),
    "QuantizedLinear": _between(-1.75, 1.75),
    "QuantizedReLU": _relu(1.75),
    # Of the function, where the rounded value is one of the grid's.
    "QuantizedSigmoid": lambda x: 0.5 * _between(-1, 0.9375)(x),
    "QuantizedSigmoidReLU": _relu(0.875),
    "QuantizedSoftmax": lambda x: 0.25 * (1 - np.tanh(np.float64(x) / 2) ** 2),
    "QuantizedTanh": _between(-1, 0.9375),
    "StochasticBinary": ONE,
    "StochasticRounding": ONE,
    "StochasticTernary": ONE,
    "TableFunction": _table,
    "Ternary": TANH,
}


def test_every_quantizer_has_a_gradient_here():
    assert set(GRADIENTS) == set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring(name):
    """Formula, gradient and plot; the plot's lines are the values and the gradient."""
    docstring = inspect.getdoc(getattr(quantizers, name))
    own = vars(getattr(quantizers, name))["__doc__"]
    assert re.search(r"^Formula\b.*", docstring, re.M), "no formula"
    assert re.search(r"^Gradient: \S", docstring, re.M), "no gradient"
    code = PROGRAM.plot_code(own)
    assert "plot_quantizer(" in code, "no `.. plot::`"

    received = []

    def spy(quantizer, *arguments, **named):
        received.append(quantizers.get(quantizer))
        return plot_quantizer(quantizer, *arguments, **named)

    figures = plt.get_fignums()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizers, "plot_quantizer", spy)
        exec(compile(code, name, "exec"), {})
    (quantizer,) = received
    assert type(quantizer).__name__ == name
    (new,) = set(plt.get_fignums()) - set(figures)  # what Sphinx finds
    (ax,) = plt.figure(new).axes
    drawn = lines(ax)
    x, y = drawn["value y"]
    column = tf.constant(x[:, None])
    if name == "QuantizedSoftmax":
        column = tf.concat([column, tf.zeros_like(column)], axis=-1)
    expected = np.array(quantizer(column))[:, :1]
    np.testing.assert_array_equal(y, expected)
    x, gradient = drawn["gradient dy/dx"]
    assert len(x) == len(y) == 2001
    # float32 functions of the backend against float64
    np.testing.assert_allclose(gradient[:, 0], GRADIENTS[name](x), atol=2e-6)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [*drawn] and ax.get_xlabel() == "x" and ax.get_title()


# -- the function ----------------------------------------------------------------------


def test_values_objects_strings_and_configurations():
    """All that `get` takes gives the same lines, and the range that shows all of it."""
    quantizer = FixedPoint(3, 1)
    first = lines(plot_quantizer(quantizer))
    for other in ("quantized_bits(3,1)", quantizers.serialize(quantizer)):
        for label, (x, y) in lines(plot_quantizer(other)).items():
            np.testing.assert_array_equal(x, first[label][0])
            np.testing.assert_array_equal(y, first[label][1])
    x, y = first["value y"]
    assert x[0] == -2.5 and x[-1] == 2.5
    np.testing.assert_array_equal(y[:, 0], quantizer.quantize(x))


@pytest.mark.parametrize(
    ("quantizer", "high"),
    [
        ("FixedPoint(8, 3)", 10.0),
        ("quantized_relu(4, 2)", 5.0),
        ("Binary(4.0)", 5.0),
        ("PowerOfTwo(8)", 4.0),  # up to 2^63
        ("AutoTernary(mode='auto')", 1.0),
        ("StochasticBinary('auto')", 1.0),
        ("LearnedBits()", 4.0),
    ],
)
def test_default_range(quantizer, high):
    ax = plot_quantizer(quantizer)
    assert ax.get_xlim() == (-high, high)


def test_one_limit_is_mirrored():
    assert plot_quantizer("Binary()", high=3).get_xlim() == (-3, 3)
    assert plot_quantizer("Binary()", low=-2).get_xlim() == (-2, 2)


def test_a_scale_from_the_values():
    """Whatever its axes: the numbers are one channel."""
    x, y = lines(plot_quantizer(AutoFixedPoint(4, mode="auto"), -3, 1))["value y"]
    expected = AutoFixedPoint(4, mode="auto").quantize(x[:, None])
    np.testing.assert_array_equal(y, expected)
    assert len(np.unique(y)) > 8
    for other in (
        AutoFixedPoint(4, mode="auto", axis=0),
        AutoFixedPoint(4, mode="auto", axis=(0, 1)),
        Gradual(AutoFixedPoint(4, mode="auto", axis=0)),
    ):
        np.testing.assert_array_equal(
            lines(plot_quantizer(other, -3, 1))["value y"][1], expected
        )
    grouped = AutoFixedPoint(4, mode="auto_po2", group=2)
    plot_quantizer(grouped)


def test_one_line_a_channel():
    quantizer = FixedPoint(3, alpha=(0.5, 1.0, 2.0))
    x, y = lines(plot_quantizer(quantizer))["value y"]
    np.testing.assert_array_equal(y, quantizer.quantize(np.stack([x] * 3, -1)))
    learned = LearnedStepSize(3, per_channel=True)
    learned.build((None, 2))
    learned.start.assign([0.25, 1.0])
    x, y = lines(ax := plot_quantizer(learned))["value y"]
    np.testing.assert_array_equal(y, learned(np.stack([x] * 2, -1)))
    assert len(np.unique(y)) == 8 + 8 - 2  # both have -1 and 0
    assert len(ax.get_legend().get_texts()) == 2
    elements = LearnedBits(2, granularity="element")
    elements.build((2, 3))
    elements.fraction.assign([[0, 1, 2], [3, 4, 5]])
    x, y = lines(plot_quantizer(elements))["value y"]
    cube = np.broadcast_to(x[:, None, None], (len(x), 2, 3))
    np.testing.assert_array_equal(y.reshape(cube.shape), elements(cube))


def test_a_trained_quantizer_is_shown_as_it_is_and_stays_so():
    quantizer = LearnedStepSize(3)
    quantizer(tf.constant([[1.0], [-3.0]]), training=True)
    before = [np.array(v) for v in quantizer.variables]
    x, y = lines(plot_quantizer(quantizer))["value y"]
    np.testing.assert_array_equal(np.unique(y), np.arange(-4, 4) * quantizer.step)
    for variable, value in zip(quantizer.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_nothing_is_built_or_drawn_in_what_is_given():
    learned = LearnedStepSize(3)
    plot_quantizer(learned)
    assert not learned.built
    drawing = StochasticRounding("FixedPoint(3, 1)", seed=0)
    state = np.array(drawing.seed_generator.state)
    plot_quantizer(drawing)
    np.testing.assert_array_equal(drawing.seed_generator.state, state)


def test_values_in_training():
    """Drawn next to those of inference, where they are others."""
    drawn = lines(plot_quantizer("StochasticRounding('FixedPoint(3, 1)', seed=0)"))
    x, y = drawn["value in training"]
    assert set(np.unique(y)) <= set(FixedPoint(3, 1).quantize(x))
    inside = np.abs(x) < 1.4
    assert np.all(np.abs(y[inside, 0] - x[inside]) < 0.5)
    assert np.any(y[:, 0] != FixedPoint(3, 1).quantize(x))

    quantizer = Gradual("QuantizedReLU(3, 1)")
    quantizer.build((None, 1))
    quantizer.strength = 0.25
    drawn = lines(plot_quantizer(quantizer))
    x, y = drawn["value in training"]
    np.testing.assert_allclose(
        y[:, 0], x + 0.25 * (quantizer.quantizer.quantize(x) - x), atol=1e-6
    )
    x, gradient = drawn["gradient dy/dx"]
    assert set(gradient[:, 0]) == {0.75, 1.0}
    assert "value in training" not in lines(plot_quantizer("Gradual('Binary()')"))


def borders(ax):
    """Return where the vertical lines but the axis stand."""
    found = [line.get_xdata() for line in ax.get_lines() if line.get_linestyle() == ":"]
    return sorted(float(x[0]) for x in found)


@pytest.mark.parametrize(
    ("quantizer", "expected"),
    [
        ("FixedPoint(3, 1)", [-1.75, 1.25]),  # half a step from the ends
        ("Ternary(threshold=0.5)", [-0.5, 0.5]),
        ("Binary()", [0.0]),
        ("FixedPoint(3, 1, overflow='WRAP')", []),
        ("PowerOfTwo(8)", []),
        ("PowerOfTwo(4)", [-(2**2.5), 2**2.5]),
        ("LearnedBits(2)", []),
        ("AutoBinary(mode='auto')", [0.0]),
        ("StochasticTernary('auto_po2')", [-0.25, 0.25]),
        ("FixedPoint(3, alpha=(0.5, 1.0))", []),
    ],
)
def test_borders(quantizer, expected):
    ax = plot_quantizer(quantizer)
    spacing = np.diff(ax.get_xlim())[0] / 2000
    np.testing.assert_allclose(borders(ax), expected, atol=spacing)


def test_axes_are_used_or_made():
    _, ax = plt.subplots()
    assert plot_quantizer("binary", ax=ax) is ax
    assert plot_quantizer("binary") is not ax


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None,), TypeError, "`quantizer` must be .* Received: quantizer=None"),
        ((3,), TypeError, "A quantizer must be .* Received: 3"),
        (("quantised_bits(4)",), ValueError, "quantised_bits"),
        (("binary", 1.0, 1.0), ValueError, "low=1.0, high=1.0"),
        (("binary", 2.0), ValueError, "low=2.0, high=None"),
        (("binary", None, -2.0), ValueError, "low=None, high=-2.0"),
        (("binary", "a"), ValueError, "low='a'"),
        (("binary", True), ValueError, "low=True"),
        (("binary", None, np.nan), ValueError, "high=nan"),
        (("binary", -np.inf), ValueError, "low=-inf"),
        (("binary", -1e39, 0.0), ValueError, "low=-1e"),
        (("binary", -1.0, 1.0, "axes"), TypeError, "`ax` must .* ax='axes'"),
    ],
)
def test_refused(arguments, error, message):
    figures = plt.get_fignums()
    with pytest.raises(error, match=message):
        plot_quantizer(*arguments)
    assert plt.get_fignums() == figures


# -- the page --------------------------------------------------------------------------


def test_the_page_lists_every_quantizer():
    """A new quantizer needs a row, and `python docs/make_quantizers.py`."""
    assert sorted(ROWS) == PUBLIC
    assert sorted(PROGRAM.listed(PAGE)) == PUBLIC
    for name, (link, *_) in ROWS.items():
        source = (ROOT / "docs" / link.strip("()")).read_text()
        assert f"class {name}(" in source
    assert "(quantizers.png)" in PAGE
    assert "(docs/quantizers.md)" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ROWS)
def test_strings_of_the_page(name):
    """The strings name this class, and all of a row the same quantizer."""
    found = [quantizers.get(s) for s in re.findall("`([^`]+)`", ROWS[name][1])]
    assert {type(q).__name__ for q in found} == {name}
    configs = [{**q.get_config(), "name": ""} for q in found]
    assert all(config == configs[0] for config in configs)


@pytest.mark.parametrize("name", ROWS)
def test_exports_of_the_page(name, tmp_path):
    """The two columns say what `export_qonnx` does."""
    string = re.findall("`([^`]+)`", ROWS[name][1])[0]
    keras.utils.set_random_seed(0)
    layers = (
        QuantDense(3, kernel_quantizer=string, use_bias=False),
        QuantActivation(string),
    )
    for said, layer in zip(ROWS[name][4:6], layers, strict=True):
        model = keras.Sequential(
            [keras.Input((4,)), QuantInput("quantized_bits(6,2)"), layer]
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # codes saturated before training
                kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
            assert said == "yes"
        except UnsupportedModelError:
            assert said == "refused"


def test_learned_of_the_page():
    for name, cells in ROWS.items():
        variables = issubclass(getattr(quantizers, name), StatefulQuantizer)
        assert not cells[6] or variables
        if cells[6] and name != "Gradual":
            quantizer = quantizers.get(re.findall("`([^`]+)`", cells[1])[0])
            quantizer.build((None, 1))
            assert quantizer.trainable_variables


def test_the_picture(tmp_path):
    """The program draws it, and it is small; the committed one has the same size."""
    PROGRAM.sheet(PROGRAM.listed(PAGE), tmp_path / "sheet.png")
    committed = ROOT / "docs" / "quantizers.png"
    assert committed.stat().st_size < 150_000
    drawn, kept = (plt.imread(p) for p in (tmp_path / "sheet.png", committed))
    assert drawn.shape == kept.shape
