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
| `clipped_linear`, `leaky_relu`, `hard_swish` | `function` | |
| `step_function`, `lookup`, `table_softmax` | `function` | |
| `max_pool2d`, `average_pool2d` | `pool_size`, `strides`, `padding` | |
| `global_max_pool2d`, `global_average_pool2d` | `keepdims` | |
| `reciprocal_pool2d` | `pool_size`, `strides`, `padding` | `reciprocal`, a number |
| `global_reciprocal_pool2d` | `keepdims` | `reciprocal`, a number |
| `zero_padding` | `pads`: before and after rows and columns | |
| `reshape` | `target_shape` | |
| `permute` | `axes` | |
| `slice` | `axis`, `start`, `stop` | |
| `add`, `subtract`, `multiply`, `maximum`, `minimum` | | |
| `concatenate` | `axis` | |
| `layer` | `operation`, `call`, `reason`: any other Keras operation, and why | |

Images are channels-last; sequences are reshaped to images of one row around `conv2d`
and the poolings. A depthwise convolution is a `conv2d` with a group a channel, and has
the attribute `depthwise`. `padding` may be `"causal"`, along the columns.

A new layer gets a reader here, and where a new kind is needed, a rule in `arithmetic`,
an evaluation in `evaluation`, and a handler in `export` and in `hardware.lowering`.
"""

from . import activations as activations
from . import convolutions as convolutions
from . import normalization as normalization
from . import pooling as pooling
from . import recurrent as recurrent
from . import structure as structure
from . import weighted as weighted
from .registry import reader_of as reader_of
from .registry import reads as reads
from .registry import uses_masks as uses_masks
