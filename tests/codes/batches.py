# SPDX-License-Identifier: MPL-2.0
"""
Many exchanges of FejlKoder looked at in one process, each in its own place.

A refusal says its code, so a message that provokes it shows whom it changed places with. In a batch no code is in two
pairs, and each pair changes places in one file alone; a pair is found when one of its codes shows, word for word, the
other in its place. What shows anything else is looked at on its own afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from codes import effects, mutants
from codes.effects import error_text
from codes.mutants import Mutant
from codes.workshop import Job

CODES = "fejlkoder"


def batch_jobs(source: Path, found: Iterable[Mutant]) -> Iterator[Job]:
    """Put mutants together, as many as can be."""
    waiting = list(found)
    while waiting:
        taken: dict[str, list[Mutant]] = {}
        busy: set[str] = set()
        later = []
        for mutant in waiting:
            if busy.isdisjoint(mutant.pair):
                busy.update(mutant.pair)
                taken.setdefault(mutant.path, []).append(mutant)
            else:
                later.append(mutant)
        waiting = later
        texts = {path: (source / path).read_text(encoding="utf-8") for path in taken}
        yield Job(
            files={path: mutants.together(texts[path], each) for path, each in taken.items()},
            looks=[
                (CODES, (kode,), ("ksd", "jobcenter", "gateway"))
                for path, each in taken.items()
                for mutant in each
                for kode in mutant.pair
                if kode in texts[path]
            ],
            first=False,
            telling=True,
            about=[mutant for each in taken.values() for mutant in each],
        )


def told_apart(job: Job) -> tuple[list[Mutant], list[Mutant]]:
    """Say which mutants of a batch were found, and which must be looked at on their own."""
    seen = {(name, kode): what for codes, name, kode, what in job.told["seen"] if codes == CODES}
    facets = [one for one in effects.FACETS if one.codes == CODES]
    found, left = [], []
    for mutant in job.about:
        ways = (mutant.pair, mutant.pair[::-1])
        shown = any(
            tells(one, kode) and seen.get((one.name, kode)) == instead(one.expected[kode], kode, other)
            for kode, other in ways
            for one in facets
        )
        (found if shown else left).append(mutant)
    return found, left


def tells(one: effects.Facet, kode: str) -> bool:
    """Say whether a facet of a FejlKode shows the code itself."""
    return kode in one.expected and instead(one.expected[kode], kode, "") != instead(one.expected[kode], "", "")


def instead(expected: object, kode: str, other: str) -> object:
    """Give what is seen (as JSON has it) when another code is told where this one should be."""
    if isinstance(expected, tuple | list):
        return [instead(each, kode, other) for each in expected]
    if kode and expected == kode:
        return other
    if kode and expected == error_text(kode):
        return {other: error_text(other) if other else ""}
    return expected
