"""PYNQ driver of a kerasqnn accelerator; stands alone with numpy and pynq.

    with KerasqnnOverlay() as overlay:  # overlay.json lies beside this file
        y = overlay.predict(x)

Must stay valid Python 3.6, for PYNQ 2.5 and later. `overlay.json`, format 1:

    {"format": 1, "model": "jets", "bitfile": "kerasqnn.bit", "clock_mhz": 100.0,
     "dma": "hier_0/axi_dma_0",
     "inputs": [{"name": "x", "shape": [16], "dtype": "float32",
                 "type": {"signed": true, "width": 8, "fractional": 5},
                 "quantizer": {"step": 0.03125, "min": -4.0, "max": 3.96875,
                               "rounding": "ROUND", "overflow": "SAT"}}],
     "outputs": [{"name": "y", "shape": [5], "dtype": "float32",
                  "type": {"signed": true, "width": 16, "fractional": 8}}]}

One input, one output; `shape` is that of one sample, sent in C order, one `dtype`
element a stream word: float32 values, or integer codes (value / step, at most 24 bits).
An input without `quantizer` is rounded half to even and saturates on the grid of
`type`; with neither, words pass unchanged. `rounding`: ROUND (half to even), FLOOR,
CEIL, UP (away from zero), DOWN, HALF_UP, HALF_DOWN; `overflow`: SAT, SAT_SYM, WRAP.
A chunk of samples is one DMA transfer: the accelerator answers every sample and asserts
TLAST on the last word of the chunk alone, as hls4ml's AXI stream wrapper does.
"""
# ruff: noqa: UP006, UP035, UP045

import functools
import json
import os
import sys
import threading
import time
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np
from pynq import Overlay, allocate

_DTYPES = ("float32", "int8", "uint8", "int16", "uint16", "int32", "uint32")
_ROUNDING: Any = {"ROUND": np.rint, "FLOOR": np.floor, "CEIL": np.ceil}
_ROUNDING["DOWN"] = np.trunc
_ROUNDING["UP"] = lambda y: np.sign(y) * np.ceil(np.abs(y))
_ROUNDING["HALF_UP"] = lambda y: np.sign(y) * np.floor(np.abs(y) + np.float32(0.5))
_ROUNDING["HALF_DOWN"] = lambda y: np.sign(y) * np.ceil(np.abs(y) - np.float32(0.5))


class DMAError(RuntimeError):
    """A DMA channel reported an error, stopped, or moved too few bytes."""


class DMATimeoutError(TimeoutError):
    """A transfer did not finish in time; the message holds the state of the DMA."""


def _require(condition: Any, rule: str, received: Any) -> None:
    if not condition:
        raise ValueError(f"{rule}. Received: {received}")


def _numbers(x: Any) -> np.ndarray:
    """Return finite real numbers as an array."""
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"`X` must hold real numbers. Received: X.dtype={x.dtype}")
    bad = x.size - np.count_nonzero(np.isfinite(x))
    _require(not bad, "`X` must be finite", f"{bad} NaN or infinite numbers")
    return x


def _load(description: Any, bitfile: Optional[str], other: Any = None) -> Tuple:
    """Return the description, `other` where there is none, and the bitstream's path."""
    folder = os.path.dirname(os.path.abspath(bitfile or __file__))
    if not isinstance(description, dict):
        path = os.path.abspath(description or os.path.join(folder, "overlay.json"))
        if other and not (description or os.path.exists(path)):
            return other, bitfile
        with open(path, encoding="utf-8") as file:
            description, folder = json.load(file), os.path.dirname(path)
    counts = [len(description.get(key) or ()) for key in ("inputs", "outputs")]
    good = description.get("format") == 1 and counts == [1, 1]
    _require(good, "overlay.json needs format 1, one input, one output", description)
    return description, bitfile or os.path.join(folder, description["bitfile"])


class _Port:
    """One side of the accelerator: shape, word type, and the grid of the values."""

    def __init__(self, spec: Dict[str, Any]) -> None:
        good = all(type(n) is int and n > 0 for n in spec.get("shape") or [0])
        _require(good, "`shape` must list positive integers", spec)
        _require(spec.get("dtype") in _DTYPES, f"`dtype` is one of {_DTYPES}", spec)
        self.shape, self.dtype = tuple(spec["shape"]), np.dtype(spec["dtype"])
        self.words, self.integer = int(np.prod(self.shape)), self.dtype.kind != "f"
        self.step, kind, grid = None, spec.get("type"), spec.get("quantizer")
        if kind and not grid:
            step, size = 2.0 ** -kind["fractional"], 2 ** kind["width"]
            low = -(size // 2) if kind["signed"] else 0
            grid = {"step": step, "min": low * step, "max": (low + size - 1) * step}
        if not grid:
            return  # words pass unchanged
        self.rounding = grid.get("rounding", "ROUND")
        self.overflow = grid.get("overflow", "SAT")
        step, low, high = (grid.get(key, np.nan) for key in ("step", "min", "max"))
        codes = np.array([low, high]) / (step or np.nan)
        whole = np.rint(codes).astype("f4")  # FLOOR would see a quotient a hair short
        good = step > 0 and low < high and np.abs(codes - np.rint(codes)).max() < 1e-3
        _require(good, "`quantizer` needs step > 0, min < max, multiples of it", grid)
        _require(self.rounding in _ROUNDING, f"`rounding` is of {[*_ROUNDING]}", grid)
        good = self.overflow in ("SAT", "SAT_SYM", "WRAP")
        _require(good, "`overflow` is SAT, SAT_SYM or WRAP", grid)
        if self.integer:
            info = np.iinfo(self.dtype)
            good = info.min <= whole[0] and whole[1] <= min(info.max, 2**24)
            _require(good, f"Codes must fit {self.dtype} and 24 bits", grid)
        self.step, (self.low, self.high) = np.float32(step), whole

    def quantize(self, x: np.ndarray) -> np.ndarray:
        """Return the stream words of values, in float32 arithmetic as in the model."""
        if self.step is None:
            return self.cast(x)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and saturates
            x = np.asarray(x, np.float32)
            # The model's backend counts denormal numbers as zero.
            y = np.where(np.abs(x) < np.finfo(np.float32).tiny, 0, x) / self.step
        if self.overflow == "WRAP":
            _require(np.isfinite(y).all(), "To wrap, `X` must fit float32", np.max(x))
            y, count = _ROUNDING[self.rounding](y), self.high - self.low + np.float32(1)
            y = y - np.floor(y / count) * count  # exact however large y is
            y = np.where(y > self.high, y - count, y)
        else:
            y = _ROUNDING[self.rounding](np.clip(y, self.low, self.high))
        return y.astype(self.dtype) if self.integer else y * self.step

    def cast(self, words: np.ndarray) -> np.ndarray:
        """Return words in the port's dtype; refuse what it cannot hold."""
        with np.errstate(over="ignore", invalid="ignore"):
            cast = words.astype(self.dtype)
        fits = cast.astype(np.float64) == words if self.integer else np.isfinite(cast)
        rule = f"Words must fit {self.dtype}; use an `encode` that quantizes to it"
        _require(fits.all(), rule, words[~fits][:1])
        return cast


class KerasqnnOverlay(Overlay):
    """A kerasqnn accelerator behind an AXI DMA; calls of several threads take turns.

    Args:
        bitfile_name: Bitstream; by default the one that `overlay.json` names.
        max_batch: Most samples in one DMA transfer; larger batches are sent in chunks.
        timeout: Seconds that one transfer may take.
        description: Path or dict; else `overlay.json` beside bitstream or this file.
        **options: Of `pynq.Overlay`: `dtbo`, `download`, `ignore_version`, `device`.
            After `download=False`, a failure resets the DMA but not the accelerator.
    """

    # Class defaults, because pynq looks unknown attributes up in the bitstream.
    _closed, _broken = True, False
    _buffers: Tuple = ()

    def __init__(
        self,
        bitfile_name: Optional[str] = None,
        max_batch: int = 256,
        timeout: float = 10.0,
        description: Any = None,
        **options: Any,
    ) -> None:
        good = isinstance(max_batch, int) and max_batch > 0 and timeout > 0
        rule = "`max_batch` must be a positive integer, `timeout` positive seconds"
        _require(good, rule, f"max_batch={max_batch!r}, timeout={timeout!r}")
        spec, path = _load(description, bitfile_name)
        self._input, self._output = _Port(spec["inputs"][0]), _Port(spec["outputs"][0])
        super().__init__(path, **options)
        self._lock, self.timeout, self._options = threading.RLock(), timeout, options
        self.model_description, path = spec, spec.get("dma", "hier_0/axi_dma_0")
        try:
            dma: Any = functools.reduce(getattr, path.split("/"), self)
            self.sendchannel, self.recvchannel = dma.sendchannel, dma.recvchannel
        except (AttributeError, RuntimeError) as error:
            hint = f"{error}; load the bitstream (download=True), its .hwh beside it"
            raise RuntimeError(f"No AXI DMA {path!r}: {hint}") from error
        self._read: Any = getattr(dma, "read", lambda offset: None)  # a register
        limit = getattr(dma, "buffer_max_size", 2**26) - 1
        size = max(p.words * p.dtype.itemsize for p in (self._input, self._output))
        _require(size <= limit, f"A sample must fit the DMA's {limit} bytes", size)
        self._dma, self.max_batch = dma, min(max_batch, limit // size)
        self._closed = False
        if not options.get("download", True):
            self.recover()  # another program may have left a transfer behind

    input_shape = property(lambda self: self._input.shape, doc="Shape of one sample.")
    output_shape = property(lambda self: self._output.shape, doc="Shape of one answer.")

    def encode(self, x: Any) -> np.ndarray:
        """Return the stream words of values: the model's input quantizer."""
        return self._input.quantize(_numbers(x))

    def decode(self, words: Any) -> np.ndarray:
        """Return the values of stream words; integer codes are multiplied by step."""
        step = self._output.step if self._output.integer else None
        return np.array(words) if step is None else step * np.asarray(words, "f4")

    def predict(
        self,
        X: Any,
        debug: bool = False,
        profile: bool = False,
        encode: Optional[Callable[[np.ndarray], Any]] = None,
        decode: Optional[Callable[[np.ndarray], Any]] = None,
    ) -> Any:
        """Return the model's answers, in memory of their own.

        Args:
            X: Finite numbers, `(batch,) + input_shape`, any batch; or one sample alone.
            debug: Whether to write the progress to standard output.
            profile: Whether to return `(answers, seconds, samples per second)`.
            encode: Makes stream words of `X`, in place of the method `encode`.
            decode: Makes the result of the received words, in the shape of the answers.

        Raises:
            ValueError: If a shape is wrong or a number is not finite or fits no word.
            DMATimeoutError: If a transfer takes longer than `timeout`.
            DMAError: If the DMA reports an error or receives too few bytes.
        """
        with self._lock:
            self._make_ready()
            start, port, x = time.perf_counter(), self._input, _numbers(X)
            x = x if encode is None else _numbers(encode(x))
            to_words = port.quantize if encode is None else port.cast
            single, shape = x.shape == self.input_shape, self.input_shape
            good = single or (x.ndim and x.shape[1:] == shape)
            rule = f"`X` must have the shape {shape} or (batch,) + {shape}"
            _require(good, rule, f"X.shape={x.shape}")
            count = 1 if single else len(x)
            x = x.reshape(count, port.words)
            y = np.empty((count,) + self.output_shape, self._output.dtype)
            rows = y.reshape(count, self._output.words)
            for first in range(0, count, self.max_batch):
                part = slice(first, min(first + self.max_batch, count))
                self._exchange(to_words(x[part]), rows[part])
                if debug:
                    sys.stdout.write(f"Received {part.stop} of {count} answers\n")
            result = (decode or self.decode)(y[0] if single else y)
            seconds = time.perf_counter() - start
        return (result, seconds, count / seconds) if profile else result

    def _make_ready(self) -> None:
        if self._closed:
            raise RuntimeError("The overlay is closed; make a new one.")
        note = self.recover() if self._broken else ""
        if self._broken:
            raise DMAError(note)
        device, n = self._options.get("device"), self.max_batch
        self._buffers = self._buffers or tuple(
            allocate(shape=(n, port.words), dtype=port.dtype, target=device)
            for port in (self._input, self._output)
        )

    def _exchange(self, words: np.ndarray, answers: np.ndarray) -> None:
        """Send the words of a chunk; copy what comes back into `answers`."""
        source, sink = (buffer[: len(words)] for buffer in self._buffers)
        try:
            source[...] = words
            self.recvchannel.transfer(sink)  # armed first: no answer comes too early
            self.sendchannel.transfer(source)
            self._poll()
            self.sendchannel.wait()  # return at once; `recvchannel` syncs the cache
            self.recvchannel.wait()
            got = getattr(self.recvchannel, "transferred", self._read(0x58))
            if got not in (None, sink.nbytes):
                raise DMAError(f"Short transfer: {got} of {sink.nbytes} bytes.")
            answers[...] = sink
        except BaseException as error:
            state, note = self.dma_state(), self.recover()
            if not isinstance(error, Exception):
                raise  # an interrupt from the keyboard
            kind = DMATimeoutError if isinstance(error, DMATimeoutError) else DMAError
            raise kind(f"{error} {note} It was found as {state}") from error

    def _poll(self) -> None:
        start, waited = time.perf_counter(), 0.0
        channels = (self.recvchannel, self.sendchannel)
        while not all(channel.idle for channel in channels):
            if any(getattr(c, "error", False) or not c.running for c in channels):
                raise DMAError("The DMA stopped with an error.")
            if waited > self.timeout:
                raise DMATimeoutError(f"No answer within {self.timeout} s.")
            time.sleep(0.0002 if waited > 0.002 else 0)  # long waits leave the CPU free
            waited = time.perf_counter() - start

    def dma_state(self) -> Dict[str, Dict[str, Any]]:
        """Return running, idle, error and the status register of both channels."""
        state = {}
        for name, offset in (("sendchannel", 0x04), ("recvchannel", 0x34)):
            channel, status = getattr(self, name), self._read(offset)
            error = bool(getattr(channel, "error", (status or 0) & 0x70))
            state[name] = {"running": channel.running, "idle": channel.idle}
            state[name].update(error=error, status=status and hex(status))
        return state

    def recover(self) -> str:
        """Restart the DMA and download the bitstream again; return what was done."""
        note = "restarted, not the accelerator, which may hold old samples"
        write: Any = getattr(self._dma, "write", None)  # pynq's `stop` could spin
        controls = (0x00, 0x30) if write else ()
        with self._lock:
            self._broken = True
            try:
                for control in controls:
                    write(control, 0x4)  # soft reset
                time.sleep(0.01)
                if self._options.get("download", True):  # clears what is half sent
                    self._free_buffers()
                    self.download()
                    note = "restarted and the bitstream downloaded again"
                for control in controls:
                    write(control, 0x1)  # run
                time.sleep(0.001)
                if any(self._read(control + 4) & 0x1 for control in controls):
                    raise DMAError("a channel stays halted")
                for channel in (self.sendchannel, self.recvchannel):
                    if not controls:
                        channel.stop()
                    channel.start()  # returns at once, and tells pynq
                self._broken = False
            except Exception as error:
                note = f"not restarted: {error}"
        return f"The DMA was {note}."

    def profile(self, X: Any, repeats: int = 10) -> Dict[str, float]:
        """Return samples, seconds, latency_us a sample, throughput of `predict(X)`.

        Conversions are included; the median of `repeats` calls, after one to warm up.
        """
        n = np.size(X) // self._input.words
        _require(n and repeats > 0, "Needs a sample and a repeat", (n, repeats))
        times = [self.predict(X, profile=True)[1] for _ in range(repeats + 1)]
        s = float(np.median(times[1:]))
        return dict(samples=n, seconds=s, latency_us=1e6 * s / n, throughput=n / s)

    def latency(self, repeats: int = 100) -> Dict[str, float]:
        """Return `profile` of calls with one sample: the round-trip latency."""
        return self.profile(np.zeros(self.input_shape, np.float32), repeats)

    def _free_buffers(self) -> None:
        buffers, self._buffers = self._buffers, ()
        for buffer in buffers:
            (getattr(buffer, "freebuffer", None) or buffer.close)()

    def close(self) -> None:
        """Free the buffers, and the device tree; may be called again."""
        if not self._closed:
            with self._lock:
                self._closed = True
                self._free_buffers()
                getattr(super(), "free", bool)()  # exists from pynq 3

    free = close

    def __enter__(self) -> "KerasqnnOverlay":
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        spec, state = self.model_description, "closed" if self._closed else "open"
        what = f"{spec.get('model')!r}: {self.input_shape} -> {self.output_shape}"
        how = f"max_batch={self.max_batch}, timeout={self.timeout} s, {state}"
        return f"<{type(self).__name__} {what}, {spec.get('clock_mhz')} MHz, {how}>"


class NeuralNetworkOverlay(KerasqnnOverlay):
    """The same, with the constructor of the class of this name in hls4ml's driver.

    Shapes have a batch axis, whose length is the default `max_batch`; they and `dtype`
    (one, or a pair) must agree with `overlay.json`. Without it, words pass unchanged.
    Takes the keyword arguments of `KerasqnnOverlay` too.
    """

    def __init__(
        self,
        bitfile_name: str,
        x_shape: Tuple[int, ...],
        y_shape: Tuple[int, ...],
        dtype: Any = np.float32,
        dtbo: Optional[str] = None,
        download: bool = True,
        ignore_version: bool = False,
        device: Any = None,
        **options: Any,
    ) -> None:
        kinds = dtype if isinstance(dtype, (tuple, list)) else (dtype, dtype)
        x = {"shape": list(x_shape[1:]), "dtype": np.dtype(kinds[0]).name}
        y = {"shape": list(y_shape[1:]), "dtype": np.dtype(kinds[1]).name}
        own = {"format": 1, "inputs": [x], "outputs": [y]}
        spec, _ = _load(options.pop("description", None), bitfile_name, own)
        for port, known in ((x, spec["inputs"][0]), (y, spec["outputs"][0])):
            rule = f"Without the batch axis, shape and dtype must be those of {known}"
            _require({**known, **port} == known, rule, port)
        options = {"max_batch": int(x_shape[0]), **options, "description": spec}
        options.update(dtbo=dtbo, download=download, device=device)
        super().__init__(bitfile_name, ignore_version=ignore_version, **options)
