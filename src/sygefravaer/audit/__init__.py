# SPDX-License-Identifier: MPL-2.0
"""
The record: what was done, by which system, for which municipality, about whom, and what came of it.

A row is written in the transaction of what it records, signed and unchained, so that writing is cheap. One sealer
numbers the committed rows and chains them with a key that is not in the database, and writes the head of the chain to
files outside it too. `verify` finds an edit, an insertion, a deletion, a change of order and a cut end, and says how
much is not sealed yet. Nobody's CPR number is here, only its keyed hash. `docs/audit.md` says exactly what is found.
"""

from sygefravaer.audit.chain import KEY_BYTES, create_key, read_key
from sygefravaer.audit.events import GRAMMAR, Event
from sygefravaer.audit.exporting import FORMS, csv_cell, export, one_line
from sygefravaer.audit.marking import mark, unsealed
from sygefravaer.audit.recording import MIGRATIONS, record, sign_with, trail
from sygefravaer.audit.reporting import OPERATIONS, AccessReport, access_report
from sygefravaer.audit.sampling import AFTER, BEFORE, Drawn, Month, sample
from sygefravaer.audit.sealing import Anchor, Sealer, Witness, head_file, read_anchors, read_head, read_witness
from sygefravaer.audit.searching import PURPOSE, SEALED, USER, Query, Reader, of_call, search
from sygefravaer.audit.verifying import Evidence, Finding, Kind, Of, Report, Watch, verify

__all__ = [
    "AFTER",
    "BEFORE",
    "FORMS",
    "GRAMMAR",
    "KEY_BYTES",
    "MIGRATIONS",
    "OPERATIONS",
    "PURPOSE",
    "SEALED",
    "USER",
    "AccessReport",
    "Anchor",
    "Drawn",
    "Event",
    "Evidence",
    "Finding",
    "Kind",
    "Month",
    "Of",
    "Query",
    "Reader",
    "Report",
    "Sealer",
    "Watch",
    "Witness",
    "access_report",
    "create_key",
    "csv_cell",
    "export",
    "head_file",
    "mark",
    "of_call",
    "one_line",
    "read_anchors",
    "read_head",
    "read_key",
    "read_witness",
    "record",
    "sample",
    "search",
    "sign_with",
    "trail",
    "unsealed",
    "verify",
]
