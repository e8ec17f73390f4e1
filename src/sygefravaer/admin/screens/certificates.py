# SPDX-License-Identifier: MPL-2.0
"""Certifikater: which there are, what each hangs on, what stops when it ends, and its renewal beside the old one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from cryptography import x509
from fastapi import Depends, Path, Request, Response

from sygefravaer.admin import registers
from sygefravaer.admin.access import Role, User, needs
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.problems import status_of
from sygefravaer.admin.screens import forms
from sygefravaer.admin.screens.frame import Screen, Seen, View
from sygefravaer.admin.screens.texts import danish
from sygefravaer.agreements import certificates, organisations
from sygefravaer.agreements.certificates import Holding
from sygefravaer.delivery import obligations
from sygefravaer.errors import NotThere, SygefravaerError
from sygefravaer.revocation import read_state
from sygefravaer.store import Tx

SCREEN: Final = Screen(
    name="certificates",
    path="/certifikater",
    label=danish("Certifikater"),
    done={
        "added": danish("Certifikatet er registreret. Det gamle virker videre ved siden af."),
        "withdrawn": danish("Certifikatet er trukket tilbage. Det åbner intet fra næste kald."),
    },
)
router: Final = SCREEN.router()
Vendor = Annotated[User, Depends(needs(Role.VENDOR))]
Registrar = Annotated[User, Depends(needs(Role.VENDOR, Role.OPERATOR))]
Known = Annotated[User, Depends(SCREEN.users)]
Thumbprint = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]

SOON: Final = 60  # days before its end from which a certificate is shown as ending
SHOWN: Final = 50  # agreements and routes that a page names; the number counts all


@dataclass(frozen=True, kw_only=True)
class Link:
    """A certificate in a chain."""

    subject: str
    not_before: datetime
    not_after: datetime
    root: bool


@router.get(SCREEN.path)
async def page(user: Known, view: Seen, office: In) -> Response:
    """List the certificates that somebody may see, the first to end first."""
    return await _page(view, office, user)


@router.post(SCREEN.path)
async def add(request: Request, user: Vendor, view: Seen, office: In) -> Response:
    """Register a certificate beside those that are there."""
    fields: dict[str, str] = {}
    try:
        fields = await forms.sent(request)
        system = _system(fields)
        pem = fields.get("file") or fields.get("pem") or ""
        made = await registers.add_certificate(system, forms.read(registers.NewCertificate, {"pem": pem}), user, office)
    except SygefravaerError as error:
        return await _page(view, office, user, given=fields, request=request, refused=error)
    return view.go(f"{SCREEN.path}/{made.thumbprint}", done="added")


def _system(fields: dict[str, str]) -> UUID:
    try:
        return UUID(fields.get("system", ""))
    except ValueError:
        raise NotThere from None


async def _page(
    view: View,
    office: Office,
    user: User,
    *,
    given: dict[str, str] | None = None,
    request: Request | None = None,
    refused: SygefravaerError | None = None,
) -> Response:
    problem = await forms.refusal(request, refused) if request is not None and refused is not None else None
    async with office.store.read() as tx:
        held = await _held(tx, office, user)
        systems = []
        if Role.VENDOR in user.roles:
            found = await organisations.systems(tx, environment=office.environment, cvr=user.cvr)
            systems = [one for one in found if one.vendor_cvr == user.cvr]
    return view.page(
        "certificates/list.html",
        status=200 if refused is None else status_of(refused),
        live=["certificates", "minute"],
        held=held,
        systems=systems,
        given=forms.Given(given or {}),
        known=_known(office, user),
        machine=office.machine(),
        problem=problem,
        SOON=SOON,
        may_add=bool(office.authorities),
    )


async def _held(tx: Tx, office: Office, user: User, *, system_id: UUID | None = None) -> list[Holding]:
    return await certificates.inventory(
        tx,
        environment=office.environment,
        cvr=None if user.everywhere else user.cvr,
        now=office.clock.now(),
        machine=office.machine(),
        system_id=system_id,
    )


def _known(office: Office, user: User) -> dict[str, Any] | None:
    """Say how fresh what is known of revoked certificates is, to who may know."""
    if not user.everywhere:
        return None
    if office.revocation is None:
        return {"configured": False}
    try:
        return {"configured": True, "unread": False} | read_state(office.revocation)
    except SygefravaerError:
        return {"configured": True, "unread": True}


# --- one ---


@router.get(SCREEN.path + "/{thumbprint}")
async def one(thumbprint: Thumbprint, user: Known, view: Seen, office: In) -> Response:
    """Show a certificate, its chain, and what stops when it ends."""
    return await _one(view, office, user, thumbprint)


@router.post(SCREEN.path + "/{thumbprint}/withdraw")
async def withdraw(request: Request, thumbprint: Thumbprint, user: Registrar, view: Seen, office: In) -> Response:
    """Withdraw a certificate."""
    try:
        system = _system(await forms.sent(request))
        await registers.withdraw_certificate(system, thumbprint, user, office)
    except SygefravaerError as error:
        return await _one(view, office, user, thumbprint, request=request, refused=error)
    return view.go(f"{SCREEN.path}/{thumbprint}", done="withdrawn")


async def _one(
    view: View,
    office: Office,
    user: User,
    thumbprint: str,
    *,
    request: Request | None = None,
    refused: SygefravaerError | None = None,
) -> Response:
    problem = await forms.refusal(request, refused) if request is not None and refused is not None else None
    async with office.store.read() as tx:
        found = next(
            (each for each in await _held(tx, office, user) if each.certificate.thumbprint == thumbprint), None
        )
        if found is None:
            raise NotThere(foreign=await certificates.is_registered(tx, thumbprint, environment=office.environment))
        mine = user.everywhere or found.vendor_cvr == user.cvr
        stops = [
            each for each in await certificates.stops(tx, found) if mine or each.municipality_cvr in {user.cvr, "*"}
        ]
        beside = await _held(tx, office, user, system_id=found.certificate.system_id)
    system = found.certificate.system_id
    owed = (
        []
        if found.renewed
        else await obligations.owed(office.store, owner=system, municipality=None if mine else user.cvr)
    )
    return view.page(
        "certificates/one.html",
        status=200 if refused is None else status_of(refused),
        live=["certificates"],
        one=found,
        given=forms.Given(),
        beside=[each for each in beside if each.certificate.thumbprint != thumbprint and each.certificate.active],
        stops=stops[:SHOWN],
        stopping=len(stops),
        owed=len(owed),
        chain=_chain(office, found),
        whole=_whole(office, found),
        known=_of(_known(office, user), thumbprint),
        machine=office.machine(),
        mine=found.vendor_cvr == user.cvr and Role.VENDOR in user.roles,
        may_take=bool(user.roles & {Role.OPERATOR}) or (found.vendor_cvr == user.cvr and Role.VENDOR in user.roles),
        may_add=bool(office.authorities),
        problem=problem,
        SOON=SOON,
    )


def _of(known: dict[str, Any] | None, thumbprint: str) -> dict[str, Any] | None:
    """Give of what is known of revocation what is about this certificate: its answer, and the lists."""
    if known is None or not known["configured"] or known["unread"]:
        return known
    answer = next((each for each in known["certificates"] if each["thumbprint"] == thumbprint), None)
    return known | {"answer": answer}


def _links(office: Office, found: Holding) -> tuple[x509.Certificate, ...]:
    pem = found.certificate.pem
    return () if pem is None else certificates.chain(pem, office.authorities)


def _chain(office: Office, found: Holding) -> list[Link]:
    """Give the chain from its root down."""
    return [
        Link(
            subject=each.subject.rfc4514_string(),
            not_before=each.not_valid_before_utc,
            not_after=each.not_valid_after_utc,
            root=each.issuer == each.subject,
        )
        for each in reversed(_links(office, found))
    ]


def _whole(office: Office, found: Holding) -> bool:
    links = _links(office, found)
    return bool(links) and links[-1].issuer == links[-1].subject
