# SPDX-License-Identifier: MPL-2.0
"""
Every two codes of every list change places, in the data and in every copy, and each time an effect must be missed.

Keys of data files and enumerations of the schema go in rounds: no code is in two pairs of a round, and a pair counts as
found only when each of the two shows exactly what the other should. Every other mutant is looked at on its own.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import memory_disk
from codes import batches, effects, mutants, texts, workshop
from codes.mutants import Mutant
from codes.stage import Authority, Stage
from codes.workshop import Job
from sygefravaer.store import EmbeddedServer

SOURCE = Path(__file__).parents[2] / "src" / "sygefravaer"
SLOW = 8.0  # seconds after which a mutant is worth a line
TEXT, SCHEMA = "text, days, group and follow-on", "text in the schema"
CERTIFICATES = (
    *(("gateway", "19435075"), ("ksd", "19435075"), ("jc-hub", "19435075"), ("jc-own", "29189846")),
    *((name, "12345674") for name in ("viborg", "aarhus", "platform", "callback", "stranger", "gateway-only")),
)
FIRST = {
    "ksd": ("ksd", "gateway", "jobcenter"),
    "jobcenter": ("jobcenter", "ksd", "gateway"),
    "gateway.py": ("gateway", "ksd", "jobcenter"),
    "delivery": ("gateway", "ksd", "jobcenter"),
    "soap": ("gateway", "ksd", "jobcenter"),
    "cli": ("ksd", "reading", "jobcenter", "gateway"),
    "admin": ("reading",),
}
"""Which sides are most likely to miss an effect, by the room that was changed; every side is looked at in the end."""


@dataclass
class Count:
    """What came of the mutants."""

    made: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    same: Counter[str] = field(default_factory=Counter)
    no_import: list[str] = field(default_factory=list)
    survived: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Tell it."""
        for kind, made in sorted(self.made.items()):
            yield f"{kind}: {made} made, {self.found[kind]} found by a missed effect"
        for reason, number in sorted(self.same.items()):
            yield f"equivalent: {number}, {reason}"
        yield f"found only since the product does not even import: {len(self.no_import)}"
        yield from (f"  {each}" for each in self.no_import[:20])
        yield f"survived: {len(self.survived)}"
        yield from (f"  {each}" for each in self.survived)


# --- rounds: keys and enumerations ---


def round_jobs(names: Sequence[str], *, only_first: bool = False) -> Iterator[Job]:
    """Let the codes of all these lists meet, in all files at once: keys of the data, enumerations of the schema."""
    turns = {name: list(mutants.rounds(effects.lists()[name])) for name in names}
    schemas = mutants.schemas(SOURCE)
    for number in range(1 if only_first else max(len(each) for each in turns.values())):
        swaps = {name: each[number] for name, each in turns.items() if number < len(each)}
        files = {}
        for name, pairs in swaps.items():
            path = f"contract/data/{name}.csv"
            files[path] = mutants.with_keys((SOURCE / path).read_text(encoding="utf-8"), *pairs)
        for path in schemas:
            text = (SOURCE / path).read_text(encoding="utf-8")
            for name, pairs in swaps.items():
                text = mutants.in_schema(text, name, *pairs)
            files[path] = text
        looks = [(name, tuple(kode for pair in pairs for kode in pair), ("reading",)) for name, pairs in swaps.items()]
        yield Job(files=files, looks=looks, first=False, about=swaps)


def judge_round(job: Job, count: Count) -> None:
    """Count the pairs of a round: each code must show exactly what its partner should, in every file."""
    seen = {(codes, facet, kode): what for codes, facet, kode, what in job.told["seen"] if codes}
    for name, pairs in job.about.items():
        said = {"fejlkoder": texts.ERRORS, "kommuner": texts.MUNICIPALITIES}.get(name) or texts.SAID[name]
        for pair in pairs:
            ways = ((pair[0], pair[1]), (pair[1], pair[0]))
            count.made["key in the data"] += 1
            if said[pair[0]] == said[pair[1]]:
                count.same["two rows of a data file that say the same"] += 1
            elif all(seen.get((name, TEXT, kode)) == list(said[other]) for kode, other in ways):
                count.found["key in the data"] += 1
            else:
                count.survived.append(f"{name} {pair[0]} <-> {pair[1]} in its data file")
            if name not in texts.SAID:
                continue
            shown = {kode: seen.get((name, SCHEMA, kode), {}) for kode in pair}
            for file in shown[pair[0]]:
                count.made["enumeration in a schema"] += 1
                if all(shown[kode].get(file) == said[other][0] for kode, other in ways):
                    count.found["enumeration in a schema"] += 1
                else:
                    count.survived.append(f"{name} {pair[0]} <-> {pair[1]} in {file}")


# --- one by one: references and copies ---


Missed = dict[tuple[str, str, str], dict[tuple[str, str, str], None]]
"""By file, list and code: (list, facet, code) of what was missed when it changed places, the last one first."""


def single_jobs(found: Iterable[Mutant], count: Count, missed: Missed) -> Iterator[Job]:
    """Make a job of each mutant that does not mean the same as the product; what was missed before is looked at first."""
    for mutant in found:
        count.made[mutant.kind] += 1
        same = mutants.same(mutant, (SOURCE / mutant.path).read_text(encoding="utf-8"))
        if same:
            count.same[same] += 1
            continue
        likely = [look for place in _places(mutant) for look in missed.get(place, ())]
        yield Job(files={mutant.path: mutant.text}, looks=looks(mutant), likely=likely, about=mutant)


def _places(mutant: Mutant) -> list[tuple[str, str, str]]:
    return [(mutant.path, mutant.codes, kode) for kode in mutant.pair]


def looks(mutant: Mutant) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Say what to look at: the two codes, then what other lists spell like them; the likeliest side first."""
    room = mutant.path.partition("/")[0]
    sides = FIRST.get(room, ("reading", "gateway", "ksd", "jobcenter"))
    sides = (*sides, *(side for side in effects.SIDES if side not in sides))
    alike = [
        (name, tuple(kode for kode in mutant.pair if kode in codes))
        for name, codes in effects.lists().items()
        if name != mutant.codes and any(kode in codes for kode in mutant.pair)
    ]
    chosen = [(mutant.codes, mutant.pair), *alike]
    if mutant.rows[0] in effects.lists():
        chosen.insert(0, mutant.rows)
    return [(name, kodes, (side,)) for name, kodes in chosen for side in sides]


def judge_single(job: Job, count: Count, missed: Missed) -> None:
    """Count a mutant, and remember by what it was found."""
    mutant, outcome = job.about, job.told["outcome"]
    if job.seconds > SLOW:
        _say(f"  {job.seconds:.0f} s: {mutant}, {outcome} {job.told['seen'][:1]}")
    if outcome == "survived":
        count.survived.append(str(mutant))
        _say(f"  survived: {mutant}")
        return
    count.found[mutant.kind] += 1
    for codes, facet, kode, _ in job.told["seen"] if outcome == "killed" else ():
        for place in _places(mutant):
            looked = missed.setdefault(place, {})
            missed[place] = {(codes, facet, kode): None, **looked}
    if outcome == "no import":
        count.no_import.append(f"{mutant}: {job.told['seen'][0]}")


# --- all of it ---


class Harness:
    """A server, certificates and workshops for the time of a run."""

    def __init__(self, directory: Path, workers: int) -> None:
        self.directory = directory
        self.server = EmbeddedServer(directory / "pg", state=memory_disk.place())
        authority = Authority(directory / "pki")
        for name, cvr in CERTIFICATES:
            authority.issue(name, cvr)
        self.workshops = [workshop.Workshop(SOURCE, directory / f"copy{number}") for number in range(workers)]
        self.reach = workshop.Reach.of(SOURCE)

    def stage(self) -> Stage:
        """Make the stage of a process."""
        from codes.stage import Stage as Anew  # in a fork it is another one

        return Anew(self.server, self.directory, self.directory / "pki")

    def warm_up(self, names: Sequence[str] = ()) -> list[object]:
        """Start the server, and look at one code on each side, or at all of these lists: nothing may be missed."""
        asyncio.run(self.server.start())
        memory_disk.make_quick(self.server)
        wanted = [effects.of("forretningsvalideringskoder", ["AFVIST"]), effects.of("snitfladeversioner")]
        wanted += [effects.of(name) for name in names]
        return list(asyncio.run(effects.findings(self.stage(), [look for each in wanted for look in each])))

    def close(self) -> None:
        """End the server."""
        asyncio.run(self.server.remove())


def main(arguments: Sequence[str]) -> int:
    """Run; gives 1 when a mutant survived."""
    parser = argparse.ArgumentParser(prog="codes", description=__doc__)
    parser.add_argument("--list", dest="names", action="append", choices=list(effects.lists()), help="only this list")
    parser.add_argument("--path", action="append", default=[], help="only copies in files that begin so")
    parser.add_argument("--sample", type=int, help="so many copies by lot, and one round of the keys")
    parser.add_argument("--each", type=int, help="so many copies of each list in each file by lot")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="what the lot is drawn by")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-rounds", action="store_true", help="leave out keys and enumerations")
    chosen = parser.parse_args(arguments)
    names = chosen.names or list(effects.lists())
    count, begun = Count(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="codes-") as directory:
        harness = Harness(Path(directory), chosen.workers)
        try:
            by_lot_only = chosen.sample is not None or chosen.each is not None
            if missed := harness.warm_up(() if by_lot_only else names):
                _say(f"The product itself misses effects: {missed}")
                return 1
            if not chosen.no_rounds:
                jobs = round_jobs(names, only_first=chosen.sample is not None)
                for number, job in enumerate(_run(harness, jobs), 1):
                    judge_round(job, count)
                    _progress(f"round {number}", count, begun)
            made = [each for name in names for each in mutants.copies(SOURCE, name)]
            made = [each for each in made if not chosen.path or each.path.startswith(tuple(chosen.path))]
            if by_lot_only:
                _say(f"seed {chosen.seed}")
                made = by_lot(made, random.Random(chosen.seed), chosen.sample, chosen.each)
            else:
                made = _batched(harness, made, count, begun)
            missed: Missed = {}
            for number, job in enumerate(_run(harness, single_jobs(made, count, missed)), 1):
                judge_single(job, count, missed)
                if number % 20 == 0:
                    _progress(f"{number} copies", count, begun)
        finally:
            harness.close()
    sys.stdout.write("\n".join((*count.lines(), f"{time.monotonic() - begun:.0f} s", "")))
    return 1 if count.survived else 0


def _batched(harness: Harness, made: Iterable[Mutant], count: Count, begun: float) -> list[Mutant]:
    """Look at what can be looked at in batches; give what is left."""
    left, together = [], []
    for mutant in made:
        before = (SOURCE / mutant.path).read_text(encoding="utf-8")
        (together if mutant.codes == batches.CODES and not mutants.same(mutant, before) else left).append(mutant)
    for number, job in enumerate(_run(harness, batches.batch_jobs(SOURCE, together)), 1):
        found, alone = batches.told_apart(job)
        for mutant in found:
            count.made[mutant.kind] += 1
            count.found[mutant.kind] += 1
        left += alone
        _progress(f"batch {number}", count, begun)
    return left


def by_lot(found: Sequence[Mutant], lot: random.Random, sample: int | None, each: int | None) -> list[Mutant]:
    """Draw mutants: so many of each list in each file, or so many of all."""
    if each is not None:
        places: dict[tuple[str, str], list[Mutant]] = {}
        for mutant in found:
            places.setdefault((mutant.codes, mutant.path), []).append(mutant)
        found = [one for place in places.values() for one in lot.sample(place, min(each, len(place)))]
    if sample is not None:
        found = lot.sample(found, min(sample, len(found)))
    return list(found)


def _run(harness: Harness, jobs: Iterable[Job]) -> Iterator[Job]:
    return workshop.run(jobs, harness.workshops, harness.reach, harness.stage)


def _progress(what: str, count: Count, begun: float) -> None:
    found = sum(count.found.values())
    seconds = time.monotonic() - begun
    _say(f"{what}: {found} found, {len(count.survived)} survived, {seconds:.0f} s")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
