"""Shape aliases: jaxtyping annotations, which are checked in the tests only.

Axes are always in the order (sample, series, time, dim). Equations see a flat batch of paths.
"""

from __future__ import annotations

from jaxtyping import Float, Float64
from torch import Tensor

#: Observation times of padded series, in model time.
Times = Float64[Tensor, "series time"]
#: Simulated or observed paths.
Paths = Float[Tensor, "sample series time dim"]

#: States of a batch of paths.
State = Float[Tensor, "path dim"]
#: The time of each path, in the dtype of the state.
Time = Float[Tensor, "path 1"]
#: Context columns, then control columns.
Context = Float[Tensor, "path input"]
#: A coefficient's value for every path.
Coefficient = Float[Tensor, "path *shape"]
#: Its derivative with respect to the state.
Jacobian = Float[Tensor, "path *shape dim"]
