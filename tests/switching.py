# SPDX-License-Identifier: MPL-2.0
"""Receivers that fail in their ways, routes that change, and what must hold of lanes: for tests around a corridor."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from corridor import VIBORG
from sygefravaer.contract.operations import Service

OLD, NEW = "viborg", "aarhus"
SECOND = timedelta(seconds=1)


async def silent(scope, receive, send):
    """Take the request, and answer with a status that says nothing of what became of it."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def refuse(scope, receive, send):
    """Answer with a Client fault that has no receipt."""
    while (await receive()).get("more_body"):
        pass
    body = (
        b'<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><soap:Fault>'
        b"<faultcode>soap:Client</faultcode><faultstring>x</faultstring></soap:Fault></soap:Body></soap:Envelope>"
    )
    headers = [(b"content-type", b"text/xml"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def down(corridor, name):
    server = corridor.receivers[name].server
    port = server.port
    await server.stop()
    server.port = port


async def change(corridor, to, **more):
    """Let the route of Viborg lead to another system from today on."""
    async with corridor.store.tx() as tx:
        values = {"valid_from": corridor.clock.now().date()} | more
        return await corridor.route(tx, Service.SYGEFRAVAER_JC, VIBORG, to, **values)


async def rest(corridor):
    """Wait until nothing is due and nothing is on its way."""
    async with asyncio.timeout(20):
        while True:
            standing = await corridor.delivery.standing()
            due = standing.next is not None and standing.next <= corridor.clock.now()
            dead = await corridor.rows(  # by `crash`, and not found yet: there can only be fewer than a moment ago
                "message",
                "status = 'sending' AND lane_id IN (SELECT lane_id FROM lane WHERE lease_until < '2026-01-01')",
            )
            if not due and standing.in_flight <= len(dead):
                return
            await asyncio.sleep(0.01)


async def later(corridor, by=SECOND):
    corridor.clock.advance(by)
    corridor.delivery.wake()
    await rest(corridor)


async def events(corridor, event):
    return [row["detail"] for row in await corridor.rows("audit", "event = %(event)s", event=event)]


async def crash(corridor):
    """Leave a lane as a process leaves it that dies while it holds it: the lease has lapsed, and nobody knows more."""
    async with corridor.store.tx() as tx:
        lane = await tx.one(
            "SELECT lane_id FROM lane WHERE open > 0 AND NOT parked AND token IS NULL ORDER BY lane_id LIMIT 1 FOR UPDATE"
        )
        if lane is None:
            return
        await tx.run(
            "UPDATE message SET status = 'sending' WHERE message_id ="
            " (SELECT min(message_id) FROM message WHERE lane_id = %(lane)s AND status = 'queued')",
            lane=lane["lane_id"],
        )
        await tx.run(
            "UPDATE lane SET owner = gen_random_uuid(), token = gen_random_uuid(),"
            " lease_until = '2025-12-31', next_at = %(now)s WHERE lane_id = %(lane)s",
            lane=lane["lane_id"],
            now=corridor.clock.now(),  # it was due when it was claimed
        )


async def check_lanes(corridor):
    """Each lane row agrees with its messages."""
    for lane in await corridor.rows("lane"):
        rows = await corridor.rows("message", "lane_id = %(lane)s", lane=lane["lane_id"])
        states = [row["status"] for row in rows if row["status"] in {"queued", "sending", "parked"}]
        assert lane["open"] == len(states)
        assert lane["parked"] == ("parked" in states)
        assert states.count("parked") <= 1
        assert {row["recipient"] for row in rows} <= {lane["recipient"]}
        assert lane["token"] is not None or "sending" not in states


def lost(receiver):
    """Make an application that takes a message and answers as if it had not."""

    async def app(scope, receive, send):
        async def nothing(_):
            pass

        await receiver.endpoint(scope, receive, nothing)
        await silent(scope, _nothing_more, send)

    return app


async def _nothing_more():
    return {"more_body": False}
