"""Check of the package's words: how docstrings begin, and names that were replaced.

    python tools/check_words.py [FOLDER]  # by default, skneuralde

prints ``file:line: message`` for every finding and fails if there are any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path("skneuralde")
OPENING = re.compile(r"\W*(What|Where|Which|How)\b")
NAMES = """
Equation:RightHandSide Moment:TimePoint Front:PathState Attempt:StepAttempt Settler:StepEndHandler Watcher:StepObserver
Judge:AcceptanceTest Searching:LoopDriver CellByCell:GridAlignment Inside:DenseOutputSaver Ends:StepEndSaver
Passed:StepIndexSaver Branches:SideStepOrigins Harvest:Saver Strides:StepAlignment Free:FreeSteps Stops:StopTimes
Dyadic:DyadicAlignment Marcher:Stepper Wanted:RequestedStates Everywhere:AllPathsAt OnePerRow:OneStatePerRow
Place:OutputRows Visited:StepStates Drawn:IncrementCache Route:StepSchedule Plan:GridSchedule Parts:PartialCells
Cuts:SplitCells CutSteps:GridSteps CutNoise:GridIncrements Gridded:GridDriver ForeignStepper:BackendStepper
Stretch:StepRun ProportionalIntegral:PIController Predictive:PredictiveController Averaging:AveragedErrorController
Simulation:SolveRequest Clockwork:JumpSchedule Candidates:JumpCandidates Extra:ExtraJump Crossings:HazardCrossings
Landing:JumpGroup Landings:MeshJumps Arrivals:JumpHandler JumpLog:JumpRecord Arrangement:BatchLayout Dense:DenseOutput
knows_inside:can_interpolate branched:solve_with_branches arrange:to_batch leads_on:needs_gradient aside:side_steps
strides:alignment harvest:saver landings:mesh_jumps march:mesh wanted:requested drawn:increment_cache cuts:split_cells
clockwork:jump_schedule visited:step_states leaves:dependencies cut_steps:grid_steps cut_noise:grid_increments
"""
#: Old identifiers, and what to call them instead.
REPLACED = dict(pair.split(":") for pair in NAMES.split())
#: Names that no module has any more.
MODULES = {
    *("strides", "harvest", "landings", "march", "wanted", "drawn", "cuts", "clockwork", "visited", "leaves", "plans"),
    *("searching", "gridded", "cut_steps", "cut_noise", "arrivals", "jump_log", "jump_tables", "reversal", "finishing"),
    *("elementary", "rossler", "stage_equations", "sparse_equations", "minimal_residual", "linearized", "births"),
    *("arrange", "branches", "drawing", "crossings", "foreign", "orders", "control"),
}


def replaced_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines and messages of the identifiers of a module that have been replaced."""
    for node in ast.walk(tree):
        identifiers = (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "asname"))
        for name in REPLACED.keys() & {identifier for identifier in identifiers if isinstance(identifier, str)}:
            yield getattr(node, "lineno", 1), f"{name!r} is an old name: say {REPLACED[name]!r}"


def wrong_openings(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and messages of the public docstrings that begin with a question word."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        if getattr(node, "name", "").startswith("_"):
            return
        found = OPENING.match(ast.get_docstring(node) or "")
        if found:
            yield node.body[0].lineno, f"a docstring begins with {found[1]!r}: begin with a noun or a verb"
    for child in ast.iter_child_nodes(node):
        yield from wrong_openings(child)


def check(folder: Path) -> list[str]:
    """Findings in the modules of a folder, each as ``file:line: message``."""
    findings = []
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        messages = [*wrong_openings(tree), *replaced_names(tree)]
        if path.stem in MODULES:
            messages.append((1, f"{path.stem!r} is the old name of a module"))
        findings += [f"{path}:{line}: {message}" for line, message in sorted(messages)]
    return findings


if __name__ == "__main__":
    found = check(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
    sys.exit("\n".join(found)) if found else print("Docstrings begin well, and no old name is left.")
