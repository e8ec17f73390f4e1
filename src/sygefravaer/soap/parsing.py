# SPDX-License-Identifier: MPL-2.0
"""
Bytes to a tree: the only XML parser for what comes from outside.

No DTD, no entities, nothing fetched, and limits on size, depth and number before a caller's document is walked.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

from lxml import etree

from sygefravaer.errors import HttpRefusal, MalformedRequest

MEBIBYTE: Final = 1024 * 1024

_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_ENCODINGS: Final[Mapping[str, str]] = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "windows-1252": "cp1252",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
_DECLARED: Final = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_DTD: Final = "It holds a document type declaration (DTD)."
_PARAMETERS: Final = re.compile(r""";\s*([A-Za-z]+)\s*=\s*(?:"([^"]*)"|'?([^\s;"']*))""")
_GZIP: Final = 31  # zlib's number for a gzip container

_parsers = threading.local()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of anything a caller may send. Bytes, counts, seconds."""

    body: int = 5 * MEBIBYTE
    inflate: int = 20 * MEBIBYTE
    depth: int = 64
    nodes: int = 100_000
    attributes: int = 1_000  # of one element; also all namespace declarations together
    all_attributes: int = 10_000
    read_seconds: float = 30.0


LIMITS: Final = Limits()


def gunzip(body: bytes, cap: int) -> bytes:
    """Inflate a gzip body. Raises `HttpRefusal` (413) beyond `cap` bytes, `MalformedRequest` (400) when broken."""
    whole = bytearray()
    rest = body
    try:
        while rest:
            engine = zlib.decompressobj(_GZIP)
            whole += engine.decompress(rest, cap + 1 - len(whole))
            if len(whole) > cap:
                raise HttpRefusal(413, f"The body inflates to more than {cap} bytes.")
            if not engine.eof:
                raise MalformedRequest("The gzip body ends too early.", status=400)
            rest = engine.unused_data
    except zlib.error as error:
        raise MalformedRequest("The body is not gzip, as Content-Encoding says.", status=400) from error
    return bytes(whole)


def charset(content_type: str) -> str | None:
    """Give the charset that a media type names."""
    return parameter(content_type, "charset")


@lru_cache(maxsize=256)
def parameter(content_type: str, name: str) -> str | None:
    """Give a parameter of a media type, without quotes."""
    for key, quoted, plain in _PARAMETERS.findall(content_type):
        if key.lower() == name:
            return str(quoted or plain)
    return None


def transcoded(body: bytes, charset: str | None) -> tuple[bytes, tuple[str, ...]]:
    """Give the document in UTF-8 without byte order mark: by that mark, else HTTP, else its declaration, else a guess.

    Undeclared bytes that are not UTF-8 are taken as Latin-1: clients that send them are about.
    """
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return _decoded(body[len(mark) :], encoding), ()
    if charset is None and (found := _DECLARED.match(body[:200])):
        charset = found[1].decode()
    if charset is None and body[:2] in {b"<\0", b"\0<"}:
        charset = "utf-16"
    if charset is not None:
        known = _ENCODINGS.get(charset.strip().lower())
        if known is None:
            raise MalformedRequest("The character encoding is not one of UTF-8, UTF-16, ISO-8859-1.", status=400)
        if known == "utf-16":
            known = "utf-16-le" if body[1:2] == b"\0" else "utf-16-be"
        return _decoded(body, known), ()
    try:
        return _decoded(body, "utf-8"), ()
    except MalformedRequest:
        return _decoded(body, "latin-1"), ("encoding.latin1",)


def _decoded(body: bytes, encoding: str) -> bytes:
    try:
        text = body.decode(encoding)
        return body if encoding in {"utf-8", "ascii"} else text.encode()
    except UnicodeError as error:
        raise MalformedRequest(f"The bytes are not {encoding}, as they are said to be.", status=400) from error


def _parser() -> etree.XMLParser:
    """Give this thread's parser. `collect_ids` stays as it is: with it off, a parameter entity opens local files."""
    if not hasattr(_parsers, "parser"):
        _parsers.parser = etree.XMLParser(
            encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
        )
    return cast("etree.XMLParser", _parsers.parser)


def parse(document: bytes, limits: Limits) -> etree._Element:
    """Parse a document in UTF-8. Raises `MalformedRequest`, with the line and the rule and nothing of the text."""
    _look_over(document, limits)
    try:
        root = etree.fromstring(document, _parser())
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise MalformedRequest(f"It is not well-formed XML ({_kind(error)}, line {line}, column {column}).") from None
    if root.getroottree().docinfo.internalDTD is not None:  # a second lock: _look_over has refused it
        raise MalformedRequest(_DTD)
    if _deeper_than(root, limits.depth):
        raise MalformedRequest(f"Its elements are nested deeper than {limits.depth} levels.")
    if document.count(b"=") > limits.attributes and _crowded(root, limits):
        raise MalformedRequest(
            f"It has more than {limits.attributes} attributes in one element, or {limits.all_attributes} in all."
        )
    return root


def _look_over(document: bytes, limits: Limits) -> None:
    """Refuse by the bytes alone what no parser should see."""
    if document.lstrip()[:1] != b"<":
        raise MalformedRequest("It is not XML: it does not begin with a tag.", status=400)
    if len(document) > limits.inflate:
        raise MalformedRequest(f"It is longer than {limits.inflate} bytes.")
    if b"\0" in document:
        raise MalformedRequest("It holds a NUL character.")
    if b"<!DOCTYPE" in document:
        raise MalformedRequest(_DTD)
    if document.count(b"<") > 2 * limits.nodes:  # a start and an end for each
        raise MalformedRequest(f"It has more than {limits.nodes} nodes.")
    if document.count(b"xmlns") > limits.attributes:
        raise MalformedRequest(f"It has more than {limits.attributes} namespace declarations.")


def _kind(error: etree.XMLSyntaxError) -> str:
    """Name the rule of XML that was broken. The parser's own sentence is not used: it quotes the document."""
    return _XML_RULES.get(getattr(error, "code", 0), "SYNTAX")


_XML_RULES: Final[Mapping[int, str]] = {
    number: name.removeprefix("ERR_") for name, number in vars(etree.ErrorTypes).items() if name.startswith("ERR_")
}


def _deeper_than(root: etree._Element, depth: int) -> bool:
    if depth not in _DEEPER:
        _DEEPER[depth] = etree.XPath("boolean(" + "/*" * (depth + 1) + ")")
    return bool(_DEEPER[depth](root))


_DEEPER: Final[dict[int, etree.XPath]] = {}


def _crowded(root: etree._Element, limits: Limits) -> bool:
    counts = [len(element.attrib) for element in root.iter(etree.Element)]
    return max(counts) > limits.attributes or sum(counts) > limits.all_attributes
