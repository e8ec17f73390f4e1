# SPDX-License-Identifier: MPL-2.0
"""
A request that may be sent again: with the same `Idempotency-Key` it is done once, and answered the same each time.

The answer is kept sealed for a day; the request is known by a keyed hash. What was
refused keeps nothing, so that the same key may try again; what ended unknown stays so, and a person looks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from sygefravaer.admin.access import signed_in
from sygefravaer.admin.office import Office, office_of
from sygefravaer.admin.tables import ANSWER
from sygefravaer.errors import CommitUnknown, FieldsWrong, KeyBusy, KeyReused, SygefravaerError
from sygefravaer.store import Row

HEADER: Final = "Idempotency-Key"
KEY_MAX: Final = 128  # characters
KEPT: Final = timedelta(days=1)
_HEADERS: Final = ("content-type", "etag", "location")


class Once(APIRoute):
    """A route whose POSTs obey the key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the store of answers before the endpoint."""
        answer = super().get_route_handler()

        async def handler(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if key is None or request.method != "POST":
                return await answer(request)
            if not 0 < len(key) <= KEY_MAX:
                raise FieldsWrong((("header." + HEADER, f"at most {KEY_MAX} characters"),))
            user = await signed_in(request)
            office = office_of(request)
            body = await request.body()
            said = f"{request.method} {request.url.path}?{request.url.query} {body.hex()}"
            known = {"account_id": user.id, "key": key}
            if (before := await _begin(office, known, office.vault.lookup_key(said))) is not None:
                return before
            try:
                response = await answer(request)
            except CommitUnknown:  # perhaps it was done: a person looks
                raise
            except (SygefravaerError, RequestValidationError, HTTPException):
                await _forget(office, known)
                raise
            await _keep(office, known, response)
            return response

        return handler


async def _begin(office: Office, known: dict[str, Any], request: bytes) -> Response | None:
    """Note that a request has begun, or give the answer that it has had; raises `KeyReused`, `KeyBusy`."""
    now = office.machine()
    async with office.store.tx() as tx:
        await tx.run("DELETE FROM answered WHERE at <= %(old)s", old=now - KEPT)
        begun = await tx.run(
            "INSERT INTO answered (account_id, key, request, at) VALUES (%(account_id)s, %(key)s, %(request)s, %(at)s)"
            " ON CONFLICT DO NOTHING",
            request=request,
            at=now,
            **known,
        )
        row = await tx.one(
            "SELECT request, status, headers, body FROM answered WHERE account_id = %(account_id)s AND key = %(key)s",
            **known,
        )
    if begun:
        return None
    if row is None or row["status"] is None:
        raise KeyBusy
    if bytes(row["request"]) != request:
        raise KeyReused
    return _again(office, row)


def _again(office: Office, row: Row) -> Response:
    body = office.vault.open(bytes(row["body"]), context=ANSWER)
    return Response(body, status_code=row["status"], headers=row["headers"])


async def _keep(office: Office, known: dict[str, Any], response: Response) -> None:
    async with office.store.tx() as tx:
        await tx.run(
            "UPDATE answered SET status = %(status)s, headers = %(headers)s::jsonb, body = %(body)s"
            " WHERE account_id = %(account_id)s AND key = %(key)s",
            status=response.status_code,
            headers=json.dumps({name: response.headers[name] for name in _HEADERS if name in response.headers}),
            body=office.vault.seal(bytes(response.body), context=ANSWER),
            **known,
        )


async def _forget(office: Office, known: dict[str, Any]) -> None:
    async with office.store.tx() as tx:
        await tx.run("DELETE FROM answered WHERE account_id = %(account_id)s AND key = %(key)s", **known)
