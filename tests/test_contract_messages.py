# SPDX-License-Identifier: MPL-2.0
"""Messages: the classes are the schema's types, letter for letter."""

from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal
from types import UnionType
from typing import get_args, get_origin, get_type_hints
from uuid import UUID

import pytest
import xmlschema

from sygefravaer.contract import messages, names, package
from sygefravaer.contract.messages import (
    REFERENCES,
    Element,
    FejlType,
    kvittering_advarsel,
    kvittering_fejl,
    kvittering_ok,
)
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.values import Cpr

SIMPLE = {
    "UUIDType": UUID,
    "PNRType": Cpr,
    "DatoType": date,
    "TidspunktType": datetime,
    "AfsendelsestidspunktType": datetime,
    "boolean": bool,
    "SagsVersionType": int,
    "RykkernummerType": int,
    "SideType": int,
    "SideStoerrelseType": int,
    "AntalType": int,
    "ForbrugteUgerType": Decimal,
    "FravaerstimerPrUgeType": Decimal,
}


def local(qname):
    return qname.rpartition("}")[2]


def declared(group, *, optional=False):
    """Each child of a group: name, namespace, type, whether it may be absent, whether it repeats."""
    for part in group:
        absent = optional or part.min_occurs == 0
        if isinstance(part, xmlschema.validators.XsdGroup):
            yield from declared(part, optional=absent)
        else:
            yield part.local_name, part.target_namespace, part.type, absent, part.max_occurs != 1


def held(cls):
    """Give the same of a class, from its fields."""
    hints = get_type_hints(cls)
    for field in fields(cls):
        hint = hints[field.name]
        many = get_origin(hint) is tuple
        optional = isinstance(hint, UnionType) or (many and field.default == ())
        kind = get_args(hint)[0] if many or isinstance(hint, UnionType) else hint
        yield field.name, REFERENCES.get(field.name, cls.NAMESPACE), kind, optional, many


def compare(cls, kind):
    """Hold a class against a type, and all below."""
    ours, theirs = list(held(cls)), list(declared(kind.content))
    assert [(name, namespace, optional, many) for name, namespace, _, optional, many in ours] == [
        (name, namespace, optional, many) for name, namespace, _, optional, many in theirs
    ], cls.__name__
    for (_, _, ours_kind, _, _), (_, _, their_kind, _, _) in zip(ours, theirs, strict=True):
        if their_kind.is_complex():
            assert ours_kind.__name__ == local(their_kind.name)
            compare(ours_kind, their_kind)
        else:
            assert ours_kind is SIMPLE.get(local(their_kind.name), str), (cls.__name__, their_kind.name)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_classes_are_the_types_of_the_schema(operation):
    """Names, order, namespaces, cardinalities and simple types agree, from the message down to the last element."""
    schema = xmlschema.XMLSchema(str(package.ROOT / names.MSG_FILES[operation.service]), allow="local")
    request = schema.elements[operation.request_name].type
    reply = schema.elements[operation.reply_name].type

    assert local(request.name) == f"{operation.request.__name__}Type"
    assert local(reply.name).removesuffix("Type") == operation.reply.__name__
    compare(operation.request, request)
    compare(operation.reply, reply)


def test_every_class_is_in_a_message():
    """Nothing is left over that no message can hold."""

    def below(cls):
        yield cls
        for _, _, kind, _, _ in held(cls):
            if issubclass(kind, Element):
                yield from below(kind)

    used = {each for row in OPERATIONS.values() for top in (row.request, row.reply) for each in below(top)}
    defined = {each for each in vars(messages).values() if isinstance(each, type) and issubclass(each, Element)}
    assert defined - used == {messages.Element, messages.Reply, messages.Request}


def test_receipts():
    """OK carries no list; remarks and reasons come with their texts, in the order given."""
    assert (kvittering_ok().TransportValideringsKode, kvittering_ok().FejlListe) == ("OK", None)
    assert kvittering_advarsel("F306", "F307").TransportValideringsKode == "ADVARSEL"
    assert [each.FejlKode for each in kvittering_advarsel("F306", "F307").FejlListe.Fejl] == ["F306", "F307"]
    refused = kvittering_fejl("G009")
    assert refused.TransportValideringsKode == "FEJL"
    assert refused.FejlListe.Fejl == (
        FejlType(FejlKode="G009", FejlTekst="KASSERET: Beskeden er kasseret af driften og bliver ikke leveret."),
    )
    with pytest.raises(KeyError):
        kvittering_fejl("X999")
