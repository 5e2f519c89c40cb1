"""Contract cases of the normalization of Keras 2."""

from __future__ import annotations

from kerasqnn import layers

from .case import STATISTICS, Case

_EVERY = {
    "axis": 1,
    "momentum": 0.5,
    "epsilon": 0.25,
    "center": True,
    "scale": True,
    "beta_initializer": "ones",
    "gamma_initializer": "random_normal",
    "moving_mean_initializer": "ones",
    "moving_variance_initializer": "ones",
    "beta_regularizer": "l1",
    "gamma_regularizer": "l2",
    "beta_constraint": "non_neg",
    "gamma_constraint": "max_norm",
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.5,
    "synchronized": False,
}
CASES = {
    "CenteredBatchNormalization": {
        "plain": Case(layers.CenteredBatchNormalization, {}, (4,), STATISTICS),
        "full": Case(layers.CenteredBatchNormalization, _EVERY, (3, 4), STATISTICS),
    }
}
