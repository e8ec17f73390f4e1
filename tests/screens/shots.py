# SPDX-License-Identifier: MPL-2.0
"""Pictures of all screens, each as it usually looks, for the documents: `make screenshots`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from conftest import START
from screens.stage import CHROMIUM, Stage, State
from screens.test_sandbox import PATH as SANDBOX
from screens.test_sandbox import up
from screens.test_states import SCREENS, states_of
from sygefravaer.clock import MovableClock
from sygefravaer.sandbox.pki import Pki
from sygefravaer.store import EmbeddedServer
from sygefravaer.vault import Vault

PLACE = Path(__file__).parents[2] / "docs" / "screens"
WIDTH, HEIGHT = 1200, 1000  # what is further down is not shown


async def main() -> None:
    """Draw each screen in Danish."""
    with tempfile.TemporaryDirectory(prefix="shots-") as directory:
        tmp = Path(directory)
        server = EmbeddedServer(tmp / "pg", state=Path(tempfile.gettempdir()))
        await server.start()
        try:
            pki = Pki(tmp / "pki")
            pki.create()
            vault, clock = Vault.create_file(tmp / "vault.json"), MovableClock(START, running=False)
            async with Stage(server, vault, clock, pki, tmp) as stage:
                await stage.fill()
                await up(stage)
                stage.elsewhere["/drift"] = stage.elsewhere[SANDBOX]  # whose parts it can ask
                for screen in SCREENS:
                    state = (states_of(screen.name) or {}).get("filled")
                    if isinstance(state, State):
                        await draw(stage, screen.name, state)
        finally:
            await server.remove()


async def draw(stage: Stage, name: str, state: State) -> None:
    """Draw one."""
    if state.prepare is not None:
        await state.prepare(stage)
    page = await stage.page(state.path, who=state.who or "otto", width=WIDTH, height=HEIGHT)
    if state.then is not None:
        await state.then(page)
    await page.locator(state.sees).first.wait_for()
    PLACE.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=PLACE / f"{name}.png", animations="disabled")
    await stage.close_pages()
    sys.stdout.write(f"docs/screens/{name}.png\n")


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("There is no chromium here; on Debian: apt-get install chromium")
    asyncio.run(main())
