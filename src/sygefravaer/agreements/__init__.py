# SPDX-License-Identifier: MPL-2.0
"""
Who may call, for which municipality, and where its messages go.

A certificate belongs to one system, a municipality has an agreement with a system about a service, and a route says
which system receives what goes to a municipality. `decide` is the one place where a caller's right is judged:
`authorise` raises on it, `explain` prints it. What was decided before is relied on only in a statement that finds the
registers unchanged (`recall`), so a change counts from the next call on.

Periods are whole days in Danish time; the last day counts.
"""

from sygefravaer.agreements.actor import Actor
from sygefravaer.agreements.decision import (
    ENDED,
    Agreement,
    Caller,
    Decision,
    Facts,
    Grant,
    Remedy,
    Route,
    Status,
    Step,
    decide,
)
from sygefravaer.agreements.explaining import (
    Access,
    Candidate,
    Registered,
    RouteDecision,
    Verdict,
    explain_access,
    explain_route,
    registered,
)
from sygefravaer.agreements.organisations import mailbox, municipality_of
from sygefravaer.agreements.reading import (
    DENMARK,
    YEARS,
    Presented,
    Recalled,
    authorise,
    danish_day,
    expiring,
    explain,
    last_route,
    recall,
    receivers,
    route,
    system_named,
    system_names,
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
    "YEARS",
    "Access",
    "Actor",
    "Agreement",
    "Caller",
    "Candidate",
    "Decision",
    "Facts",
    "Grant",
    "Presented",
    "Recalled",
    "Registered",
    "Remedy",
    "Role",
    "Route",
    "RouteDecision",
    "Status",
    "Step",
    "Verdict",
    "authorise",
    "danish_day",
    "decide",
    "end_route",
    "expiring",
    "explain",
    "explain_access",
    "explain_route",
    "grant_agreement",
    "last_route",
    "mailbox",
    "municipality_of",
    "recall",
    "receivers",
    "register_certificate",
    "register_system",
    "registered",
    "route",
    "set_active",
    "set_route",
    "system_named",
    "system_names",
    "withdraw_certificate",
]
