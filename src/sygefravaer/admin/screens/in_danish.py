# SPDX-License-Identifier: MPL-2.0
"""
What an error says on a Danish page: what is wrong, and what to try there.

English pages say what the API says; so does a Danish page of an error that is not here, in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PROBLEMS: Final[Mapping[str, tuple[str, str]]] = {
    "NotAllowed": (
        "Ingen af dine roller giver adgang til det.",
        "Spørg den, der tildeler roller hos jer. Forsøget står i loggen.",
    ),
    "NotYours": ("Det hører til en anden organisation end din.", "Vælg din egen organisation. Forsøget står i loggen."),
    "TokenMissing": (
        "Formularen kom ikke fra en side, som du har åbnet i denne session.",
        "Åbn siden igen, og prøv forfra.",
    ),
    "NotThere": ("Det findes ikke, eller det er ikke noget, du må se.", "Listerne viser det, der er for dig."),
    "FieldsWrong": (
        "Et eller flere felter mangler eller er ikke udfyldt, som det kræves.",
        "Ret felterne, der er nævnt.",
    ),
    "BodyTooLarge": ("Det, der blev sendt, er større end noget, der hører til her.", "Send højst en megabyte."),
    "VersionMissing": ("Ændringen siger ikke, hvad den er en ændring af.", "Åbn siden igen, og prøv forfra."),
    "VersionChanged": (
        "Andre har ændret det, siden du åbnede siden, og intet er gjort.",
        "Åbn siden igen, se på det, og tag stilling på ny.",
    ),
    "KeyBusy": ("Det samme er allerede i gang.", "Vent lidt, og se, om det er sket."),
    "MoveRefused": ("Det kan ikke ske, som det står nu.", "Åbn siden igen, og se, hvad der kan."),
    "SamePerson": ("Den, der foreslår, kan ikke selv godkende.", "Bed en anden person om at godkende."),
    "ProposalClosed": ("Forslaget er afgjort eller trukket tilbage.", "Lav et nyt, hvis det stadig er ønsket."),
    "ProviderFailed": ("Udbyderen af log ind svarer ikke, som den skal.", "Prøv igen om lidt."),
    "LoginRefused": ("Der blev ikke logget ind.", "Prøv igen, eller spørg driften."),
    "Http404": ("Adressen fører ikke til nogen side.", ""),
    "Http405": ("Siden kan ikke det, der blev bedt om.", ""),
    "InternalError": (
        "Administrationen fejlede, mens den svarede.",
        "Prøv igen, og sig det til driften med klokkeslættet.",
    ),
    "StoreUnavailable": ("Databasen kan ikke nås lige nu.", "Prøv igen om lidt. Beskeder bliver ikke tabt imens."),
}
