"""How each Keras layer is read: one small function a layer family.

| kind | attributes | weights |
|---|---|---|
| `input` | | |
| `quantize` | `quantizer` | |
| `noise` | `point` | |
| `dense` | | `kernel` `(inputs, units)`, `bias` |
| `conv2d` | `strides`, `padding`, `dilation`, `groups` | `kernel` HWIO, `bias` |
| `scale_offset` | `axis` | `scale`, `offset` `(channels,)` |
| `relu`, `softmax`, `activation` | `axis`; `function` | |
| `max_pool2d`, `average_pool2d` | `pool_size`, `strides`, `padding` | |
| `global_max_pool2d`, `global_average_pool2d` | `keepdims` | |
| `reshape` | `target_shape` | |
| `add`, `subtract`, `multiply`, `maximum`, `minimum` | | |
| `concatenate` | `axis` | |
| `layer` | `operation`, `call`: any other Keras operation | |

Images are channels-last. A new layer gets a reader here, and where a new kind is
needed, a rule in `arithmetic`, an evaluation in `evaluation`, and a handler in `export`
and in `hardware.lowering`.
"""

from . import activations as activations
from . import normalization as normalization
from . import pooling as pooling
from . import structure as structure
from . import weighted as weighted
from .registry import reader_of as reader_of
from .registry import reads as reads
