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
    "CaseMalformed": ("Det er ikke et NemrefusionsID.", "Et NemrefusionsID er 32 hexadecimale cifre i fem grupper."),
    "CaseUnknown": ("Jobcentret kender ikke sagen.", "Åbn listen igen, og vælg en sag derfra."),
    "ClockBackwards": ("Uret går kun fremad.", "Vælg et senere tidspunkt, eller start sandkassen forfra."),
    "ClockFixed": ("Delen går efter maskinens ur, som ingen flytter.", "Start sandkassen med et ur, der kan flyttes."),
    "ClockMoves": ("Uret flyttes allerede.", "Vent, til det er fremme."),
    "CprMalformed": ("Det er ikke et CPR-nummer.", "Skriv ti cifre, fødselsdatoen først."),
    "CvrWrong": (
        "CVR-nummeret er ikke gyldigt.",
        "Et CVR-nummer er otte cifre, hvor det sidste kontrollerer de andre.",
    ),
    "DateMalformed": ("Tidspunktet kan ikke læses.", "Skriv dag, klokkeslæt og forskel til UTC."),
    "EventUnknown": ("Hændelsen findes ikke, eller den er ikke kommet.", "Åbn siden igen, og vælg en fra listen."),
    "FieldMissing": ("Et felt mangler.", "Udfyld felterne, og prøv igen."),
    "FieldWrong": ("Et felt er ikke udfyldt, som det kræves.", "Vælg det, der står på listerne, og prøv igen."),
    "MonthMalformed": ("Måneden kan ikke læses.", "Skriv den som 2026-03."),
    "MonthRuns": ("Måneden er ikke forbi, så det, der kommer, kunne ikke trækkes.", "Vælg en måned, der er forbi."),
    "MunicipalityUnknown": ("Jobcentret har ikke den kommune.", "Vælg en af dets egne."),
    "NoAnswer": ("Delen svarede ikke.", "Se på Ur og dele, om den kører, og prøv igen."),
    "NoSuchCase": ("KSD har ikke den sag.", "Åbn listen igen, og vælg en sag derfra."),
    "NoSuchRequest": (
        "Anmodningen findes ikke, eller den venter ikke mere.",
        "Åbn sagen igen, og se, hvad der venter.",
    ),
    "NoSuchTask": ("Opgaven findes ikke, eller den er løst.", "Åbn siden igen."),
    "NobodyThere": ("Delen kører ikke.", "Start den på Ur og dele, og prøv igen."),
    "NotAMunicipality": ("CVR-nummeret er ikke en af de 98 kommuners.", "Vælg en kommune fra listen."),
    "OperationUnknown": ("Beskedtypen findes ikke.", "Vælg en fra listen."),
    "OrganisationUnknown": ("Organisationen er ikke registreret.", "Bed driften om at registrere den."),
    "PartDown": ("En del kører ikke.", "Start den på Ur og dele, og prøv igen."),
    "PartPaused": ("En del er sat på pause.", "Lad den gå videre på Ur og dele, og prøv igen."),
    "PartUnknown": ("Sandkassen har ikke den del.", "Vælg en fra Ur og dele."),
    "PeriodWrong": ("Slutdagen ligger før startdagen.", "Ret dagene, og prøv igen."),
    "PurposeMissing": ("Formålet mangler.", "Skriv, hvorfor der ses på det. Det står i loggen."),
    "RequestNeverEnds": ("Sagen skal aldrig revurderes, så der er intet at forlænge til.", "Afvis anmodningen."),
    "RequestUnknown": ("Anmodningen findes ikke, eller den er besvaret.", "Åbn indbakken igen."),
    "RouteBackdated": ("Dagen er forbi, og det, der er sket, kan ingen rute ændre.", "Vælg i dag eller en senere dag."),
    "ScenarioPlays": ("Et scenarie spiller allerede.", "Vent, til det er færdigt."),
    "ScenarioUnfit": (
        "Scenariet vil have sin egen scene eller en tidligere dag, end sandkassen har nået.",
        "Spil det med `sygefravaer scenario run`, eller start en ny sandkasse.",
    ),
    "ScenarioUnknown": ("Scenariet findes ikke.", "Vælg et fra listen."),
    "SettingMissing": ("Administrationen mangler en indstilling til det.", "Sig det til driften med koden herunder."),
    "SystemNotRegistered": (
        "It-systemet er ikke registreret.",
        "Vælg et fra listen, eller bed driften om at registrere det.",
    ),
    "TaskUnknown": ("Opgaven findes ikke, eller den er løst.", "Åbn indbakken igen."),
    "UpdateUnknown": ("Ingen afvist opdatering har det nummer.", "Åbn indbakken igen."),
    "UrlMissing": ("Systemet har endnu ingen rute for servicen, så dets adresse er ikke kendt.", "Skriv adressen."),
    "WordsHoldNumber": (
        "Der står otte cifre eller flere, og ingens nummer må stå i loggen.",
        "Nævn beskeden ved dens eget nummer og ingen borger.",
    ),
    "WordsMissing": ("Begrundelsen mangler.", "Skriv den. Den står i loggen."),
}
