# SPDX-License-Identifier: MPL-2.0
"""
Where a failpoint must stand: before and after every commit, network call and answer on the way of a message.

In the rooms below, `failpoint.reach("room.before_x")` and `failpoint.reach("room.after_x")` must stand around

- a transaction, `async with ….tx()`: before it or last in it, and directly after it;
- a write that is its own transaction: a statement, an audit row or a verb on lanes given a `Store.read`;
- a call over the network: `….post(…)` and the sending of a pump's message;
- the writing of an answer.

"Around" means the statement itself, or one that it lies in (`try`, `with`), has the places as its neighbours. A function
that is given a transaction which its callers commit needs none of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOMS = ("gateway.py", "delivery/*.py", "lanes/pump.py", "ledger.py", "endpoint/door.py")
"""Where messages pass, from the door to the receiver's receipt and back."""

SPARED = {
    ("delivery/parked.py", "keep_plan"): "a plan is a question, and changes no message",
    ("delivery/routes.py", "set"): "a change of the registers: messages move when they are carried",
    ("delivery/rehashing.py", "rehash"): "each batch stands by itself, and a run that begins anew goes on",
    ("delivery/retaining.py", "expired"): "a count",
    ("delivery/retaining.py", "delete"): "messages that have ended; each batch is whole with the row that proves it",
    ("delivery/retaining.py", "_empty"): "within such a batch",
    ("delivery/retaining.py", "_remove"): "within such a batch",
}
"""Functions in which nothing is written of a message that is under way."""

WRITES = {
    "tx": {"run", "many"},
    "audit": {"record"},
    "_lanes": {"enqueue", "settle", "release", "replay", "discard", "repeats", "repeated", "claim", "abandon"},
    "_delivery": {"accept"},
}
"""Calls that write, by the name of what they are called on."""

CALLS = {"post", "_deliver"}  # over the network
ANSWERS = {("request", "send")}
INTO = (ast.Try, ast.With, ast.AsyncWith)  # what a place may stand around instead of the statement itself

Function = ast.FunctionDef | ast.AsyncFunctionDef


def missing(source: Path) -> list[str]:
    """Say where a place is missing in the rooms of the product's source."""
    paths = sorted({path for room in ROOMS for path in source.glob(room)})
    return [
        f"{name}:{line}: {function}: {what} without a failpoint before and after it"
        for name, path in ((str(path.relative_to(source)), path) for path in paths)
        for line, function, what in lacking(path.read_text("utf-8"))
        if (name, function) not in SPARED
    ]


def lacking(text: str) -> list[tuple[int, str, str]]:
    """Say where a place is missing in one file: line, function, and before and after what."""
    tree = ast.parse(text)
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    carried = _carried(tree, parents)
    return [
        (node.lineno, _function(node, parents).name, what)
        for node, what in _needing(tree, parents, carried)
        if not _guarded(node, parents)
    ]


def places(source: Path) -> list[tuple[Path, int, str]]:
    """Find every place that a process passes: file, line and name."""
    return [
        (path, node.lineno, _reached(node))
        for path in sorted(source.rglob("*.py"))
        if path.name != "failpoint.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and _reached(node)
    ]


def _needing(tree: ast.AST, parents: dict[ast.AST, ast.AST], carried: set[str]) -> Iterator[tuple[ast.stmt, str]]:
    seen: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncWith) and _opens(node, "tx"):
            yield node, "a transaction"
            continue
        what = _what(node)
        if not what:
            continue
        statement = _statement(node, parents)
        if statement in seen or (what == "a write" and _in_transaction(node, parents, carried)):
            continue
        seen.add(statement)
        yield statement, what


def _what(node: ast.AST) -> str:
    """Say what kind of step a call is, if it is one."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return ""
    name, on = node.func.attr, _name(node.func.value)
    if name in CALLS:
        return "a call over the network"
    if (on, name) in ANSWERS:
        return "an answer"
    return "a write" if name in WRITES.get(on, ()) else ""


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _opens(node: ast.AsyncWith, verb: str) -> bool:
    """Say whether a `with` opens a store's `tx` (also if only in one case of two)."""
    return any(
        isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr == verb
        for item in node.items
        for each in ast.walk(item.context_expr)
    )


def _in_transaction(node: ast.AST, parents: dict[ast.AST, ast.AST], carried: set[str]) -> bool:
    """Say whether a write is part of a transaction that is looked at as a whole."""
    for parent in _up(node, parents):
        if isinstance(parent, ast.AsyncWith) and _opens(parent, "tx"):
            return True
        if isinstance(parent, ast.AsyncWith) and _opens(parent, "read"):
            return False
        if isinstance(parent, Function):
            return parent.name in carried
    return False


def _carried(tree: ast.AST, parents: dict[ast.AST, ast.AST]) -> set[str]:
    """
    Find the functions that are given a transaction, and only ever one that their caller commits.

    One that other rooms call is a write there, and has its places around the call.
    """
    given = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, Function) and any(each.arg == "tx" for each in (*node.args.args, *node.args.kwonlyargs))
    }
    calls: dict[str, list[ast.AST]] = {name: [] for name in given}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in given:
            own = isinstance(node.func, ast.Name) or _name(getattr(node.func, "value", node)) == "self"
            if own:
                calls[_name(node.func)].append(node)
    carried = set(given)
    while True:
        kept = {name for name in carried if all(_in_transaction(call, parents, carried) for call in calls[name])}
        kept = {name for name in kept if calls[name] or not name.startswith("_")}
        if kept == carried:
            return carried
        carried = kept


def _guarded(statement: ast.stmt, parents: dict[ast.AST, ast.AST]) -> bool:
    """Say whether places stand around a statement, or around what it lies in."""
    here: ast.AST = statement
    before = _last_inside(statement) if isinstance(statement, ast.AsyncWith) else ""
    while True:
        siblings, at = _siblings(here, parents)
        above = _reached(siblings[at - 1]) if at else ""
        below = _reached(siblings[at + 1]) if at + 1 < len(siblings) else ""
        for one in (above, before):
            room, _, what = one.partition(".before_")
            if what and below == f"{room}.after_{what}":
                return True
        here, before = parents[here], ""
        if not isinstance(here, INTO):
            return False


def _last_inside(node: ast.AsyncWith) -> str:
    return _reached(node.body[-1])


def _reached(node: ast.AST) -> str:
    """Give the name of the place that a statement, or a call, is."""
    call = node.value if isinstance(node, ast.Expr) else node
    if (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and (call.func.attr, _name(call.func.value)) == ("reach", "failpoint")
    ):
        return str(call.args[0].value)
    return ""


def _siblings(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> tuple[list[ast.stmt], int]:
    parent = parents[node]
    for name in ("body", "orelse", "finalbody"):
        block = getattr(parent, name, None)
        if isinstance(block, list) and node in block:
            return block, block.index(node)
    return [node], 0


def _statement(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> ast.stmt:
    while not isinstance(node, ast.stmt):
        node = parents[node]
    return node


def _function(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Function:
    return next(parent for parent in _up(node, parents) if isinstance(parent, Function))


def _up(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[ast.AST]:
    while node in parents:
        node = parents[node]
        yield node
