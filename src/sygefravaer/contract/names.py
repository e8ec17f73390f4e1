# SPDX-License-Identifier: MPL-2.0
"""
The names of the contract: namespaces, paths, identifiers.

The real packages of SF2090, SF2093, SF2095 and SF2096 are not public. Namespaces of the shared `sp/` schemas, the
path and the UUID of Sygefravaer and its five operations are published; every other name here follows the
conventions of the platform's public packages and stands in this one file so that a real one can replace it.
"""

from collections.abc import Mapping
from typing import Final

SPS: Final = "http://serviceplatformen.dk/xml/schemas"
SPW: Final = "http://serviceplatformen.dk/xml/wsdl/soap11"

NS_SYGEFRAVAER: Final = f"{SPW}/KSD/Sygefravaer/2/"
NS_JC: Final = f"{SPW}/KSD/SygefravaerJC/2/"
NS_FAELLES: Final = f"{SPS}/KSD/SygefravaerFaelles/2/"

# The platform's own, published; each ends in a slash.
NS_KVITTERING: Final = f"{SPS}/kvittering/1/"
NS_CALLCONTEXT: Final = f"{SPS}/CallContext/1/"
NS_AUTHORITY: Final = f"{SPS}/AuthorityContext/1/"
NS_FAULT: Final = f"{SPS}/ServiceplatformFault/1/"
NS_PNR: Final = f"{SPS}/cpr/PNR/1/"
NS_POLICY: Final = f"{SPW}/Security/Policy"  # published without a slash

NS_SOAP11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
NS_SOAP12: Final = "http://www.w3.org/2003/05/soap-envelope"
NS_WSDL: Final = "http://schemas.xmlsoap.org/wsdl/"
NS_WSDL_SOAP: Final = "http://schemas.xmlsoap.org/wsdl/soap/"
NS_XSD: Final = "http://www.w3.org/2001/XMLSchema"
NS_WSP: Final = "http://schemas.xmlsoap.org/ws/2004/09/policy"
NS_WSU: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"

SYGEFRAVAER: Final = "Sygefravaer"
SYGEFRAVAER_JC: Final = "SygefravaerJC"
MODTAGER: Final = "SygefravaerJCModtager"  # the callback contract, implemented by a jobcentre system
SERVICES: Final = (SYGEFRAVAER, SYGEFRAVAER_JC, MODTAGER)

NAMESPACES: Final[Mapping[str, str]] = {SYGEFRAVAER: NS_SYGEFRAVAER, SYGEFRAVAER_JC: NS_JC, MODTAGER: NS_JC}
PACKAGES: Final[Mapping[str, str]] = {
    SYGEFRAVAER: SYGEFRAVAER,
    SYGEFRAVAER_JC: SYGEFRAVAER_JC,
    MODTAGER: SYGEFRAVAER_JC,
}

# Sygefravaer's is published. SygefravaerJC's is made up: UUID 5 of its namespace as URL.
SERVICE_UUIDS: Final[Mapping[str, str]] = {
    SYGEFRAVAER: "b8412953-6454-4f82-b2d9-2668dfcad87c",
    SYGEFRAVAER_JC: "2d2fb990-9bae-51da-93ed-40e96b85226b",
}
PATHS: Final[Mapping[str, str]] = {
    SYGEFRAVAER: "/service/KSD/Sygefravaer/2",
    SYGEFRAVAER_JC: "/service/KSD/SygefravaerJC/2",
}
ENTITY_IDS: Final[Mapping[str, str]] = {
    SYGEFRAVAER: "http://ksd.serviceplatformen.dk/service/sygefravaer/2",
    SYGEFRAVAER_JC: "http://ksd.serviceplatformen.dk/service/sygefravaerjc/2",
}
# Prefix of a soapAction; the operation's name follows. The callback's is the empty string: anything is accepted.
SOAP_ACTIONS: Final[Mapping[str, str]] = {SYGEFRAVAER: NS_SYGEFRAVAER, SYGEFRAVAER_JC: NS_JC}

WSDL_FILES: Final[Mapping[str, str]] = {
    SYGEFRAVAER: "Sygefravaer/wsdl/context/SygefravaerService.wsdl",
    SYGEFRAVAER_JC: "SygefravaerJC/wsdl/context/SygefravaerJCService.wsdl",
    MODTAGER: "SygefravaerJC/SF2090_EP_KSD2-0/SygefravaerJCModtager.wsdl",
}
MSG_FILES: Final[Mapping[str, str]] = {
    SYGEFRAVAER: "Sygefravaer/SygefravaerServiceMsg.xsd",
    SYGEFRAVAER_JC: "SygefravaerJC/SygefravaerJCServiceMsg.xsd",
    MODTAGER: "SygefravaerJC/SygefravaerJCServiceMsg.xsd",
}
FLAT_FILES: Final[Mapping[str, str]] = {
    SYGEFRAVAER: "flat/SygefravaerService.wsdl",
    SYGEFRAVAER_JC: "flat/SygefravaerJCService.wsdl",
    MODTAGER: "flat/SygefravaerJCModtagerService.wsdl",
}
PACKAGE_PATH: Final = "/administration/wsdl/"  # plain files of the packages lie under it

# Each enumeration of the schemas, by the name of its simple type, and the file in `data/` that holds its dates and
# texts. The first two are the platform's (`sp/Kvittering_1.xsd`), the others stand in SygefravaerFaellesTypes.xsd.
CODE_LISTS: Final[Mapping[str, str]] = {
    "TransportValideringsKodeType": "transportvalideringskoder.csv",
    "ForretningsValideringsKodeType": "forretningsvalideringskoder.csv",
    "BeskedtypeType": "beskedtyper.csv",
    "SnitfladeIDType": "snitfladeider.csv",
    "SnitfladeVersionType": "snitfladeversioner.csv",
    "SagsartType": "sagsarter.csv",
    "SagsTilstandType": "sagstilstande.csv",
    "FravaerstypeType": "fravaerstyper.csv",
    "BeskaeftigelsesstatusType": "beskaeftigelsesstatusser.csv",
    "VisitationskategoriType": "visitationskategorier.csv",
    "ForlaengelseskodeType": "forlaengelseskoder.csv",
    "AfvisningsaarsagType": "afvisningsaarsager.csv",
    "HaendelsestypeType": "haendelsestyper.csv",
    "AendringsaarsagType": "aendringsaarsager.csv",
    "AfslutningsaarsagType": "afslutningsaarsager.csv",
    "AnmodningstypeType": "anmodningstyper.csv",
    "JobcentersagStatusType": "jobcentersagstatusser.csv",
    "OpdateringstypeType": "opdateringstyper.csv",
    "OpfoelgningstypeType": "opfoelgningstyper.csv",
    "FormType": "opfoelgningsformer.csv",
    "UdfaldType": "udfald.csv",
    "MeddeltAfType": "meddeltaf.csv",
    "ManglendeMedvirkenArtType": "manglendemedvirkenarter.csv",
}
