# SPDX-License-Identifier: MPL-2.0
"""
Accounts, sessions and tokens: who may sign in, and who is signed in.

A session or token is 32 random bytes that only its holder has; the database has their hash. Its times are those of the
machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID, uuid4

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from sygefravaer import audit
from sygefravaer.agreements import Actor
from sygefravaer.contract.values import MUNICIPALITIES, Cvr
from sygefravaer.errors import LoginRefused, TooManyLogins, UsageError, VersionChanged
from sygefravaer.store import Row, Store, Tx
from sygefravaer.vault import Vault

SESSION: Final = timedelta(hours=8)  # a working day
IDLE: Final = timedelta(minutes=30)  # a session that nobody has used for so long has ended
SEEN_EVERY: Final = timedelta(minutes=1)  # how exactly it is known when a session was last used
TOKEN: Final = timedelta(days=90)  # a token outlives its holder's place at the provider by this much at most
BEGIN: Final = timedelta(minutes=10)  # a sign-in at the provider is finished within this time
WINDOW: Final = timedelta(minutes=15)  # OWASP ASVS 4.0, 2.2.1: not over 100 failures an hour; this is far below
MOST_FAILURES: Final = 5  # for one login
MOST_FROM_ADDRESS: Final = 20  # several people may share one
SHORTEST: Final = 12  # characters of a password: ASVS 4.0, 2.1.1
LONGEST: Final = 128

_HASHER: Final = PasswordHasher()  # argon2id with the parameters of RFC 9106, low memory
_NOBODY: Final = _HASHER.hash(secrets.token_urlsafe(16))  # what a password is compared with when there is no such login


class Role(StrEnum):
    """What a person may do."""

    VENDOR = "vendor"
    MUNICIPALITY = "municipality"
    OPERATOR = "operator"
    AUDITOR = "auditor"


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """Who is signed in. `secret` is what he has shown, `session` whether it was a session's cookie."""

    id: UUID
    name: str
    cvr: str
    roles: frozenset[Role]
    person: str
    session: bool
    secret: str = field(repr=False)
    credential: UUID

    @property
    def actor(self) -> Actor:
        """The same, as the record names who did something."""
        return Actor(user=str(self.id), organisation=self.cvr)

    @property
    def csrf(self) -> str:
        """The token that a change within this session must carry: only who has the session's secret can say it."""
        return hmac.digest(self.secret.encode(), b"csrf", "sha256").hex()

    @property
    def everywhere(self) -> bool:
        """Whether he sees every organisation's affairs."""
        return bool(self.roles & {Role.OPERATOR, Role.AUDITOR})


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """One way to sign in."""

    account_id: UUID
    login: str | None
    issuer: str | None
    person: str
    name: str
    cvr: str
    roles: tuple[Role, ...]
    active: bool
    version: int
    created_at: datetime


_ACCOUNT: Final = "account_id, login, issuer, person, name, cvr, roles, active, version, created_at"

_FOUND: Final = """
SELECT a.account_id, a.name, a.cvr, a.roles, a.person, c.kind, c.seen_at, c.credential_id
FROM credential c JOIN account a ON a.account_id = c.account_id
WHERE c.secret = %(secret)s AND c.kind = %(kind)s AND a.active AND c.expires_at > %(now)s
  AND (c.kind = 'token' OR c.seen_at > %(idle)s)"""

_KEEP: Final = """
INSERT INTO credential (secret, credential_id, account_id, kind, name, created_at, seen_at, expires_at)
VALUES (%(secret)s, %(credential_id)s, %(account_id)s, %(kind)s, %(name)s, %(now)s, %(now)s, %(expires)s)"""

_FAILURES: Final = "SELECT count(*) AS number FROM login_failure WHERE key = %(key)s AND at > %(since)s"

_ADD: Final = """
INSERT INTO account (account_id, login, password, issuer, subject, person, name, cvr, roles, created_at, changed_at)
VALUES (%(account_id)s, %(login)s, %(password)s, %(issuer)s, %(subject)s, %(person)s, %(name)s, %(cvr)s, %(roles)s,
        %(now)s, %(now)s)"""


def hashed(secret: str) -> bytes:
    """Give what the database knows a secret by: it is long and random, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


async def password_hash(password: str) -> str:
    """Hash a password; raises `UsageError` when it is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(
            "PasswordWeak", f"A password has {SHORTEST} to {LONGEST} characters; this has {len(password)}."
        )
    return await asyncio.to_thread(_HASHER.hash, password)


def check_place(cvr: str, roles: frozenset[Role]) -> None:
    """Refuse an account whose organisation cannot have its roles; raises `UsageError`."""
    if not Cvr.valid(cvr):
        raise UsageError("CvrWrong", "The organisation's CVR number is not valid: eight digits with a right check sum.")
    if not roles:
        raise UsageError("RolesMissing", f"An account needs a role: {', '.join(Role)}.")
    if Role.MUNICIPALITY in roles and cvr not in MUNICIPALITIES:
        raise UsageError("NotAMunicipality", "The CVR number does not belong to one of the 98 municipalities.")


async def add(
    tx: Tx,
    *,
    login: str,
    password: str | None,
    name: str,
    cvr: str,
    roles: frozenset[Role],
    person: str | None = None,
    by: Actor,
    now: datetime,
) -> UUID:
    """
    Make a local account; without a password nobody signs in with it, and it has tokens only.

    Raises `UsageError`, and `Conflict` when there is one with this login.
    """
    check_place(cvr, roles)
    account_id = uuid4()
    await tx.run(
        _ADD,
        account_id=account_id,
        login=login,
        password=None if password is None else await password_hash(password),
        issuer=None,
        subject=None,
        person=person or str(account_id),
        name=name,
        cvr=cvr,
        roles=sorted(roles),
        now=now,
    )
    await _tell(tx, audit.Event.ACCOUNT_ADDED, account_id, by, now, cvr=cvr, roles=sorted(roles))
    return account_id


async def set_password(tx: Tx, login: str, password: str) -> bool:
    """Give a local account this password; say whether there is one."""
    done = await tx.run(
        "UPDATE account SET password = %(password)s WHERE login = %(login)s",
        login=login,
        password=await password_hash(password),
    )
    return bool(done)


async def change(
    tx: Tx,
    account_id: UUID,
    *,
    version: int,
    active: bool | None = None,
    roles: frozenset[Role] | None = None,
    password: str | None = None,
    by: Actor,
    now: datetime,
) -> Account | None:
    """
    Change an account, and end all its sessions and tokens; None when there is none.

    Raises `UsageError`, `VersionChanged`.
    """
    row = await tx.one(
        "SELECT cvr, version FROM account WHERE account_id = %(account_id)s FOR UPDATE", account_id=account_id
    )
    if row is None:
        return None
    if row["version"] != version:
        raise VersionChanged
    if roles is not None:
        check_place(row["cvr"], roles)
    changed = await tx.one(
        "UPDATE account SET active = coalesce(%(active)s, active), roles = coalesce(%(roles)s, roles),"
        " password = coalesce(%(password)s, password), version = version + 1, changed_at = %(now)s"
        f" WHERE account_id = %(account_id)s RETURNING {_ACCOUNT}",
        account_id=account_id,
        active=active,
        roles=None if roles is None else sorted(roles),
        password=None if password is None else await password_hash(password),
        now=now,
    )
    await tx.run("DELETE FROM credential WHERE account_id = %(account_id)s", account_id=account_id)
    what = {"active": active, "roles": roles and sorted(roles), "password": password is not None or None}
    told = {name: value for name, value in what.items() if value is not None}
    await _tell(tx, audit.Event.ACCOUNT_CHANGED, account_id, by, now, **told)
    return None if changed is None else _account(changed)


async def listed(tx: Tx, *, after: UUID | None = None, limit: int = 1_000, cvr: str | None = None) -> list[Account]:
    """List accounts, oldest first."""
    rows = await tx.all(
        f"SELECT {_ACCOUNT} FROM account WHERE (%(cvr)s::text IS NULL OR cvr = %(cvr)s) AND (%(after)s::uuid IS NULL"
        " OR (created_at, account_id) > (SELECT created_at, account_id FROM account WHERE account_id = %(after)s))"
        " ORDER BY created_at, account_id LIMIT %(limit)s",
        cvr=cvr,
        after=after,
        limit=limit,
    )
    return [_account(row) for row in rows]


async def found(tx: Tx, account_id: UUID) -> Account | None:
    """Find an account."""
    row = await tx.one(f"SELECT {_ACCOUNT} FROM account WHERE account_id = %(account_id)s", account_id=account_id)
    return None if row is None else _account(row)


async def provided(
    tx: Tx,
    *,
    issuer: str,
    subject: str,
    person: str,
    name: str,
    cvr: str,
    roles: frozenset[Role],
    now: datetime,
) -> UUID:
    """Find or make the account of somebody whom the provider vouches for; what he may is what the provider says now."""
    try:
        check_place(cvr, roles)
    except UsageError as error:
        raise LoginRefused(error.detail) from error
    row = await tx.one(
        "SELECT account_id, active, cvr, roles FROM account"
        " WHERE issuer = %(issuer)s AND subject = %(subject)s FOR UPDATE",
        issuer=issuer,
        subject=subject,
    )
    if row is None:
        account_id = uuid4()
        await tx.run(
            _ADD,
            account_id=account_id,
            login=None,
            password=None,
            issuer=issuer,
            subject=subject,
            person=person,
            name=name,
            cvr=cvr,
            roles=sorted(roles),
            now=now,
        )
        by = Actor(user=str(account_id), organisation=cvr)
        await _tell(tx, audit.Event.ACCOUNT_ADDED, account_id, by, now, cvr=cvr, roles=sorted(roles))
        return account_id
    if not row["active"]:
        raise LoginRefused
    account_id = UUID(str(row["account_id"]))
    await tx.run(
        "UPDATE account SET person = %(person)s, name = %(name)s, cvr = %(cvr)s, roles = %(roles)s,"
        " version = version + 1, changed_at = %(now)s WHERE account_id = %(account_id)s",
        account_id=account_id,
        person=person,
        name=name,
        cvr=cvr,
        roles=sorted(roles),
        now=now,
    )
    if (row["cvr"], row["roles"]) != (cvr, sorted(roles)):
        by = Actor(user=str(account_id), organisation=cvr)
        await _tell(tx, audit.Event.ACCOUNT_CHANGED, account_id, by, now, cvr=cvr, roles=sorted(roles))
    return account_id


# --- signing in ---


async def check_password(
    store: Store, vault: Vault, *, login: str, password: str, address: str, now: datetime, machine: datetime
) -> UUID:
    """
    Give the account of a login and its password.

    Raises `LoginRefused` for a wrong one of either, in the same time, and `TooManyLogins` after too many of them.
    An `address` that says nothing is left out.
    """
    keys = {vault.lookup_key(f"login/{login}"): MOST_FAILURES}
    if address:
        keys[vault.lookup_key(f"address/{address}")] = MOST_FROM_ADDRESS
    # 1. Counted as a failure before it is tried, one after the other: many at once are not more than their number.
    async with store.tx() as tx:
        for key, most in sorted(keys.items()):
            await tx.one("SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 0))", key=key.hex())
            row = await tx.one(_FAILURES, key=key, since=machine - WINDOW)
            if row is not None and row["number"] >= most:
                raise TooManyLogins
            await tx.run("INSERT INTO login_failure (key, at) VALUES (%(key)s, %(at)s)", key=key, at=machine)
        account = await tx.one(
            "SELECT account_id, password FROM account WHERE login = %(login)s AND active", login=login
        )
    # 2. Compared, also when there is nothing to compare with: the time says nothing.
    kept = account["password"] if account is not None else None
    right = await asyncio.to_thread(_matches, kept or _NOBODY, password)
    # 3. Taken back, or told.
    async with store.tx() as tx:
        if account is not None and kept and right:
            by_login, *by_address = keys
            await tx.run("DELETE FROM login_failure WHERE key = %(key)s", key=by_login)
            for key in by_address:
                await tx.run("DELETE FROM login_failure WHERE key = %(key)s AND at = %(at)s", key=key, at=machine)
            return UUID(str(account["account_id"]))
        await tx.run("DELETE FROM login_failure WHERE at <= %(old)s", old=machine - WINDOW)
        await audit.record(
            tx,
            audit.Event.SESSION_REFUSED,
            now=now,
            code=LoginRefused.code,
            detail={"account": None if account is None else account["account_id"]},
        )
    raise LoginRefused


def _matches(kept: str, password: str) -> bool:
    try:
        return _HASHER.verify(kept, password)
    except (Argon2Error, InvalidHashError):
        return False


async def begin(tx: Tx, *, state: str, nonce: str, verifier: bytes, machine: datetime) -> None:
    """Keep what a sign-in at the provider began with; `verifier` is sealed."""
    await tx.run("DELETE FROM login_begun WHERE at <= %(old)s", old=machine - BEGIN)
    await tx.run(
        "INSERT INTO login_begun (state, nonce, verifier, at) VALUES (%(state)s, %(nonce)s, %(verifier)s, %(at)s)",
        state=hashed(state),
        nonce=nonce,
        verifier=verifier,
        at=machine,
    )


async def begun(tx: Tx, *, state: str, machine: datetime) -> Row | None:
    """Take what a sign-in at the provider began with: once, and not after ten minutes."""
    return await tx.one(
        "DELETE FROM login_begun WHERE state = %(state)s AND at > %(old)s RETURNING nonce, verifier",
        state=hashed(state),
        old=machine - BEGIN,
    )


async def open_session(tx: Tx, account_id: UUID, *, before: str | None, now: datetime, machine: datetime) -> str:
    """Open a session and give its secret, always a new one: what the browser had before opens nothing any more."""
    if before is not None:
        await tx.run("DELETE FROM credential WHERE secret = %(secret)s AND kind = 'session'", secret=hashed(before))
    await tx.run("DELETE FROM credential WHERE expires_at <= %(machine)s", machine=machine)
    secret, _ = await _keep(tx, account_id, "session", machine, name="", lasts=SESSION)
    account = await found(tx, account_id)
    by = Actor(user=str(account_id), organisation=account.cvr if account else "")
    await audit.record(tx, audit.Event.SESSION_OPENED, now=now, detail=by.plain())
    return secret


async def make_token(
    tx: Tx, account_id: UUID, *, name: str, by: Actor, now: datetime, machine: datetime
) -> tuple[str, UUID]:
    """Make a token of an account, for programs; gives its secret, which is nowhere else, and its id."""
    secret, credential_id = await _keep(tx, account_id, "token", machine, name=name, lasts=TOKEN)
    await _tell(tx, audit.Event.TOKEN_MADE, account_id, by, now, token=credential_id)
    return secret, credential_id


async def end(tx: Tx, credential_id: UUID, *, account_id: UUID, by: Actor, now: datetime) -> bool:
    """End a session or token of an account; say whether there was one."""
    row = await tx.one(
        "DELETE FROM credential WHERE credential_id = %(id)s AND account_id = %(account_id)s RETURNING kind",
        id=credential_id,
        account_id=account_id,
    )
    if row is None:
        return False
    event = audit.Event.SESSION_CLOSED if row["kind"] == "session" else audit.Event.TOKEN_ENDED
    await _tell(tx, event, account_id, by, now, token=credential_id)
    return True


async def tokens(tx: Tx, account_id: UUID) -> list[Row]:
    """List the tokens of an account, without their secrets."""
    return await tx.all(
        "SELECT credential_id, name, created_at, expires_at FROM credential"
        " WHERE account_id = %(account_id)s AND kind = 'token' ORDER BY created_at, credential_id",
        account_id=account_id,
    )


async def holder(
    store: Store, secret: str, kind: Literal["session", "token"], *, machine: datetime, seen: bool = True
) -> User | None:
    """
    Find who holds the secret of a session or token; None when it opens nothing (any more).

    It counts as used now, unless it is not `seen`: a page that looks by itself keeps no session open.
    """
    known = hashed(secret)
    async with store.read() as tx:
        row = await tx.one(_FOUND, secret=known, kind=kind, now=machine, idle=machine - IDLE)
        if row is None:
            return None
        if seen and machine - row["seen_at"] > SEEN_EVERY:
            await tx.run("UPDATE credential SET seen_at = %(at)s WHERE secret = %(secret)s", at=machine, secret=known)
    return User(
        id=row["account_id"],
        name=row["name"],
        cvr=row["cvr"],
        roles=frozenset(Role(role) for role in row["roles"]),
        person=row["person"],
        session=kind == "session",
        secret=secret,
        credential=row["credential_id"],
    )


async def _keep(
    tx: Tx, account_id: UUID, kind: str, machine: datetime, *, name: str, lasts: timedelta
) -> tuple[str, UUID]:
    secret, credential_id = secrets.token_urlsafe(32), uuid4()
    await tx.run(
        _KEEP,
        secret=hashed(secret),
        credential_id=credential_id,
        account_id=account_id,
        kind=kind,
        name=name,
        now=machine,
        expires=machine + lasts,
    )
    return secret, credential_id


def _account(row: Row) -> Account:
    roles = tuple(Role(role) for role in row["roles"])
    return Account(**{**row, "roles": roles})


async def _tell(tx: Tx, event: audit.Event, account_id: UUID, by: Actor, now: datetime, **told: object) -> None:
    await audit.record(tx, event, now=now, detail=by.plain() | {"account": account_id} | told)
