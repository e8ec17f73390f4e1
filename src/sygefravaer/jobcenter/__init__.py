# SPDX-License-Identifier: MPL-2.0
"""
The reference jobcentre system: what a municipality's employment side does with what KSD tells and asks it.

It takes events (SF2090) and requests for extension (SF2093) over the callback contract, answers them by a policy or
by hand, tells KSD what happens in its own cases (SF2095) and looks cases up (SF2096), all through the gateway.
"""

from sygefravaer.jobcenter.part import Jobcenter
from sygefravaer.jobcenter.policy import Mode, Policy
from sygefravaer.jobcenter.sealed import SEALED
from sygefravaer.jobcenter.tables import MIGRATIONS

__all__ = ["MIGRATIONS", "SEALED", "Jobcenter", "Mode", "Policy"]
