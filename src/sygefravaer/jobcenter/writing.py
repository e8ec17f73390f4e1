# SPDX-License-Identifier: MPL-2.0
"""
The messages a jobcentre writes, from what it knows. Pure.

Who sets the header, and to what, is one function: answers copy KorrelationsID and NemrefusionsID from the message that
they answer and refer to it; everything else begins a conversation of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sygefravaer.client import hoved
from sygefravaer.contract.messages import (
    AuthorityContextType,
    CallContextType,
    ForretningskvitteringType,
    HentSagRequest,
    HentSagsListeRequest,
    HovedType,
    SendForretningsSvarForlaengelseRequest,
    SendForretningsSvarRequest,
    fejlliste,
)
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.values import Cpr
from sygefravaer.jobcenter.inbox import Event, Extension
from sygefravaer.jobcenter.policy import ACCEPTERET, EventAnswer, ExtensionAnswer
from sygefravaer.law import danish_date, day_after


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Writes for one system."""

    system_id: UUID

    def header(
        self,
        operation: str,
        *,
        municipality_cvr: str,
        cpr: Cpr,
        now: datetime,
        nemrefusions_id: UUID | None = None,
        korrelations_id: UUID | None = None,
        reference: UUID | None = None,
    ) -> HovedType:
        """Make the header of a message written now; without a KorrelationsID it begins a conversation."""
        return hoved(
            OPERATIONS[operation],
            municipality=municipality_cvr,
            sender=self.system_id,
            cpr=cpr,
            now=now,
            nemrefusions_id=nemrefusions_id,
            korrelations_id=korrelations_id,
            reference=reference,
        )

    def event_answer(
        self, event: Event, answer: EventAnswer, *, jobcentersag_id: UUID | None, now: datetime
    ) -> SendForretningsSvarRequest:
        """Write M2. A JobcentersagID stands in it when the event was taken into one."""
        origin = event.origin
        return SendForretningsSvarRequest(
            AuthorityContext=AuthorityContextType(MunicipalityCVR=origin.municipality_cvr),
            Hoved=self.header(
                "SendForretningsSvar",
                municipality_cvr=origin.municipality_cvr,
                cpr=origin.cpr,
                now=now,
                nemrefusions_id=origin.nemrefusions_id,
                korrelations_id=origin.korrelations_id,
                reference=origin.besked_id,
            ),
            Forretningskvittering=ForretningskvitteringType(
                ForretningsValideringsKode=answer.code,
                Begrundelse=answer.begrundelse,
                FejlListe=fejlliste(answer.fejl) if answer.fejl else None,
            ),
            SagsID=origin.sags_id,
            SagsVersion=origin.version + answer.version_offset,
            JobcentersagID=jobcentersag_id,
            ModtagetTidspunkt=event.received_at,
        )

    def extension_answer(
        self,
        extension: Extension,
        answer: ExtensionAnswer,
        *,
        now: datetime,
        fra: date | None = None,
        version: int | None = None,
        assessed: date | None = None,
        next_follow_up: date | None = None,
    ) -> SendForretningsSvarForlaengelseRequest:
        """Write M4, assessed today unless told otherwise.

        Only ACCEPTERET has a period, which begins the day after RevurderingsDato unless told otherwise.
        """
        origin = extension.origin
        granted = answer.code == ACCEPTERET
        return SendForretningsSvarForlaengelseRequest(
            AuthorityContext=AuthorityContextType(MunicipalityCVR=origin.municipality_cvr),
            Hoved=self.header(
                "SendForretningsSvarForlaengelse",
                municipality_cvr=origin.municipality_cvr,
                cpr=origin.cpr,
                now=now,
                nemrefusions_id=origin.nemrefusions_id,
                korrelations_id=origin.korrelations_id,
                reference=origin.besked_id,
            ),
            AnmodningID=extension.anmodning_id,
            Forretningskvittering=ForretningskvitteringType(
                ForretningsValideringsKode=answer.code, Begrundelse=answer.begrundelse
            ),
            Forlaengelseskode=answer.kode,
            ForlaengelseFra=(fra or day_after(extension.revurderingsdato)) if granted else None,
            ForlaengelseTil=answer.til if granted else None,
            Afvisningsaarsag=answer.aarsag,
            VurderingsDato=assessed or danish_date(now),
            SagsVersion=version or origin.version,
            NaesteOpfoelgning=next_follow_up,
        )

    def case_question(
        self,
        *,
        municipality_cvr: str,
        cpr: Cpr,
        now: datetime,
        user: str | None = None,
        sags_id: UUID | None = None,
        nemrefusions_id: UUID | None = None,
        korrelations_id: UUID | None = None,
        version: int | None = None,
        history: bool | None = None,
    ) -> HentSagRequest:
        """Write M6."""
        return HentSagRequest(
            CallContext=CallContextType(OnBehalfOfUser=user) if user else None,
            AuthorityContext=AuthorityContextType(MunicipalityCVR=municipality_cvr),
            Hoved=self.header(
                "HentSag",
                municipality_cvr=municipality_cvr,
                cpr=cpr,
                now=now,
                nemrefusions_id=nemrefusions_id,
                korrelations_id=korrelations_id,
            ),
            SagsID=sags_id,
            SagsVersion=version,
            InkluderHistorik=history,
        )

    def list_question(
        self,
        *,
        municipality_cvr: str,
        cpr: Cpr,
        now: datetime,
        user: str | None = None,
        fra: date | None = None,
        til: date | None = None,
        states: tuple[str, ...] = (),
        page: int | None = None,
        page_size: int | None = None,
    ) -> HentSagsListeRequest:
        """Write M7."""
        return HentSagsListeRequest(
            CallContext=CallContextType(OnBehalfOfUser=user) if user else None,
            AuthorityContext=AuthorityContextType(MunicipalityCVR=municipality_cvr),
            Hoved=self.header("HentSagsListe", municipality_cvr=municipality_cvr, cpr=cpr, now=now),
            FraDato=fra,
            TilDato=til,
            SagsTilstand=states,
            Side=page,
            SideStoerrelse=page_size,
        )
