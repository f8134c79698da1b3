"""Compute where ROCK2's stability polynomials have their two special zeros, and write the package's table of them.

For each number of stages, among the polynomials that are of order 2 and swing between +-0.96 on [-1, 1], the one that
stays there longest. Run as ``python tools/rock2_table.py``; it takes a few minutes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from skneuralde.solvers.rock2_polynomials import orthogonal, stability

DAMPING = 0.96
STAGES = [*range(3, 31), 35, 40, 50, 60, 80, 100, 150, 200]
TARGET = Path(__file__).parents[1] / "skneuralde" / "solvers" / "rock2_table.py"
HEADER = '''"""Where ROCK2's stability polynomials have their special zeros: written by ``tools/rock2_table.py``.

Stages s, then p, q and d of `skneuralde.solvers.rock2_polynomials`: zeros ``1 - p / s^2 +- i q / s^2``, value 1 at
``1 + d / s^2``. On [-1, 1] the polynomials stay within +-{damping}.
"""

TABLE = (
'''


def swing(s: int, p: float, q: float) -> float:
    """The largest absolute value on [-1, 1]."""
    return float(np.abs(stability(s, p, q, np.cos(np.linspace(0.0, np.pi, 20 * s + 1)))[0]).max())


def where_one(s: int, p: float, q: float) -> float:
    """The d at which the polynomial is larger than its swing by 1 over the damping."""
    family, largest = orthogonal(s, p, q), swing(s, p, q) / DAMPING

    def excess(d: float) -> float:
        x = 1.0 + d / s**2
        w = (x - 1.0 + p / s**2) ** 2 + (q / s**2) ** 2
        return float(abs(w * family.values(x)[0])) - largest

    high = 1.0
    while excess(high) < 0.0:
        high *= 2.0
    return float(brentq(excess, 0.0, high, xtol=1e-13)) if excess(0.0) < 0.0 else 0.0


def order_defect(s: int, p: float, q: float) -> float:
    """Zero where value, slope and curvature are those of exp(z) at z = 0."""
    value, slope, bend = stability(s, p, q, 1.0 + where_one(s, p, q) / s**2)
    return float(value * bend / slope**2) - 1.0


def of_order_two(s: int, p: float) -> float:
    """The q for a p; NaN where there is none."""
    try:
        return float(brentq(lambda q: order_defect(s, p, q), 2.5, 4.2, xtol=1e-12))
    except ValueError:
        return np.nan


def length(s: int, p: float) -> float:
    """How far the polynomial stays in bounds, over s^2; 0 where there is none."""
    q = of_order_two(s, p)
    if np.isnan(q):
        return 0.0
    d = where_one(s, p, q)
    value, slope, _ = stability(s, p, q, 1.0 + d / s**2)
    return float((2.0 + d / s**2) * slope / value) / s**2


def longest(s: int) -> tuple[float, float, float, float]:
    """Best p, with its q and d, and the length over s^2."""
    grid = np.linspace(2.3 if s < 8 else 2.9, 3.3, 11 if s < 8 else 9)
    best = int(np.argmax([length(s, p) for p in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    p = float(minimize_scalar(lambda p: -length(s, p), bounds=bounds, method="bounded", options={"xatol": 1e-7}).x)
    q = of_order_two(s, p)
    return p, q, where_one(s, p, q), length(s, p)


def main() -> None:
    """Write the table."""
    rows = []
    for s in STAGES:
        p, q, d, share = longest(s)
        print(f"{s:4d}  p {p:.6f}  q {q:.6f}  d {d:.6f}  length {share:.5f} s^2", flush=True)
        rows.append(f"    ({s}, {p:.9f}, {q:.9f}, {d:.9f}),\n")
    TARGET.write_text(HEADER.format(damping=DAMPING) + "".join(rows) + ")\n")


if __name__ == "__main__":
    main()
