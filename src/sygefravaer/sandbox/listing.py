# SPDX-License-Identifier: MPL-2.0
"""Synthetic citizens and their cases as text, for whoever fills a system of his own with them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Final

from sygefravaer import agreements
from sygefravaer.contract.values import MUNICIPALITIES, Municipality
from sygefravaer.errors import UsageError
from sygefravaer.sandbox.citizens import SyntheticCase, cases

COLUMNS: Final = (
    *("CprNummer", "Navn", "SagsID", "NemrefusionsID", "Kommunekode", "MunicipalityCVR", "SagsTilstand", "Sagsart"),
    *("Beskaeftigelsesstatus", "ArbejdsgiverCVR", "ArbejdsgiverNavn", "AkasseKode", "FoersteFravaersdag"),
    *("AnmeldelsesDato", "OplysningsskemaModtaget", "DelvistFra", "SidsteFravaersdag", "ForlaengetTil"),
)


def lines(
    count: int, seed: int, *, chosen: Sequence[str], substitutes: bool, today: date | None, kind: str
) -> Iterator[str]:
    """
    Give the cases of `count` citizens, a line each: `csv` with a line of names first, or `json`, an object a line.

    `chosen` are CVR numbers of municipalities, none for all 98. The lines come as they are made, however many.
    """
    places = _places(chosen)
    today = today or agreements.danish_day(datetime.now(UTC))
    takers = [place.cvr.text for place in places] if substitutes else []
    if kind == "csv":
        yield ",".join(COLUMNS)
    for case in cases(count, municipalities=places, today=today, seed=seed, substitutes=takers):
        told = _told(case)
        yield _csv(told) if kind == "csv" else json.dumps(told, ensure_ascii=False)


def _places(chosen: Sequence[str]) -> list[Municipality]:
    if not chosen:
        return list(MUNICIPALITIES.values())
    if not set(chosen) <= MUNICIPALITIES.keys():
        raise UsageError("NotAMunicipality", "--municipality wants the CVR number of one of the 98 municipalities.")
    return [MUNICIPALITIES[cvr] for cvr in dict.fromkeys(chosen)]


def _told(case: SyntheticCase) -> dict[str, str]:
    employer, cvr = case.employer or ("", "")
    values = (
        *(case.citizen.cpr.reveal(), case.citizen.name, case.sags_id, case.nemrefusions_id),
        *(case.municipality.kommunekode, case.municipality.cvr, case.state, case.sagsart, case.employment),
        *(cvr, employer, case.akasse, case.first_day, case.reported, case.questionnaire, case.partial),
        *(case.last_day, case.extended and case.extended[1]),
    )
    return {name: str(value) for name, value in zip(COLUMNS, values, strict=True) if value}


def _csv(told: dict[str, str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([told.get(name, "") for name in COLUMNS])
    return line.getvalue()
