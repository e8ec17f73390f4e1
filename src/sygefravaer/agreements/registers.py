# SPDX-License-Identifier: MPL-2.0
"""The registers: their tables, and how systems, certificates, agreements and routes get into them."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sygefravaer.agreements.decision import Status
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.identity import Identity
from sygefravaer.store import Tx

ALL: Final = "*"  # a route for every municipality: how KSD is reached


class Role(StrEnum):
    """What a system is."""

    JOBCENTER = "jobcenter"
    KSD = "ksd"
    OTHER = "other"


MIGRATIONS: Final = (
    """
    CREATE TABLE system (
        system_id   uuid PRIMARY KEY,
        name        text NOT NULL,
        vendor_cvr  text NOT NULL,
        role        text NOT NULL CHECK (role IN ('jobcenter', 'ksd', 'other')),
        environment text NOT NULL CHECK (environment IN ('test', 'production')),
        active      boolean NOT NULL DEFAULT true,
        created_at  timestamptz NOT NULL
    );
    CREATE TABLE certificate (
        environment text NOT NULL,
        thumbprint  text NOT NULL,
        issuer      text NOT NULL,
        serial_key  text NOT NULL,
        subject     text NOT NULL,
        system_id   uuid NOT NULL REFERENCES system,
        active      boolean NOT NULL DEFAULT true,
        valid_from  date NOT NULL,
        valid_to    date,
        created_at  timestamptz NOT NULL,
        PRIMARY KEY (environment, thumbprint)
    );
    CREATE INDEX certificate_subject ON certificate (environment, issuer, serial_key);
    CREATE TABLE agreement (
        agreement_id     uuid PRIMARY KEY,
        system_id        uuid NOT NULL REFERENCES system,
        service          text NOT NULL,
        municipality_cvr text NOT NULL,
        status           text NOT NULL CHECK (status IN
            ('draft', 'requested', 'approved', 'rejected', 'cancelled', 'terminated', 'suspended')),
        valid_from       date NOT NULL,
        valid_to         date,
        created_at       timestamptz NOT NULL,
        changed_at       timestamptz NOT NULL
    );
    CREATE INDEX agreement_of ON agreement (system_id, service, municipality_cvr);
    CREATE TABLE route (
        route_id         uuid PRIMARY KEY,
        service          text NOT NULL,
        municipality_cvr text NOT NULL,
        system_id        uuid NOT NULL REFERENCES system,
        url              text NOT NULL,
        takes_substitute boolean NOT NULL DEFAULT false,
        valid_from       date NOT NULL,
        valid_to         date,
        created_at       timestamptz NOT NULL
    );
    CREATE INDEX route_to ON route (service, municipality_cvr);
    """,
    """
    -- For how many days the system before still gets what it may have already; NULL: for as long as it takes.
    ALTER TABLE route ADD COLUMN finish_days integer CHECK (finish_days >= 0);
    """,
    """
    -- Who takes part. `mailbox` is where word of agreements goes.
    CREATE TABLE organisation (
        cvr        text PRIMARY KEY,
        name       text NOT NULL,
        kind       text NOT NULL CHECK (kind IN ('municipality', 'vendor', 'operator')),
        mailbox    text,
        version    integer NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL
    );
    ALTER TABLE system ADD COLUMN contact text, ADD COLUMN version integer NOT NULL DEFAULT 1;
    -- Of what the certificate itself says; NULL where it was registered before that was kept.
    ALTER TABLE certificate ADD COLUMN pem text, ADD COLUMN name text, ADD COLUMN cvr text,
        ADD COLUMN not_before timestamptz, ADD COLUMN not_after timestamptz;
    ALTER TABLE agreement ADD COLUMN replaces uuid, ADD COLUMN requested_by text, ADD COLUMN requested_at timestamptz,
        ADD COLUMN decided_by text, ADD COLUMN decided_at timestamptz, ADD COLUMN reason text,
        ADD COLUMN version integer NOT NULL DEFAULT 1;
    CREATE UNIQUE INDEX agreement_waiting ON agreement (system_id, service, municipality_cvr)
        WHERE status = 'requested';
    CREATE TABLE display_member (
        display_group text NOT NULL,
        system_id     uuid NOT NULL REFERENCES system,
        added_at      timestamptz NOT NULL,
        PRIMARY KEY (display_group, system_id)
    );
    """,
    """
    -- Which edition of the registers this is: another one as soon as a change of what decides about calls commits,
    -- by whomever and however it was made. It is written at the commit, so nobody waits for it with a lock in hand.
    CREATE TABLE register_edition (
        one     boolean PRIMARY KEY DEFAULT true CHECK (one),
        edition uuid NOT NULL,
        made_by xid8
    );
    INSERT INTO register_edition (edition) VALUES (gen_random_uuid());
    CREATE FUNCTION make_register_edition() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format(
            'UPDATE %I.register_edition SET edition = gen_random_uuid(), made_by = pg_current_xact_id()'
            ' WHERE made_by IS DISTINCT FROM pg_current_xact_id()', TG_TABLE_SCHEMA);
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER new_edition AFTER INSERT OR UPDATE OR DELETE ON system
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION make_register_edition();
    CREATE CONSTRAINT TRIGGER new_edition AFTER INSERT OR UPDATE OR DELETE ON certificate
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION make_register_edition();
    CREATE CONSTRAINT TRIGGER new_edition AFTER INSERT OR UPDATE OR DELETE ON agreement
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION make_register_edition();
    CREATE CONSTRAINT TRIGGER new_edition AFTER INSERT OR UPDATE OR DELETE ON route
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION make_register_edition();
    CREATE TRIGGER emptied AFTER TRUNCATE ON system EXECUTE FUNCTION make_register_edition();
    CREATE TRIGGER emptied AFTER TRUNCATE ON certificate EXECUTE FUNCTION make_register_edition();
    CREATE TRIGGER emptied AFTER TRUNCATE ON agreement EXECUTE FUNCTION make_register_edition();
    CREATE TRIGGER emptied AFTER TRUNCATE ON route EXECUTE FUNCTION make_register_edition();
    -- Also where rows come as copies: a snapshot that is put back, a subscription.
    ALTER TABLE system ENABLE ALWAYS TRIGGER new_edition, ENABLE ALWAYS TRIGGER emptied;
    ALTER TABLE certificate ENABLE ALWAYS TRIGGER new_edition, ENABLE ALWAYS TRIGGER emptied;
    ALTER TABLE agreement ENABLE ALWAYS TRIGGER new_edition, ENABLE ALWAYS TRIGGER emptied;
    ALTER TABLE route ENABLE ALWAYS TRIGGER new_edition, ENABLE ALWAYS TRIGGER emptied;
    """,
)


async def register_system(
    tx: Tx, *, system_id: UUID, name: str, vendor_cvr: str, role: Role, environment: Environment, now: datetime
) -> None:
    """Register a system, or correct the name of one that is there."""
    await tx.run(
        "INSERT INTO system (system_id, name, vendor_cvr, role, environment, created_at)"
        " VALUES (%(system_id)s, %(name)s, %(vendor_cvr)s, %(role)s, %(environment)s, %(now)s)"
        " ON CONFLICT (system_id) DO UPDATE SET name = EXCLUDED.name, vendor_cvr = EXCLUDED.vendor_cvr",
        system_id=system_id,
        name=name,
        vendor_cvr=vendor_cvr,
        role=role.value,
        environment=environment.value,
        now=now,
    )


async def register_certificate(
    tx: Tx,
    identity: Identity,
    *,
    system_id: UUID,
    environment: Environment,
    valid_from: date,
    valid_to: date | None = None,
    pem: str | None = None,
    now: datetime,
) -> None:
    """Register one certificate as its system's; in one environment a certificate belongs to one system."""
    await tx.run(
        "INSERT INTO certificate (environment, thumbprint, issuer, serial_key, subject, system_id, valid_from,"
        " valid_to, pem, name, cvr, not_before, not_after, created_at)"
        " VALUES (%(environment)s, %(thumbprint)s, %(issuer)s, %(serial_key)s, %(subject)s,"
        " %(system_id)s, %(valid_from)s, %(valid_to)s, %(pem)s, %(name)s, %(cvr)s, %(not_before)s, %(not_after)s,"
        " %(now)s)"
        " ON CONFLICT (environment, thumbprint) DO UPDATE SET system_id = EXCLUDED.system_id, active = true,"
        " valid_from = EXCLUDED.valid_from, valid_to = EXCLUDED.valid_to, name = EXCLUDED.name, cvr = EXCLUDED.cvr,"
        " not_before = EXCLUDED.not_before, not_after = EXCLUDED.not_after,"
        " pem = coalesce(EXCLUDED.pem, certificate.pem)",
        pem=pem,
        name=identity.name,
        cvr=identity.cvr,
        not_before=identity.not_before,
        not_after=identity.not_after,
        environment=environment.value,
        thumbprint=identity.thumbprint,
        issuer=identity.issuer,
        serial_key=identity.serial_key,
        subject=identity.subject,
        system_id=system_id,
        valid_from=valid_from,
        valid_to=valid_to,
        now=now,
    )


async def grant_agreement(
    tx: Tx,
    *,
    agreement_id: UUID,
    system_id: UUID,
    service: Service,
    municipality_cvr: str,
    valid_from: date,
    valid_to: date | None = None,
    status: Status = Status.APPROVED,
    now: datetime,
) -> None:
    """Register an agreement, or change status and period of the one with this id."""
    await tx.run(
        "INSERT INTO agreement (agreement_id, system_id, service, municipality_cvr, status, valid_from, valid_to,"
        " created_at, changed_at) VALUES (%(agreement_id)s, %(system_id)s, %(service)s, %(municipality_cvr)s,"
        " %(status)s, %(valid_from)s, %(valid_to)s, %(now)s, %(now)s)"
        " ON CONFLICT (agreement_id) DO UPDATE SET status = EXCLUDED.status, valid_from = EXCLUDED.valid_from,"
        " valid_to = EXCLUDED.valid_to, changed_at = EXCLUDED.changed_at",
        agreement_id=agreement_id,
        system_id=system_id,
        service=service.value,
        municipality_cvr=municipality_cvr,
        status=status.value,
        valid_from=valid_from,
        valid_to=valid_to,
        now=now,
    )


async def set_route(
    tx: Tx,
    *,
    route_id: UUID,
    service: Service,
    municipality_cvr: str,
    system_id: UUID,
    url: str,
    takes_substitute: bool = False,
    valid_from: date,
    valid_to: date | None = None,
    finish_days: int | None = None,
    now: datetime,
) -> None:
    """
    Let what goes to a municipality (or to all, `ALL`) be delivered to a system from a day on.

    An open route that it replaces ends the day before. Of several routes for a day the one that began last counts.
    For `finish_days` the system before it still gets what it may have already (None: for as long as it takes).
    """
    await tx.run(
        "UPDATE route SET valid_to = %(valid_from)s::date - 1 WHERE service = %(service)s AND valid_to IS NULL"
        " AND municipality_cvr = %(municipality_cvr)s AND route_id <> %(route_id)s",
        service=service.value,
        municipality_cvr=municipality_cvr,
        route_id=route_id,
        valid_from=valid_from,
    )
    await tx.run(
        "INSERT INTO route (route_id, service, municipality_cvr, system_id, url, takes_substitute, valid_from,"
        " valid_to, finish_days, created_at) VALUES (%(route_id)s, %(service)s, %(municipality_cvr)s, %(system_id)s,"
        " %(url)s, %(takes_substitute)s, %(valid_from)s, %(valid_to)s, %(finish_days)s, %(now)s)"
        " ON CONFLICT (route_id) DO UPDATE SET system_id = EXCLUDED.system_id, url = EXCLUDED.url,"
        " takes_substitute = EXCLUDED.takes_substitute, valid_from = EXCLUDED.valid_from,"
        " valid_to = EXCLUDED.valid_to, finish_days = EXCLUDED.finish_days",
        route_id=route_id,
        service=service.value,
        municipality_cvr=municipality_cvr,
        system_id=system_id,
        url=url,
        takes_substitute=takes_substitute,
        valid_from=valid_from,
        valid_to=valid_to,
        finish_days=finish_days,
        now=now,
    )


async def end_route(tx: Tx, *, route_id: UUID, last_day: date) -> None:
    """Let a route end; its last day counts."""
    await tx.run(
        "UPDATE route SET valid_to = %(last_day)s WHERE route_id = %(route_id)s", route_id=route_id, last_day=last_day
    )


async def set_active(tx: Tx, *, system_id: UUID, active: bool) -> None:
    """Close or open a system."""
    await tx.run(
        "UPDATE system SET active = %(active)s WHERE system_id = %(system_id)s", system_id=system_id, active=active
    )


async def withdraw_certificate(tx: Tx, identity: Identity, *, environment: Environment) -> None:
    """Let a registered certificate open nothing from now on."""
    await tx.run(
        "UPDATE certificate SET active = false WHERE environment = %(environment)s AND thumbprint = %(thumbprint)s",
        environment=environment.value,
        thumbprint=identity.thumbprint,
    )
