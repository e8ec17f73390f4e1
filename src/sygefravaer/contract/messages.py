# SPDX-License-Identifier: MPL-2.0
"""
One frozen dataclass per type of the contract, spelled letter for letter as the XSD spells it.

Classes carry the XSD's type names (of a message: its element's name), fields carry element names in schema order. An
optional element is `None` when absent, a repeatable one is a tuple, code lists are plain text that the schema has
judged, times are aware. `NAMESPACE` is the namespace of a type's children; the elements that are references stand in
`REFERENCES` with theirs. A message holds what came off the wire: rules are judged by `operations`, never by decoding.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import ClassVar, Final, Generic, TypeVar
from uuid import UUID

from sygefravaer.contract.codes import fejl_text
from sygefravaer.contract.names import (
    NS_AUTHORITY,
    NS_CALLCONTEXT,
    NS_FAELLES,
    NS_JC,
    NS_KVITTERING,
    NS_SYGEFRAVAER,
)
from sygefravaer.contract.values import Cpr

REFERENCES: Final = {
    "CallContext": NS_CALLCONTEXT,
    "AuthorityContext": NS_AUTHORITY,
    "Hoved": NS_FAELLES,
    "Forretningskvittering": NS_KVITTERING,
    "TransportKvittering": NS_KVITTERING,
}
"""Global elements that messages refer to, and their namespaces; every other element is local to its type."""


class Element:
    """Something with child elements."""

    __slots__ = ()
    NAMESPACE: ClassVar[str]


class Reply(Element):
    """What an operation answers."""

    __slots__ = ()


ReplyT_co = TypeVar("ReplyT_co", bound=Reply, covariant=True)


# --- the platform's own ---


@dataclass(frozen=True, kw_only=True, slots=True)
class CallContextType(Element):
    """The caller's own words about the call; each at most 255 characters."""

    NAMESPACE: ClassVar[str] = NS_CALLCONTEXT
    OnBehalfOfUser: str | None = None
    CallersServiceCallIdentifier: str | None = None
    AccountingInfo: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthorityContextType(Element):
    """The municipality on whose behalf the call is made."""

    NAMESPACE: ClassVar[str] = NS_AUTHORITY
    MunicipalityCVR: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FejlType(Element):
    """A code and its text."""

    NAMESPACE: ClassVar[str] = NS_KVITTERING
    FejlKode: str
    FejlTekst: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FejlListeType(Element):
    """Errors or remarks, at least one."""

    NAMESPACE: ClassVar[str] = NS_KVITTERING
    Fejl: tuple[FejlType, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TransportKvitteringType(Element):
    """The transport receipt: OK, ADVARSEL (kept, with remarks) or FEJL (refused, final)."""

    NAMESPACE: ClassVar[str] = NS_KVITTERING
    TransportValideringsKode: str
    Begrundelse: str | None = None
    FejlListe: FejlListeType | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ForretningskvitteringType(Element):
    """The business receipt: MODTAGET, AFLEVERET, ACCEPTERET, AFVIST or FEJLET."""

    NAMESPACE: ClassVar[str] = NS_KVITTERING
    ForretningsValideringsKode: str
    Begrundelse: str | None = None
    FejlListe: FejlListeType | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SygefravaerResponse(Reply):
    """The answer to every send; the name of its element is the operation's."""

    NAMESPACE: ClassVar[str] = NS_KVITTERING
    TransportKvittering: TransportKvitteringType


# --- shared by both services ---


@dataclass(frozen=True, kw_only=True, slots=True)
class HovedType(Element):
    """The header of every request."""

    NAMESPACE: ClassVar[str] = NS_FAELLES
    BeskedID: UUID
    Beskedtype: str
    SnitfladeID: str
    SnitfladeVersion: str
    KorrelationsID: UUID
    ReferenceBeskedID: UUID | None = None
    AfsenderMyndighedCVR: str
    ModtagerMyndighedCVR: str
    AfsenderSystemID: UUID
    ModtagerSystemID: UUID | None = None
    Kommunekode: str
    Afsendelsestidspunkt: datetime
    CprNummer: Cpr
    NemrefusionsID: UUID | None = None
    Testmarkering: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ArbejdsgiverType(Element):
    """The citizen's employer."""

    NAMESPACE: ClassVar[str] = NS_FAELLES
    CVRNummer: str | None = None
    PNummer: str | None = None
    Navn: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DelvisPeriodeType(Element):
    """A period of partial absence, in hours a week."""

    NAMESPACE: ClassVar[str] = NS_FAELLES
    FraDato: date
    TilDato: date | None = None
    FravaerstimerPrUge: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class ForlaengelseType(Element):
    """An extension that was granted."""

    NAMESPACE: ClassVar[str] = NS_FAELLES
    Forlaengelseskode: str
    FraDato: date
    TilDato: date | None = None
    AfgoerelsesDato: date


@dataclass(frozen=True, kw_only=True, slots=True)
class SygefravaerssagType(Element):
    """A complete picture of a case as KSD holds it."""

    NAMESPACE: ClassVar[str] = NS_FAELLES
    SagsID: UUID
    SagsVersion: int
    NemrefusionsID: UUID
    TilknyttetNemrefusionsID: tuple[UUID, ...] = ()
    CprNummer: Cpr
    TidligereCprNummer: tuple[Cpr, ...] = ()
    Kommunekode: str
    Sagsart: str
    StartSagsart: str | None = None
    SagsTilstand: str
    Fravaerstype: str
    FoersteFravaersdag: date
    SidsteFravaersdag: date | None = None
    FoersteBeregningsdag: date | None = None
    SidsteBeregningsdag: date | None = None
    AnmeldelsesDato: date
    ForventetRaskmeldingsdato: date | None = None
    Beskaeftigelsesstatus: str
    Arbejdsgiver: ArbejdsgiverType | None = None
    AkasseKode: str | None = None
    Visitationskategori: str | None = None
    DelvisPeriode: tuple[DelvisPeriodeType, ...] = ()
    ForbrugteUger: Decimal | None = None
    RevurderingsDato: date | None = None
    Forlaengelse: tuple[ForlaengelseType, ...] = ()
    LivstruendeSygdom: bool | None = None
    TidligOpfoelgning: bool | None = None
    OplysningsskemaModtaget: date | None = None
    AfslutningsDato: date | None = None
    Afslutningsaarsag: str | None = None
    SenestAendret: datetime


# --- used by Sygefravaer only ---


@dataclass(frozen=True, kw_only=True, slots=True)
class OpfoelgningType(Element):
    """A follow-up that is planned, held or missed."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    Opfoelgningstype: str
    Form: str
    PlanlagtTid: datetime | None = None
    AfholdtTid: datetime | None = None
    Udfald: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RaskmeldingType(Element):
    """A report of recovery."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    SidsteFravaersdag: date
    MeddeltAf: str
    MeddeltDato: date


@dataclass(frozen=True, kw_only=True, slots=True)
class ManglendeMedvirkenType(Element):
    """A suspicion that the citizen does not cooperate; KSD decides."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    HaendelsesDato: date
    Type: str
    PartshoeringSendt: date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OvergangType(Element):
    """A transfer to another scheme."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    Type: str
    Dato: date


@dataclass(frozen=True, kw_only=True, slots=True)
class SagType(Element):
    """A case in a list."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    SagsID: UUID
    NemrefusionsID: UUID
    Sagsart: str
    FoersteFravaersdag: date
    SidsteFravaersdag: date | None = None
    SagsTilstand: str
    Kommunekode: str
    CVRNummer: str | None = None
    RevurderingsDato: date | None = None
    SagsVersion: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SagsListeType(Element):
    """Cases, perhaps none."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    Sag: tuple[SagType, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class HaendelseType(Element):
    """Something that happened to a case, and the message that told of it."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    SagsVersion: int
    Haendelsestype: str
    HaendelsesDato: date
    Aendringsaarsag: tuple[str, ...] = ()
    BeskedID: UUID
    RegistreretTidspunkt: datetime


# --- replies to look-ups ---


@dataclass(frozen=True, kw_only=True, slots=True)
class HentSagResponse(Reply):
    """KSD's answer to HentSag: a case, or errors."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    Sygefravaerssag: SygefravaerssagType | None = None
    Haendelse: tuple[HaendelseType, ...] = ()
    OverflyttetTilKommunekode: str | None = None
    FejlListe: FejlListeType | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HentSagsListeResponse(Reply):
    """KSD's answer to HentSagsListe: one page of the citizen's cases."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    SagsListe: SagsListeType
    AntalIAlt: int
    FlereSider: bool
    FejlListe: FejlListeType | None = None


# --- requests ---


@dataclass(frozen=True, kw_only=True, slots=True)
class Request(Element, Generic[ReplyT_co]):
    """What every request begins with; its parameter is the reply it gets."""

    CallContext: CallContextType | None = None
    AuthorityContext: AuthorityContextType | None = None
    Hoved: HovedType


@dataclass(frozen=True, kw_only=True, slots=True)
class SendHaendelseSygefravaerssagRequest(Request[SygefravaerResponse]):
    """KSD tells a jobcentre that a case was created, changed or ended (SF2090)."""

    NAMESPACE: ClassVar[str] = NS_JC
    Haendelsestype: str
    HaendelsesDato: date
    Aendringsaarsag: tuple[str, ...] = ()
    ForrigeSagsVersion: int | None = None
    Sygefravaerssag: SygefravaerssagType


@dataclass(frozen=True, kw_only=True, slots=True)
class SendForretningsSvarRequest(Request[SygefravaerResponse]):
    """A jobcentre answers an event (SF2090)."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    Forretningskvittering: ForretningskvitteringType
    SagsID: UUID
    SagsVersion: int
    JobcentersagID: UUID | None = None
    ModtagetTidspunkt: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class SendAnmodningForlaengelseRequest(Request[SygefravaerResponse]):
    """KSD asks a jobcentre whether sickness benefit can be extended (SF2093)."""

    NAMESPACE: ClassVar[str] = NS_JC
    AnmodningID: UUID
    Rykkernummer: int
    Anmodningstype: str
    RevurderingsDato: date
    Svarfrist: date
    MuligeForlaengelseskoder: tuple[str, ...]
    ForbrugteUger: Decimal
    Sygefravaerssag: SygefravaerssagType


@dataclass(frozen=True, kw_only=True, slots=True)
class SendForretningsSvarForlaengelseRequest(Request[SygefravaerResponse]):
    """A jobcentre says which ground for an extension applies, or refuses (SF2093)."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    AnmodningID: UUID
    Forretningskvittering: ForretningskvitteringType
    Forlaengelseskode: str | None = None
    ForlaengelseFra: date | None = None
    ForlaengelseTil: date | None = None
    Afvisningsaarsag: str | None = None
    VurderingsDato: date
    SagsVersion: int
    NaesteOpfoelgning: date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SendOpdateringFravaerRequest(Request[SygefravaerResponse]):
    """A jobcentre tells KSD what has happened in its case (SF2095)."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    OpdateringID: UUID
    SagsID: UUID | None = None
    JobcentersagID: UUID
    JobcentersagStatus: str
    Opdateringstype: tuple[str, ...]
    Visitationskategori: str | None = None
    VisitationsDato: date | None = None
    Opfoelgning: tuple[OpfoelgningType, ...] = ()
    ForventetRaskmeldingsdato: date | None = None
    Raskmelding: RaskmeldingType | None = None
    DelvisPeriode: tuple[DelvisPeriodeType, ...] = ()
    ManglendeMedvirken: ManglendeMedvirkenType | None = None
    Overgang: OvergangType | None = None
    GyldigFra: date


@dataclass(frozen=True, kw_only=True, slots=True)
class HentSagRequest(Request[HentSagResponse]):
    """A jobcentre asks for one case (SF2096)."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    SagsID: UUID | None = None
    SagsVersion: int | None = None
    InkluderHistorik: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HentSagsListeRequest(Request[HentSagsListeResponse]):
    """A jobcentre asks for every case KSD holds on one citizen (SF2096)."""

    NAMESPACE: ClassVar[str] = NS_SYGEFRAVAER
    FraDato: date | None = None
    TilDato: date | None = None
    SagsTilstand: tuple[str, ...] = ()
    Side: int | None = None
    SideStoerrelse: int | None = None


# --- receipts ---


@cache
def fejlliste(*codes: str) -> FejlListeType:
    """Make the list of these codes with their texts; `KeyError` for a code the contract does not have."""
    return FejlListeType(Fejl=tuple(FejlType(FejlKode=code, FejlTekst=fejl_text(code)) for code in codes))


OK: Final = "OK"
ADVARSEL: Final = "ADVARSEL"
FEJL: Final = "FEJL"


@cache
def kvittering_ok() -> TransportKvitteringType:
    """Make the receipt of a receiver that has the message; it carries no FejlListe."""
    return TransportKvitteringType(TransportValideringsKode=OK)


@cache
def kvittering_advarsel(*codes: str) -> TransportKvitteringType:
    """Make a receipt for a message that is kept, with these remarks (G006, F306, F307)."""
    return TransportKvitteringType(TransportValideringsKode=ADVARSEL, FejlListe=fejlliste(*codes))


@cache
def kvittering_fejl(*codes: str) -> TransportKvitteringType:
    """Make a receipt for a message that is refused for good, for these reasons."""
    return TransportKvitteringType(TransportValideringsKode=FEJL, FejlListe=fejlliste(*codes))
