# SPDX-License-Identifier: MPL-2.0
"""Every sealed column of the jobcentre system's tables, and of the rooms that it uses."""

from typing import Final

from sygefravaer.jobcenter.cases import CPR_CONTEXT, SNAPSHOT_CONTEXT
from sygefravaer.jobcenter.sending import OUTBOX_CONTEXT
from sygefravaer.ledger import SEALED as LEDGER
from sygefravaer.store import Sealed

SEALED: Final = (
    *LEDGER,
    Sealed(table="message", column="body", context=OUTBOX_CONTEXT),
    Sealed(table="kept_update", column="body", context=OUTBOX_CONTEXT),
    *(Sealed(table=table, column="cpr", context=CPR_CONTEXT) for table in ("jobcentersag", "received", "extension")),
    *(Sealed(table=table, column="snapshot", context=SNAPSHOT_CONTEXT) for table in ("sygedagpengesag", "extension")),
)
