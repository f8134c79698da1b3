"""Longest chains of imports inside the packages that are kept shallow, checked by ``make lint``.

A chain is a sequence of modules of one package, each of which imports the next one. The package's own ``__init__`` does
not count: it is the door through which others come in.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

#: The most modules that a chain may have, for each package.
LIMITS = {"skneuralde.solvers": 12, "skneuralde.estimators": 8}


def longest_chain(imports: Mapping[str, set[str]]) -> list[str]:
    """The longest path in an acyclic graph.

    Parameters
    ----------
    imports : mapping of str to set of str
        The modules that each module imports.

    Raises
    ------
    CycleError
    """
    below: dict[str, list[str]] = {}
    # Every module comes after all modules that it imports.
    for module in TopologicalSorter(imports).static_order():
        deepest = max((below[other] for other in sorted(imports.get(module, ()))), key=len, default=[])
        below[module] = [module, *deepest]
    return max((below[module] for module in sorted(below)), key=len, default=[])


def imports_inside(graph: grimp.ImportGraph, package: str) -> dict[str, set[str]]:
    """The modules below a package that each of them imports."""
    modules = graph.find_descendants(package)
    return {module: graph.find_modules_directly_imported_by(module) & modules for module in modules}


def main() -> int:
    """Print the longest chain of each package; 1 if one is too long or has no end."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    graph = grimp.build_graph("skneuralde", include_external_packages=False)
    failed = False
    for package, limit in LIMITS.items():
        try:
            chain = longest_chain(imports_inside(graph, package))
        except CycleError as error:
            print(f"{package}: modules import each other in a circle: {' -> '.join(error.args[1])}")
            failed = True
            continue
        failed = failed or len(chain) > limit
        print(f"{package}: the longest chain of imports has {len(chain)} modules (at most {limit})")
        print("\n".join(f"    {module.removeprefix(package + '.')}" for module in chain))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
