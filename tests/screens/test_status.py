# SPDX-License-Identifier: MPL-2.0
"""Status in the browser."""

from __future__ import annotations

from datetime import timedelta

from screens.stage import LONG, Never, Stage, State
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.status import Measured, Outcome, Probe, write


async def measure(stage: Stage, *, by: str = "måler") -> None:
    """Three rounds: one in which a look-up was down, one in which a receiver was silent, and one that found all up."""
    for back, ill in ((120, {"HentSag": Outcome.DOWN}), (60, {"SendForretningsSvar": Outcome.PARTIAL}), (1, {})):
        probes = [
            Probe(
                operation=name,
                service=one.service,
                outcome=ill.get(name, Outcome.UP),
                measured=Measured.LOOKUP if one.lookup else Measured.CONTRACT,
                code="SourceSystemTimeout" if ill.get(name) is Outcome.DOWN else "H501",
                millis=None if ill.get(name) is Outcome.DOWN else 12,
                detail={} if one.lookup else {"receivers": 1, "silent": []},
            )
            for name, one in OPERATIONS.items()
        ]
        stage.desk.site.app.state.status._kept = None  # what was read before, for some seconds
        await write(stage.store, probes, at=stage.desk.time() - timedelta(seconds=back), by=by, every=60.0)


async def measure_long(stage: Stage) -> None:
    """A prober with a long name."""
    await measure(stage, by=LONG)


STATES = {
    "empty": Never("A service that was never measured says so in each fact; the measured state is what is kept long."),
    "loading": Never("The page is read once for all who ask, and drawn at once."),
    "filled": State(path="/service/status", sees="text=HentSagsListe", who=None, prepare=measure),
    "error": Never("A service that is down is a row of the page, not an error of it."),
    "forbidden": Never("Everybody may see it, signed in or not."),
    "long": State(path="/service/status", sees="h1", who=None, prepare=measure_long),
    "zoom": State(path="/service/status", sees="h1", who=None, prepare=measure),
}


async def test_the_same_as_json(stage):
    """With its history, today first; who is silent is not told."""
    await measure(stage)
    async with stage.desk.http.get(stage.desk.server.url + "/service/status.json") as answer:
        ours, other = (await answer.json())["services"]

    assert (ours["service"], other["service"], ours["tilstand"]) == (
        "Sygefravaer",
        "SygefravaerJC",
        "Fuldt tilgængelig",
    )
    assert len(ours["historik"]) == 30
    assert ours["historik"][0]["known"] > 0
