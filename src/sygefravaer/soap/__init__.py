# SPDX-License-Identifier: MPL-2.0
"""
Bytes to SOAP 1.1 envelopes and back. Pure.

The only XML parser for what comes from outside is `parsing`: no DTD, no entities, nothing fetched, and limits on size,
depth and number before a caller's document is walked. Answers and faults are rendered by `writing` and nowhere else;
no text of them holds a value from a message.
"""

from sygefravaer.soap.answers import Answer, FaultAnswer, ReceiptAnswer, ReplyAnswer, answer
from sygefravaer.soap.parsing import LIMITS, MEBIBYTE, Limits, gunzip
from sygefravaer.soap.reading import Envelope, action_of, authority, canonical, digest, read, text_of
from sygefravaer.soap.writing import CONTACT, CONTENT_TYPE, element_bytes, fault, forward, relates_to, reply, wrap

__all__ = [
    "CONTACT",
    "CONTENT_TYPE",
    "LIMITS",
    "MEBIBYTE",
    "Answer",
    "Envelope",
    "FaultAnswer",
    "Limits",
    "ReceiptAnswer",
    "ReplyAnswer",
    "action_of",
    "answer",
    "authority",
    "canonical",
    "digest",
    "element_bytes",
    "fault",
    "forward",
    "gunzip",
    "read",
    "relates_to",
    "reply",
    "text_of",
    "wrap",
]
