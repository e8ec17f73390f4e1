# SPDX-License-Identifier: MPL-2.0
"""
Word by mail (advis): written down in the transaction of what it tells of, sent in the background, sent again if asked.

`advise` is for whoever has something to tell; it sends nothing. `Postman` sends. No mail holds anybody's number.
"""

from sygefravaer.mail.outbox import MIGRATIONS, Letter, Status, advise, letters, resend, waiting
from sygefravaer.mail.sending import Postman, Server
from sygefravaer.mail.texts import FACTS, Kind, check_address

__all__ = [
    "FACTS",
    "MIGRATIONS",
    "Kind",
    "Letter",
    "Postman",
    "Server",
    "Status",
    "advise",
    "check_address",
    "letters",
    "resend",
    "waiting",
]
