# SPDX-License-Identifier: MPL-2.0
"""
What the rooms say in English (checks, rules, plans), in Danish for the screens.

A room says why in one language, so that record, API and command say the same. Each of its sentences stands here once,
with `{}` for what changes; days become Danish days. A sentence that is missing is shown as it is, marked as English,
and a test that lets the rooms say all they can finds it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Final

from markupsafe import Markup, escape

from sygefravaer.admin.screens.texts import danish
from sygefravaer.contract.values import MUNICIPALITIES, municipality_name
from sygefravaer.errors import Party

PARTIES: Final[Mapping[str, str]] = {
    Party.CALLER: danish("Leverandøren"),
    Party.OPERATOR: danish("Driften"),
    Party.RECEIVER: danish("Modtageren"),
    Party.MUNICIPALITY: danish("Kommunen"),
    Party.DEVELOPER: danish("Udvikleren"),
}
"""Who must act."""

STATUSES: Final[Mapping[str, str]] = {
    "draft": danish("Kladde"),
    "requested": danish("Anmodet"),
    "approved": danish("Godkendt"),
    "approved, not begun": danish("Godkendt, ikke begyndt"),
    "rejected": danish("Afvist"),
    "cancelled": danish("Annulleret"),
    "suspended": danish("Suspenderet"),
    "terminated": danish("Opsagt"),
    "expired": danish("Udløbet"),
}
"""How far an agreement has come, and what its period makes of it."""

CHECKS: Final[Mapping[str, str]] = {
    "system": danish("Systemet er åbent"),
    "certificate": danish("Systemet har et gyldigt certifikat"),
    "cvr": danish("Certifikatet er leverandørens eget"),
    "display group": danish("Systemet er i servicens visningsgruppe"),
    "route": danish("Der er en rute for kommunen"),
    "period": danish("Perioden er ikke forbi"),
    "certificate lasts": danish("Certifikatet holder hele perioden"),
    "receives": danish("Beskeder den anden vej når systemet"),
}
"""The checks of a request, by their names."""

_PREFLIGHT: Final = {
    "the system is open": "systemet er åbent",
    "the system is closed": "systemet er lukket",
    "Ask the operator why the system was closed.": "Spørg driften, hvorfor systemet er lukket.",
    "{} registered, {} of them in force today": "{0} registreret, {1} af dem gælder i dag",
    "Register the system's certificate, or its renewal.": "Registrér systemets certifikat eller dets fornyelse.",
    "the certificate names the vendor": "certifikatet nævner leverandøren",
    "no certificate in force names the vendor's CVR": "intet gyldigt certifikat nævner leverandørens CVR-nummer",
    "Register a certificate that was issued to the vendor's own CVR number.": (
        "Registrér et certifikat, der er udstedt til leverandørens eget CVR-nummer."
    ),
    "the service is for {}; the system is in none": "servicen er for {0}; systemet er ikke i nogen",
    "the service is for {}; the system is in {}": "servicen er for {0}; systemet er i {1}",
    "Ask the operator to let the system into the display group.": "Bed driften lukke systemet ind i visningsgruppen.",
    "there is a route": "der er en rute",
    "there is no route of this service for the municipality": "servicen har ingen rute for kommunen",
    "Ask the operator to register where messages of this service for the municipality go.": (
        "Bed driften registrere, hvor servicens beskeder for kommunen skal hen."
    ),
    "its last day is past": "sidste dag er forbi",
    "its period is not over": "perioden er ikke forbi",
    "Draft a new agreement with a later last day.": "Opret en ny aftale med en senere sidste dag.",
    "a certificate lasts as long as the agreement": "et certifikat holder så længe som aftalen",
    "no certificate lasts that long": "intet certifikat holder så længe",
    "Renew the certificate in time; the old one goes on opening beside the new one.": (
        "Forny certifikatet i tide; det gamle virker videre ved siden af det nye."
    ),
    "messages the other way reach this system": "beskeder den anden vej når systemet",
    "messages the other way go elsewhere": "beskeder den anden vej går et andet sted hen",
    "Ask the operator to route what goes to the municipality to this system before the first case.": (
        "Bed driften lede kommunens beskeder til systemet før den første sag."
    ),
}
_RULES: Final = {
    "TLS lets the certificate in: it is valid": "TLS lukker certifikatet ind: det er gyldigt",
    "the certificate is registered": "certifikatet er registreret",
    "the certificate's registration is in force": "certifikatets registrering gælder",
    "the system is active": "systemet er åbent",
    "there is an agreement about {} for {}": "der er en aftale om {0} for {1}",
    "the municipality has approved the agreement": "kommunen har godkendt aftalen",
    "the agreement has not been terminated": "aftalen er ikke opsagt",
    "the agreement has begun": "aftalen er begyndt",
    "the agreement has not expired": "aftalen er ikke udløbet",
    "the agreement is not suspended": "aftalen er ikke suspenderet",
    "there is a route of {} for {}": "der er en rute for {0} til {1}",
}
_FOUND: Final = {
    "system {}": "system {0}",
    "no such issuer, subject and thumbprint": "udsteder, emne og aftryk findes ikke samlet",
    "the same subject with another certificate: a renewed certificate must be registered": (
        "samme emne med et andet certifikat: et fornyet certifikat skal registreres"
    ),
    "active, {}": "aktiv, {0}",
    "withdrawn, {}": "trukket tilbage, {0}",
    "from {}": "fra {0}",
    "{} to {}": "{0} til {1}",
    "open": "åbent",
    "closed": "lukket",
    "{} found": "{0} fundet",
    "agreement {}: {}, {}": "aftale {0}: {1}, {2}",
    "none": "ingen",
    "to {}, {}": "til {0}, {1}",
    "{} for {}": "{0} for {1}",
    "{}: {}": "{0}: {1}",
}
_REMEDIES: Final = {
    "The vendor has the certificate renewed, and registers the new one.": (
        "Leverandøren får certifikatet fornyet og registrerer det nye."
    ),
    "The vendor registers this certificate with the system that uses it.": (
        "Leverandøren registrerer certifikatet på det system, der bruger det."
    ),
    "The vendor registers the renewed certificate with the system, and until then calls with the one before.": (
        "Leverandøren registrerer det fornyede certifikat på systemet og kalder indtil da med det forrige."
    ),
    "The vendor calls with a certificate that has not been withdrawn, or registers this one again.": (
        "Leverandøren kalder med et certifikat, der ikke er trukket tilbage, eller registrerer dette igen."
    ),
    "The vendor registers the certificate for a period that covers the day of the call.": (
        "Leverandøren registrerer certifikatet for en periode, der dækker kaldets dag."
    ),
    "The operator opens the system again, or says why it was closed.": (
        "Driften åbner systemet igen eller siger, hvorfor det er lukket."
    ),
    "The vendor requests an agreement for this service, and the municipality approves it.": (
        "Leverandøren anmoder om en aftale om servicen, og kommunen godkender den."
    ),
    "The vendor sends the draft to the municipality as a request.": (
        "Leverandøren sender kladden til kommunen som anmodning."
    ),
    "The municipality approves the request that waits for it.": "Kommunen godkender den anmodning, der venter.",
    "The vendor requests a new agreement, and the municipality approves it.": (
        "Leverandøren anmoder om en ny aftale, og kommunen godkender den."
    ),
    "The vendor calls from {} on; the municipality can agree to an earlier day.": (
        "Leverandøren kalder fra {0}; kommunen kan aftale en tidligere dag."
    ),
    "The operator resumes the agreement.": "Driften genoptager aftalen.",
    "The operator lets the route to {} begin earlier than {}.": "Driften lader ruten til {0} begynde før {1}.",
    "The operator registers a new route for the municipality: the last one has ended.": (
        "Driften registrerer en ny rute for kommunen: den sidste er udløbet."
    ),
    "The operator registers the municipality's system as the route of this service.": (
        "Driften registrerer kommunens system som servicens rute."
    ),
}
_ROUTES: Final = {
    "its system is registered in {}": "dens system er registreret i {0}",
    "it begins on {}": "den begynder {0}",
    "its last day was {}": "dens sidste dag var {0}",
    "one that is the municipality's own, or began later, comes first": (
        "en, der er kommunens egen eller er begyndt senere, går forud"
    ),
    "the municipality's own, begun last": "kommunens egen, begyndt sidst",
    "that of all municipalities, begun last": "alle kommuners fælles, begyndt sidst",
    "the old system has surely not had it": "det gamle system har med sikkerhed ikke fået den",
    "the old system may have it: it will be parked": "det gamle system kan have fået den: den bliver parkeret",
    "the old system may have it: that one gets it until it has answered": (
        "det gamle system kan have fået den: det får den, til det har svaret"
    ),
    "waits behind {}, which is parked": "venter bag {0}, der er parkeret",
    "waits behind {}, and moves when that has ended": "venter bag {0} og flytter, når den er afsluttet",
    "waits behind {}, which will be parked": "venter bag {0}, der bliver parkeret",
    "{}: it will be parked": "{0}: den bliver parkeret",
    "delivered and not answered": "leveret og ikke besvaret",
    "no route": "ingen rute",
    "the route leads to another system": "ruten fører til et andet system",
    "the message names another system": "beskeden nævner et andet system",
    "the system takes no substitute numbers": "systemet tager ikke erstatningsnumre",
    "the body cannot be opened": "indholdet kan ikke åbnes",
    "A later change to {} on {} is cancelled by this one.": "En senere ændring til {0} den {1} bortfalder ved denne.",
    "A later change to {} on {} still counts from its day on.": "En senere ændring til {0} den {1} gælder stadig.",
    "The new system has no agreement with the municipality on that day: it cannot answer.": (
        "Det nye system har ingen aftale med kommunen den dag: det kan ikke svare."
    ),
    "The old system has no agreement on that day any more: its answers will be refused.": (
        "Det gamle system har ikke længere en aftale den dag: dets svar bliver afvist."
    ),
    "The old system can answer until its agreement ends on {}.": (
        "Det gamle system kan svare, til dets aftale udløber {0}."
    ),
    "nobody": "ingen svarede",
    "an HTTP server": "en HTTP-server svarede, men ikke en SOAP-service",
    "a SOAP service": "en SOAP-service svarede",
    "a server without TLS that both sides accept": "en server uden TLS, som begge sider godtager",
}
SENTENCES: Final[Mapping[str, str]] = {**_PREFLIGHT, **_RULES, **_REMEDIES, **_ROUTES, **_FOUND}
"""Every sentence; where several fit, the first counts."""

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def in_danish(text: str) -> str | None:
    """Say in Danish what a room has said; None when it is not known here."""
    for form, wanted in _forms():
        if (found := form.fullmatch(text)) is not None:
            parts = [_part(one) for one in found.groups()]
            return wanted.format(*parts)
    return None


def said(text: str, language: str) -> Markup:
    """Give a room's sentence in the language of the page; what has no Danish is marked as English."""
    if language != "da":
        return escape(text)
    told = in_danish(text)
    return escape(told) if told is not None else Markup('<span lang="en">{}</span>').format(text)


def _part(text: str) -> str:
    """Put what changes into Danish, too: a day, a status, a municipality, a sentence inside a sentence."""
    if _DAY.fullmatch(text):
        return date.fromisoformat(text).strftime("%d.%m.%Y")
    if text in STATUSES:
        return STATUSES[text].lower()
    if text in MUNICIPALITIES:
        return municipality_name(text)
    return in_danish(text) or _DAY.sub(lambda day: _part(day[0]), text)


@cache
def _forms() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple(_form(said, wanted) for said, wanted in SENTENCES.items())


def _form(text: str, wanted: str) -> tuple[re.Pattern[str], str]:
    return re.compile("(.+?)".join(re.escape(piece) for piece in text.split("{}"))), wanted
