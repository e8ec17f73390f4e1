# SPDX-License-Identifier: MPL-2.0
"""
A platform's database with a history in it: so many messages of so many cases, as a country would leave behind.

The server itself makes the rows of a few hundred bodies and receipts that the vault has sealed, one round of them after
the other. Everything follows from the row's number, so two databases of one size are the same but for the sealing.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import psycopg

from sygefravaer import agreements
from sygefravaer.agreements import Role
from sygefravaer.contract import codec
from sygefravaer.contract.messages import (
    AuthorityContextType,
    ForretningskvitteringType,
    HovedType,
    SendForretningsSvarRequest,
    SendHaendelseSygefravaerssagRequest,
    SendOpdateringFravaerRequest,
    SygefravaerssagType,
    kvittering_ok,
)
from sygefravaer.contract.operations import OPERATIONS, Environment, Service, operation_by
from sygefravaer.contract.values import MUNICIPALITIES, Cpr
from sygefravaer.delivery import BODY, RECEIPT, response
from sygefravaer.store import Store
from sygefravaer.vault import Vault

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
HISTORY = timedelta(days=400)
BODIES = 240  # sealed ones, used again and again
PER_CASE = 10
BATCH = 100_000  # messages of one statement
KSD = UUID(int=1)
SYSTEMS = tuple(UUID(int=number) for number in range(2, 8))
VENDOR = "12345674"

# Of a hundred messages in order of their numbers: what each is. An event is answered, and now and then comes an update.
_TURNS = ("SendHaendelseSygefravaerssag",) * 9 + ("SendForretningsSvar",) * 9 + ("SendOpdateringFravaer",) * 2

_LANES = """
INSERT INTO lane (lane_id, recipient, municipality_cvr, case_key, open, parked, next_at)
OVERRIDING SYSTEM VALUE
SELECT 2 * number + side, CASE side WHEN 0 THEN %(ksd)s::uuid ELSE town.system END, town.cvr,
       'nemref:' || md5('case ' || number)::uuid, 0, false, %(now)s
FROM generate_series(1, %(cases)s) AS number CROSS JOIN (VALUES (0), (1)) AS ends (side)
JOIN town ON number %% 1000 BETWEEN town.low AND town.high - 1"""

# `luck` is what the number says of how it went: most went through, some were refused (of one fault group so many that
# it has a thousandth page), a few are parked, or wait.
_MESSAGES = """
INSERT INTO message (message_id, lane_id, recipient, municipality_cvr, case_key, sender, besked_id, operation,
    korrelations_id, nemrefusions_id, cpr_key, digest, body, accepted_at, call_uuid, status, failures,
    first_attempt_at, settled_at, receipt, detail)
OVERRIDING SYSTEM VALUE
SELECT message, 2 * nr + to_jc::int, CASE WHEN to_jc THEN town.system ELSE %(ksd)s::uuid END, town.cvr,
       'nemref:' || md5('case ' || nr)::uuid, CASE WHEN to_jc THEN %(ksd)s::uuid ELSE town.system END,
       md5('message ' || message)::uuid, sealed.operation, md5('talk ' || message)::uuid, md5('case ' || nr)::uuid,
       sha256(('citizen ' || nr %% %(citizens)s)::bytea), sha256(message::text::bytea), sealed.body, at,
       md5('call ' || message)::uuid, how.status, CASE how.status WHEN 'queued' THEN 1 ELSE 0 END, at,
       CASE WHEN how.status IN ('delivered', 'refused') THEN at + interval '1 second' END,
       CASE WHEN how.status IN ('delivered', 'refused') THEN sealed.receipt END, how.detail
FROM generate_series(%(first)s::bigint, %(last)s) AS made (message)
CROSS JOIN LATERAL (SELECT hashint8(message) & 2147483647 AS mixed) AS shuffled
CROSS JOIN LATERAL (SELECT 1 + mixed %% %(cases)s AS nr, mixed / 7 %% 10000 AS luck,
    %(begin)s + message * %(step)s::interval AS at) AS drawn
JOIN town ON nr %% 1000 BETWEEN town.low AND town.high - 1
JOIN sealed ON sealed.number = message %% %(bodies)s
CROSS JOIN LATERAL (SELECT sealed.operation = 'SendHaendelseSygefravaerssag' AS to_jc) AS way
CROSS JOIN LATERAL (SELECT
    CASE WHEN luck < 360 THEN 'refused' WHEN luck < 410 THEN 'parked'
         WHEN luck < 430 AND message > %(last_of_all)s - 100000 THEN 'queued' ELSE 'delivered' END AS status,
    CASE WHEN luck < 300 THEN 'G001' WHEN luck < 330 THEN 'G007' WHEN luck < 360 THEN 'T201'
         WHEN luck < 380 THEN 'no route' WHEN luck < 409 THEN 'given up Unreachable' WHEN luck < 410 THEN 'Client'
         WHEN luck < 430 AND message > %(last_of_all)s - 100000 THEN 'Unreachable' ELSE '' END AS detail) AS how"""

_ATTEMPTS = """
INSERT INTO attempt (message_id, municipality_cvr, at, outcome, detail, took)
SELECT message_id, municipality_cvr, accepted_at, status, detail, 0.05 FROM message
WHERE message_id BETWEEN %(first)s AND %(last)s"""

_RECORD = """
INSERT INTO audit (at, event, call_uuid, system, municipality_cvr, operation, besked_id, cpr_key)
SELECT accepted_at, 'message.accepted', call_uuid, sender, municipality_cvr, operation, besked_id, cpr_key
FROM message WHERE message_id BETWEEN %(first)s AND %(last)s"""

_AFTER = (
    "DROP TABLE town, sealed",
    """
    UPDATE lane SET open = found.number, parked = found.parked FROM (
        SELECT lane_id, count(*) AS number, bool_or(status = 'parked') AS parked FROM message
        WHERE status IN ('queued', 'sending', 'parked') GROUP BY lane_id
    ) AS found WHERE lane.lane_id = found.lane_id""",
    "SELECT setval(pg_get_serial_sequence('lane', 'lane_id'), (SELECT max(lane_id) FROM lane))",
    "SELECT setval(pg_get_serial_sequence('message', 'message_id'), (SELECT max(message_id) FROM message))",
    "VACUUM (ANALYZE) lane, message, attempt, audit, system",
)


# What is taken off while the rows come in, and put back as it was: an index is made at once in a tenth of the time.
_INDEXES = """
SELECT indexname AS name, indexdef AS made FROM pg_indexes
WHERE schemaname = current_schema AND tablename IN ('message', 'lane', 'attempt', 'audit')
AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = indexname AND connamespace = current_schema::regnamespace)"""
_REFERENCES = """
SELECT conrelid::regclass::text AS of, conname AS name, pg_get_constraintdef(oid) AS made FROM pg_constraint
WHERE contype = 'f' AND conrelid IN ('message'::regclass, 'attempt'::regclass)"""


def citizen(number: int) -> str:
    """Say what the keyed hash of a citizen is here, as the database makes it."""
    return f"sha256('citizen {number}'::bytea)"


def _bodies(vault: Vault) -> list[tuple[int, str, bytes, bytes]]:
    """Seal bodies and receipts, each of its own message."""
    made = []
    ok = {name: vault.seal(response(OPERATIONS[name], kvittering_ok()), context=RECEIPT) for name in set(_TURNS)}
    for number in range(BODIES):
        name = _TURNS[number % len(_TURNS)]
        element = codec.encode(_message(name, number))
        made.append((number, name, vault.seal(element, context=BODY), ok[name]))
    return made


def _message(name: str, number: int):
    town = tuple(MUNICIPALITIES.values())[number % len(MUNICIPALITIES)]
    cpr, case = Cpr.of_wire(f"0101{number % 100:02d}{9000 + number % 1000}"), uuid4()
    events = operation_by(SendHaendelseSygefravaerssagRequest).name
    hoved = HovedType(
        BeskedID=uuid4(),
        Beskedtype=name,
        SnitfladeID="SF2095" if name == "SendOpdateringFravaer" else "SF2090",
        SnitfladeVersion="2.0",
        KorrelationsID=uuid4(),
        ReferenceBeskedID=uuid4() if name == "SendForretningsSvar" else None,
        AfsenderMyndighedCVR=town.cvr.text,
        ModtagerMyndighedCVR=town.cvr.text,
        AfsenderSystemID=KSD if name == events else SYSTEMS[0],
        Kommunekode=town.kommunekode,
        Afsendelsestidspunkt=NOW,
        CprNummer=cpr,
        NemrefusionsID=case,
    )
    authority = AuthorityContextType(MunicipalityCVR=town.cvr.text)
    if name == "SendForretningsSvar":
        return SendForretningsSvarRequest(
            AuthorityContext=authority,
            Hoved=hoved,
            Forretningskvittering=ForretningskvitteringType(ForretningsValideringsKode="ACCEPTERET"),
            SagsID=case,
            SagsVersion=1,
            ModtagetTidspunkt=NOW,
        )
    if name == "SendOpdateringFravaer":
        return SendOpdateringFravaerRequest(
            AuthorityContext=authority,
            Hoved=hoved,
            OpdateringID=uuid4(),
            SagsID=case,
            JobcentersagID=uuid4(),
            JobcentersagStatus="MODTAGET",
            Opdateringstype=("FORVENTET_RASKMELDING",),
            ForventetRaskmeldingsdato=date(2026, 4, 1),
            GyldigFra=date(2026, 3, 2),
        )
    return SendHaendelseSygefravaerssagRequest(
        AuthorityContext=authority,
        Hoved=hoved,
        Haendelsestype="OPRETTET",
        HaendelsesDato=date(2026, 3, 2),
        Sygefravaerssag=SygefravaerssagType(
            SagsID=case,
            SagsVersion=1,
            NemrefusionsID=case,
            CprNummer=cpr,
            Kommunekode=town.kommunekode,
            Sagsart="11",
            SagsTilstand="LOEBENDE",
            Fravaerstype="FULDT",
            FoersteFravaersdag=date(2026, 2, 2),
            AnmeldelsesDato=date(2026, 2, 10),
            Beskaeftigelsesstatus="LOENMODTAGER",
            SenestAendret=NOW,
        ),
    )


def _towns() -> list[tuple[str, UUID, int, int]]:
    """Share the cases out by a thousand: the biggest municipality has a tenth of them, the smallest a thousandth."""
    shares = [max(1, round(110 / (1 + place / 3))) for place in range(len(MUNICIPALITIES))]
    while sum(shares) > 1000:
        shares[shares.index(max(shares[1:]), 1)] -= 1
    shares[0] += 1000 - sum(shares)
    made, low = [], 0
    for place, (cvr, share) in enumerate(zip(MUNICIPALITIES, shares, strict=True)):
        made.append((cvr, SYSTEMS[place % len(SYSTEMS)], low, low + share))
        low += share
    return made


async def register(store: Store) -> None:
    """Register KSD and the jobcentre systems, each with its municipalities."""
    async with store.tx() as tx:
        for system, role in ((KSD, Role.KSD), *((one, Role.JOBCENTER) for one in SYSTEMS)):
            await agreements.register_system(
                tx,
                system_id=system,
                name="ksd" if system == KSD else f"jobcenter-{system.int}",
                vendor_cvr=VENDOR,
                role=role,
                environment=Environment.TEST,
                now=NOW,
            )
        for cvr, system, _, _ in _towns():
            await agreements.set_route(
                tx,
                route_id=uuid4(),
                service=Service.SYGEFRAVAER_JC,
                municipality_cvr=cvr,
                system_id=system,
                url="https://jobcenter.invalid/",
                valid_from=date(2014, 1, 1),
                now=NOW,
            )


async def fill(dsn: str, schema: str, store: Store, vault: Vault, messages: int, *, told=lambda _done: None) -> None:
    """Fill a migrated database with so many messages, and let the server learn what it has."""
    await register(store)
    cases = max(1, messages // PER_CASE)
    about = {
        "ksd": KSD,
        "cases": cases,
        "citizens": max(1, cases * 3 // 4),
        "bodies": BODIES,
        "now": NOW,
        "begin": NOW - HISTORY,
        "step": HISTORY / messages,
        "last_of_all": messages,
    }
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(
            f"SET search_path = {schema}; SET synchronous_commit = off; SET work_mem = '64MB';"
            " SET maintenance_work_mem = '512MB'"
        )
        await connection.execute("CREATE UNLOGGED TABLE town (cvr text, system uuid, low int, high int)")
        await connection.execute("CREATE UNLOGGED TABLE sealed (number int, operation text, body bytea, receipt bytea)")
        async with connection.cursor() as cursor:
            await cursor.executemany("INSERT INTO town VALUES (%s, %s, %s, %s)", _towns())
            await cursor.executemany("INSERT INTO sealed VALUES (%s, %s, %s, %s)", _bodies(vault))
        await connection.execute("ANALYZE town, sealed")
        indexes = await (await connection.execute(_INDEXES)).fetchall()
        references = await (await connection.execute(_REFERENCES)).fetchall()
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX {name}")
        for of, name, _ in references:
            await connection.execute(f"ALTER TABLE {of} DROP CONSTRAINT {name}")
        await connection.execute(_LANES, about)
        for first in range(1, messages + 1, BATCH):
            part = about | {"first": first, "last": min(messages, first + BATCH - 1)}
            for statement in (_MESSAGES, _ATTEMPTS, _RECORD):
                await connection.execute(statement, part)
            told(part["last"])
        for _, made in indexes:
            await connection.execute(made)
        for of, name, made in references:
            await connection.execute(f"ALTER TABLE {of} ADD CONSTRAINT {name} {made}")
        for statement in _AFTER:
            await connection.execute(statement)
