# SPDX-License-Identifier: MPL-2.0
"""
Whether a certificate has been revoked: lists and responders asked in the background, kept on disk, judged in memory.

A call is judged by what is known when it comes; nothing is fetched for it. A certificate that a list or a responder
calls revoked is refused, one about which nothing current is known is refused too unless the settings say otherwise.
Only addresses that the settings name are asked, whatever a certificate says.
"""

from sygefravaer.revocation.answers import OcspAnswer
from sygefravaer.revocation.evidence import EvidenceRefused, read_authorities
from sygefravaer.revocation.lists import RevocationList
from sygefravaer.revocation.watching import STATE_FILE, Revocation, Standing, read_state

__all__ = [
    "STATE_FILE",
    "EvidenceRefused",
    "OcspAnswer",
    "Revocation",
    "RevocationList",
    "Standing",
    "read_authorities",
    "read_state",
]
