# SPDX-License-Identifier: MPL-2.0
"""Every sealed column of the register's tables, and of the rooms that it uses."""

from typing import Final

from sygefravaer.ksd.cases import NUMBER, picture_context
from sygefravaer.ksd.lookups import USER
from sygefravaer.ksd.reports import HELD
from sygefravaer.ksd.sending import BODY
from sygefravaer.ksd.service import ANSWER, UPDATE
from sygefravaer.ledger import SEALED as LEDGER
from sygefravaer.store import Sealed

SEALED: Final = (
    *LEDGER,
    Sealed(table="message", column="body", context=BODY),
    Sealed(table="person_number", column="number", context=NUMBER),
    Sealed(
        table="sag_version",
        column="picture",
        context=lambda row: picture_context(row["sags_id"], row["version"]),
        needs=("sags_id", "version"),
    ),
    Sealed(table="answer", column="reason", context=ANSWER),
    Sealed(table="applied", column="content", context=UPDATE),
    Sealed(table="access_log", column="on_behalf_of", context=USER),
    Sealed(table="held_report", column="content", context=HELD),
)
