"""Sphinx configuration; the table of solvers is written from the registry before each build."""

import html
import importlib.metadata
import pathlib

from docutils import nodes
from docutils.parsers.rst import Directive

from skneuralde.solvers import get_solver, solver_names

project = "skneuralde"
author = "The skneuralde developers"
copyright = "The skneuralde developers"
release = importlib.metadata.version("skneuralde")

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax"]
autosummary_generate = True
numpydoc_show_class_members = False
myst_heading_anchors = 2
myst_fence_as_directive = ["mermaid"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Differential equations learned from time series"}


def _row(name):
    solver = get_solver(name)
    entries = (
        f"``{name}``",
        ", ".join(solver.noise_kinds),
        ", ".join(solver.calculus) if set(solver.noise_kinds) - {"none"} else "",
        solver.order or "",
        solver.strong_order or "",
        solver.weak_order or "",
        "yes" if solver.adaptive else "no",
        solver.reference,
    )
    return "   * - " + "\n     - ".join(str(entry) for entry in entries)


def _write_solver_table():
    head = ("name", "noise", "calculus", "order", "strong", "weak", "adaptive", "reference")
    lines = [".. list-table::", "   :header-rows: 1", "", "   * - " + "\n     - ".join(head)]
    target = pathlib.Path(__file__).parent / "generated" / "solvers.txt"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join([*lines, *map(_row, solver_names())]) + "\n")


class Mermaid(Directive):
    """A picture in Mermaid's language, drawn by the reader's browser, like the formulae of mathjax."""

    has_content = True

    def run(self):
        source = html.escape("\n".join(self.content))
        return [nodes.raw("", f'<pre class="mermaid">{source}</pre>', format="html")]


def setup(app):
    app.add_directive("mermaid", Mermaid)
    app.add_js_file("https://cdn.jsdelivr.net/npm/mermaid@11/dist/mermaid.min.js")


_write_solver_table()
