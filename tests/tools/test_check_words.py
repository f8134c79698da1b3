"""The check of words finds each kind of fault, and nothing in a clean tree."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.check_words import check

TOOL = Path(__file__).parents[2] / "tools" / "check_words.py"
FAULTS = {
    '"""What a module holds."""\n': ":1: a docstring begins with 'What'",
    '"""Steps."""\n\n\ndef step():\n    """Where a step ends."""\n': ":5: a docstring begins with 'Where'",
    'class Loop:\n    """Which loop."""\n': ":2: a docstring begins with 'Which'",
    'class Loop:\n    def step(self):\n        """\n        How it steps."""\n': ":3: a docstring begins with 'How'",
    "class Front:\n    pass\n": ":1: 'Front' is an old name: say 'PathState'",
    "from package import Route as Path\n": ":1: 'Route' is an old name",
    "x = 1\ny = solver.clockwork\n": ":2: 'clockwork' is an old name: say 'jump_schedule'",
    "def step(u, aside=None):\n    return u\n": ":1: 'aside' is an old name: say 'side_steps'",
    "y = solve(u, wanted=1)\n": ":1: 'wanted' is an old name",
}
CLEAN = '''"""However a step is made, the Front of the state and what is wanted are words of a sentence."""


class _Table:
    """What a private class holds."""

    def row(self):
        """What nobody reaches from outside."""


def _step(frontier, as_wanted):
    """How it is done."""
    return "strides", frontier  # Which march?
'''


@pytest.mark.parametrize(("source", "message"), FAULTS.items())
def test_a_fault_is_found_with_file_and_line(tmp_path, source, message):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "module.py").write_text(source)
    (finding,) = check(tmp_path)
    assert finding.startswith(str(tmp_path / "inner" / "module.py") + message)


def test_an_old_name_of_a_module_is_found(tmp_path):
    (tmp_path / "strides.py").write_text('"""Steps."""\n')
    assert check(tmp_path) == [f"{tmp_path / 'strides.py'}:1: 'strides' is the old name of a module"]


def test_a_clean_tree_passes_with_one_line(tmp_path):
    (tmp_path / "module.py").write_text(CLEAN)
    assert check(tmp_path) == []
    done = subprocess.run([sys.executable, TOOL, tmp_path], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    (tmp_path / "march.py").write_text("")
    failed = subprocess.run([sys.executable, TOOL, tmp_path], capture_output=True, text=True)
    assert failed.returncode == 1
    assert "march.py:1:" in failed.stderr
