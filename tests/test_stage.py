# SPDX-License-Identifier: MPL-2.0
"""A stage: the whole of a sandbox in one process, quickly made and wholly gone, at any instant the law knows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sygefravaer.control import knock
from sygefravaer.errors import ActRefused
from sygefravaer.sandbox.stage import Stage

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
VIBORG = "29189846"


async def one_case(stage: Stage) -> list[str]:
    day = stage.now.date().isoformat()
    await stage.act("ksd", "create_case", municipality_cvr=VIBORG, cpr="0101505012", FoersteFravaersdag=day)
    await stage.settle()
    return [row["status"] for row in (await stage.act("gateway", "accepted"))["messages"]]


@pytest.mark.parametrize("start", [datetime(2014, 7, 2, tzinfo=UTC), START, datetime(2049, 6, 1, tzinfo=UTC)])
async def test_it_works_at_any_instant(start: datetime, embedded: Any, pki: Any) -> None:
    """Agreements, freshness, leases and TLS: a case is told and answered, years away from the machine's date."""
    async with Stage(start, server=embedded, pki=pki) as stage:
        assert stage.now == start
        assert await one_case(stage) == ["delivered"] * 3
        assert (await stage.advance(timedelta(days=1))).end == start + timedelta(days=1)
        assert (await stage.act("viborg", "lookup_list", cpr="0101505012"))["reply"]["SagsListe"]


async def test_its_doors_are_real_and_nothing_is_left(embedded: Any, pki: Any) -> None:
    """A Unix socket for each part while it stands; no role, schema or file after it."""
    async with Stage(START, server=embedded, pki=pki) as stage:
        control, database = stage.config("ksd").control, stage.config("ksd").database
        assert control is not None
        assert database is not None
        told = await knock(control, "health")
        assert (told["part"], told["now"]) == ("ksd", START.isoformat())
        assert len({stage.config(part).listen.port for part in stage.parts}) == 4

    assert not Path(control).parent.exists()
    async with await psycopg.AsyncConnection.connect(embedded.superuser_dsn()) as connection:
        left = await connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname = %(s)s"
            " UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = %(s)s",
            {"s": database.schema},
        )
        assert await left.fetchall() == []


async def test_a_part_that_is_stopped_comes_back_at_its_address(embedded: Any, pki: Any) -> None:
    """With the same data, at the time of the others."""
    async with Stage(START, server=embedded, pki=pki) as stage:
        await one_case(stage)
        port = stage.config("ksd").listen.port
        await stage.stop("ksd")
        with pytest.raises(ActRefused) as refused:
            await stage.act("ksd", "health")
        await stage.advance(timedelta(hours=1))
        await stage.start("ksd")

        assert refused.value.code == "NobodyThere"
        assert stage.config("ksd").listen.port == port
        assert (await stage.act("ksd", "health"))["now"] == (START + timedelta(hours=1)).isoformat()
        assert len((await stage.act("ksd", "cases"))["cases"]) == 1


async def test_it_brings_its_own_server_and_authority() -> None:
    """For a command there is none: both are made and removed."""
    began = asyncio.get_running_loop().time()
    async with Stage(START) as stage:
        place = stage.config("ksd").vault
        assert place is not None
        assert await one_case(stage) == ["delivered"] * 3
    assert not place.parent.exists()
    assert asyncio.get_running_loop().time() - began < 60


async def test_a_start_that_fails_leaves_nothing(embedded: Any, pki: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was started ends."""
    stage = Stage(START, server=embedded, pki=pki)
    begun: list[str] = []
    begin = stage._begin

    async def fail(name: str) -> None:
        if name == "aarhus":
            raise ActRefused("Boom")
        begun.append(name)
        await begin(name)

    monkeypatch.setattr(stage, "_begin", fail)
    with pytest.raises(ActRefused, match="control door"):
        async with stage:
            pass
    assert "gateway" in begun
    vault = stage.config("gateway").vault
    assert vault is not None
    assert not vault.parent.exists()
