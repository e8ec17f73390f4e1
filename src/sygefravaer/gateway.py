# SPDX-License-Identifier: MPL-2.0
"""
The corridor: one call from the door to its answer.

`handle` is the whole of it. Judge looks at the call alone, admit asks the registers in one transaction, and then a
look-up is asked of KSD and a send is delivered. Of everything wrong with a call the lowest number is told:

    3 certificate and system   4 envelope and operation   5 authority   6 agreement   7 schema   8 rules
    9 duplicate   10 freshness   11 route   12 accept, commit, deliver

(1 and 2, TLS and HTTP, are the door's.) A new operation is a row of the table in `contract`, never a branch here.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypedDict
from uuid import UUID

from lxml import etree

from sygefravaer import agreements, audit, failpoint, soap
from sygefravaer.agreements import Decision, Grant, Route
from sygefravaer.audit import Event
from sygefravaer.clock import Clock
from sygefravaer.contract import codec
from sygefravaer.contract.messages import Reply, Request
from sygefravaer.contract.operations import (
    Environment,
    Operation,
    Service,
    case_key,
    check_caller,
    check_recipient,
    current_numbers,
    judge,
    operation_of,
)
from sygefravaer.contract.values import Cvr
from sygefravaer.delivery import BODY, UNHEARD, Clients, Crowds, Delivery, Heard, Senders
from sygefravaer.endpoint import Answer, Inbound, off_loop
from sygefravaer.errors import (
    CallFailed,
    HttpRefusal,
    InternalError,
    MalformedRequest,
    PlatformFault,
    Refused,
    SourceSystemTimeout,
    SourceSystemUnavailable,
    StoreError,
    SygefravaerError,
)
from sygefravaer.identity import Identity
from sygefravaer.lanes import Claim, Enqueued, Entry, NotAsProvided, Stored
from sygefravaer.store import Proviso, Store, Tx
from sygefravaer.telemetry import TRIP, Handing, Trip
from sygefravaer.vault import Vault

LOG: Final = logging.getLogger(__name__)

AHEAD: Final = timedelta(minutes=5)  # a message may be this much of the future,
BEHIND: Final = timedelta(hours=72)  # and this old, when it is first seen
UNDER_WAY: Final = "under_way"
ENVELOPE: Final = 1024  # bytes, more than the envelope has that a message goes on in

_SERVICES: Final = {service.path: service for service in Service}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parcel:
    """A message that is valid by the schema, and all that is made of it before the registers are asked."""

    operation: Operation
    message: Request[Reply]
    element: bytes
    digest: bytes
    lane: str
    person: bytes
    user: bytes | None


@dataclass(kw_only=True, slots=True)
class Passage:
    """One call on its way: what came, what Judge read up to its first refusal, what was decided about the caller."""

    inbound: Inbound
    identity: Identity
    service: Service
    trip: Trip
    envelope: soap.Envelope | None = None
    operation: Operation | None = None
    authority: Cvr | None = None
    parcel: Parcel | None = None
    refusal: SygefravaerError | None = None
    decision: Decision | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A look-up that may go on; `row` is its audit row, which is committed."""

    parcel: Parcel
    route: Route
    row: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A message that is committed, as it stands; with a claim when this call is to deliver it."""

    parcel: Parcel
    message: Stored
    route: Route | None = None
    claim: Claim | None = None


class Gateway:
    """Both services of the platform."""

    def __init__(
        self,
        *,
        store: Store,
        delivery: Delivery,
        clients: Clients,
        vault: Vault,
        clock: Clock,
        environment: Environment,
        contact: str = soap.CONTACT,
        limits: soap.Limits = soap.LIMITS,
        budget: float | None = None,
    ) -> None:
        """`budget` replaces the operations' own: how many seconds a caller waits for the receiver."""
        self._store = store
        self._delivery = delivery
        self._clients = clients
        self._vault = vault
        self._clock = clock
        self._environment = environment
        self._contact = contact
        self._limits = limits
        self._budget = budget
        self._senders = Senders()
        self._crowds = Crowds()

    @property
    def handlers(self) -> Mapping[str, Callable[[Inbound], Awaitable[Answer]]]:
        """Give what the door calls at which path."""
        return dict.fromkeys(_SERVICES, self.handle)

    async def handle(self, inbound: Inbound) -> Answer:
        """Take one call from the door to its answer."""
        if inbound.identity is None:
            raise HttpRefusal(403, "No client certificate was presented.")
        passage = Passage(inbound=inbound, identity=inbound.identity, service=_SERVICES[inbound.path], trip=_trip())
        with self._delivery.callers:
            return await self._answered(passage)

    async def _answered(self, passage: Passage) -> Answer:
        async with self._senders.turn(passage.identity.serial_key):
            await off_loop(passage.inbound.body, self._judge, passage)  # 4, 5, 7, 8
        try:
            parcel = passage.parcel
            if parcel is None or parcel.operation.lookup:
                return await self._through(passage)
            receiver = None if parcel.operation.to_ksd else parcel.message.Hoved.ModtagerMyndighedCVR
            async with self._crowds.place(passage.identity.serial_key, receiver) as heard:
                return await self._through(passage, heard)
        except SygefravaerError as error:
            return await self._refuse(passage, error)

    async def _through(self, passage: Passage, heard: Heard | None = None) -> Answer:
        async with self._senders.turn(passage.identity.serial_key):
            admitted = await self._admit(passage)  # 3, 6, 9-12
        if isinstance(admitted, Asked):
            return await self._ask(passage, admitted)
        return await self._send(passage, admitted, heard)

    # --- judge: the call alone, no database ---

    def _judge(self, passage: Passage) -> None:
        """Read the call as far as it goes; its first refusal is held until the caller is known."""
        inbound = passage.inbound
        try:
            # 4. A SOAP 1.1 envelope with one operation of this service.
            envelope = passage.envelope = soap.read(
                inbound.body, content_type=inbound.headers.get("content-type", ""), limits=self._limits
            )
            element = envelope.element
            operation = passage.operation = operation_of(passage.service, str(element.tag))
            _note(inbound, envelope, operation)
            passage.trip.operation = operation.name
            forwarded = soap.element_bytes(element)
            _check_fits(forwarded, self._limits)
            # 5. The municipality on whose behalf.
            authority = passage.authority = soap.authority(element)
            # 7. The schema.
            codec.validate(passage.service, element)
            message = codec.decode_request(operation, element)
            context = message.CallContext
            passage.trip.tracer.caller(passage.trip, context and context.CallersServiceCallIdentifier)
            passage.parcel = self._parcel(operation, message, element, forwarded)
            # 8. The rules that the schema cannot say.
            judge(operation, message, authority.text, environment=self._environment)
        except SygefravaerError as error:
            passage.refusal = error
        except Exception:  # told like a refusal: not to one who is not let in, and never without a record
            LOG.exception("judge.failed")
            passage.refusal = InternalError()

    def _parcel(
        self, operation: Operation, message: Request[Reply], element: etree._Element, forwarded: bytes
    ) -> Parcel:
        kind, key = case_key(message)
        person = self._vault.lookup_key(message.Hoved.CprNummer.reveal())
        user = message.CallContext and message.CallContext.OnBehalfOfUser
        return Parcel(
            operation=operation,
            message=message,
            element=forwarded,
            digest=b"" if operation.lookup else soap.digest(element),
            lane=f"{kind}:{person.hex() if kind == 'cpr' else key}",
            person=person,
            user=self._vault.seal(user.encode(), context=audit.USER) if user else None,
        )

    # --- admit: one statement that writes, and is its own transaction; before the first of a kind one that reads ---

    async def _admit(self, passage: Passage) -> Asked | Kept:
        """Let the call in and commit what it leaves behind, or raise the refusal with the lowest number."""
        now = self._clock.now()
        async with self._store.read() as tx:
            kept = await self._accept_like_the_last(tx, passage, now)
            if kept is not None:
                return kept
            passage.decision = await agreements.explain(  # 3, 6
                tx,
                passage.identity,
                environment=self._environment,
                service=passage.service,
                municipality_cvr=passage.authority.text if passage.authority else None,
                now=now,
            )
            grant = passage.decision.grant()
            parcel = _passed(passage, grant)  # 4, 5, 7, 8
            admitted: Asked | Kept
            if parcel.operation.lookup:
                route = await self._place(tx, parcel, grant, now)  # 10, 11
                failpoint.reach("lookup.before_record")
                row = await audit.record(tx, Event.LOOKUP_ASKED, now=now, **_about(passage))
                failpoint.reach("lookup.after_record")
                admitted = Asked(parcel=parcel, route=route, row=row)
            else:
                admitted = await self._accept(tx, passage, parcel, grant, now)  # 9-12
        return admitted

    async def _accept_like_the_last(self, tx: Tx, passage: Passage, now: datetime) -> Kept | None:
        """
        Accept a new message that nothing speaks against, provided that the registers are those of the last one.

        None, and nothing is written, when they are not, or when it is anything else: that takes the long way.
        """
        parcel = passage.parcel
        if parcel is None or parcel.operation.lookup or passage.refusal is not None:
            return None
        recalled = agreements.recall(
            passage.identity,
            environment=self._environment,
            service=passage.service,
            municipality_cvr=passage.authority.text if passage.authority else None,
            now=now,
        )
        if recalled is None:
            return None
        passage.decision = recalled.decision
        try:
            grant = recalled.decision.grant()
            if grant.ended is None and _passed(passage, grant) is parcel:
                route = await self._place(tx, parcel, grant, now)
                enqueued = await self._enqueue(tx, passage, parcel, grant, route, now=now, proviso=recalled.proviso)
                return Kept(parcel=parcel, message=enqueued.message, route=route, claim=enqueued.claim)
        except (PlatformFault, Refused, NotAsProvided):
            pass
        passage.decision = None
        return None

    async def _accept(self, tx: Tx, passage: Passage, parcel: Parcel, grant: Grant, now: datetime) -> Kept:
        """Accept a message, or find that it was accepted before: that is told before what speaks against a new one."""
        hoved = parcel.message.Hoved
        try:
            if grant.ended is not None:  # 6, for what is no repeat
                raise grant.ended
            route = await self._place(tx, parcel, grant, now)  # 10, 11
        except (PlatformFault, Refused):
            known = await self._delivery.find(tx, grant.system_id, hoved.BeskedID)  # 9
            if known is None:
                raise
            return await self._repeat(tx, passage, parcel, grant, known=known, now=now)
        enqueued = await self._enqueue(tx, passage, parcel, grant, route, now=now)
        if not enqueued.fresh:
            return await self._repeat(tx, passage, parcel, grant, known=enqueued.message, now=now)
        return Kept(parcel=parcel, message=enqueued.message, route=route, claim=enqueued.claim)

    async def _enqueue(
        self,
        tx: Tx,
        passage: Passage,
        parcel: Parcel,
        grant: Grant,
        route: Route,
        *,
        now: datetime,
        proviso: Proviso | None = None,
    ) -> Enqueued:
        """Put a message in its lane, with what it says and with its row in the record."""
        hoved = parcel.message.Hoved
        entry = Entry(
            recipient=route.system_id,
            municipality_cvr=hoved.AfsenderMyndighedCVR,
            case_key=parcel.lane,
            sender=grant.system_id,
            besked_id=hoved.BeskedID,
            operation=parcel.operation.name,
            korrelations_id=hoved.KorrelationsID,
            reference_besked_id=hoved.ReferenceBeskedID,
            nemrefusions_id=hoved.NemrefusionsID,
            cpr_key=parcel.person,
            digest=parcel.digest,
            body=self._vault.seal(parcel.element, context=BODY),
            accepted_at=now,
            call_uuid=passage.inbound.call_uuid,
        )
        trail = audit.trail(Event.MESSAGE_ACCEPTED, now=now, **_about(passage))
        conversation = parcel.operation.conversation
        said = () if conversation is None else conversation.said(parcel.message)
        failpoint.reach("accept.before_commit")
        enqueued = await self._delivery.accept(tx, entry, trail=trail, said=said, proviso=proviso)  # 9, 12
        failpoint.reach("accept.after_commit")
        return enqueued

    async def _repeat(
        self, tx: Tx, passage: Passage, parcel: Parcel, grant: Grant, *, known: Stored, now: datetime
    ) -> Kept:
        """Answer for a message whose key is there: the same one as it stands, another one by a refusal."""
        if known.digest != parcel.digest:
            raise grant.ended or Refused("G002", "Hoved/BeskedID")
        failpoint.reach("repeat.before_record")
        # Waits for the disk, and with it the outcome that is about to be told: what was told no crash takes back.
        await audit.record(tx, Event.MESSAGE_REPEATED, now=now, **_about(passage))
        failpoint.reach("repeat.after_record")
        return Kept(parcel=parcel, message=known)

    async def _place(self, tx: Tx, parcel: Parcel, grant: Grant, now: datetime) -> Route:
        """Find where a new message goes; refuse what is stale, has no way, or must not go that way."""
        hoved, route = parcel.message.Hoved, grant.route
        # 10. Freshness.
        if not now - BEHIND <= hoved.Afsendelsestidspunkt <= now + AHEAD:
            raise Refused("G010", "Hoved/Afsendelsestidspunkt")
        # 11. Route; its receiver; whether he takes substitute numbers; an answer to another municipality's message.
        if route is None:
            raise Refused("G005", "AuthorityContext/MunicipalityCVR")
        check_recipient(parcel.message, route.system_id)
        for place, number in current_numbers(parcel.message):
            if number.substitute and not (parcel.operation.to_ksd or route.takes_substitute):
                raise Refused("G007", place)
        if parcel.operation.needs_reference and hoved.ReferenceBeskedID is not None:
            addressed = await self._delivery.addressed_to(tx, grant.system_id, hoved.ReferenceBeskedID)
            if addressed and hoved.AfsenderMyndighedCVR not in addressed:
                raise Refused("T203", "Hoved/ReferenceBeskedID")
        return route

    # --- answer ---

    async def _send(self, passage: Passage, kept: Kept, heard: Heard | None = None) -> Answer:
        """Answer a send as it stands: the receiver's receipt if it comes in time, else that delivery is under way."""
        message = kept.message
        if kept.claim is not None and kept.route is not None:
            budget = kept.parcel.operation.budget if self._budget is None else self._budget
            message = await self._delivery.first_attempt(kept.claim, kept.route, budget=budget)
            if heard is not None:
                heard.answer = message.receipt is not None
        passage.trip.outcome = UNDER_WAY if message.receipt is None else message.status.value
        element = self._delivery.answer(message)
        told = partial(self._delivery.told, message) if message.status in UNHEARD else None
        return Answer(status=200, body=soap.reply(element, passage.envelope), written=told)

    async def _ask(self, passage: Passage, asked: Asked) -> Answer:
        """Ask KSD, record the outcome under the row of the question, and answer as KSD did."""
        fault: PlatformFault | None = None
        element = b""
        failpoint.reach("lookup.before_post")
        try:
            answer = await self._clients.to(asked.route).post(asked.parcel.element, asked.parcel.operation)
            if isinstance(answer, soap.ReplyAnswer):
                element = soap.element_bytes(answer.element)
            else:
                fault = SourceSystemUnavailable()
        except CallFailed as error:
            fault = SourceSystemTimeout() if isinstance(error.__cause__, TimeoutError) else SourceSystemUnavailable()
        except Exception:  # the question is on record, so its outcome must be
            LOG.exception("lookup.failed")
            fault = InternalError()
        failpoint.reach("lookup.after_post")
        code, now = fault.code if fault else "OK", self._clock.now()
        async with self._store.read() as tx:  # that it was asked is on disk already
            failpoint.reach("outcome.before_record")
            await audit.record(
                tx, Event.LOOKUP_ANSWERED, now=now, names=asked.row, code=code, loosely=True, **_about(passage)
            )
            failpoint.reach("outcome.after_record")
        if fault is not None:
            return self._fault(passage, fault)
        return Answer(status=200, body=soap.reply(element, passage.envelope))

    async def _refuse(self, passage: Passage, error: SygefravaerError) -> Answer:
        """Record a refusal in a transaction of its own, since the call's has rolled back, and say it."""
        if isinstance(error, StoreError):
            LOG.error("call.failed", extra={"code": error.code})
            return self._fault(passage, error)
        try:
            async with self._store.read() as tx:
                failpoint.reach("refusal.before_record")
                await audit.record(
                    tx,
                    Event.CALL_REFUSED,
                    now=self._clock.now(),
                    code=error.code,
                    reason="; ".join((*getattr(error, "__notes__", ()), getattr(error, "place", "") or error.detail)),
                    **_about(passage),
                )
                failpoint.reach("refusal.after_record")
        except StoreError as failure:  # a refusal that nobody can look up is none
            LOG.exception("refusal.unrecorded", extra={"code": error.code, "because": failure.code})
            return self._fault(passage, failure)
        return self._fault(passage, error)

    def _fault(self, passage: Passage, error: SygefravaerError) -> Answer:
        passage.trip.outcome = error.code
        status, body = soap.fault(
            error,
            call_uuid=passage.inbound.call_uuid,
            received_at=passage.inbound.received_at,
            contact=self._contact,
            as_lookup=passage.operation is not None and passage.operation.lookup,
            to=passage.envelope,
        )
        return Answer(status=status, body=body)


def _trip() -> Trip:
    """Give the trip that the door has begun; a call without a door has one of its own."""
    return TRIP.get() or Trip(tracer=Handing())


def _note(inbound: Inbound, envelope: soap.Envelope, operation: Operation) -> None:
    """Log what was tolerated; the body's name decides, whatever SOAPAction says."""
    for note in envelope.notes:
        LOG.info("soap.tolerated", extra={"note": note})
    action = soap.action_of(inbound.headers)
    if action and action != operation.soap_action:
        LOG.info("soap.action_contradicts", extra={"operation": operation.name})


def _check_fits(element: bytes, limits: soap.Limits) -> None:
    """Refuse what came packed, or in another encoding, and would be too much for a receiver with the same limits."""
    if len(element) > limits.body - ENVELOPE:
        raise MalformedRequest(f"Its request element is longer than {limits.body - ENVELOPE} bytes in UTF-8.")
    if element.count(b"xmlns") >= limits.attributes:
        raise MalformedRequest(f"Its request element has {limits.attributes} namespace declarations in scope or more.")


def _passed(passage: Passage, grant: Grant) -> Parcel:
    """Give the message of a call that nothing speaks against so far, or raise the refusal with the lowest number."""
    parcel, refusal = passage.parcel, passage.refusal
    if parcel is not None:
        try:
            check_caller(parcel.message, grant.system_id)  # 8, the one rule that needs the caller
        except Refused as other:
            refusal = other if refusal is None else min(refusal, other, key=lambda each: each.code)
    if grant.ended is not None and (refusal is not None or parcel is None or parcel.operation.lookup):
        raise grant.ended  # 6
    if refusal is not None or parcel is None:
        raise refusal or MalformedRequest
    return parcel


class _About(TypedDict):
    """What every audit row of a call says."""

    call_uuid: UUID
    serial_key: str
    system: UUID | None
    agreement: UUID | None
    municipality_cvr: str | None
    operation: str | None
    besked_id: UUID | None
    on_behalf_of: bytes | None
    cpr_key: bytes | None


def _about(passage: Passage) -> _About:
    decision, parcel = passage.decision, passage.parcel
    return {
        "call_uuid": passage.inbound.call_uuid,
        "serial_key": passage.identity.serial_key,
        "system": decision.system_id if decision else None,
        "agreement": decision.agreement_id if decision else None,
        "municipality_cvr": passage.authority.text if passage.authority else None,
        "operation": passage.operation.name if passage.operation else None,
        "besked_id": parcel.message.Hoved.BeskedID if parcel else None,
        "on_behalf_of": parcel.user if parcel else None,
        "cpr_key": parcel.person if parcel else None,
    }
