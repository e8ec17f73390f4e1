# SPDX-License-Identifier: MPL-2.0
"""
The reference KSD: a register of sickness-benefit cases that tells, asks, takes updates and answers look-ups.

    Ksd          the part, put together
    Policy       how it behaves where the contract leaves it a choice
    MIGRATIONS   its tables; the rooms `lanes` and `ledger` have theirs
"""

from sygefravaer.ksd.policy import Policy
from sygefravaer.ksd.sealed import SEALED
from sygefravaer.ksd.system import Ksd
from sygefravaer.ksd.tables import MIGRATIONS

__all__ = ["MIGRATIONS", "SEALED", "Ksd", "Policy"]
