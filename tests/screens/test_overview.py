# SPDX-License-Identifier: MPL-2.0
"""Overblik in the browser."""

from __future__ import annotations

from screens.stage import Never, Stage, State

STATES = {
    "empty": State(path="/overblik", sees=".empty", who="frida"),
    "loading": Never("The page is drawn from a few statements, and its parts replace themselves when they are there."),
    "filled": State(path="/overblik", sees="#overview table", prepare=Stage.fill),
    "error": Never("Nothing is typed here; a database that is away is the frame's page of trouble."),
    "forbidden": Never("Every role may see it, each its own."),
    "long": Never("Names are the registers'."),
    "zoom": State(path="/overblik", sees="h1", prepare=Stage.fill),
}
