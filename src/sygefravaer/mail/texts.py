# SPDX-License-Identifier: MPL-2.0
"""What a mail says, by its kind: a subject, a text in Danish, and the facts that stand in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from string import Formatter
from typing import Final

from sygefravaer.errors import UsageError

LONGEST_ADDRESS: Final = 254
LONGEST_FACT: Final = 1000
LEFT_OUT: Final = "(nummer udeladt)"
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+")
_NUMBER: Final = re.compile(r"(?<![0-9A-Za-z-])\d{6}[ -]?\d{4}(?![0-9A-Za-z-])")  # as a personal number is written


class Kind(StrEnum):
    """What a mail can tell of."""

    AGREEMENT_REQUESTED = "agreement_requested"
    AGREEMENT_APPROVED = "agreement_approved"
    AGREEMENT_REJECTED = "agreement_rejected"
    AGREEMENT_EXPIRES = "agreement_expires"
    CERTIFICATE_EXPIRES = "certificate_expires"
    LIMIT_REACHED = "limit_reached"
    MESSAGES_PARKED = "messages_parked"
    ANSWER_OVERDUE = "answer_overdue"


_TEXTS: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.AGREEMENT_REQUESTED: (
        "Serviceaftale venter på godkendelse: {system}",
        (
            "{vendor} anmoder om en serviceaftale for {system} om {service} for {municipality}.\n"
            "Aftalen ({agreement}) skal gælde fra {valid_from}.\n\n"
            "Godkend eller afvis den i administrationen."
        ),
    ),
    Kind.AGREEMENT_APPROVED: (
        "Serviceaftale godkendt: {system} og {municipality}",
        (
            "{municipality} har godkendt serviceaftalen ({agreement}) for {system} om {service}.\n"
            "Den gælder fra {valid_from}. Den tekniske integration kan begynde."
        ),
    ),
    Kind.AGREEMENT_REJECTED: (
        "Serviceaftale afvist: {system} og {municipality}",
        (
            "{municipality} har afvist serviceaftalen ({agreement}) for {system} om {service}.\n"
            "Begrundelse: {reason}\n\nDer kan anmodes om en ny."
        ),
    ),
    Kind.AGREEMENT_EXPIRES: (
        "Serviceaftale udløber {valid_to}: {system} og {municipality}",
        (
            "Serviceaftalen ({agreement}) for {system} om {service} for {municipality} gælder til og med {valid_to}.\n"
            "Derefter afvises kald. Beskeder, der er modtaget inden da, afleveres.\n\n"
            "Anmod om en ny aftale, hvis den skal fortsætte."
        ),
    ),
    Kind.CERTIFICATE_EXPIRES: (
        "Certifikat udløber om {days} dage: {system}",
        (
            "Certifikatet {name} (SHA-256 {thumbprint}) for {system} gælder til og med {valid_to}.\n"
            "Derefter kan systemet ikke kalde. Med det standser:\n\n{stops}\n\n"
            "Registrér det nye certifikat i administrationen, før det gamle udløber."
        ),
    ),
    Kind.LIMIT_REACHED: (
        "Forbrugsloft nået: {system} og {municipality}",
        (
            "{system} har for {municipality} foretaget {calls} kald af {service} i perioden fra {period}.\n"
            "Forbrugsloftet er {limit} kald. Kald afvises ikke: dette er kun en besked.\n"
            "Serviceaftale: {agreement}."
        ),
    ),
    Kind.MESSAGES_PARKED: (
        "Parkerede beskeder: {messages} til {system}",
        (
            "{messages} beskeder til {system} er parkeret ({cause}), den ældste modtaget {oldest}.\n"
            "De venter på, at en person tager stilling: sygefravaer deliveries list --by-cause."
        ),
    ),
    Kind.ANSWER_OVERDUE: (
        "Ubesvaret hændelse: {system}, {municipality}",
        (
            "{system} har ikke svaret på beskeden {message} ({operation}) for {municipality}.\n"
            "Svaret skulle være givet {due}. Dette er påmindelse nr. {reminder}."
        ),
    ),
}


def _fields(kind: Kind) -> frozenset[str]:
    return frozenset(name for text in _TEXTS[kind] for _, name, _, _ in Formatter().parse(text) if name)


FACTS: Final[Mapping[Kind, frozenset[str]]] = {kind: _fields(kind) for kind in Kind}
"""The facts that each kind needs, and no others."""


def check_address(address: str) -> str:
    """Give a mailbox's address when it is one and nothing else; raises `UsageError`, which does not repeat it."""
    if not is_address(address):
        raise UsageError(
            "MailboxMalformed",
            "The mailbox is not one address of the form name@domain, in ASCII.",
            try_this="Give one address without a display name.",
        )
    return address


def is_address(address: str) -> bool:
    """Say whether this is one address, and nothing that could be more."""
    return len(address) <= LONGEST_ADDRESS and _ADDRESS.fullmatch(address) is not None


def written(kind: Kind, facts: Mapping[str, object]) -> tuple[str, str]:
    """
    Write subject and text; facts are words, numbers and days.

    What looks like a personal number is left out. Raises `ValueError` when a fact is missing or there is one too many.
    """
    if frozenset(facts) != FACTS[kind]:
        raise ValueError(f"a mail of kind {kind} wants {', '.join(sorted(FACTS[kind]))}")
    words = {name: _words(value) for name, value in facts.items()}
    subject, text = _TEXTS[kind]
    return subject.format_map(words), text.format_map(words) + "\n"


def _words(value: object) -> str:
    """Write a fact on one line, without what looks like a personal number."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in str(value)).split())
    return _NUMBER.sub(LEFT_OUT, text)[:LONGEST_FACT]
