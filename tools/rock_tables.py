"""Compute where ROCK2's and ROCK4's stability polynomials have their special zeros, and write the package's tables.

For each number of stages, among the polynomials that are of order two or four and swing within bounds on [-1, 1], the
one that stays there longest. Run as ``python tools/rock_tables.py``; it takes a few minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from pathlib import Path

import numpy as np
from scipy.optimize import brentq, minimize_scalar, root

from skneuralde.solvers.methods.stabilized.stability_polynomials import Zeros, stability

TARGET = Path(__file__).parents[1] / "skneuralde" / "solvers" / "rock_tables.py"
HEADER = '''"""Where ROCK2's and ROCK4's stability polynomials have special zeros: written by ``tools/rock_tables.py``.

Stages s, then p and q of each pair of zeros ``1 - p / s^2 +- i q / s^2``, then d: the polynomial has the value 1 at
``1 + d / s^2``; see `skneuralde.solvers.methods.stabilized.stability_polynomials`.
"""
'''


@dataclass(frozen=True)
class Method:
    """What a method asks of its polynomials.

    Attributes
    ----------
    damping : float
        How far the polynomials swing on [-1, 1].
    stages : list of int
        In the table.
    start : tuple of float
        About where the zeros are of the last entry, p and q of each pair; the search for each goes on to the next.
    """

    name: str
    damping: float
    stages: list[int]
    start: tuple[float, ...]

    @property
    def order(self) -> int:
        return len(self.start)

    def where_one(self, s: int, zeros: Zeros) -> float:
        """The d at which the polynomial is larger than its swing by 1 over the damping."""
        swing = np.abs(stability(s, zeros, np.cos(np.linspace(0.0, np.pi, 60 * s + 1)))[0]).max() / self.damping

        def excess(d: float) -> float:
            return float(abs(stability(s, zeros, 1.0 + d / s**2)[0])) - swing

        if excess(0.0) >= 0.0:
            return 0.0
        high = 1.0
        while excess(high) < 0.0:
            high *= 2.0
        return float(brentq(excess, 0.0, high, xtol=1e-13))

    def expansion(self, s: int, zeros: Zeros) -> np.ndarray:
        """Taylor coefficients in x where the polynomial, scaled, is 1."""
        series = stability(s, zeros, 1.0 + self.where_one(s, zeros) / s**2, self.order)
        return series / series[0]

    def defects(self, s: int, zeros: Zeros) -> list[float]:
        """By how much the derivatives from the second on differ from those of exp(z) at z = 0."""
        series = self.expansion(s, zeros)
        return [float(factorial(k) * series[k] / series[1] ** k) - 1.0 for k in range(2, self.order + 1)]

    def longest(self, s: int, near: np.ndarray) -> tuple[np.ndarray, float, float]:
        """The zeros of the best polynomial, its d, and its length over s^2; ``near`` is where to begin."""
        known = near

        def of_order(p: float) -> np.ndarray | None:
            """All zeros, where the first pair has this p; None if there are none."""
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
            return float((2.0 + self.where_one(s, _pairs(zeros)) / s**2) * self.expansion(s, _pairs(zeros))[1]) / s**2

        bounds = (near[0] - 1.2, near[0] + 1.2)
        best = minimize_scalar(lambda p: -length(p), bounds=bounds, method="bounded", options={"xatol": 1e-8})
        zeros = of_order(best.x)
        assert zeros is not None
        return zeros, self.where_one(s, _pairs(zeros)), -float(best.fun)

    def table(self) -> str:
        """The rows, in the package's words."""
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
