# SPDX-License-Identifier: MPL-2.0
"""Which operations each WSDL of the contract has, written from the domain (section 3)."""

from sygefravaer.contract.names import MODTAGER, SYGEFRAVAER, SYGEFRAVAER_JC

_TO_JOBCENTRES = ("SendHaendelseSygefravaerssag", "SendAnmodningForlaengelse")
WSDL_OPERATIONS = {
    SYGEFRAVAER: (
        "SendForretningsSvar",
        "SendForretningsSvarForlaengelse",
        "SendOpdateringFravaer",
        "HentSag",
        "HentSagsListe",
    ),
    SYGEFRAVAER_JC: _TO_JOBCENTRES,
    MODTAGER: _TO_JOBCENTRES,
}
