# SPDX-License-Identifier: MPL-2.0
"""
The contract package as others fetch it: served over HTTP, as plain files, flat, and compiled for validation.

Only files that lie in the package are known: a request names one exactly or gets nothing, so no path can lead out.
"""

import io
import posixpath
import threading
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from lxml import etree

from sygefravaer.contract.names import (
    FLAT_FILES,
    MSG_FILES,
    NS_WSDL,
    NS_WSDL_SOAP,
    NS_WSP,
    NS_XSD,
    PACKAGE_PATH,
    PACKAGES,
    WSDL_FILES,
)

ROOT: Final = Path(__file__).parent / "schema"

_XS_IMPORT: Final = f"{{{NS_XSD}}}import"
_XS_INCLUDE: Final = f"{{{NS_XSD}}}include"
_WSDL_IMPORT: Final = f"{{{NS_WSDL}}}import"
_WSDL_MESSAGE: Final = f"{{{NS_WSDL}}}message"
_WSDL_TYPES: Final = f"{{{NS_WSDL}}}types"
_WSDL_FAULT: Final = f"{{{NS_WSDL}}}fault"
_POLICY: Final = f"{{{NS_WSP}}}Policy"
_POLICY_REFERENCE: Final = f"{{{NS_WSP}}}PolicyReference"
_SOAP_ADDRESS: Final = f"{{{NS_WSDL_SOAP}}}address"

# Which attribute of which element points at another file of the package.
_LINKS: Final[Mapping[str, str]] = {
    _XS_IMPORT: "schemaLocation",
    _XS_INCLUDE: "schemaLocation",
    _WSDL_IMPORT: "location",
    _POLICY_REFERENCE: "URI",
}

_NO_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can say
_compiled = threading.local()


def document(service: str, query: str, base_url: str) -> bytes | None:
    """Answer `GET {base_url}?{query}` for a service: its WSDL, a file that the WSDL leads to, or nothing.

    `wsdl` is the service's own WSDL and `wsdl=flat` (or `singleWsdl`) the one without imports; `wsdl=PATH` and
    `xsd=PATH` name another file of its package. Imports are rewritten to such queries on `base_url`, and the
    service's address becomes `base_url`. `None`: no such service, or nothing of that name.
    """
    path = _asked(service, query)
    if path not in _files():
        return None
    tree = _parse(path)
    for link, attribute in _links(tree.getroot()):
        target, _, fragment = link.get(attribute, "").partition("#")
        if target:
            inside = _resolved(path, target).removeprefix(f"{PACKAGES[service]}/")
            kind = inside.rpartition(".")[2]
            link.set(attribute, f"{base_url}?{kind}={quote(inside)}" + (f"#{fragment}" if fragment else ""))
    for address in tree.iter(_SOAP_ADDRESS):
        address.set("location", base_url)
    return _bytes(tree)


def packaged(path: str) -> bytes | None:
    """Give a file of the packages as it is shipped, imports relative; `None` when there is none of that name.

    `path` is the URL's path, with or without `/administration/wsdl/` in front:
    `/administration/wsdl/Sygefravaer/wsdl/context/SygefravaerService.wsdl`.
    """
    file = _files().get(path.removeprefix(PACKAGE_PATH))
    return file.read_bytes() if file else None


def archive(service: str) -> bytes:
    """Give the whole package of a service as a zip file, imports relative; the same bytes each time."""
    root, written = f"{PACKAGES[service]}/", io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(one for one in _files() if one is not None and one.startswith(root)):
            made.writestr(zipfile.ZipInfo(path, _NO_DATE), packaged(path) or b"", zipfile.ZIP_DEFLATED)
    return written.getvalue()


def schema(service: str) -> etree.XMLSchema:
    """Give the compiled schema of a service's messages; `KeyError` when there is no such service.

    Everything it imports lies beside it: no lookup leaves the package. Compiled once per thread, because a compiled
    schema keeps the error log of its last validation.
    """
    if not hasattr(_compiled, "schemas"):
        _compiled.schemas = {}
    schemas: dict[str, etree.XMLSchema] = _compiled.schemas
    if service not in schemas:
        schemas[service] = etree.XMLSchema(_parse(MSG_FILES[service]))
    return schemas[service]


def flat_wsdl(service: str) -> bytes:
    """Make the WSDL of a service with nothing to fetch: schemas, fault messages and policy stand in it.

    One `xs:schema` per namespace; its imports carry no location. `KeyError` when there is no such service.
    """
    path = WSDL_FILES[service]
    tree = _parse(path)
    root = tree.getroot()
    imported = [_resolved(path, link.get("location", "")) for link in root.iterchildren(_WSDL_IMPORT)]
    _inline_schemas(root, [schema for wsdl in (path, *imported) for schema in _typed(wsdl)])
    for other in imported:
        _inline_definitions(root, _parse(other).getroot())
    for link in list(root.iterchildren(_WSDL_IMPORT)):
        root.remove(link)
    for fault in root.iter(_WSDL_FAULT):
        if "message" in fault.attrib:  # its message stands in this document's namespace now
            fault.set("message", "tns:" + fault.get("message", "").partition(":")[2])
    for reference in root.iter(_POLICY_REFERENCE):
        reference.set("URI", "#" + reference.get("URI", "").partition("#")[2])
    return _bytes(tree)


def write_flat() -> None:
    """Write the flat WSDLs where they are checked in; to be run after a change of the package."""
    for service, path in FLAT_FILES.items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_bytes(flat_wsdl(service))


@cache
def _files() -> Mapping[str | None, Path]:
    return {path.relative_to(ROOT).as_posix(): path for path in ROOT.rglob("*.*") if path.is_file()}


def _parse(path: str | None) -> etree._ElementTree:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_blank_text=True)
    return etree.parse(_files()[path], parser)


def _bytes(tree: etree._ElementTree) -> bytes:
    return etree.tostring(tree, encoding="UTF-8", xml_declaration=True, pretty_print=True)


def _resolved(path: str | None, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path or ""), link))


def _links(root: etree._Element) -> Iterator[tuple[etree._Element, str]]:
    for tag, attribute in _LINKS.items():
        for link in root.iter(tag):
            if link.get(attribute):
                yield link, attribute


def _asked(service: str, query: str) -> str | None:
    kind, _, name = query.partition("=")
    match kind.lower(), unquote(name):
        case ("singlewsdl", "") | ("wsdl", "flat"):
            return FLAT_FILES.get(service)
        case "wsdl", "":
            return WSDL_FILES.get(service)
        case ("wsdl" | "xsd") as suffix, inside if inside.endswith(f".{suffix}"):
            return f"{PACKAGES.get(service)}/{inside}"
    return None


def _inline_schemas(root: etree._Element, paths: list[str]) -> None:
    """Put the schemas that start at `paths`, and all they lead to, in place of the children of `wsdl:types`."""
    by_namespace: dict[str, list[etree._Element]] = {}
    for found in _reached(paths):
        by_namespace.setdefault(found.get("targetNamespace", ""), []).append(found)
    for types in root.iterchildren(_WSDL_TYPES):
        types[:] = []
        types.extend(_merged(parts) for parts in by_namespace.values())


def _typed(path: str) -> list[str]:
    """List the schemas that a WSDL of the package includes in its types."""
    return [_resolved(path, link.get("schemaLocation", "")) for link in _parse(path).iter(_XS_INCLUDE)]


def _reached(paths: list[str]) -> list[etree._Element]:
    """List the schemas at `paths` and all they lead to, those led to first: some tools read no further than here."""
    seen: dict[str, etree._Element] = {}
    trail: list[str] = []

    def visit(path: str) -> None:
        if path in trail:
            return
        trail.append(path)
        found = _parse(path).getroot()
        for link, attribute in _links(found):
            visit(_resolved(path, link.get(attribute, "")))
        seen[path] = found

    for path in paths:
        visit(path)
    return list(seen.values())


def _merged(parts: list[etree._Element]) -> etree._Element:
    """Make one schema of the files of one namespace; the file that includes the others comes last and leads."""
    whole = parts[-1]
    for part in parts[:-1]:
        whole.extend(list(part))
    namespaces = sorted({link.get("namespace", "") for link in whole.iter(_XS_IMPORT)})
    for link in list(whole.iter(_XS_IMPORT, _XS_INCLUDE)):
        whole.remove(link)
    for place, namespace in enumerate(namespaces):
        whole.insert(place, etree.Element(_XS_IMPORT, namespace=namespace))
    return whole


def _inline_definitions(root: etree._Element, imported: etree._Element) -> None:
    """Bring an imported WSDL's policy (to the top) and messages (to the others) into `root`."""
    types = next(root.iterchildren(_WSDL_TYPES))
    messages = next(root.iterchildren(_WSDL_MESSAGE))
    for policy in list(imported.iterchildren(_POLICY)):
        if policy.get("Name") is None:  # stands there twice, once with Name and once with an id
            types.addprevious(policy)
    for message in list(imported.iterchildren(_WSDL_MESSAGE)):
        messages.addprevious(message)
