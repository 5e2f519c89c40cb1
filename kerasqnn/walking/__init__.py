"""Walking Noise: how much noise each operation of a network bears."""

from .engine import walk_noise as walk_noise
from .midpoint import Midpoint as Midpoint
from .midpoint import fit_midpoint as fit_midpoint
from .points import WalkPoint as WalkPoint
from .points import walk_points as walk_points
from .result import PointCurve as PointCurve
from .result import WalkResult as WalkResult
