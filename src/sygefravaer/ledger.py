# SPDX-License-Identifier: MPL-2.0
"""
What a receiver has already answered: a message is applied once, and its receipt is the same for ever after.

One transaction writes the key, applies the message and keeps the receipt. A copy that comes meanwhile waits on the
unique key and is given what the first one got. A FEJL is kept like any other receipt; an exception keeps nothing, so
the sender's next attempt is a first one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sygefravaer import failpoint
from sygefravaer.clock import Clock
from sygefravaer.contract import codec
from sygefravaer.contract.messages import SygefravaerResponse, TransportKvitteringType, kvittering_fejl
from sygefravaer.endpoint import Call
from sygefravaer.errors import Refused
from sygefravaer.store import Sealed, Store, Tx
from sygefravaer.vault import Vault

MIGRATIONS: Final = (
    """
CREATE TABLE ledger (
    sender uuid NOT NULL,
    besked_id uuid NOT NULL,
    operation text NOT NULL,
    digest bytea NOT NULL,
    receipt bytea,
    at timestamptz NOT NULL,
    PRIMARY KEY (sender, besked_id)
);

CREATE INDEX ledger_at ON ledger (at);
""",
)

_ENTER: Final = """
INSERT INTO ledger (sender, besked_id, operation, digest, at)
VALUES (%(sender)s, %(besked_id)s, %(operation)s, %(digest)s, %(now)s)
ON CONFLICT DO NOTHING"""

_SEEN: Final = "SELECT digest, receipt FROM ledger WHERE sender = %(sender)s AND besked_id = %(besked_id)s"

_KEEP: Final = "UPDATE ledger SET receipt = %(receipt)s WHERE sender = %(sender)s AND besked_id = %(besked_id)s"


def _context(key: Mapping[str, Any]) -> str:
    return f"ledger:{key['sender']}:{key['besked_id']}"


SEALED: Final = (Sealed(table="ledger", column="receipt", context=_context, needs=("sender", "besked_id")),)
"""The sealed column of the ledger."""


class Ledger:
    """The receipts of one receiver."""

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def once(self, call: Call, apply: Callable[[Tx], Awaitable[TransportKvitteringType]]) -> bytes:
        """
        Give the response element: kept from the first time, or of `apply`, run in one transaction with its keeping.

        The key is (`call.sender`, `call.besked_id`); the same key with another digest is FEJL G002 and changes
        nothing. `Refused` out of `apply` undoes what it wrote and is kept as FEJL; a FEJL that it returns is kept with
        what it wrote. Any other exception keeps nothing and is raised again.
        """
        async with self._store.tx() as tx:
            element = await self._given(tx, call, apply)
            failpoint.reach("ledger.before_commit")
        failpoint.reach("ledger.after_commit")
        return element

    async def _given(self, tx: Tx, call: Call, apply: Callable[[Tx], Awaitable[TransportKvitteringType]]) -> bytes:
        key = {"sender": call.sender, "besked_id": call.besked_id}
        context = _context(key)
        now = self._clock.now()
        if not await tx.run(_ENTER, operation=call.operation.name, digest=call.digest, now=now, **key):
            seen = await tx.one(_SEEN, **key)
            if seen is not None and seen["digest"] == call.digest:
                return self._vault.open(seen["receipt"], context=context)
            return _response(call, kvittering_fejl("G002"))
        try:
            async with tx.savepoint():
                receipt = await apply(tx)
        except Refused as refusal:
            receipt = kvittering_fejl(refusal.code)
        element = _response(call, receipt)
        tx.last(_KEEP, receipt=self._vault.seal(element, context=context), **key)
        return element


def _response(call: Call, receipt: TransportKvitteringType) -> bytes:
    return codec.encode_reply(call.operation, SygefravaerResponse(TransportKvittering=receipt))
