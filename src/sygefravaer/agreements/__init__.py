# SPDX-License-Identifier: MPL-2.0
"""
Who may call, for which municipality, and where its messages go.

A certificate belongs to one system, a municipality has an agreement with a system about a service, and a route says
which system receives what goes to a municipality. `decide` is the one place where a caller's right is judged:
`authorise` raises on it, `explain` prints it. Nothing here is cached, so a change counts from the next call on.

Periods are whole days in Danish time; the last day counts.
"""

from sygefravaer.agreements.decision import (
    ENDED,
    Agreement,
    Caller,
    Decision,
    Facts,
    Grant,
    Route,
    Status,
    Step,
    decide,
)
from sygefravaer.agreements.reading import (
    DENMARK,
    authorise,
    danish_day,
    explain,
    facts,
    last_route,
    route,
    system_named,
)
from sygefravaer.agreements.registers import (
    ALL,
    MIGRATIONS,
    Role,
    end_route,
    grant_agreement,
    register_certificate,
    register_system,
    set_active,
    set_route,
    withdraw_certificate,
)

__all__ = [
    "ALL",
    "DENMARK",
    "ENDED",
    "MIGRATIONS",
    "Agreement",
    "Caller",
    "Decision",
    "Facts",
    "Grant",
    "Role",
    "Route",
    "Status",
    "Step",
    "authorise",
    "danish_day",
    "decide",
    "end_route",
    "explain",
    "facts",
    "grant_agreement",
    "last_route",
    "register_certificate",
    "register_system",
    "route",
    "set_active",
    "set_route",
    "system_named",
    "withdraw_certificate",
]
