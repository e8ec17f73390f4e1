# SPDX-License-Identifier: MPL-2.0
"""
Two codes of one list that have changed places in one file of the product.

In the list's own data file the two keys are exchanged, and every other cell stays where it is. Elsewhere the copies are:
cells of other columns, enumerations of the schema, and words in quotes in sources and templates. Words in comments and
docstrings are no copies.
"""

from __future__ import annotations

import ast
import csv
import io
import itertools
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from codes.effects import lists
from sygefravaer.contract.names import CODE_LISTS

DATA = Path("contract/data")
TYPE_OF_LIST = {file.removesuffix(".csv"): kind for kind, file in CODE_LISTS.items()}
REFERENCES = {("sagsarter.csv", "efterArbejdsgiverperiode")}
"""Columns in which a number is a code; in others it counts something, or is a number of another register."""

NO_COPIES: Mapping[tuple[str, str], str] = {
    ("contract/codec.py", "1"): "true, as XML writes it",
    ("contract/values.py", "1"): "a digit of a personal number",
    ("contract/values.py", "2"): "a digit of a personal number",
    ("contract/values.py", "3"): "a digit of a personal number",
    ("failpoint.py", "1"): "a setting of the environment",
    ("soap/reading.py", "1"): "mustUnderstand, as SOAP writes it",
    ("vault.py", "1"): "the number of a key",
    ("client.py", "OK"): "HTTP's",
    ("gateway.py", "OK"): "the outcome of a look-up in the record",
    ("ksd/lookups.py", "OK"): "the outcome of a look-up in the record",
    ("ksd/overview.py", "OK"): "the outcome of a look-up in the record",
}
"""Words that only look like a code."""

MEASURES = frozenset({"height", "max", "maxlength", "min", "rows", "rx", "step", "width", "x", "y"})
"""Attributes of a page whose values only look like codes."""

SCRIPTS = "sandbox/scenarios/data/"
"""What scenarios say and expect is no copy but a test of its own: tests/test_scenarios.py plays them."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """Two codes exchanged in one file."""

    codes: str
    pair: tuple[str, str]
    path: str
    kind: str
    """reference (in a column of a data file) or copy."""
    text: str
    rows: tuple[str, tuple[str, ...]] = ("", ())
    """Of a reference: the list whose rows have other words now, and their codes."""

    def __str__(self) -> str:
        """Name it for a report."""
        return f"{self.codes} {self.pair[0]} <-> {self.pair[1]} in {self.path} ({self.kind})"


def pairs(codes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give every two codes of a list."""
    return itertools.combinations(codes, 2)


def rounds(codes: Sequence[str]) -> Iterator[list[tuple[str, str]]]:
    """Let every two codes meet once, as many at a time as can (a round-robin): no code is in two pairs of a round."""
    wheel: list[str | None] = [*codes, *([None] if len(codes) % 2 else [])]
    for _ in range(len(wheel) - 1):
        half = len(wheel) // 2
        met = zip(wheel[:half], reversed(wheel[half:]), strict=True)
        yield [(one, other) for one, other in met if one is not None and other is not None]
        wheel = [wheel[0], wheel[-1], *wheel[1:-1]]


def exchanged(*swaps: tuple[str, str]) -> Callable[[str], str]:
    """Give a function that exchanges the codes of these pairs and leaves every other word."""
    table = {one: other for pair in swaps for one, other in (pair, pair[::-1])}
    return lambda word: table.get(word, word)


def with_keys(text: str, *swaps: tuple[str, str]) -> str:
    """Exchange keys of a data file."""
    swap = exchanged(*swaps)
    heading, *rows = csv.reader(text.splitlines())
    return _written([heading, *([swap(row[0]), *row[1:]] for row in rows)])


def in_schema(text: str, codes: str, *swaps: tuple[str, str]) -> str:
    """Exchange codes in the enumeration of the list's type."""
    swap, kind = exchanged(*swaps), TYPE_OF_LIST.get(codes)
    block = re.compile(rf'<xs:simpleType name="{kind}">.*?</xs:simpleType>', re.DOTALL)
    return block.sub(lambda one: _attributes(one.group(), r'(?<=enumeration value=")', swap), text)


def schemas(source: Path) -> list[str]:
    """List the files of the contract package that hold enumerations."""
    found = sorted(each for each in (source / "contract/schema").rglob("*") if each.suffix in {".xsd", ".wsdl"})
    return [str(each.relative_to(source)) for each in found if "<xs:enumeration" in each.read_text(encoding="utf-8")]


def copies(source: Path, codes: str) -> Iterator[Mutant]:
    """Exchange every two codes in each other place that has a copy of either, the schemas' enumerations apart."""
    for path in sorted(each for each in source.rglob("*") if each.is_file() and "__pycache__" not in each.parts):
        name = str(path.relative_to(source))
        write = _WRITERS.get(path.suffix)
        if write is None or name.startswith(SCRIPTS):
            continue
        text = path.read_text(encoding="utf-8")
        there = [kode for kode in lists()[codes] if kode in text and (name, kode) not in NO_COPIES]
        if not there:
            continue
        seen: dict[str, bool] = {}
        for pair in pairs(lists()[codes]):
            involved = [kode for kode in pair if kode in there]
            for kode in involved:
                if kode not in seen:
                    seen[kode] = write(name, codes, text, (kode, f"{kode}?")) != text
            if not any(seen[kode] for kode in involved) or any((name, kode) in NO_COPIES for kode in pair):
                continue
            found = write(name, codes, text, pair)
            if found != text:
                kind = "reference" if path.suffix == ".csv" else "copy"
                rows = (path.stem, changed_rows(text, found)) if kind == "reference" else ("", ())
                yield Mutant(codes=codes, pair=pair, path=name, kind=kind, text=found, rows=rows)


def together(text: str, found: Sequence[Mutant]) -> str:
    """Exchange what several mutants of one file and list exchange; no code may be in two of them."""
    one = found[0]
    return _WRITERS[Path(one.path).suffix](one.path, one.codes, text, *(each.pair for each in found))


def changed_rows(before: str, after: str) -> tuple[str, ...]:
    """List the keys of the rows that two texts of a data file have differently."""
    both = zip(csv.reader(before.splitlines()), csv.reader(after.splitlines()), strict=True)
    return tuple(dict.fromkeys(old[0] for old, new in both if old != new))


# --- in each kind of file ---


def _cells(name: str, codes: str, text: str, *swaps: tuple[str, str]) -> str:
    """Exchange codes in the columns of a data file, its keys apart."""
    swap = exchanged(*swaps)
    heading, *rows = csv.reader(text.splitlines())

    def cell(column: str, word: str) -> str:
        if column in {"tekst", "text", "kilde", "source", "dst"} or (
            word.isdigit() and (Path(name).name, column) not in REFERENCES
        ):
            return word
        return ";".join(swap(each) for each in word.split(";"))

    changed = [
        [row[0], *(cell(column, word) for column, word in zip(heading[1:], row[1:], strict=True))] for row in rows
    ]
    return text if changed == rows else _written([heading, *changed])


def _operations(name: str, codes: str, text: str, *swaps: tuple[str, str]) -> str:
    """Exchange operations of a WSDL."""
    return _attributes(text, r'(?<=<wsdl:operation name=")', exchanged(*swaps)) if codes == "beskedtyper" else text


def _attributes(text: str, before: str, swap: Callable[[str], str]) -> str:
    return re.sub(before + r'[^"]*(?=")', lambda one: swap(one.group()), text)


def _quoted(name: str, codes: str, text: str, *swaps: tuple[str, str]) -> str:
    """Exchange codes that stand in quotes."""
    swap = exchanged(*swaps)
    return re.sub(r"""(?<=(["']))[\w.]+(?=\1)""", lambda one: swap(one.group()), text)


def _pages(name: str, codes: str, text: str, *swaps: tuple[str, str]) -> str:
    """Exchange codes that stand in quotes; the sizes and lengths of what is drawn are numbers, and no codes."""
    swap = exchanged(*swaps)

    def one(found: re.Match[str]) -> str:
        if found["attribute"] in MEASURES:
            return found[0]
        return f"{found['before']}{found['quote']}{swap(found['word'])}{found['quote']}"

    return re.sub(r"""(?P<before>\b(?P<attribute>[\w-]+)=|)(?P<quote>["'])(?P<word>[\w.]+)(?P=quote)""", one, text)


def _sources(name: str, codes: str, text: str, *swaps: tuple[str, str]) -> str:
    """Exchange codes that are string literals, or stand in quotes in one (SQL); docstrings are left alone."""
    swap = exchanged(*swaps)
    lines = text.splitlines(keepends=True)
    for token in reversed(_literals(text)):
        if not any(kode in token.string for pair in swaps for kode in pair):
            continue
        found = _literal(token.string, swap)
        if found != token.string:
            (row, start), (last, end) = token.start, token.end
            whole = "".join(lines[row - 1 : last])
            tail = len(lines[last - 1]) - end
            lines[row - 1 : last] = [whole[:start] + found + whole[len(whole) - tail :]]
    return "".join(lines)


def _literal(literal: str, swap: Callable[[str], str]) -> str:
    found = re.fullmatch(r"""([rbfRBF]*)("{3}|'{3}|"|')(.*)\2""", literal, re.DOTALL)
    if found is None:
        return literal
    prefix, quote, words = found.groups()
    if swap(words) != words:
        return f"{prefix}{quote}{swap(words)}{quote}"
    inside = re.sub(r"(?<=')[\w.]+(?=')", lambda one: swap(one.group()), words)
    return f"{prefix}{quote}{inside}{quote}"


_WRITERS = {
    ".csv": _cells,
    ".py": _sources,
    ".wsdl": _operations,
    ".html": _pages,
    ".toml": _quoted,
    ".json": _quoted,
}


@cache
def _literals(text: str) -> list[tokenize.TokenInfo]:
    docs = _docstrings(text)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token for token in tokens if token.type == tokenize.STRING and token.start not in docs]


def _docstrings(text: str) -> set[tuple[int, int]]:
    return {
        (each.value.lineno, each.value.col_offset)
        for node in ast.walk(ast.parse(text))
        if isinstance(getattr(node, "body", None), list)
        for each in node.body
        if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) and isinstance(each.value.value, str)
    }


def _written(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


# --- what means the same ---


def same(mutant: Mutant, before: str) -> str:
    """Say why a mutant means the same as the file it was made from, if it does."""
    if not all(kode in before for kode in mutant.pair):
        return ""
    meaning = {".py": _meaning, ".csv": _members}.get(Path(mutant.path).suffix)
    if meaning is not None and meaning(before) == meaning(mutant.text):
        return "the same members in another order"
    return ""


def _members(text: str) -> list[list[list[str]]]:
    return [[sorted(cell.split(";")) for cell in row] for row in csv.reader(text.splitlines())]


@lru_cache(maxsize=32)
def _meaning(text: str) -> str:
    return ast.dump(_Members().visit(ast.parse(text)))


class _Members(ast.NodeTransformer):
    """Puts in one order what has none: members of sets, what `in` looks through, alternatives, entries of a mapping."""

    def visit_Set(self, node: ast.Set) -> ast.AST:
        self.generic_visit(node)
        node.elts = _in_order(_flat(node.elts))
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.In | ast.NotIn) and isinstance(right, ast.Tuple | ast.List):
                right.elts = _in_order(_flat(right.elts))
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in {"set", "frozenset", "fromkeys"} and node.args and isinstance(node.args[0], ast.Tuple | ast.List):
            node.args[0].elts = _in_order(_flat(node.args[0].elts))
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        self.generic_visit(node)
        if all(node.keys):
            entries = sorted(zip(node.keys, node.values, strict=True), key=lambda entry: ast.dump(entry[0]))
            node.keys, node.values = [key for key, _ in entries], [value for _, value in entries]
        return node

    def visit_MatchOr(self, node: ast.MatchOr) -> ast.AST:
        self.generic_visit(node)
        node.patterns = sorted(node.patterns, key=ast.dump)
        return node


def _flat(elements: Sequence[ast.expr]) -> list[ast.expr]:
    found: list[ast.expr] = []
    for each in elements:
        if isinstance(each, ast.Starred) and isinstance(each.value, ast.Tuple | ast.List | ast.Set):
            found += each.value.elts
        else:
            found.append(each)
    return found


def _in_order(elements: Sequence[ast.expr]) -> list[ast.expr]:
    return sorted(elements, key=ast.dump)
