"""Length of the tests."""

import ast
from pathlib import Path

LONGEST = 40


def length(function):
    """Lines of a function, with its decorators."""
    return function.end_lineno - min(node.lineno for node in (function, *function.decorator_list)) + 1


def too_long(source):
    """Names of the test functions in `source` that are longer than `LONGEST`."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if f.name.startswith("test") and length(f) > LONGEST]


def test_no_test_is_longer_than_forty_lines():
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    assert len(files) > 100
    assert [f"{path.name}: {name}" for path in files for name in too_long(path.read_text(encoding="utf-8"))] == []


def test_decorators_and_inner_functions_count():
    inner = "@mark(\n    1,\n)\ndef test_it():\n    def inner():\n" + "        pass\n" * 34 + "    inner()\n"
    assert too_long(inner) == []
    assert too_long(inner + "    assert True\n") == ["test_it"]
