"""Tables of the special zeros of the stability polynomials of ROCK2 and ROCK4: ``python tools/rock_tables.py``.

For each number of stages it finds, among the polynomials of order two or four that are bounded by the damping on
[-1, 1], the one with the longest stability interval, and writes the package's tables. It takes a few minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from pathlib import Path

import numpy as np
from scipy.optimize import brentq, minimize_scalar, root

from skneuralde.solvers.methods.stabilized.stability_polynomials import Zeros, stability

TARGET = Path(__file__).parents[1] / "skneuralde" / "solvers" / "methods" / "stabilized" / "rock_tables.py"
HEADER = '''"""Special zeros of the stability polynomials of ROCK2 and ROCK4, written by ``tools/rock_tables.py``.

Stages s, then p and q of each pair of zeros ``1 - p / s^2 +- i q / s^2``, then d: the polynomial has the value 1 at
``1 + d / s^2``; see `skneuralde.solvers.methods.stabilized.stability_polynomials`.
"""
'''


@dataclass(frozen=True)
class Method:
    """Requirements of a method on its polynomials.

    Attributes
    ----------
    damping : float
        Bound of the polynomials on [-1, 1].
    stages : list of int
        Numbers of stages in the table.
    start : tuple of float
        Approximate zeros of the last entry, p and q of each pair; each search starts at the zeros found before.
    """

    name: str
    damping: float
    stages: list[int]
    start: tuple[float, ...]

    @property
    def order(self) -> int:
        return len(self.start)

    def d_of_one(self, s: int, zeros: Zeros) -> float:
        """Return the d at which the polynomial exceeds its bound on [-1, 1] by 1 over the damping."""
        bound = np.abs(stability(s, zeros, np.cos(np.linspace(0.0, np.pi, 60 * s + 1)))[0]).max() / self.damping

        def excess(d: float) -> float:
            return float(abs(stability(s, zeros, 1.0 + d / s**2)[0])) - bound

        if excess(0.0) >= 0.0:
            return 0.0
        high = 1.0
        while excess(high) < 0.0:
            high *= 2.0
        return float(brentq(excess, 0.0, high, xtol=1e-13))

    def expansion(self, s: int, zeros: Zeros) -> np.ndarray:
        """Return the Taylor coefficients in x at which the scaled polynomial is 1."""
        series = stability(s, zeros, 1.0 + self.d_of_one(s, zeros) / s**2, self.order)
        return series / series[0]

    def defects(self, s: int, zeros: Zeros) -> list[float]:
        """Return the differences of the derivatives, from the second on, from those of exp(z) at z = 0."""
        series = self.expansion(s, zeros)
        return [float(factorial(k) * series[k] / series[1] ** k) - 1.0 for k in range(2, self.order + 1)]

    def longest(self, s: int, near: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Return the zeros of the best polynomial, its d, and its length over s^2; the search starts at ``near``."""
        known = near

        def of_order(p: float) -> np.ndarray | None:
            """Return all zeros, given p of the first pair; None if there are none."""
            nonlocal known
            found = root(lambda rest: self.defects(s, _pairs([p, *rest])), known[1:], tol=1e-13)
            if np.abs(found.fun).max() > 1e-9:
                return None
            known = np.array([p, *found.x])
            return known

        def length(p: float) -> float:
            zeros = of_order(p)
            if zeros is None:
                return 0.0
            return float((2.0 + self.d_of_one(s, _pairs(zeros)) / s**2) * self.expansion(s, _pairs(zeros))[1]) / s**2

        bounds = (near[0] - 1.2, near[0] + 1.2)
        best = minimize_scalar(lambda p: -length(p), bounds=bounds, method="bounded", options={"xatol": 1e-8})
        zeros = of_order(best.x)
        assert zeros is not None
        return zeros, self.d_of_one(s, _pairs(zeros)), -float(best.fun)

    def table(self) -> str:
        """Return the table as Python source."""
        rows, zeros = [], np.array(self.start)
        for s in reversed(self.stages):
            zeros, d, share = self.longest(s, zeros)
            numbers = ", ".join(f"{x:.9f}" for x in (*zeros, d))
            print(f"{self.name} {s:4d}  {numbers}  length {share:.5f} s^2", flush=True)
            rows.append(f"    ({s}, {numbers}),\n")
        comment = f"#: On [-1, 1] the polynomials stay within +-{self.damping}.\n"
        return f"\n{comment}{self.name.upper()} = (\n" + "".join(reversed(rows)) + ")\n"


def _pairs(numbers: np.ndarray | list[float]) -> Zeros:
    return list(zip(numbers[::2], numbers[1::2], strict=True))


STAGES = [*range(3, 31), 35, 40, 50, 60, 80, 100, 150, 200]
METHODS = [
    Method("rock2", 0.96, STAGES, (3.0, 3.4)),
    Method("rock4", 0.95, [s for s in STAGES if s > 4], (14.0, 7.5, 1.4, 20.5)),
]

if __name__ == "__main__":
    TARGET.write_text(HEADER + "".join(method.table() for method in METHODS))
