"""py-pde on the classic reaction-diffusion problem; its interpreter needs py-pde.

Arguments: START.npy END.npy T TOLERANCE. Prints processor time without compilation, and evaluations of the right-hand
side, as JSON.
"""

import json
import sys
import time

import numpy as np
import pde


def main() -> None:
    start, end, last, tolerance = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    values = np.load(start)
    n, m, _ = values.shape
    grid = pde.CartesianGrid([[0, n], [0, m]], [n, m])
    source = pde.ScalarField(grid, np.arange(m)[None] >= m - round(0.21 * m) + np.zeros((n, 1)))
    rates = {
        "a": "100 * laplace(a) + s - a - a * b + c",
        "b": "1 - b - a * b + c",
        "c": "1 - 2 * c + a * b",
    }
    equation = pde.PDE(rates, bc={"derivative": 0}, consts={"s": source})
    state = pde.FieldCollection([pde.ScalarField(grid, values[..., i]) for i in range(3)])
    seconds = []
    for span in (last / 100, last):  # the first run compiles
        solver = pde.RungeKuttaSolver(equation, backend="numpy", adaptive=True, tolerance=tolerance)
        controller = pde.Controller(solver, t_range=span, tracker=None)
        begin = time.process_time()
        result = controller.run(state, dt=1e-4)
        seconds.append(time.process_time() - begin)
    np.save(end, np.moveaxis(result.data, 0, -1))
    # A step of the embedded pair has six stages.
    print(json.dumps({"seconds": seconds[1], "evaluations": 6 * solver.info["steps"]}))


if __name__ == "__main__":
    main()
