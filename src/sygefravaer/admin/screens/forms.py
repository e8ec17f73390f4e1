# SPDX-License-Identifier: MPL-2.0
"""
Forms that people fill in: read as the API reads a body, and drawn again with what was wrong.

A field that was left empty is one that was not sent. What is refused is written down as every refusal is.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from sygefravaer.admin.problems import fields_of, problem_of, write_down
from sygefravaer.errors import FieldsWrong, SygefravaerError

FILE_MAX: Final = 64 * 1024  # of a file that stands for a text
TOKEN: Final = "csrf"  # noqa: S105  the field's name

FormT = TypeVar("FormT", bound=BaseModel)


class Given(dict[str, str]):
    """What a form is drawn with; a field that nobody has filled in is empty."""

    def __missing__(self, _name: str) -> str:
        """Give an empty field."""
        return ""


async def sent(request: Request) -> dict[str, str]:
    """Give what a form holds, by field, without its token; a file stands for the text that is in it."""
    found: dict[str, str] = {}
    async with request.form() as form:
        for name, value in form.items():
            if name == TOKEN:
                continue
            text = (await _text(name, value)).strip() if isinstance(value, UploadFile) else value.strip()
            if text:
                found[name] = text
    return found


async def _text(name: str, file: UploadFile) -> str:
    content = await file.read(FILE_MAX + 1)
    try:
        if len(content) > FILE_MAX:
            raise FieldsWrong(((name, f"a file of at most {FILE_MAX} bytes"),))
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise FieldsWrong(((name, "a file of plain text"),)) from error


def read(form: type[FormT], fields: dict[str, str], **more: Any) -> FormT:
    """Make what a form asks for of its fields; raises `FieldsWrong`."""
    try:
        return form.model_validate(fields | more)
    except ValidationError as error:
        raise fields_of(RequestValidationError(error.errors())) from None  # pydantic's own text holds the value


async def refusal(request: Request, error: SygefravaerError) -> dict[str, Any]:
    """Write down what a person was refused, and say it as a problem for the page that is drawn again."""
    await write_down(request, error)
    return problem_of(error)
