# SPDX-License-Identifier: MPL-2.0
"""
The postman: takes mails from the outbox and hands them to an SMTP server, in a thread, with no transaction open.

A mail that was handed over and not settled (a kill between the two) goes again with the same Message-ID, by which a
mailbox knows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import smtplib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Final

from sygefravaer.config import Mailing, MailTls
from sygefravaer.errors import StoreError, UsageError
from sygefravaer.mail import outbox
from sygefravaer.mail.outbox import Claimed, Letter, Status
from sygefravaer.mail.texts import check_address, is_address
from sygefravaer.store import Store

LOG: Final = logging.getLogger(__name__)

AT_ONCE: Final = 20  # mails per connection
_PERMANENT: Final = 500
_EVENTS: Final = {Status.SENT: "mail.sent", Status.QUEUED: "mail.delayed", Status.FAILED: "mail.failed"}


@dataclass(frozen=True, kw_only=True)
class Server:
    """The mail server, what it is told, and from whom the mails are. `tls` None: nothing is kept private."""

    host: str
    port: int
    sender: str
    mode: MailTls
    tls: ssl.SSLContext | None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    patience: float = 30.0

    @classmethod
    def of(cls, settings: Mailing) -> Server:
        """Make the server that the settings describe; raises `UsageError`."""
        try:
            tls = None if settings.tls is MailTls.NONE else ssl.create_default_context(cafile=settings.ca)
        except OSError as error:  # ssl.SSLError is one
            raise UsageError(
                "TlsFiles", "The CA bundle of the mail server cannot be used.", try_this="Check `mail.ca`."
            ) from error
        return cls(
            host=settings.host,
            port=settings.port,
            sender=check_address(settings.sender),
            mode=settings.tls,
            tls=tls,
            user=settings.user,
            password=None if settings.password is None else _password(settings.password),
            patience=settings.timeout,
        )


def _password(path: Path) -> str:
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("MailPasswordUnreadable", f"{path} cannot be read as a password.") from error
    if mode & 0o077 or not text:
        raise UsageError("MailPasswordUnreadable", f"{path} must hold a password and have mode 600.")
    return text


class Postman:
    """Sends what is in the outbox. Several may run: each mail is one's."""

    def __init__(
        self,
        store: Store,
        server: Server,
        *,
        every: float = 5.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._server = server
        self._every = every
        self._now = now
        self._domain = check_address(server.sender).partition("@")[2]

    async def run(self) -> None:
        """Send until cancelled. A database that is away is waited for."""
        while True:
            try:
                while await self.send():
                    pass
            except StoreError as error:
                LOG.warning("mail.outbox_away", extra={"code": error.code})
            except Exception:  # a mail is no reason to stop a gateway
                LOG.exception("mail.unsent")
            await asyncio.sleep(self._every)

    async def send(self) -> int:
        """Send what is due, some at a time; give how many were taken."""
        claimed = await outbox.claim(self._store, now=self._now(), limit=AT_ONCE)
        if not claimed:
            return 0
        failures = await _beside(self._delivered, [one.letter for one in claimed])
        for one, (failure, final) in zip(claimed, failures, strict=True):
            await self._settle(one, failure, final=final)
        return len(claimed)

    async def _settle(self, one: Claimed, failure: str | None, *, final: bool) -> None:
        status = await outbox.settle(self._store, one, failure, final=final, now=self._now())
        told = {"mail": one.letter.mail_id, "kind": one.letter.kind, "reason": failure}
        LOG.log(logging.INFO if status is Status.SENT else logging.WARNING, _EVENTS[status], extra=told)

    def _delivered(self, letters: list[Letter]) -> list[tuple[str | None, bool]]:
        """Hand mails over, one after another; give why each was not taken, and whether it never will be."""
        told: list[tuple[str | None, bool]] = []
        try:
            with self._connected() as connection:
                for letter in letters:
                    told.append(self._handed(connection, letter))  # noqa: PERF401  kept when the next one fails
        except smtplib.SMTPAuthenticationError as error:
            failure = f"authentication {error.smtp_code}"
        except smtplib.SMTPResponseException as error:
            failure = f"SMTP {error.smtp_code}"
        except (smtplib.SMTPException, OSError) as error:  # ssl.SSLError is one
            failure = type(error).__name__
        else:
            return told
        return told + [(failure, False)] * (len(letters) - len(told))

    def _connected(self) -> smtplib.SMTP:
        # It greets by the sender's domain: this machine's own name is nobody's business, and slow to ask for.
        server = self._server
        if server.mode is MailTls.IMPLICIT:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, local_hostname=self._domain, timeout=server.patience, context=server.tls
            )
        else:
            connection = smtplib.SMTP(server.host, server.port, local_hostname=self._domain, timeout=server.patience)
        try:
            if server.mode is MailTls.STARTTLS:
                connection.starttls(context=server.tls)  # refused by the server: raises, and nothing is sent in clear
            if server.user is not None:
                connection.login(server.user, server.password or "")
        except BaseException:
            connection.close()
            raise
        return connection

    def _handed(self, connection: smtplib.SMTP, letter: Letter) -> tuple[str | None, bool]:
        if not is_address(letter.address):
            return outbox.BAD_ADDRESS, True
        try:
            connection.send_message(self._message(letter), self._server.sender, [letter.address])
        except smtplib.SMTPRecipientsRefused as error:
            code = next(iter(error.recipients.values()))[0]
            return f"recipient {code}", code >= _PERMANENT
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            return f"SMTP {error.smtp_code}", error.smtp_code >= _PERMANENT
        return None, False

    def _message(self, letter: Letter) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._server.sender
        message["To"] = letter.address
        message["Subject"] = letter.subject
        message["Date"] = format_datetime(self._now())
        message["Message-ID"] = f"<sygefravaer.{letter.mail_id}.{letter.resent}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.body)
        return message


async def _beside(
    work: Callable[[list[Letter]], list[tuple[str | None, bool]]], letters: list[Letter]
) -> list[tuple[str | None, bool]]:
    """Work in a thread that no end of the process waits for: a mail server that hangs holds up no stop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[tuple[str | None, bool]]] = loop.create_future()

    def told(result: list[tuple[str | None, bool]] | BaseException) -> None:
        if done.cancelled():
            return
        if isinstance(result, BaseException):
            done.set_exception(result)
        else:
            done.set_result(result)

    def run() -> None:
        result: list[tuple[str | None, bool]] | BaseException
        try:
            result = work(letters)
        except Exception as error:  # noqa: BLE001  it is raised where it is waited for
            result = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(told, result)

    threading.Thread(target=run, name="mail", daemon=True).start()
    return await done
