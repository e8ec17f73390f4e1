# SPDX-License-Identifier: MPL-2.0
"""
A copy of the product in which files may be changed for a while, and a process of its own that looks at what it does then.

Everything that is not the product's is imported once, in the process that all others are forked from; a fork drops the
modules that a change reaches and imports them anew from the copy.
"""

from __future__ import annotations

import ast
import asyncio
import compileall
import importlib
import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGE = "sygefravaer"
PATIENCE = 120.0  # seconds for one process; then it hangs
STAYS = frozenset({"codes", "codes.texts", "codes.tables", "codes.mutants", "codes.workshop", "codes.swapping"})


class Workshop:
    """A copy of the product's sources; each file is the original's, until it is changed."""

    def __init__(self, source: Path, directory: Path) -> None:
        self._source = source
        self._directory = directory / PACKAGE
        self._changed: dict[str, int] = {}
        self._age = 0
        shutil.copytree(source, self._directory, copy_function=shutil.copy2)
        compileall.compile_dir(self._directory, quiet=2)

    def change(self, files: Mapping[str, str]) -> None:
        """Put other texts in the place of files; those that were changed before are as they were."""
        for path in self._changed:
            if path not in files:
                shutil.copy2(self._source / path, self._directory / path)
        self._age += 1
        for path, text in files.items():
            target = self._directory / path
            target.write_text(text, encoding="utf-8")
            moment = (self._source / path).stat().st_mtime + 10 * self._age  # never that of what was compiled
            os.utime(target, (moment, moment))
        self._changed = dict.fromkeys(files, self._age)

    def enter(self, reached: Iterable[str]) -> None:
        """Let this process import from the copy, and what the change reaches anew."""
        sys.dont_write_bytecode = True
        gone = set(reached)
        for name, module in list(sys.modules.items()):
            own = name == PACKAGE or name.startswith(f"{PACKAGE}.")
            file = getattr(module, "__file__", None) or ""
            if (own and name in gone) or (name not in STAYS and file.startswith(str(TESTS))):
                del sys.modules[name]
                parent, _, last = name.rpartition(".")
                if parent in sys.modules:
                    vars(sys.modules[parent]).pop(last, None)
            elif own and hasattr(module, "__path__"):
                module.__path__ = [str(self._directory.joinpath(*name.split(".")[1:]))]
        if PACKAGE in gone:
            sys.path.insert(0, str(self._directory.parent))
        importlib.invalidate_caches()


TESTS = Path(__file__).parents[1]


# --- what a change reaches ---


@dataclass(frozen=True)
class Reach:
    """Which modules of the product look at which others."""

    users: Mapping[str, frozenset[str]]
    """By module, those that import it."""

    @classmethod
    def of(cls, source: Path) -> Reach:
        """Read the imports of every module."""
        modules = {_module(path.relative_to(source)): path for path in source.rglob("*.py")}
        users: dict[str, set[str]] = {name: set() for name in modules}
        for name, path in modules.items():
            for used in _imports(ast.parse(path.read_text(encoding="utf-8"))):
                if used in users:
                    users[used].add(name)
        return cls({name: frozenset(found) for name, found in users.items()})

    def __call__(self, paths: Iterable[str]) -> set[str]:
        """List the modules that changes of these files reach."""
        found: set[str] = set()
        waiting = [name for path in paths for name in self._readers(path)]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.users.get(name, ())
        return found

    def _readers(self, path: str) -> list[str]:
        room = f"{PACKAGE}.{path.partition('/')[0]}"
        if path.endswith(".py"):
            return [_module(Path(path))]
        return [name for name in self.users if name == room or name.startswith(f"{room}.")]


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


# --- processes ---


@dataclass
class Job:
    """Something to be looked at in a process of its own: files with other texts, and what to look at."""

    files: Mapping[str, str]
    looks: list[tuple[str, tuple[str, ...], tuple[str, ...]]]
    """(list, codes, sides), in this order."""
    likely: list[tuple[str, str, str]] = field(default_factory=list)
    """(list, facet, code): what is looked at before all else."""
    first: bool = True
    """Stop at the first finding."""
    telling: bool = False
    """Look only at what shows the code itself."""
    about: Any = None
    told: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def run(jobs: Iterable[Job], workshops: list[Workshop], reach: Reach, stage: Callable[[], Any]) -> Iterator[Job]:
    """Do jobs, one at a time in each workshop; give each when it is done, with what it told."""
    waiting, free = iter(jobs), list(workshops)
    busy: dict[int, tuple[Job, Workshop, int, float, bytearray]] = {}
    done = False
    while busy or not done:
        while free and not done:
            job = next(waiting, None)
            if job is None:
                done = True
                break
            workshop = free.pop()
            workshop.change(job.files)
            pipe, child = _fork(job, workshop, reach, stage)
            busy[pipe] = (job, workshop, child, time.monotonic(), bytearray())
        ready, _, _ = select.select(list(busy), [], [], 1.0)
        for pipe, (job, workshop, child, since, heard) in list(busy.items()):
            part = os.read(pipe, 1 << 16) if pipe in ready else None
            hangs = time.monotonic() - since > PATIENCE
            if part:
                heard.extend(part)
                continue
            if part is None and not hangs:
                continue
            if hangs:
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(pipe)
            del busy[pipe]
            free.append(workshop)
            job.told = json.loads(heard) if heard else {"outcome": "hung" if hangs else "died", "seen": []}
            job.seconds = time.monotonic() - since
            yield job


def _fork(job: Job, workshop: Workshop, reach: Reach, stage: Callable[[], Any]) -> tuple[int, int]:
    sys.stdout.flush()
    ours, theirs = os.pipe()
    child = os.fork()
    if child:
        os.close(theirs)
        return ours, child
    told: dict[str, Any] = {"outcome": "died", "seen": []}
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os.close(ours)
        told = _looked(job, workshop, reach, stage)
    finally:
        with os.fdopen(theirs, "w") as pipe:
            json.dump(told, pipe, default=str)
        os._exit(0)


def _looked(job: Job, workshop: Workshop, reach: Reach, stage: Callable[[], Any]) -> dict[str, Any]:
    workshop.enter(reach(job.files))
    try:
        effects = importlib.import_module("codes.effects")
        sides = {side for _, _, chosen in job.looks for side in chosen}
        for side in sides:
            importlib.import_module(f"codes.{side}_side")
    except Exception as error:  # noqa: BLE001  whatever it is, nothing can be looked at
        return {"outcome": "no import", "seen": [f"{type(error).__name__}: {error}"]}
    wanted = [look for codes, kodes, chosen in job.looks for look in effects.of(codes, kodes, sides=chosen)]
    if job.telling:
        tells = importlib.import_module("codes.batches").tells
        wanted = [look for look in wanted if tells(*look)]
    places = {look: place for place, look in enumerate(job.likely)}
    wanted.sort(key=lambda look: places.get((look[0].codes, look[0].name, look[1]), len(places)))
    try:
        seen = asyncio.run(effects.findings(stage(), wanted, first=job.first))
    except Exception as error:  # noqa: BLE001  a scene that does not even begin
        return {"outcome": "killed", "seen": [["", "", "", f"{type(error).__name__}: {error}"]]}
    return {"outcome": "killed" if seen else "survived", "seen": seen}
