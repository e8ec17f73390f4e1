# SPDX-License-Identifier: MPL-2.0
"""Time is an argument of every statement: the database's own clock is refused in our SQL, the lease excepted."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "sygefravaer"
CLOCKS = re.compile(
    r"""\bnow\s*\(\s*\) | \b(?:clock|transaction|statement)_timestamp\s*\( | \btimeofday\s*\(
        | \b(?:current_(?:timestamp|date|time)|localtime(?:stamp)?)\b
        | '(?:now|today|tomorrow|yesterday)'""",
    re.VERBOSE | re.IGNORECASE,
)
ALLOWED = {"lanes/statements.py": ["clock_timestamp()"]}
"""The lease of a lane, in one constant: the clocks of nodes differ, the database's is one."""


def clock_uses(text):
    """Strings of the program, docstrings excepted, that ask the database for the time."""
    tree = ast.parse(text)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [node.value for node in strings if id(node) not in said and CLOCKS.search(node.value)]


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_statement_asks_the_database_for_the_time(path):
    """A sandbox that moves its clock moves everything but the lease."""
    assert clock_uses(path.read_text(encoding="utf-8")) == ALLOWED.get(path.relative_to(SOURCE).as_posix(), [])


@pytest.mark.parametrize(
    "text",
    [
        "SELECT now()",
        "INSERT INTO t VALUES (CURRENT_TIMESTAMP)",
        "CREATE TABLE t (at date DEFAULT current_date)",
        "UPDATE t SET at = clock_timestamp()",
        "SELECT 'now'::timestamptz",
    ],
)
def test_the_lint_sees_each_way_to_ask(text):
    """A rule that cannot fail is none."""
    assert clock_uses(f"Q = {text!r}") == [text]
    assert clock_uses(f"Q = f{text + '{x}'!r}") == [text]


def test_the_lint_lets_arguments_and_prose_pass():
    """A parameter called now is what is wanted; a docstring may say what is refused."""
    assert clock_uses('"""No now() here."""\nQ = "SELECT * FROM lane WHERE next_at <= %(now)s"') == []
