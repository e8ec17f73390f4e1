# SPDX-License-Identifier: MPL-2.0
"""
HentSag and HentSagsListe (SF2096): what a municipality may see, and how it is answered.

A municipality sees its own cases. A former one sees what it was told, up to the version that handed the case over. To
all others a case is unknown, in the same bytes and by the same steps as one that never was; the true reason stands in
the access log. Answers are HTTP 200 always; errors stand in FejlListe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, cast

from sygefravaer.contract import codec
from sygefravaer.contract.messages import (
    HaendelseType,
    HentSagRequest,
    HentSagResponse,
    HentSagsListeRequest,
    HentSagsListeResponse,
    Reply,
    Request,
    SagsListeType,
    SagType,
    SygefravaerssagType,
    fejlliste,
)
from sygefravaer.contract.values import MUNICIPALITIES, Cpr
from sygefravaer.endpoint import Call
from sygefravaer.ksd.access import Access, AccessLog
from sygefravaer.ksd.cases import Cases
from sygefravaer.ksd.lifecycle import HANDED_OVER
from sygefravaer.store import Row, Store
from sygefravaer.vault import Vault

HISTORY: Final = 50
PAGE: Final = 100
USER: Final = "ksd.user"

OK: Final = "OK"
NO_ACCESS: Final = "H502"

_VISIBLE: Final = f"""
CASE WHEN s.municipality_cvr = %(mine)s THEN v.state <> '{HANDED_OVER}' ELSE v.municipality_cvr = %(mine)s END
"""
_CASE: Final = f"""
SELECT s.sags_id,
       s.municipality_cvr = %(mine)s AS holds,
       EXISTS (SELECT FROM sag_version v WHERE v.sags_id = s.sags_id AND v.municipality_cvr = %(mine)s) AS had,
       EXISTS (
           SELECT FROM person_number p WHERE p.person_id = s.person_id AND p.cpr_key = %(cpr_key)s
       ) AS is_person,
       %(nemrefusions_id)s::uuid IS NULL OR EXISTS (
           SELECT FROM report r WHERE r.sags_id = s.sags_id AND r.nemrefusions_id = %(nemrefusions_id)s
       ) AS is_report,
       CASE WHEN s.municipality_cvr <> %(mine)s THEN (
           SELECT v.moved_to_cvr FROM sag_version v
           WHERE v.sags_id = s.sags_id AND v.municipality_cvr = %(mine)s AND v.moved_to_cvr IS NOT NULL
           ORDER BY v.version DESC LIMIT 1
       ) END AS moved_to,
       seen.version, seen.picture
FROM sag s
LEFT JOIN LATERAL (
    SELECT v.version, v.picture FROM sag_version v
    WHERE v.sags_id = s.sags_id AND (%(version)s::integer IS NULL OR v.version = %(version)s) AND {_VISIBLE}
    ORDER BY v.version DESC LIMIT 1
) seen ON true
WHERE s.sags_id = coalesce(
    %(sags_id)s::uuid, (SELECT r.sags_id FROM report r WHERE r.nemrefusions_id = %(nemrefusions_id)s)
)
"""
_HISTORY: Final = f"""
SELECT v.version, v.event, v.effective_on, v.reasons, v.besked_id, v.recorded_at
FROM sag s JOIN sag_version v USING (sags_id)
WHERE s.sags_id = %(sags_id)s AND {_VISIBLE}
ORDER BY v.version DESC LIMIT {HISTORY}
"""
_LIST: Final = f"""
WITH mine AS (
    SELECT s.sags_id, seen.version, seen.first_day, seen.picture
    FROM person_number p JOIN sag s USING (person_id) CROSS JOIN LATERAL (
        SELECT v.version, v.state, v.first_day, v.last_day, v.picture FROM sag_version v
        WHERE v.sags_id = s.sags_id AND {_VISIBLE}
        ORDER BY v.version DESC LIMIT 1
    ) seen
    WHERE p.cpr_key = %(cpr_key)s
      AND (%(until)s::date IS NULL OR seen.first_day <= %(until)s)
      AND (%(since)s::date IS NULL OR coalesce(seen.last_day, 'infinity') >= %(since)s)
      AND (cardinality(%(states)s::text[]) = 0 OR seen.state = ANY(%(states)s))
), page AS (
    SELECT sags_id, version, first_day, picture FROM mine
    ORDER BY first_day DESC, sags_id LIMIT %(size)s OFFSET %(skip)s
)
SELECT (SELECT count(*) FROM mine) AS total, page.sags_id, page.version, page.picture
FROM (VALUES (1)) AS always LEFT JOIN page ON true
ORDER BY page.first_day DESC, page.sags_id
"""


class Lookups:
    """Answers look-ups from the register."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        cases: Cases,
        *,
        now: Callable[[], datetime],
        takes_substitutes: Callable[[str], bool],
    ) -> None:
        self._store = store
        self._vault = vault
        self._cases = cases
        self._now = now
        self._takes_substitutes = takes_substitutes
        self._log = AccessLog(store)

    async def case(self, call: Call) -> bytes:
        """Answer HentSag with the case as it is or as it was in an earlier version, and its history if wanted."""
        message = cast("HentSagRequest", call.message)
        mine, number = message.Hoved.AfsenderMyndighedCVR, message.Hoved.CprNummer
        cpr_key = self._cases.cpr_key(number)
        history: list[Row] = []
        async with self._store.read() as tx:
            row = await tx.one(
                _CASE,
                mine=mine,
                sags_id=message.SagsID,
                nemrefusions_id=message.Hoved.NemrefusionsID,
                cpr_key=cpr_key,
                version=message.SagsVersion,
            )
            code, reason = self._judge(row, number, mine)
            if row is not None and code == OK and message.InkluderHistorik:
                history = await tx.all(_HISTORY, mine=mine, sags_id=row["sags_id"])
        await self._note(call, message, cpr_key, code=code, reason=reason, row=row)
        if row is None or code != OK:
            return codec.encode_reply(call.operation, HentSagResponse(FejlListe=fejlliste(code)))
        frame = codec.encode_reply(
            call.operation,
            HentSagResponse(
                Haendelse=tuple(_event(each) for each in history),
                OverflyttetTilKommunekode=MUNICIPALITIES[row["moved_to"]].kommunekode if row["moved_to"] else None,
            ),
        )
        start, end, rest = frame.partition(b">")
        return b"".join((start, end, self._cases.stored_picture(row), rest))

    async def cases(self, call: Call) -> Reply:
        """Answer HentSagsListe with one page of the citizen's cases, the latest absence first."""
        message = cast("HentSagsListeRequest", call.message)
        mine, number = message.Hoved.AfsenderMyndighedCVR, message.Hoved.CprNummer
        code, cpr_key = self._judge_list(message), self._cases.cpr_key(number)
        size, page = message.SideStoerrelse or PAGE, message.Side or 1
        rows: list[Row] = []
        if code == OK:
            async with self._store.read() as tx:
                rows = await tx.all(
                    _LIST,
                    mine=mine,
                    cpr_key=cpr_key,
                    since=message.FraDato,
                    until=message.TilDato,
                    states=list(message.SagsTilstand),
                    size=size,
                    skip=(page - 1) * size,
                )
        total = rows[0]["total"] if rows else 0
        found = [self._cases.picture(row) for row in rows if row["picture"] is not None]
        reason = code if code != OK else f"{len(found)} of {total}"
        await self._note(call, message, cpr_key, code=code, reason=reason)
        return HentSagsListeResponse(
            SagsListe=SagsListeType(Sag=tuple(_listed(found))),
            AntalIAlt=total,
            FlereSider=page * size < total,
            FejlListe=None if code == OK else fejlliste(code),
        )

    def _judge(self, row: Row | None, number: Cpr, mine: str) -> tuple[str, str]:
        """Give the code for the wire and the true reason."""
        if row is None:
            return "H501", "H501 no such case"
        holds = row["holds"]
        findings = (
            ("H501", f"{NO_ACCESS} another municipality's case", not (holds or row["had"])),
            ("H501", "H506 substitute number not taken", number.substitute and not self._takes_substitutes(mine)),
            ("H501", "H501 SagsID and NemrefusionsID of different cases", not row["is_report"]),
            ("H503" if holds else "H501", "H503 CPR not of the case", not row["is_person"]),
            ("H504", "H504 no such version", row["picture"] is None),
        )
        return next(((code, reason) for code, reason, true in findings if true), (OK, OK))

    def _judge_list(self, message: HentSagsListeRequest) -> str:
        number = message.Hoved.CprNummer
        refused = number.substitute and not self._takes_substitutes(message.Hoved.AfsenderMyndighedCVR)
        if number.unknown or refused:
            return "H506"
        if message.FraDato is not None and message.TilDato is not None and message.FraDato > message.TilDato:
            return "H505"
        return OK

    async def _note(
        self,
        call: Call,
        message: Request[Reply],
        cpr_key: bytes,
        *,
        code: str,
        reason: str,
        row: Row | None = None,
    ) -> None:
        user = message.CallContext.OnBehalfOfUser if message.CallContext is not None else None
        await self._log.write(
            Access(
                at=self._now(),
                operation=call.operation.name,
                besked_id=message.Hoved.BeskedID,
                call_uuid=call.call_uuid,
                caller=call.identity.serial_key if call.identity is not None else None,
                system_id=message.Hoved.AfsenderSystemID,
                municipality_cvr=message.Hoved.AfsenderMyndighedCVR,
                on_behalf_of=None if user is None else self._vault.seal(user.encode(), context=USER),
                cpr_key=cpr_key,
                sags_id=None if row is None else row["sags_id"],
                code=code,
                reason=reason,
            )
        )


def _event(row: Row) -> HaendelseType:
    return HaendelseType(
        SagsVersion=row["version"],
        Haendelsestype=row["event"],
        HaendelsesDato=row["effective_on"],
        Aendringsaarsag=tuple(row["reasons"]),
        BeskedID=row["besked_id"],
        RegistreretTidspunkt=row["recorded_at"],
    )


def _listed(pictures: Iterable[SygefravaerssagType]) -> Iterable[SagType]:
    for picture in pictures:
        yield SagType(
            SagsID=picture.SagsID,
            NemrefusionsID=picture.NemrefusionsID,
            Sagsart=picture.Sagsart,
            FoersteFravaersdag=picture.FoersteFravaersdag,
            SidsteFravaersdag=picture.SidsteFravaersdag,
            SagsTilstand=picture.SagsTilstand,
            Kommunekode=picture.Kommunekode,
            CVRNummer=picture.Arbejdsgiver.CVRNummer if picture.Arbejdsgiver is not None else None,
            RevurderingsDato=picture.RevurderingsDato,
            SagsVersion=picture.SagsVersion,
        )
