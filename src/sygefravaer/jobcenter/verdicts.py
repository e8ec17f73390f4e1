# SPDX-License-Identifier: MPL-2.0
"""The verdict on an event (SF2090) of KSD's, by what is known of its case and of the citizen. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """What a jobcentre does with an event."""

    APPLIED = "applied"
    EARLY = "early"
    """Applied, but the case was never opened: answered when OPRETTET comes, or HentSag has told."""
    REPEATED = "repeated"
    OBSOLETE = "obsolete"
    REFUSED = "refused"


OPRETTET: Final = "OPRETTET"
AENDRET: Final = "AENDRET"
AFSLUTTET: Final = "AFSLUTTET"

FORAELDET_VERSION: Final = "FORAELDET_VERSION"
"""The Begrundelse of a MODTAGET that settles an event which a later version has overtaken."""

ENDED: Final = frozenset({"AFSLUTTET", "ANNULLERET", "OVERFLYTTET"})
"""The values of SagsTilstand in which a sygedagpengesag runs no more."""


class Citizen(StrEnum):
    """What the municipality's own register says of a citizen; most are simply known."""

    KNOWN = "known"
    MOVED = "moved"
    UNKNOWN = "unknown"
    DEAD = "dead"


_CITIZEN_REFUSALS: Final[Mapping[Citizen, str]] = {
    Citizen.MOVED: "B101",
    Citizen.UNKNOWN: "B102",
    Citizen.DEAD: "B103",
}


@dataclass(frozen=True, kw_only=True)
class KnownCase:
    """What is known of a sygedagpengesag before an event: its highest version, whether it has ended and was opened."""

    version: int
    ended: bool
    opened: bool
    same_content: bool
    """The snapshot of the event equals the one that is kept."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict and, when it is a refusal, its FejlKode."""

    verdict: Verdict
    code: str | None = None


def judge_event(
    known: KnownCase | None, *, haendelsestype: str, version: int, reopened: bool, citizen: Citizen
) -> Judgement:
    """Judge an event by what is known of its case; the order key is (SagsID, SagsVersion).

    `reopened` says that GENOPTAGET is among its causes. An ending is never refused for who the citizen is: it takes
    work away. Codes B101, B102, B103, B105, B106.
    """
    if known and version < known.version:
        return Judgement(verdict=Verdict.OBSOLETE)
    if known and version == known.version and known.same_content:
        heard = known.opened or haendelsestype == OPRETTET  # else it waits as its first copy does
        return Judgement(verdict=Verdict.REPEATED if heard else Verdict.EARLY)
    code = None
    if known and version == known.version:
        code = "B106"
    elif haendelsestype != AFSLUTTET and citizen in _CITIZEN_REFUSALS:
        code = _CITIZEN_REFUSALS[citizen]
    elif known and known.ended and haendelsestype == AENDRET and not reopened:
        code = "B105"
    if code:
        return Judgement(verdict=Verdict.REFUSED, code=code)
    opened = haendelsestype == OPRETTET or (known is not None and known.opened)
    return Judgement(verdict=Verdict.APPLIED if opened else Verdict.EARLY)
