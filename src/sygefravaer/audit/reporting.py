# SPDX-License-Identifier: MPL-2.0
"""
A citizen's access report (GDPR article 15): what was used, when, by whom, for what, and what came of it.

In Danish, for the citizen. Employees stand in it by a keyed hash, the same person the same pseudonym within one report
and another in the next. Making a report is a row of the record too, and stands in the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sygefravaer.audit.events import Event
from sygefravaer.audit.searching import USER, Query, Reader, opened, rows_of
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.law.calendar import DENMARK
from sygefravaer.store import Row, Store
from sygefravaer.vault import Vault

OPERATIONS: Final[Mapping[str, str]] = {
    "HentSag": "Jobcentret slog en sygedagpengesag op",
    "HentSagsListe": "Jobcentret slog listen over sygedagpengesager op",
    "SendHaendelseSygefravaerssag": "KSD gav jobcentret besked om en hændelse i en sygedagpengesag",
    "SendAnmodningForlaengelse": "KSD bad jobcentret vurdere, om sygedagpengene kan forlænges",
    "SendForretningsSvar": "Jobcentret svarede KSD på en hændelse",
    "SendForretningsSvarForlaengelse": "Jobcentret svarede KSD på, om sygedagpengene kan forlænges",
    "SendOpdateringFravaer": "Jobcentret gav KSD besked om den beskæftigelsesrettede indsats",
}
"""What each operation of the service is for, in plain Danish."""

_DONE: Final[Mapping[Event, str]] = {
    Event.CALL_REFUSED: "Kald, der blev afvist",
    Event.LOOKUP_ASKED: "Opslag",
    Event.MESSAGE_ACCEPTED: "Besked modtaget til levering",
    Event.MESSAGE_REPEATED: "Samme besked modtaget igen",
    Event.MESSAGE_MOVED: "Besked ført videre til et andet system",
    Event.MESSAGE_REPLAYED: "Besked sat til levering igen af driften",
    Event.MESSAGE_TOLD: "Afsender underrettet af driften",
    Event.MESSAGE_SEARCHED: "Søgning efter borgerens beskeder",
    Event.MESSAGE_VIEWED: "Besked vist, med skjult personnummer",
    Event.MESSAGE_REVEALED: "Besked vist, med personnummer",
    Event.MESSAGE_EXPORTED: "Liste med borgerens beskeder hentet som fil",
    Event.ANSWER_REMINDED: "Erindring om manglende svar",
    Event.AUDIT_SEARCHED: "Opslag i loggen",
    Event.AUDIT_EXPORTED: "Udtræk af loggen",
    Event.AUDIT_REPORTED: "Indsigtsrapport lavet",
}
"""What was done, for the events that stand in a report by themselves; an outcome stands with what it came of."""

_ENDED: Final[Mapping[str, str]] = {
    Event.MESSAGE_DELIVERED: "Leveret",
    Event.MESSAGE_REFUSED: "Afvist af modtageren",
    Event.MESSAGE_PARKED: "Ikke leveret; afventer driften",
    Event.MESSAGE_DISCARDED: "Kasseret af driften",
    Event.MESSAGE_ATTEMPTED: "Ikke leveret endnu",
}
_OUTCOMES: Final = (*_ENDED, Event.LOOKUP_ANSWERED)
_LOOK: Final = "Tilsyn med brugen af personoplysninger, eller indsigt efter databeskyttelsesforordningens artikel 15"
_OPERATED: Final = "Drift af udvekslingen, eller opklaring af en fejl i den"
_PURPOSES: Final[Mapping[str, str]] = {
    **dict.fromkeys((Event.AUDIT_SEARCHED, Event.AUDIT_EXPORTED, Event.AUDIT_REPORTED), _LOOK),
    **dict.fromkeys(
        (Event.MESSAGE_SEARCHED, Event.MESSAGE_VIEWED, Event.MESSAGE_REVEALED, Event.MESSAGE_EXPORTED), _OPERATED
    ),
}
_SHORT: Final = 4  # bytes of a pseudonym


@dataclass(frozen=True, kw_only=True)
class Use:
    """One use of the citizen's data, as the report tells of it."""

    tidspunkt: datetime
    handling: str
    formaal: str
    system: str
    kommune: str
    medarbejder: str
    resultat: str
    kald: str

    def plain(self) -> dict[str, str]:
        """Give it as JSON has it."""
        return {
            "tidspunkt": self.tidspunkt.isoformat(),
            "handling": self.handling,
            "formaal": self.formaal,
            "system": self.system,
            "kommune": self.kommune,
            "medarbejder": self.medarbejder,
            "resultat": self.resultat,
            "kald": self.kald,
        }


@dataclass(frozen=True, kw_only=True)
class AccessReport:
    """A report: its own number, for whom, when it was made, and every use."""

    number: UUID
    citizen: str  # masked
    name: str
    made: datetime
    uses: tuple[Use, ...]

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "rapport": str(self.number),
            "lavet": self.made.astimezone(DENMARK).isoformat(),
            "borger": self.citizen,
            "navn": self.name,
            "antal": len(self.uses),
            "behandlinger": [use.plain() for use in self.uses],
        }


async def access_report(
    store: Store,
    vault: Vault,
    cpr: str,
    reader: Reader,
    *,
    systems: Mapping[UUID, str],
    name: str = "",
    municipality: str | None = None,
) -> AccessReport:
    """
    Note who makes the report, and make it: of all uses, or of one municipality's. Raises `UsageError`.

    `systems` are the names of systems.
    """
    reader.needs_purpose()
    number = uuid4()
    query = Query(persons=vault.lookup_keys(cpr), municipality=municipality)
    await reader.noted(store, vault, Event.AUDIT_REPORTED, query, report=number)
    uses: list[Row] = []
    outcomes: dict[object, Row] = {}
    async for row in rows_of(store, query):
        if row["event"] in _OUTCOMES:  # the last one stands
            outcomes[_deed(row)] = row
        else:
            uses.append(row)
    writer = _Writer(vault, number, systems)
    return AccessReport(
        number=number,
        citizen=f"{cpr[:6]}-****",
        name=name,
        made=reader.now,
        uses=tuple(writer.use(row, outcomes.get(_deed(row))) for row in uses),
    )


def _deed(row: Row) -> object:
    """Give what a deed and its outcome have in common."""
    if row["event"] == Event.LOOKUP_ANSWERED:
        return row["names"]
    return row["audit_id"] if row["event"] == Event.LOOKUP_ASKED else row["besked_id"]


class _Writer:
    """Puts rows into words."""

    def __init__(self, vault: Vault, report: UUID, systems: Mapping[UUID, str]) -> None:
        self._vault, self._report, self._systems = vault, report, systems

    def use(self, row: Row, outcome: Row | None) -> Use:
        """Tell of a row, and of what came of it."""
        municipality = MUNICIPALITIES.get(row["municipality_cvr"] or "")
        event = row["event"]
        receiver = None if outcome is None or event != Event.MESSAGE_ACCEPTED else outcome["system"]
        system = self._system(row["system"]) if receiver is None else ""
        return Use(
            tidspunkt=row["at"].astimezone(DENMARK),
            handling=_DONE[Event(event)] if event in _DONE else event,
            formaal=_PURPOSES.get(event) or OPERATIONS.get(row["operation"] or "", "Ukendt operation"),
            system=system or f"{self._system(row['system'])} til {self._system(receiver)}",
            kommune="" if municipality is None else municipality.navn,
            medarbejder=self._user(row["on_behalf_of"]),
            resultat=_result(row, outcome),
            kald="" if row["call_uuid"] is None else str(row["call_uuid"]),
        )

    def _system(self, system: UUID | None) -> str:
        return "Platformen" if system is None else self._systems.get(system, str(system))

    def _user(self, sealed: bytes | None) -> str:
        if sealed is None:
            return ""
        user = opened(self._vault, bytes(sealed), USER)
        if user is None:
            return "Medarbejder (nøglen er slettet)"
        return f"Medarbejder {self._vault.lookup_key(f'{self._report} {user}')[:_SHORT].hex()}"


def _result(row: Row, outcome: Row | None) -> str:
    event = row["event"]
    if event == Event.CALL_REFUSED:
        return f"Afvist ({row['code']}); intet blev udleveret"
    if event == Event.LOOKUP_ASKED:
        if outcome is None:
            return "Ukendt"
        return "Besvaret" if outcome["code"] == "OK" else f"Ikke besvaret ({outcome['code']})"
    if event == Event.MESSAGE_ACCEPTED:
        return "Under levering" if outcome is None else _ENDED[outcome["event"]]
    return "Udført"
