"""Sphinx configuration; the table of solvers is written from the registry before each build."""

import importlib.metadata
import pathlib

from skneuralde.solvers import get_solver, solver_names

project = "skneuralde"
author = "The skneuralde developers"
copyright = "The skneuralde developers"
release = importlib.metadata.version("skneuralde")

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax"]
autosummary_generate = True
numpydoc_show_class_members = False
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Differential equations learned from time series"}


def _row(name):
    solver = get_solver(name)
    cells = (
        f"``{name}``",
        ", ".join(solver.noise_kinds),
        ", ".join(solver.calculus) if set(solver.noise_kinds) - {"none"} else "",
        solver.order or "",
        solver.strong_order or "",
        solver.weak_order or "",
        "yes" if solver.adaptive else "no",
        solver.reference,
    )
    return "   * - " + "\n     - ".join(str(cell) for cell in cells)


def _write_solver_table():
    head = ("name", "noise", "calculus", "order", "strong", "weak", "adaptive", "reference")
    lines = [".. list-table::", "   :header-rows: 1", "", "   * - " + "\n     - ".join(head)]
    target = pathlib.Path(__file__).parent / "generated" / "solvers.txt"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join([*lines, *map(_row, solver_names())]) + "\n")


_write_solver_table()
