"""A slice of the fuzz target, always the same; the program runs as long as asked."""

import subprocess
import sys

from onnx import ModelProto

from .fuzz_qonnx import case, seeds

COUNT = 300


def test_slice(tmp_path):
    """Another process, so that a crash of it is a failure and not the end."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.fuzz_qonnx"]
    command += ["--child", "0", "--count", str(COUNT), "--found", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "number").read_text() == str(COUNT)


def test_cases():
    """They come out the same again, and most are models still."""
    models = seeds()
    changed = [case(number, models) for number in range(40)]
    assert changed == [case(number, models) for number in range(40)]
    assert len(set(changed) - set(models)) > 30
    parsed = 0
    for data in changed:
        try:
            parsed += bool(ModelProto.FromString(data).graph.node)
        except Exception:  # noqa: BLE001  (protobuf's own)
            continue
    assert parsed > 20
