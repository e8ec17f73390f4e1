# SPDX-License-Identifier: MPL-2.0
"""What every command has in common: exit codes, how an error is shown, an example in its help, --json and --dir."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from sygefravaer.errors import ActRefused, CallFailed, StoreError, SygefravaerError, UsageError

REFUSED: Final = 1
USED_WRONGLY: Final = 2
NO_ANSWER: Final = 3
DATABASE: Final = 4
BROKEN: Final = 70  # sysexits.h: EX_SOFTWARE
INTERRUPTED: Final = 130
_USAGE: Final[Mapping[str, int]] = {
    "Interrupted": INTERRUPTED,
    "PartEnded": BROKEN,
    "PartSilent": BROKEN,
    "SupervisorEnded": BROKEN,
}
DEFAULT_DIR: Final = Path(".sandbox")

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_JSON: Final = "sygefravaer.json"


def wants_json(context: click.Context, _: click.Parameter, value: bool) -> bool:  # noqa: FBT001  click's signature
    """Note that an error is to be shown in the same way."""
    context.meta[_JSON] = value
    return value


json_option = click.option("--json", "as_json", is_flag=True, callback=wants_json, help="Print one JSON object.")


class Failure(click.ClickException):
    """An error of ours, as a command shows it."""

    def __init__(self, error: SygefravaerError, *, as_json: bool) -> None:
        super().__init__(error.text)
        self.exit_code = exit_code(error)  # type: ignore[misc]  # click sets it on instances too
        self._error = error
        self._json = as_json

    def show(self, file: Any = None) -> None:
        """Write it to standard error; with --json also as an object to standard output."""
        error = self._error
        hint = getattr(error, "try_this", "") or error.hint
        text = error.detail if isinstance(error, UsageError | ActRefused) and error.detail else error.text
        if self._json:
            told = {"code": error.code, "text": text, "who": error.who.value, "try": hint}
            click.echo(json.dumps({"error": told}, ensure_ascii=False))
        click.echo(f"Error: {text}", err=True, file=file)
        click.echo(f"  code: {error.code}; who must act: {error.who.value}", err=True, file=file)
        if hint:
            click.echo(f"  try:  {hint}", err=True, file=file)


def exit_code(error: SygefravaerError) -> int:
    """Say how a command ends on this error."""
    if isinstance(error, UsageError):
        return _USAGE.get(error.code, USED_WRONGLY)
    if isinstance(error, StoreError):
        return DATABASE
    if isinstance(error, CallFailed) and error.retryable:
        return NO_ANSWER
    return REFUSED


class Commands(click.Group):
    """A group whose commands raise our errors."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours becomes its message and its exit code."""
        try:
            return super().invoke(ctx)
        except SygefravaerError as error:
            raise Failure(error, as_json=bool(ctx.meta.get(_JSON))) from error


def example(*lines: str) -> Callable[[CommandT], CommandT]:
    """End a command's help with lines that can be typed."""

    def add(command: CommandT) -> CommandT:
        shown = "\n".join(f"  {line}" for line in lines)
        command.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\n\b\nExample:\n{shown}\n"
        return command

    return add


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write rows under headings, each column as wide as it must be."""
    widths = [max(len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (headings, *rows)]


dir_option = click.option(
    "--dir", "directory", type=click.Path(path_type=Path), default=DEFAULT_DIR, show_default=True, help="The sandbox."
)
