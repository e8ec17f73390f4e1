# SPDX-License-Identifier: MPL-2.0
"""
How the service is: measured from outside every minute, written down, and told as it was.

`Prober` calls over the real way and writes what came; `service_status` reads it. A minute in which nobody measured is
unknown, and told as that.
"""

from sygefravaer.status.history import Day, history
from sygefravaer.status.probing import Prober, Target
from sygefravaer.status.record import (
    AIM,
    MIGRATIONS,
    WINDOW,
    Measured,
    OperationStatus,
    Outcome,
    Probe,
    ServiceStatus,
    Share,
    State,
    danish_share,
    forget,
    service_status,
    write,
)

__all__ = [
    "AIM",
    "MIGRATIONS",
    "WINDOW",
    "Day",
    "Measured",
    "OperationStatus",
    "Outcome",
    "Probe",
    "Prober",
    "ServiceStatus",
    "Share",
    "State",
    "Target",
    "danish_share",
    "forget",
    "history",
    "service_status",
    "write",
]
