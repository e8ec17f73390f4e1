# SPDX-License-Identifier: MPL-2.0
"""Kodelister in the browser."""

from __future__ import annotations

from screens.stage import Never, State

STATES = {
    "empty": Never("The code lists are part of the contract and never empty."),
    "loading": Never("The page is drawn at once from files that come with the program."),
    "filled": State(path="/koder", sees="#sagsarter table", who=None),
    "error": Never("Nothing is asked of anybody, and nothing is typed."),
    "forbidden": Never("Everybody may see it, signed in or not."),
    "long": Never("All its texts are the contract's, and the filled state shows all of them."),
    "zoom": State(path="/koder", sees="h1", who=None),
}
