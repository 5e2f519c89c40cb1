"""What every layer must do, in one call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from .fresh_process import FreshProcess
from .gradients import gradients

# Keras's layers leave these out of their configuration, where they are not used or
# where they are another form of something that is in it.
_KERAS_LEAVES_OUT = {
    "activity_regularizer",
    "flash_attention",
    "gptq_unpacked_column_size",
    "kwargs",
    "lora_alpha",
    "lora_rank",
    "weights",
}


def check_layer(
    make: Callable[..., keras.layers.Layer],
    inputs: Any,
    *,
    weights: Sequence[str] | None = None,
    fresh_process: FreshProcess | None = None,
    unsaved: Iterable[str] = (),
    half: str | None = "mixed_float16",
    rtol: float = 0.0,
) -> None:
    """Check that a layer keeps the contract of kerasqnn's layers, on any backend.

    - It is built by its inputs' shapes, with the named weights; eager, symbolic and
      computed output shapes and dtypes agree, and so do eager and compiled values.
    - Its configuration holds every constructor argument, is JSON, and gives back the
      same layer, as class method and through Keras's serialization.
    - A clone with its weights, and a saved copy in another process, compute its values.
    - Every trainable weight has a finite gradient and moves in a training step.
    - It runs and trains under a half-precision policy, with float32 weights.
    - It passes a mask on as its `compute_mask` says.

    Args:
        make: Makes the layer; takes further keyword arguments, such as `dtype`.
        inputs: What the layer is called with: an array with the batch axis, a list of
            them (one argument, as merges take it), or a dictionary of arrays by
            argument. On a coarse grid, so that sums are exact in any order; integer
            arrays stay integers.
        weights: The names of the layer's weights in order, or None not to check them.
        fresh_process: Where saved models are loaded, or None to leave that out.
        unsaved: Constructor arguments that `get_config` rightly leaves out.
        half: The half-precision policy, or None to leave that out.
        rtol: Largest difference between eager and other results, over the largest
            value; above 0 only for layers whose sums no grid makes exact.

    Raises:
        AssertionError: If the layer breaks the contract; the message says how.

    Example:

    >>> import numpy as np
    >>> from kerasqnn.layers import QuantDense
    >>> from kerasqnn.testing import check_layer
    >>> def make(**options):
    ...     return QuantDense(3, kernel_quantizer="quantized_bits(4,0,1)", **options)
    >>> check_layer(make, np.ones((2, 4), np.float32), weights=["kernel", "bias"])
    """
    layer = make(name="layer")
    _check_building(layer, inputs, weights)
    expected = _numpy(_call(layer, inputs))
    model = _model(layer, inputs)
    _same("`model.predict`", _predict(model, inputs), expected, rtol)
    _check_configuration(layer, {*unsaved, *_KERAS_LEAVES_OUT})
    _check_clone(model, inputs, expected, rtol)
    if fresh_process is not None:
        received = fresh_process.predict(model, tree.flatten(inputs))
        _same("The saved model", received, expected, rtol)
    _check_training(make, inputs)
    if half is not None:
        _check_half_precision(make, inputs, half)
    if layer.supports_masking and _is_sequence(inputs):
        _check_mask(make())


# -- calling a layer whatever its inputs are -------------------------------------------


def _call(layer: Any, inputs: Any, **options: Any) -> Any:
    tensors = tree.map_structure(ops.convert_to_tensor, inputs)
    if isinstance(tensors, dict):
        return layer(**tensors, **options)
    return layer(tensors, **options)


def _symbolic(inputs: Any) -> Any:
    return tree.map_structure(
        lambda x: keras.Input(x.shape[1:], dtype=_dtype(x)), inputs
    )


def _model(layer: Any, inputs: Any) -> keras.Model:
    symbols = _symbolic(inputs)
    given = symbols
    outputs = layer(**given) if isinstance(given, dict) else layer(given)
    return keras.Model(_flat(symbols), outputs)


def _flat(inputs: Any) -> Any:
    arrays = tree.flatten(inputs)
    return arrays if len(arrays) > 1 else arrays[0]


def _predict(model: keras.Model, inputs: Any) -> np.ndarray:
    return model.predict(_flat(inputs), verbose=0)


def _numpy(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))


def _dtype(tensor: Any) -> str:
    return keras.backend.standardize_dtype(tensor.dtype)


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _same(what: str, received: Any, expected: Any, rtol: float = 0.0) -> None:
    limit = rtol * float(np.max(np.abs(expected), initial=0.0))
    np.testing.assert_allclose(
        received,
        expected,
        rtol=0.0,
        atol=limit,
        strict=True,
        err_msg=f"{what} differs from the eager layer",
    )


def _is_sequence(inputs: Any) -> bool:
    """Whether a layer takes one float tensor `(batch, steps, channels)`."""
    single = isinstance(inputs, np.ndarray)
    return single and inputs.ndim == 3 and inputs.dtype.kind == "f"


# -- the checks ------------------------------------------------------------------------


def _fill(layer: keras.layers.Layer) -> None:
    """Give every float weight numbers of its own, variances positive ones."""
    numbers = np.random.default_rng(0)
    for weight in layer.weights:
        if weight.dtype == "float32" and weight.shape:
            values = np.rint(numbers.normal(0, 8, weight.shape)) / 16
            weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)


def _check_building(layer: Any, inputs: Any, names: Sequence[str] | None) -> None:
    shapes = _shapes(inputs)
    layer.build(**shapes) if isinstance(inputs, dict) else layer.build(shapes)
    _require(layer.built, "`build` leaves `built` at False")
    if names is not None:
        received = [w.name for w in layer.weights]
        _require(received == list(names), f"weights {received}, not {list(names)}")
    _fill(layer)
    output = _call(layer, inputs)
    if isinstance(inputs, dict):
        computed = layer.compute_output_shape(**shapes)
    else:
        computed = layer.compute_output_shape(shapes)
    # None: Keras's EinsumDense says only what it was given.
    shape = tuple(
        output.shape[i] if size is None else size for i, size in enumerate(computed)
    )
    _require(
        shape == tuple(output.shape),
        f"`compute_output_shape` says {shape}, the output has {tuple(output.shape)}",
    )
    symbols = _symbolic(inputs)
    symbolic = layer(**symbols) if isinstance(symbols, dict) else layer(symbols)
    _require(
        tuple(symbolic.shape) == (None, *output.shape[1:]),
        f"the symbolic output has the shape {symbolic.shape}, the eager one "
        f"{tuple(output.shape)}",
    )
    dtypes = (symbolic.dtype, _dtype(output))
    _require(dtypes == ("float32", "float32"), f"outputs of dtypes {dtypes}")


def _shapes(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {f"{name}_shape": x.shape for name, x in inputs.items()}
    return [x.shape for x in inputs] if isinstance(inputs, list) else inputs.shape


def _check_configuration(layer: Any, unsaved: set[str]) -> None:
    config = layer.get_config()
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    copies = [type(layer).from_config(config)]
    copies.append(keras.saving.deserialize_keras_object(stored))
    for copy in copies:
        _require(type(copy) is type(layer), f"the copy is a {type(copy).__name__}")
        _require(
            copy.get_config() == layer.get_config() == config,
            f"configurations differ: {copy.get_config()} and {config}",
        )
    name = stored["registered_name"]
    _require(
        keras.saving.get_registered_object(name) is type(layer),
        f"the class is not registered for saving: {name!r}",
    )
    missing = set(inspect.signature(type(layer)).parameters) - config.keys() - unsaved
    _require(not missing, f"`get_config` leaves out {sorted(missing)}")


def _check_clone(
    model: keras.Model, inputs: Any, expected: np.ndarray, rtol: float
) -> None:
    clone = keras.models.clone_model(model)
    _require(
        clone.layers[-1].get_config() == model.layers[-1].get_config(),
        "a clone has another configuration",
    )
    clone.set_weights(model.get_weights())
    _same("A clone", _predict(clone, inputs), expected, rtol)


def _check_training(make: Callable[..., Any], inputs: Any) -> None:
    """Every trainable weight gets a gradient, and a step moves it."""
    layer = make()
    model = _model(layer, inputs)
    model.compile("sgd", "mse")
    found = gradients(layer, lambda: _call(layer, inputs, training=True))
    for weight, gradient in zip(layer.trainable_weights, found, strict=True):
        if gradient is None:
            raise AssertionError(f"weight {weight.path!r} has no gradient")
        _require(
            np.all(np.isfinite(gradient)), f"weight {weight.path!r} has a NaN gradient"
        )
    before = [_numpy(w).copy() for w in layer.trainable_weights]
    target = np.zeros(_call(layer, inputs).shape, np.float32)
    loss = model.train_on_batch(_flat(inputs), target)
    _require(np.isfinite(loss), f"the loss of a training step is {loss}")
    for weight, old in zip(layer.trainable_weights, before, strict=True):
        _require(
            np.any(_numpy(weight) != old), f"training does not move {weight.path!r}"
        )


def _check_half_precision(make: Callable[..., Any], inputs: Any, policy: str) -> None:
    layer = make(dtype=policy)
    dtype = keras.DTypePolicy(policy).compute_dtype
    for training in (False, True):
        y = _call(layer, inputs, training=training)
        _require(_dtype(y) == dtype, f"{policy} gives an output of {_dtype(y)}")
        _require(
            np.all(np.isfinite(_numpy(ops.cast(y, "float32")))),
            f"{policy} gives numbers that are not finite",
        )
    dtypes = {w.dtype for w in layer.trainable_weights}
    _require(dtypes <= {"float32"}, f"{policy} gives weights of {sorted(dtypes)}")
    model = _model(layer, inputs)
    _require(
        model.output.dtype == dtype, f"the symbolic output is {model.output.dtype}"
    )
    if any(inner.activity_regularizer for inner in layer._flatten_layers()):
        return  # Keras cannot add its half-precision loss to the others
    model.compile("sgd", "mse")
    loss = model.train_on_batch(_flat(inputs), np.zeros(y.shape, np.float32))
    _require(np.isfinite(loss), f"the loss of a training step in {policy} is {loss}")


class _Recorder(keras.layers.Layer):
    """Keeps the mask that it receives."""

    mask: Any = None
    supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Keep the mask."""
        self.mask = mask
        return inputs


def _check_mask(layer: Any) -> None:
    recorder = _Recorder()
    x = np.ones((2, 3, 4), np.float32)
    x[1, 1:] = 0.0
    mask = x[..., 0] != 0
    recorder(layer(keras.layers.Masking()(ops.convert_to_tensor(x))))
    expected = layer.compute_mask(ops.convert_to_tensor(x), ops.convert_to_tensor(mask))
    if expected is None:
        _require(recorder.mask is None, "the layer passes on a mask that it ends")
        return
    _require(recorder.mask is not None, "the layer loses the mask")
    np.testing.assert_array_equal(_numpy(recorder.mask), _numpy(expected))
