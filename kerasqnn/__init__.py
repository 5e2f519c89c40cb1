"""kerasqnn: Keras 3 quantized and noisy networks, from training to a verified FPGA."""

import os as _os
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

# `kerasqnn.layers` and `kerasqnn.export` live in folders beside this one. An installed
# package has them inside; a checkout finds them through the root on the search path.
_root = _os.path.dirname(_os.path.dirname(_os.path.abspath(__file__)))
if _os.path.isfile(_os.path.join(_root, "setup.cfg")) and _os.path.isfile(
    _os.path.join(_root, "layers", "__init__.py")
):
    __path__.append(_root)

from . import layers as layers  # noqa: E402  (registers the classes for load_model)
from . import noise as noise  # noqa: E402
from . import quantizers as quantizers  # noqa: E402
from ._version import __version__ as __version__  # noqa: E402

if _TYPE_CHECKING:
    from .conversion import from_hgq2 as from_hgq2
    from .conversion import from_qkeras as from_qkeras
    from .conversion import to_qkeras as to_qkeras
    from .export import export_qonnx as export_qonnx
    from .export import run_qonnx as run_qonnx
    from .hardware import Deployment as Deployment
    from .hardware import deploy as deploy
    from .models import dequantize_model as dequantize_model
    from .models import fold_batch_normalization as fold_batch_normalization
    from .models import integer_reference as integer_reference
    from .models import noise_points as noise_points
    from .models import quantize_model as quantize_model
    from .models import read_model as read_model
    from .models import strip_noise as strip_noise
    from .models import summary as summary
    from .qonnx import QONNXSession as QONNXSession
    from .qonnx import check_qonnx as check_qonnx
    from .qonnx import convert_qonnx as convert_qonnx
    from .qonnx.importing import import_qonnx as import_qonnx
    from .walking import walk_noise as walk_noise

# Heavy rooms open at first use.
_LAZY = {
    "check_qonnx": "qonnx",
    "convert_qonnx": "qonnx",
    "export_qonnx": "export",
    "import_qonnx": "qonnx.importing",
    "run_qonnx": "export",
    "deploy": "hardware",
    "Deployment": "hardware",
    "dequantize_model": "models",
    "fold_batch_normalization": "models",
    "from_hgq2": "conversion",
    "QONNXSession": "qonnx",
    "from_qkeras": "conversion",
    "integer_reference": "models",
    "noise_points": "models",
    "quantize_model": "models",
    "read_model": "models",
    "strip_noise": "models",
    "summary": "models",
    "to_qkeras": "conversion",
    "walk_noise": "walking",
}
_LAZY_MODULES = (
    "conversion",
    "data",
    "export",
    "hardware",
    "models",
    "qonnx",
    "testing",
    "training",
    "walking",
)


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(_import_module(f".{_LAZY[name]}", __name__), name)
    if name in _LAZY_MODULES:
        return _import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_LAZY_MODULES})
