# SPDX-License-Identifier: MPL-2.0
"""Driftsstatus in the browser."""

from __future__ import annotations

from screens.stage import Never, State

STATES = {
    "empty": State(path="/drift", sees="text=Ingen dele at spørge", who=None),
    "loading": Never("A part that does not answer within two seconds is shown as silent."),
    "filled": State(path="/drift", sees="h1", who=None),
    "error": Never("A part that cannot be asked is a row of the page, not an error of it."),
    "forbidden": Never("Everybody may see it, signed in or not."),
    "long": Never("The names of the parts come from the settings of whoever runs it."),
    "zoom": State(path="/drift", sees="h1", who=None),
}
