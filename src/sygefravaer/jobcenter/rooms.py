# SPDX-License-Identifier: MPL-2.0
"""The inside of one jobcentre as its control acts reach it, and how an act finds a case there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sygefravaer.client import Client
from sygefravaer.clock import Clock
from sygefravaer.contract.messages import Reply, Request
from sygefravaer.contract.operations import Environment, judge, operation_for
from sygefravaer.endpoint import Chaos
from sygefravaer.errors import ActRefused, Refused
from sygefravaer.jobcenter.agenda import Agenda
from sygefravaer.jobcenter.answering import Answering
from sygefravaer.jobcenter.cases import LinkedCase, Register, Sag
from sygefravaer.jobcenter.inbox import Inbox
from sygefravaer.jobcenter.sending import Outbox
from sygefravaer.jobcenter.telling import Telling
from sygefravaer.lanes import Lanes, Pump
from sygefravaer.law import Law
from sygefravaer.store import Store, Tx


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """Everything of one jobcentre that an act may reach."""

    name: str
    store: Store
    clock: Clock
    client: Client
    environment: Environment
    municipalities: Collection[str]
    lanes: Lanes
    register: Register
    inbox: Inbox
    outbox: Outbox
    answering: Answering
    telling: Telling
    law: Law
    agenda: Agenda
    pump: Pump
    chaos: Chaos

    def wake(self) -> None:
        """Let both loops look at once whether something is due."""
        self.agenda.wake()
        self.pump.wake()

    def municipality(self, given: str | None) -> str:
        """Say for which municipality an act is; one that serves several has to be told."""
        served = sorted(self.municipalities)
        if given is None and len(served) == 1:
            return served[0]
        if given not in served:
            raise ActRefused("MunicipalityUnknown", f"`municipality_cvr` must be one of: {', '.join(served)}.")
        return given

    async def found(
        self, tx: Tx, municipality: str | None, sags_id: UUID | None, jobcentersag_id: UUID | None
    ) -> tuple[Sag, LinkedCase]:
        """Find a jobcentersag and the case of it that is meant: the one named, else the newest open one."""
        register = self.register
        if sags_id is not None:
            case = await register.case(tx, self.municipality(municipality), sags_id)
            sag = await register.sag(tx, case.jobcentersag_id) if case else None
            if case and sag:
                return sag, case
        elif jobcentersag_id is not None:
            sag = await register.sag(tx, jobcentersag_id)
            linked = await register.cases_of(tx, jobcentersag_id)
            if sag and linked:
                return sag, linked[0]
        else:
            raise ActRefused("FieldMissing", "One of `sags_id` and `jobcentersag_id` is wanted.")
        raise ActRefused("CaseUnknown", "No case here has this id.")

    def check(self, message: Request[Reply]) -> None:
        """Refuse here what the gateway would refuse, so that a person learns it at once."""
        operation = operation_for(message)
        try:
            judge(operation, message, message.Hoved.AfsenderMyndighedCVR, environment=self.environment)
        except Refused as refusal:
            raise ActRefused(refusal.code, f"The message breaks a rule at {refusal.place}.") from refusal
