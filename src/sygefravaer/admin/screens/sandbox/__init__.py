# SPDX-License-Identifier: MPL-2.0
"""
Sandkasse: the clock, the people, both sides and the stories of a sandbox, seen and steered.

Everything goes through the control doors of the parts, whose paths the settings name; without them there is no such
screen. Nothing here is the administration's own: whoever is signed in to a sandbox may do all of it, since nobody in it
exists and nothing leaves it.

    doors      knocking at the parts, and what a refusal at a door becomes on a page
    time       the front page: the clock bar, the parts
    chaos      what a receiver can be made to do wrong
    ksd        KSD's cases: create, change, end
    inbox      a jobcentre's inbox: answer or refuse an extension
    stories    scenarios, played with their timeline
    people     the citizens
"""

from typing import Final

from sygefravaer.admin.screens.sandbox import chaos, inbox, ksd, people, stories, time
from sygefravaer.admin.screens.sandbox.doors import SCREEN, SUPERVISOR, sources

router: Final = SCREEN.router()
for one in (time, chaos, ksd, stories, people, inbox):
    router.include_router(one.router)

__all__ = ["SCREEN", "SUPERVISOR", "router", "sources"]
