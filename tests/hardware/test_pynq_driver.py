"""The PYNQ driver template against a simulated board: DMA registers, caches, stream.

The simulation stands in for `pynq` alone. Its accelerator is an exact integer dense
layer that takes stream words and keeps a half-received sample, as the real one does.
"""

import ast
import collections
import functools
import importlib.util
import json
import shutil
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

from kerasqnn.quantizers import ROUNDING_MODES, FixedPoint

PACKAGE = Path(__file__).parents[2] / "kerasqnn"
DRIVER = PACKAGE / "hardware" / "templates" / "pynq_driver.py"
N_IN, N_OUT = 6, 3
WEIGHTS = np.random.default_rng(0).integers(-31, 32, (N_IN, N_OUT))
STEP = 2.0**-5
OVERLAY = {
    "format": 1,
    "model": "jets",
    "bitfile": "kerasqnn.bit",
    "clock_mhz": 100.0,
    "dma": "hier_0/axi_dma_0",
    "inputs": [
        {
            "name": "x",
            "shape": [2, 3],
            "dtype": "float32",
            "type": {"signed": True, "width": 8, "fractional": 5},
            "quantizer": {
                "step": STEP,
                "min": -4.0,
                "max": 127 * STEP,
                "rounding": "ROUND",
                "overflow": "SAT",
            },
        }
    ],
    "outputs": [
        {
            "name": "y",
            "shape": [3],
            "dtype": "float32",
            "type": {"signed": True, "width": 20, "fractional": 10},
        }
    ],
}


def described(**changes):
    """Return OVERLAY with changed keys; `inputs__key` changes the one input."""
    spec = json.loads(json.dumps(OVERLAY))
    for key, value in changes.items():
        where, _, inner = key.partition("__")
        if inner:
            spec[where][0][inner] = value
        else:
            spec[key] = value
    return spec


def expected(x):
    """Return the model's answers in float64, where every step here is exact."""
    x = np.asarray(np.asarray(x, np.float32), np.float64).reshape(-1, N_IN)
    return np.clip(np.rint(x / STEP), -128, 127) @ WEIGHTS / 1024


def samples(count, seed=1):
    """Return `count` samples, some of which saturate."""
    x = np.random.default_rng(seed).normal(0, 2.5, (count, 2, 3))
    return x.astype(np.float32)


class Buffer(np.ndarray):
    """Physical memory seen through a cache: `flush` and `invalidate` move the data."""

    root = None

    def __array_finalize__(self, obj):
        self.root = getattr(obj, "root", None)

    @property
    def offset(self):
        return self.ctypes.data - self.root.cpu.ctypes.data

    @property
    def physical_address(self):
        return self.root.address + self.offset

    def _spans(self):
        assert not self.root.freed, "a freed buffer is used"
        span = slice(self.offset, self.offset + self.nbytes)
        return self.root.cpu[span], self.root.dram[span]

    def flush(self):
        cpu, dram = self._spans()
        dram[:] = cpu

    def invalidate(self):
        cpu, dram = self._spans()
        cpu[:] = dram

    def freebuffer(self):
        self.root.frees += 1
        self.root.freed = True
        self.root.cpu[:] = 0xEE  # whoever still reads it reads rubbish


class Accelerator:
    """Stream in, stream out: N_IN words make a sample, TLAST passes with it."""

    def __init__(self):
        self.pending, self.outbox, self.off_grid = [], [], 0

    def answer(self, words):
        codes = words if words.dtype.kind == "i" else words / STEP
        whole = np.rint(codes)
        self.off_grid += int((whole != codes).any() or np.abs(codes + 0.5).max() > 128)
        return whole.astype(np.int64) @ WEIGHTS

    def push(self, word, last, dtype):
        self.pending.append((word, last))
        if len(self.pending) == N_IN:
            words, lasts = zip(*self.pending, strict=True)
            self.pending = []
            codes = self.answer(np.array(words))
            values = codes.astype(dtype) if dtype.kind == "i" else codes / 1024
            ends = [False] * (N_OUT - 1) + [any(lasts)]
            self.outbox += zip(values.astype(dtype), ends, strict=True)


class Board:
    """The programmable logic with its DMA registers, and the memory."""

    def __init__(self, in_dtype="float32", out_dtype="float32", limit=2**26 - 1):
        self.dtypes = np.dtype(in_dtype), np.dtype(out_dtype)
        self.limit, self.roots, self.log = limit, [], []
        self.delay = 0  # reads of a status register before anything moves
        self.faults = collections.deque()  # one a transfer: hang, half, late, ...
        self.dead, self.loaded = None, False  # or the status that is always read
        self.downloads = self.trees_freed = 0
        self.allocations, self.arguments = [], []
        self.program()

    def program(self):
        self.accelerator, self.late = Accelerator(), []
        self.reset()

    def reset(self):
        self.registers = collections.Counter({0x04: 1, 0x34: 1})  # halted
        self.armed = {0x00: None, 0x30: None}

    def allocate(self, shape, dtype="u4", target=None):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        root = types.SimpleNamespace(cpu=np.zeros(size, np.uint8), freed=False, frees=0)
        root.dram, root.address = (
            np.zeros(size, np.uint8),
            2**20 * (len(self.roots) + 1),
        )
        self.roots.append(root)
        self.allocations.append((tuple(shape), np.dtype(dtype).name, target))
        buffer = root.cpu.view(dtype).reshape(shape).view(Buffer)
        buffer.root = root
        return buffer

    def _dram(self, address, size):
        for root in self.roots:
            if 0 <= address - root.address < len(root.dram):
                assert not root.freed, "the DMA reaches into freed memory"
                return root.dram[address - root.address :][:size]
        raise AssertionError("the DMA reaches into unknown memory")

    def write(self, offset, value):
        if self.dead is not None:
            return
        base, register = offset // 0x30 * 0x30, offset % 0x30
        if register == 0 and value & 4:
            self.reset()
        elif register == 0 and value & 1:  # run; an error bit needs a reset first
            self.registers[base + 4] &= ~(0 if self.registers[base + 4] & 0x70 else 1)
        elif register == 0:  # stop; what is under way is given up
            self.registers[base + 4] = self.registers[base + 4] & 0x70 | 1
            self.armed[base] = None
        else:
            self.registers[offset] = value
        if register == 0x28:
            assert self.armed[base] is None, "a transfer is still under way"
            self.log.append(("recv" if base else "send", value))
            self.registers[base + 4] &= ~2
            self.armed[base] = (self.registers[base + 0x18], value)
            self.waited = 0

    def read(self, offset):
        if self.dead is not None:
            return self.dead
        if offset in (0x04, 0x34):
            self.waited = getattr(self, "waited", 0) + 1
            if self.waited > self.delay:
                self.move()
        return self.registers[offset]

    def move(self):
        if self.armed[0x00]:
            self._send(*self.armed[0x00])
        if self.armed[0x30] and self.accelerator.outbox:
            self._receive(*self.armed[0x30])

    def _send(self, address, size):
        fault = self.faults.popleft() if self.faults else None
        if fault == "hang":
            self.armed[0x00] = None
            return  # no word is taken, and the channel never gets idle
        words = self._dram(address, size).view(self.dtypes[0])
        if fault == "half":  # the stream stops within a sample
            words = words[: N_IN // 2]
        for i, word in enumerate(words):
            last = i == len(words) - 1 and fault != "half"
            self.accelerator.push(word, last, self.dtypes[1])
        if fault == "short":
            word, _ = self.accelerator.outbox[-2]
            self.accelerator.outbox[-2:] = [(word, True)]
        if fault == "late":  # the answers come after the driver has given up
            self.late, self.accelerator.outbox = self.accelerator.outbox, []
        if fault == "error":
            self.registers[0x34] = 0x41  # halted, decode error
            self.armed[0x30] = None
        self.armed[0x00] = None
        if fault != "half":
            self.registers[0x04] |= 2

    def _receive(self, address, size):
        room = size // self.dtypes[1].itemsize
        ends = [i for i, (_, last) in enumerate(self.accelerator.outbox) if last]
        if not ends or ends[0] >= room:
            return  # without TLAST in reach the DMA waits for ever
        taken = self.accelerator.outbox[: ends[0] + 1]
        self.accelerator.outbox = self.accelerator.outbox[ends[0] + 1 :]
        words = np.array([word for word, _ in taken], self.dtypes[1])
        self._dram(address, size)[: words.nbytes] = words.view(np.uint8)
        self.registers[0x58] = words.nbytes
        self.registers[0x34] |= 2
        self.armed[0x30] = None


class OldChannel:
    """A DMA channel as in PYNQ 2.5: no `error`, no `transferred`."""

    def __init__(self, board, base):
        self.board, self.base, self.buffer = board, base, None
        self.start()

    @property
    def running(self):
        return not self.board.read(self.base + 4) & 1

    @property
    def idle(self):
        return bool(self.board.read(self.base + 4) & 2)

    def start(self):
        self.board.write(self.base, 1)
        while not self.running:
            raise AssertionError("start() spins for ever")
        self.first = True

    def stop(self):
        self.board.write(self.base, 0)
        while self.running:
            raise AssertionError("stop() spins for ever")

    def transfer(self, array):
        if not self.running:
            raise RuntimeError("DMA channel not started")
        if not self.first and not self.idle:
            raise RuntimeError("DMA channel not idle")
        if array.nbytes > self.board.limit:
            raise ValueError("Transfer size exceeds the maximum")
        if not self.base:
            array.flush()
        self.board.write(self.base + 0x18, array.physical_address)
        self.board.write(self.base + 0x28, array.nbytes)
        self.buffer, self.first = array, False

    def wait(self):
        while not self.idle:
            raise AssertionError("a blocking wait() before the channel is idle")
        if self.base:
            self.buffer.invalidate()


class Channel(OldChannel):
    """A DMA channel as from PYNQ 2.6."""

    transferred = 0

    @property
    def error(self):
        return bool(self.board.read(self.base + 4) & 0x70)

    def wait(self):
        super().wait()
        self.transferred = self.board.read(self.base + 0x28)


class Overlay:
    """`pynq.Overlay`: unknown attributes are looked up in the loaded bitstream."""

    board, channel, registers = None, Channel, True

    def __init__(
        self,
        bitfile_name,
        dtbo=None,
        download=True,
        ignore_version=False,
        device=None,
    ):
        if not isinstance(bitfile_name, str):
            raise TypeError("Bitstream name has to be a string.")
        self.board.arguments.append(
            (bitfile_name, dtbo, download, ignore_version, device)
        )
        if download:
            self.download()

    def __getattr__(self, key):
        if not self.board.loaded:
            raise RuntimeError("Overlay not currently loaded")
        if key != "hier_0":
            raise AttributeError(f"Could not find IP or hierarchy {key} in overlay")
        board = self.board
        dma = types.SimpleNamespace(buffer_max_size=board.limit)
        if self.registers:
            dma.read, dma.write = board.read, board.write
        dma.sendchannel = self.channel(board, 0x00)
        dma.recvchannel = self.channel(board, 0x30)
        return types.SimpleNamespace(axi_dma_0=dma)

    def download(self, dtbo=None):
        self.board.downloads += 1
        self.board.loaded = True
        self.board.program()

    def free(self):
        self.board.trees_freed += 1


@functools.cache
def compiled(path):
    """Return the driver's code, which most tests load afresh."""
    return compile(path.read_text(), path, "exec")


def load_driver(board, path=DRIVER, **overlay):
    """Import the driver from its file, with `pynq` simulated on `board`."""
    pynq = types.ModuleType("pynq")
    pynq.Overlay = type("Overlay", (Overlay,), {"board": board, **overlay})
    pynq.allocate = board.allocate
    before = sys.modules.get("pynq")
    sys.modules["pynq"] = pynq
    try:
        spec = importlib.util.spec_from_file_location("kerasqnn_driver", path)
        module = importlib.util.module_from_spec(spec)
        exec(compiled(path), module.__dict__)
    finally:
        del sys.modules["pynq"]
        if before is not None:
            sys.modules["pynq"] = before
    return module


@pytest.fixture
def board():
    """A board with nothing loaded."""
    return Board()


@pytest.fixture
def driver(board):
    """The driver module, on that board."""
    return load_driver(board)


@pytest.fixture
def overlay(driver):
    """The accelerator of OVERLAY, in chunks of at most four samples."""
    return driver.KerasqnnOverlay(
        "a.bit", description=OVERLAY, max_batch=4, timeout=0.05
    )


# The defects of hls4ml's driver, one by one.


def test_defect_constructor_options_ignored(driver, board, tmp_path):
    bit, device = str(tmp_path / "n.bit"), object()
    net = driver.NeuralNetworkOverlay(
        bit, (4, 2, 3), (4, 3), np.float32, "tree.dtbo", True, True, device
    )
    assert board.arguments == [(bit, "tree.dtbo", True, True, device)]
    net.predict(STEP * np.ones((1, 2, 3)))
    assert board.allocations == [
        ((4, 6), "float32", device),
        ((4, 3), "float32", device),
    ]
    board.loaded = True
    net = driver.NeuralNetworkOverlay(bit, (4, 2, 3), (4, 3), download=False)
    assert board.arguments[1] == (bit, None, False, False, None)
    assert board.downloads == 1
    assert net.predict(STEP * np.ones((2, 2, 3))).shape == (2, 3)


def test_defect_download_false_without_a_bitstream(driver):
    with pytest.raises(RuntimeError, match=r"not currently loaded.*download=True"):
        driver.KerasqnnOverlay("a.bit", description=OVERLAY, download=False)


def test_defect_result_is_the_live_buffer(overlay, board):
    x = samples(3)
    first = overlay.predict(x)
    kept = first.copy()
    raw = overlay.predict(x, decode=lambda words: words)
    overlay.predict(-x)
    np.testing.assert_array_equal(first, kept)
    for root in board.roots:
        assert not np.shares_memory(first, root.cpu)
        assert not np.shares_memory(raw, root.cpu)
    overlay.close()
    np.testing.assert_array_equal(first, expected(x))
    np.testing.assert_array_equal(raw, expected(x))
    assert type(first) is np.ndarray


def test_defect_second_call_after_decode_raises(overlay):
    x = samples(3)
    for _ in range(3):
        labels = overlay.predict(x, decode=lambda words: words.argmax(axis=1))
        np.testing.assert_array_equal(labels, expected(x).argmax(axis=1))
    np.testing.assert_array_equal(overlay.predict(x), expected(x))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 11])
def test_defect_batch_size_fixed(overlay, board, count):
    y = overlay.predict(samples(count))
    assert y.shape == (count, 3) and y.dtype == np.float32
    np.testing.assert_array_equal(y, expected(samples(count)))
    chunks = [4] * (count // 4) + [count % 4] * bool(count % 4)
    sizes = [
        (way, n * size) for n in chunks for way, size in (("recv", 12), ("send", 24))
    ]
    assert board.log == sizes
    assert board.accelerator.off_grid == 0


def test_defect_batch_of_one_broadcast(driver, board, tmp_path):
    net = driver.NeuralNetworkOverlay(str(tmp_path / "n.bit"), (8, 2, 3), (8, 3))
    x = STEP * np.arange(6).reshape(2, 3)
    y = net.predict(x[None])
    assert y.shape == (1, 3)
    assert board.log == [("recv", 12), ("send", 24)]
    np.testing.assert_array_equal(net.predict(x), expected(x)[0])


@pytest.mark.parametrize(
    "shape", [(), (3,), (6,), (2, 6), (2, 1), (4, 2, 1), (4, 3, 2), (1, 1, 2, 3), (0,)]
)
def test_defect_wrong_shape_broadcast(overlay, board, shape):
    with pytest.raises(ValueError) as error:
        overlay.predict(np.zeros(shape))
    assert "(2, 3)" in str(error.value) and f"X.shape={shape}" in str(error.value)
    assert board.log == []


def test_defect_encode_overflows(overlay, board):
    x = np.array([[4.0, 1e30, 1e300], [-4.1, -1e30, -1e300]])
    words = overlay.encode(x)
    np.testing.assert_array_equal(words, [[127 * STEP] * 3, [-4.0] * 3])
    np.testing.assert_array_equal(overlay.predict(x), expected(np.sign(x) * 9)[0])
    assert board.accelerator.off_grid == 0


def test_defect_no_timeout(overlay, board, driver):
    board.faults.append("hang")
    start = time.perf_counter()
    with pytest.raises(driver.DMATimeoutError, match=r"0\.05 s") as error:
        overlay.predict(samples(2))
    assert 0.05 < time.perf_counter() - start < 1.0
    assert isinstance(error.value, TimeoutError)
    text = str(error.value)
    for name in ("sendchannel", "recvchannel"):
        state = "'running': True, 'idle': False, 'error': False"
        assert f"'{name}': {{{state}" in text
    np.testing.assert_array_equal(overlay.predict(samples(2)), expected(samples(2)))


@pytest.mark.parametrize("pair", [("int8", "int32"), ("int16", "int32")])
def test_defect_one_dtype_for_input_and_output(pair):
    board = Board(*pair)
    spec = described(inputs__dtype=pair[0], outputs__dtype=pair[1])
    net = load_driver(board).KerasqnnOverlay("a.bit", description=spec)
    x = samples(5)
    assert net.encode(x).dtype == pair[0]
    y = net.predict(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, expected(x))
    codes = net.predict(x, decode=lambda words: words)
    assert codes.dtype == pair[1]
    np.testing.assert_array_equal(codes, expected(x) * 1024)
    own = net.predict(x, encode=lambda v: np.clip(np.rint(v / STEP), -128, 127))
    np.testing.assert_array_equal(own, expected(x))
    for bad in (0.5, 40000.0):
        with pytest.raises(ValueError, match=r"Words must fit int.*encode"):
            net.predict(x, encode=lambda v, bad=bad: np.full_like(v, bad))


def test_defect_signature_is_kept(driver):
    """Class, method and positional arguments are those of hls4ml's own driver."""
    found = importlib.util.find_spec("hls4ml")
    if found is None:
        pytest.skip("hls4ml is not installed")
    board = Path(found.origin).parent / "templates" / "vivado_accelerator" / "pynq-z2"
    source = (board / "python_drivers" / "axi_stream_driver.py").read_text()
    for theirs in ast.walk(ast.parse(source)):
        if isinstance(theirs, ast.FunctionDef) and theirs.name in (
            "__init__",
            "predict",
        ):
            names = [argument.arg for argument in theirs.args.args]
            code = getattr(driver.NeuralNetworkOverlay, theirs.name).__code__
            assert list(code.co_varnames[: code.co_argcount]) == names
            defaults = [ast.unparse(default) for default in theirs.args.defaults]
            ours = getattr(driver.NeuralNetworkOverlay, theirs.name).__defaults__
            assert len(ours) == len(defaults)
            assert [str(v) for v in ours if not isinstance(v, type)] == [
                text for text in defaults if "np." not in text
            ]


# Failures of the transfer.


@pytest.mark.parametrize("fault", ["hang", "half", "late"])
@pytest.mark.parametrize("chunk", [0, 1])
def test_failure_leaves_nothing_behind(overlay, board, driver, fault, chunk):
    board.faults.extend([None] * chunk + [fault])
    with pytest.raises(driver.DMATimeoutError, match="downloaded again"):
        overlay.predict(samples(7))
    board.accelerator.outbox += board.late  # what a slow one would still send
    assert board.downloads == 2
    x = samples(6, seed=2)
    np.testing.assert_array_equal(overlay.predict(x), expected(x))
    assert [root.frees for root in board.roots] == [1, 1, 0, 0]


def test_error_bit(overlay, board, driver):
    overlay.timeout = 5.0
    board.faults.append("error")
    start = time.perf_counter()
    with pytest.raises(driver.DMAError) as error:
        overlay.predict(samples(2))
    assert time.perf_counter() - start < 2.0, "an error is not waited for"
    assert "'running': False, 'idle': False, 'error': True, 'status': '0x41'" in str(
        error.value
    )
    np.testing.assert_array_equal(overlay.predict(samples(2)), expected(samples(2)))


@pytest.mark.parametrize("old", [False, True])
def test_short_transfer(board, old):
    driver = load_driver(board, channel=OldChannel if old else Channel)
    net = driver.KerasqnnOverlay("a.bit", description=OVERLAY, timeout=0.05)
    board.faults.append("short")
    with pytest.raises(driver.DMAError, match="Short transfer: 20 of 24 bytes"):
        net.predict(samples(2))
    np.testing.assert_array_equal(net.predict(samples(2)), expected(samples(2)))


def test_back_pressure(overlay, board):
    board.delay = 60
    np.testing.assert_array_equal(overlay.predict(samples(9)), expected(samples(9)))


def test_receive_is_armed_before_send(overlay, board):
    overlay.predict(samples(9))
    assert [way for way, _ in board.log] == ["recv", "send"] * 3


def test_download_false_restarts_the_dma_only(driver, board):
    board.loaded = True
    board.write(0x30, 1)
    board.write(0x58, 100)  # another program has left a transfer behind
    net = driver.KerasqnnOverlay(
        "a.bit", description=OVERLAY, download=False, timeout=0.05
    )
    np.testing.assert_array_equal(net.predict(samples(2)), expected(samples(2)))
    for fault in ("hang", "error"):
        board.faults.append(fault)
        kind = driver.DMATimeoutError if fault == "hang" else driver.DMAError
        with pytest.raises(kind, match="restarted, not the accelerator"):
            net.predict(samples(2))
        board.accelerator.outbox.clear()
        np.testing.assert_array_equal(net.predict(samples(2)), expected(samples(2)))
    assert board.downloads == 0


@pytest.mark.parametrize("download", [True, False])
def test_pynq_25_without_registers(board, download):
    board.loaded = not download
    driver = load_driver(board, channel=OldChannel, registers=False)
    net = driver.KerasqnnOverlay(
        "a.bit", description=OVERLAY, timeout=0.05, download=download
    )
    np.testing.assert_array_equal(net.predict(samples(5)), expected(samples(5)))
    faults = [("hang", "DMATimeoutError")] + [("error", "DMAError")] * download
    for fault, kind in faults:
        board.faults.append(fault)
        with pytest.raises(getattr(driver, kind)):
            net.predict(samples(2))
        np.testing.assert_array_equal(net.predict(samples(2)), expected(samples(2)))


@pytest.mark.parametrize("status", [0, 1])
def test_dead_dma_is_reported_and_tried_again(overlay, board, driver, status):
    """Neither `running` for ever nor halted for ever makes a call hang."""
    overlay.predict(samples(1))
    board.dead = status
    for _ in range(2):
        start = time.perf_counter()
        with pytest.raises((driver.DMAError, driver.DMATimeoutError)) as error:
            overlay.predict(samples(1))
        assert time.perf_counter() - start < 1.0
        assert ("not restarted: a channel stays halted" in str(error.value)) == status
    board.dead = None
    if status == 0:  # had looked restarted
        with pytest.raises(driver.DMAError, match="DMA channel not started"):
            overlay.predict(samples(1))
    np.testing.assert_array_equal(overlay.predict(samples(1)), expected(samples(1)))


def test_keyboard_interrupt_recovers(overlay, board, driver, monkeypatch):
    def interrupt(seconds):
        monkeypatch.undo()
        raise KeyboardInterrupt

    board.faults.append("half")
    monkeypatch.setattr(driver.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        overlay.predict(samples(2))
    np.testing.assert_array_equal(overlay.predict(samples(2)), expected(samples(2)))


def test_threads_take_turns(overlay, board):
    board.delay, wrong = 3, []

    def work(seed):
        for count in range(1, 8):
            x = samples(count, seed)
            if not np.array_equal(overlay.predict(x), expected(x)):
                wrong.append((seed, count))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(board.log) == 2 * 4 * (4 + 3 * 2)


# Values.


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(overlay, board, bad):
    x = samples(7)
    x[5, 1, 2] = bad
    for encode in (None, np.nan_to_num):
        with pytest.raises(ValueError, match="must be finite. Received: 1 NaN"):
            overlay.predict(x, encode=encode)
    with pytest.raises(ValueError, match="must be finite"):
        overlay.encode(x)
    with pytest.raises(ValueError, match="must be finite. Received: 42 NaN"):
        overlay.predict(samples(7), encode=lambda v: np.full_like(v, bad))
    with pytest.raises(TypeError, match="complex64"):
        overlay.predict(x.astype(np.complex64))
    assert board.log == []


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "uint8", "bool"])
def test_input_dtypes(overlay, dtype):
    x = np.abs(samples(3)).astype(dtype)
    np.testing.assert_array_equal(overlay.predict(x), expected(x))
    np.testing.assert_array_equal(overlay.predict(x.tolist()), expected(x))


def test_rounding_is_half_to_even(overlay):
    ties = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, 127.5, -128.5]) * STEP
    words = overlay.encode(ties)
    assert words.dtype == np.float32
    np.testing.assert_array_equal(words / STEP, [0, 2, 2, 0, -2, -2, 126, 127, -128])


@pytest.mark.parametrize("step", [STEP, 0.007, 0.009])
@pytest.mark.parametrize("overflow", ["SAT", "SAT_SYM", "WRAP"])
@pytest.mark.parametrize("mode", sorted(ROUNDING_MODES))
def test_encode_equals_the_quantizer(driver, mode, overflow, step):
    """Bit for bit: at ties, their neighbours, far outside, at denormal numbers."""
    quantizer = FixedPoint(8, 7, rounding=mode, overflow=overflow, scale=step)
    grid = {
        "step": float(quantizer.step),
        "min": float(quantizer.min),
        "max": float(quantizer.max),
        "rounding": mode,
        "overflow": overflow,
    }
    net = driver.KerasqnnOverlay("a.bit", description=described(inputs__quantizer=grid))
    x = np.arange(-700, 700).astype(np.float32) / 2 * quantizer.step
    huge = np.float32([2.0**27 + 16, -(2.0**27) - 16, 1e20, -1e20, 1e-42, -1e-42, -0.0])
    x = np.concatenate([x, np.nextafter(x, np.float32(9)), samples(50).ravel(), huge])
    words = net.encode(x)
    assert words.dtype == np.float32
    np.testing.assert_array_equal(words, quantizer.quantize(x))


def test_type_stands_in_for_the_quantizer(driver):
    kind = {"signed": False, "width": 4, "fractional": 1}
    spec = described(inputs__quantizer=None, inputs__type=kind)
    net = driver.KerasqnnOverlay("a.bit", description=spec)
    words = net.encode([-1.0, 0.25, 0.75, 7.4, 9.0])
    np.testing.assert_array_equal(words, [0.0, 0.0, 1.0, 7.5, 7.5])


def test_float_words_of_a_wide_type(driver):
    kind = {"signed": True, "width": 32, "fractional": 10}
    spec = described(outputs__type=kind, inputs__type=kind, inputs__quantizer=None)
    net = driver.KerasqnnOverlay("a.bit", description=spec)
    np.testing.assert_array_equal(net.encode([1e9, -1e9]), [2.0**21, -(2.0**21)])


def test_own_encode_and_single_sample(overlay):
    x = samples(1)[0]
    y, seconds, rate = overlay.predict(
        x, False, True, lambda v: np.zeros_like(v), lambda y: y + 1
    )
    np.testing.assert_array_equal(y, np.ones(3))
    assert rate == 1 / seconds > 0
    y = overlay.predict(x)
    assert y.shape == (3,)
    np.testing.assert_array_equal(y, expected(x)[0])


# Life of the object.


def test_close(driver, board):
    with driver.KerasqnnOverlay("a.bit", description=OVERLAY) as net:
        net.predict(samples(1))
        assert "open" in repr(net)
    assert [root.frees for root in board.roots] == [1, 1]
    net.close()
    net.free()
    assert [root.frees for root in board.roots] == [1, 1] and board.trees_freed == 1
    assert "closed" in repr(net)
    with pytest.raises(RuntimeError, match="closed"):
        net.predict(samples(1))


def test_properties_and_repr(overlay):
    assert overlay.input_shape == (2, 3) and overlay.output_shape == (3,)
    assert repr(overlay) == (
        "<KerasqnnOverlay 'jets': (2, 3) -> (3,), 100.0 MHz, "
        "max_batch=4, timeout=0.05 s, open>"
    )


def test_profile(overlay, board, capsys):
    x = samples(6)
    y, seconds, rate = overlay.predict(x, profile=True)
    np.testing.assert_array_equal(y, expected(x))
    assert seconds > 0 and rate == 6 / seconds
    assert capsys.readouterr().out == ""
    overlay.predict(x, debug=True)
    assert capsys.readouterr().out.splitlines()[-1] == "Received 6 of 6 answers"
    board.log.clear()
    table = overlay.profile(x, repeats=3)
    assert len(board.log) == (1 + 3) * 2 * 2
    assert table["samples"] == 6
    assert table["throughput"] == pytest.approx(1e6 / table["latency_us"])
    assert table["seconds"] == pytest.approx(6e-6 * table["latency_us"])
    assert overlay.latency(repeats=2)["samples"] == 1
    with pytest.raises(ValueError, match="a sample and a repeat"):
        overlay.profile(x[:0])


def test_chunks_fit_the_dma():
    board = Board(limit=100)
    net = load_driver(board).KerasqnnOverlay("a.bit", description=OVERLAY)
    assert net.max_batch == 4
    np.testing.assert_array_equal(net.predict(samples(9)), expected(samples(9)))
    with pytest.raises(ValueError, match="must fit the DMA"):
        load_driver(Board(limit=20)).KerasqnnOverlay("a.bit", description=OVERLAY)


# The description.


def test_files_beside_each_other(board, tmp_path):
    copy = tmp_path / "kerasqnn_driver.py"
    shutil.copy(DRIVER, copy)
    (tmp_path / "overlay.json").write_text(json.dumps(OVERLAY))
    driver = load_driver(board, copy)
    net = driver.KerasqnnOverlay()
    bit = str(tmp_path / "kerasqnn.bit")
    assert board.arguments[0][0] == bit and net.max_batch == 256
    net = driver.NeuralNetworkOverlay(bit, (5, 2, 3), (5, 3), max_batch=2)
    np.testing.assert_array_equal(net.predict(samples(3)), expected(samples(3)))
    assert net.max_batch == 2
    assert driver.NeuralNetworkOverlay(bit, (5, 2, 3), (5, 3)).max_batch == 5
    for shape, kind in (((5, 6), "float32"), ((5, 2, 3), "int16")):
        with pytest.raises(ValueError, match=r"(?i)batch axis.*Received"):
            driver.NeuralNetworkOverlay(bit, shape, (5, 3), kind)
    with pytest.raises(FileNotFoundError):
        driver.NeuralNetworkOverlay(bit, (1, 6), (1, 3), description="absent.json")
    with pytest.raises(FileNotFoundError, match="overlay.json"):
        driver.KerasqnnOverlay(str(tmp_path / "elsewhere" / "a.bit"))


GRID = OVERLAY["inputs"][0]["quantizer"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 1"),
        ({"inputs": []}, "one input"),
        ({"outputs": OVERLAY["outputs"] * 2}, "one output"),
        ({"inputs__shape": []}, "positive integers"),
        ({"inputs__shape": [0]}, "positive integers"),
        ({"outputs__dtype": "float64"}, "`dtype`"),
        ({"inputs__quantizer": {**GRID, "step": 0}}, "step > 0"),
        ({"inputs__quantizer": {**GRID, "max": -5.0}}, "min < max"),
        ({"inputs__quantizer": {**GRID, "max": 0.51 * STEP}}, "multiples"),
        ({"inputs__quantizer": {"min": -4.0, "max": 3.0}}, "step > 0"),
        ({"inputs__quantizer": {**GRID, "rounding": "AP_RND"}}, "`rounding`"),
        ({"inputs__quantizer": {**GRID, "overflow": "AP_SAT"}}, "`overflow`"),
        ({"inputs__dtype": "uint8"}, "must fit uint8"),
        ({"outputs__dtype": "int16"}, "must fit int16"),
    ],
)
def test_wrong_description(driver, board, changes, message):
    with pytest.raises(ValueError, match=message):
        driver.KerasqnnOverlay("a.bit", description=described(**changes))
    assert board.downloads == 0


@pytest.mark.parametrize(
    "options", [{"max_batch": 0}, {"max_batch": 1.5}, {"timeout": 0}]
)
def test_wrong_options(driver, options):
    with pytest.raises(ValueError, match="max_batch=.*timeout="):
        driver.KerasqnnOverlay("a.bit", description=OVERLAY, **options)


def test_missing_dma(driver):
    with pytest.raises(RuntimeError, match="No AXI DMA 'hier_1/axi_dma_0'.*hier_1"):
        driver.KerasqnnOverlay("a.bit", description=described(dma="hier_1/axi_dma_0"))


def test_the_file_stands_alone_on_python_36():
    tree = ast.parse(DRIVER.read_text(), feature_version=(3, 6))
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    assert names - set(sys.stdlib_module_names) == {"numpy", "pynq"}
    assert "dataclasses" not in names and "__future__" not in names
