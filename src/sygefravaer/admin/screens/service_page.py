# SPDX-License-Identifier: MPL-2.0
"""
The service page: what the service is and how it is called, for everybody, made from the contract that runs.

The headings are those of the page that the service has elsewhere; the sentences are ours. As JSON: `/service.json`.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from sygefravaer.admin.office import In, Office
from sygefravaer.admin.screens.frame import Screen, Seen
from sygefravaer.admin.screens.status_page import services, words
from sygefravaer.admin.screens.texts import danish
from sygefravaer.agreements.catalogue import CATALOGUE
from sygefravaer.contract import names, package
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.errors import NotThere

SCREEN: Final = Screen(name="service", path="/service", label=danish("Servicen"), roles=None)
VERSIONS: Final = "snitfladeversioner"
ZIP: Final = "application/zip"
WSDL: Final = "text/xml; charset=utf-8"
router: Final = SCREEN.router()


@router.get("/service.json")
async def as_json(office: In) -> JSONResponse:
    """Tell the same as JSON."""
    return JSONResponse({"services": [described(one, office) for one in Service]})


@router.get("/service/kontrakt/{service}.zip")
async def contract(service: str) -> Response:
    """Give the package of a service: WSDL and schemas."""
    name = f"{_named(service).value}-2.0.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(package.archive(_named(service)), media_type=ZIP, headers=headers)


@router.get("/service/kontrakt/{path:path}")
async def file(path: str) -> Response:
    """Give one file of the packages."""
    found = package.packaged(path)
    if found is None:
        raise NotThere
    return Response(found, media_type=WSDL)


@router.get(SCREEN.path)
@router.get(SCREEN.path + "/{service}")
async def page(request: Request, view: Seen, office: In, service: str = Service.SYGEFRAVAER) -> Response:
    """Show one of the two services."""
    shown = _named(service)
    states = {one["service"]: one for one in await services(request)}
    return view.page(
        "service/page.html",
        service=described(shown, office),
        current=states[shown.value],
        others=[one for one in Service if one is not shown],
        **words(),
    )


def _named(service: str) -> Service:
    if service not in set(Service):
        raise NotThere
    return Service(service)


def described(service: Service, office: Office) -> dict[str, Any]:
    """Describe a service from its contract."""
    offer = next(one for one in CATALOGUE if one.service is service)
    operations = [OPERATIONS[name] for name in offer.operations]
    wsdl = {"context": names.WSDL_FILES[service], "flat": names.FLAT_FILES[service]}
    if service is Service.SYGEFRAVAER_JC:
        wsdl |= {"modtager": names.WSDL_FILES[names.MODTAGER], "modtager_flat": names.FLAT_FILES[names.MODTAGER]}
    return {
        "service": service.value,
        "uuid": names.SERVICE_UUIDS[service],
        "uuid_published": service is Service.SYGEFRAVAER,
        "entity_id": names.ENTITY_IDS[service],
        "version": "2.0",
        "interface_versions": [one.kode for one in LISTS[VERSIONS]],
        "namespace": service.namespace,
        "path": service.path,
        "endpoint": None if office.gateway is None else office.gateway.rstrip("/") + service.path,
        "environment": office.environment.value,
        "display_group": offer.display_group,
        "contract": f"/service/kontrakt/{service.value}.zip",
        "wsdl": {name: f"/service/kontrakt/{path}" for name, path in wsdl.items()},
        "operations": [
            {
                "operation": one.name,
                "sf": one.sf,
                "lookup": one.lookup,
                "to_ksd": one.to_ksd,
                "soap_action": one.soap_action,
                "request": one.request_name,
                "response": one.reply_name,
                "budget_seconds": one.budget,
            }
            for one in operations
        ],
    }
