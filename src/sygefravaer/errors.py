# SPDX-License-Identifier: MPL-2.0
"""
Every kind of error, what it is called, who must act, and whether trying again can help.

    SygefravaerError
      PlatformFault            a ServiceplatformFault on the wire: code and English sentence stand here
        MalformedRequest ... InternalError
      Refused                  a refusal with a FejlKode: its Danish sentence comes from `contract` at the door
      SoapFault                a SOAP fault that has no detail
        VersionMismatch, MustUnderstand, Unreadable
      HttpRefusal              an answer that is HTTP only
      CallFailed               what a caller of somebody else's service meets
        Unreachable, NoAnswer, HttpFailure, NotAnEnvelope, FaultReceived
        NotQuiet               parts of a sandbox did not come to rest
      StoreError               the database did not do it
        StoreUnavailable, CommitUnknown, Conflict, MigrationError
      DeliveryRefused          what a person wants done with messages or routes is not done
        PlanChanged, NotParked, NoSuchMessage, NothingOwed, NoSuchMail, NoSuchAgreement,
        RouteStands
      AdminRefused             the administration does not do what a person or program asks of it; an HTTP status each
        NotSignedIn, LoginRefused, TooManyLogins, NotAllowed, NotYours, TokenMissing, NotThere, FieldsWrong
        BodyTooLarge, VersionMissing, VersionChanged, KeyReused, KeyBusy, MoveRefused, PreflightFailed, NotVisible
        CertificateRefused, Taken, SamePerson, ProposalClosed, ProviderFailed
      ActRefused               a control door said no
      UsageError               a command, a setting or a file is wrong; nothing was started
        FieldRefused           so is a field that was given as JSON or on the command line

The docstring of a class is its message. No message ever holds a value from a call: a text says what kind of thing
was found and where, what was wanted, and what to try.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Final, Literal


class Party(StrEnum):
    """Who must act."""

    CALLER = "caller"
    OPERATOR = "operator"
    RECEIVER = "receiver"
    MUNICIPALITY = "municipality"
    DEVELOPER = "developer"


class SygefravaerError(Exception):
    """Something went wrong that has no better name."""

    code: str = "Error"
    who: ClassVar[Party] = Party.DEVELOPER
    retryable: ClassVar[bool] = False
    hint: ClassVar[str] = ""

    def __init__(self, detail: str = "") -> None:
        self.detail = detail
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """The first paragraph of the docstring, and the detail of this one case if there is any."""
        sentence = " ".join((type(self).__doc__ or "").split("\n\n")[0].split())
        return f"{sentence} {self.detail}".strip()


# --- what the platform answers as a ServiceplatformFault ---


class PlatformFault(SygefravaerError):
    """The platform refused the call."""

    who: ClassVar[Party] = Party.CALLER
    faultcode: ClassVar[Literal["Client", "Server"]] = "Client"
    status: int = 500


class MalformedRequest(PlatformFault):
    """The request is not a well-formed SOAP 1.1 message that this service accepts."""

    code = "MalformedRequest"
    hint: ClassVar[str] = "Send one SOAP 1.1 envelope without DTD, with exactly one element in its Body."

    def __init__(self, detail: str = "", *, status: int = 500) -> None:
        self.status = status
        super().__init__(detail)


class OperationNotFound(PlatformFault):
    """The element in the Body is not an operation of this service."""

    code = "OperationNotFound"
    hint: ClassVar[str] = "Compare the element's name and namespace with the WSDL (GET ?wsdl)."


class SecurityModelNotProvided(PlatformFault):
    """Security model for the called operation was not provided. The following are supported: [AuthorityContext]"""  # noqa: D400  the platform's own words

    code = "SecurityModelNotProvided"
    hint: ClassVar[str] = "Put AuthorityContext/MunicipalityCVR in the request element, before Hoved."


class AuthorityContextInvalid(PlatformFault):
    """AuthorityContext/MunicipalityCVR is not a valid CVR number: eight digits with a correct check sum were wanted."""

    code = "AuthorityContextInvalid"
    hint: ClassVar[str] = "Give the municipality's own CVR number; the 98 of them are in the contract's kommuner.csv."


class UserSystemNotFound(PlatformFault):
    """The client certificate does not belong to a registered user system."""

    code = "UserSystemNotFound"
    hint: ClassVar[str] = "Register the certificate with the user system before it is used, also after a renewal."


class UserSystemInactive(PlatformFault):
    """The user system or its certificate is registered but not active."""

    code = "UserSystemInactive"
    hint: ClassVar[str] = "Ask the operator why it was switched off, naming the CallUUID."


class ServiceAgreementNotFound(PlatformFault):
    """The user system has no service agreement for this service and this municipality."""

    code = "ServiceAgreementNotFound"
    hint: ClassVar[str] = "Ask the municipality for a service agreement in the administration."


class ServiceAgreementNotApproved(PlatformFault):
    """The service agreement has not been approved by the municipality."""

    code = "ServiceAgreementNotApproved"
    hint: ClassVar[str] = "The municipality approves the waiting agreement in the administration."
    who: ClassVar[Party] = Party.MUNICIPALITY


class ServiceAgreementExpired(PlatformFault):
    """The service agreement has expired."""

    code = "ServiceAgreementExpired"
    hint: ClassVar[str] = (
        "Ask the municipality for a new agreement; a repeat of an accepted message still gets its receipt."
    )
    who: ClassVar[Party] = Party.MUNICIPALITY


class ServiceAgreementNotYetValid(PlatformFault):
    """The service agreement is not in force yet."""

    code = "ServiceAgreementNotYetValid"
    hint: ClassVar[str] = "Call from the agreement's first day on."


class ServiceAgreementTerminated(PlatformFault):
    """The service agreement has been terminated."""

    code = "ServiceAgreementTerminated"
    hint: ClassVar[str] = (
        "Ask the municipality for a new agreement; a repeat of an accepted message still gets its receipt."
    )
    who: ClassVar[Party] = Party.MUNICIPALITY


class ServiceAgreementSuspended(PlatformFault):
    """The service agreement is suspended for the time being."""

    code = "ServiceAgreementSuspended"
    hint: ClassVar[str] = "Ask the operator when it is resumed, naming the CallUUID."
    who: ClassVar[Party] = Party.OPERATOR


class SchemaValidationFailed(PlatformFault):
    """The request element is not valid according to the service's XSD."""

    code = "SchemaValidationFailed"
    hint: ClassVar[str] = "Validate the request element against the schema (GET ?wsdl) before sending."


class RoutingNotFound(PlatformFault):
    """There is no route for this service and municipality."""

    code = "RoutingNotFound"
    hint: ClassVar[str] = "The municipality's route must be registered; ask the operator, naming the municipality."
    who: ClassVar[Party] = Party.OPERATOR


class LookupRefused(PlatformFault):
    """The look-up breaks a rule of the contract."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        super().__init__(detail)


class SourceSystemUnavailable(PlatformFault):
    """The source system could not be reached or did not give a usable answer."""

    code = "SourceSystemUnavailable"
    hint: ClassVar[str] = "Look up again in a minute; the status page says how the source system is."
    who: ClassVar[Party] = Party.RECEIVER
    faultcode: ClassVar[Literal["Client", "Server"]] = "Server"
    retryable: ClassVar[bool] = True


class SourceSystemTimeout(PlatformFault):
    """The source system did not answer in time."""

    code = "SourceSystemTimeout"
    hint: ClassVar[str] = "Look up again in a minute; the status page says how the source system is."
    who: ClassVar[Party] = Party.RECEIVER
    faultcode: ClassVar[Literal["Client", "Server"]] = "Server"
    retryable: ClassVar[bool] = True


class InternalError(PlatformFault):
    """The platform failed while it handled the call."""

    code = "InternalError"
    hint: ClassVar[str] = "Send the same message again; if it goes on, ask the operator, naming the CallUUID."
    who: ClassVar[Party] = Party.OPERATOR
    faultcode: ClassVar[Literal["Client", "Server"]] = "Server"
    retryable: ClassVar[bool] = True


# --- refusals with a FejlKode ---


class Refused(SygefravaerError):
    """The message was refused and nothing was stored."""

    who: ClassVar[Party] = Party.CALLER

    def __init__(self, code: str, place: str = "") -> None:
        self.code = code
        self.place = place
        super().__init__(f"[{code}] {place}".strip())


# --- SOAP and HTTP ---


class SoapFault(SygefravaerError):
    """The envelope cannot be handled."""

    who: ClassVar[Party] = Party.CALLER
    faultcode: ClassVar[str] = "Client"
    status: ClassVar[int] = 500


class VersionMismatch(SoapFault):
    """The envelope is not a SOAP 1.1 envelope."""

    code = "VersionMismatch"
    faultcode: ClassVar[str] = "VersionMismatch"


class MustUnderstand(SoapFault):
    """A SOAP header with mustUnderstand="1" is not known to this service."""

    code = "MustUnderstand"
    faultcode: ClassVar[str] = "MustUnderstand"


class Unreadable(SoapFault):
    """The receiver cannot read the message and has no code for it."""

    code = "Unreadable"


class HttpRefusal(SygefravaerError):
    """The request was refused before its content was looked at."""

    who: ClassVar[Party] = Party.CALLER

    def __init__(self, status: int, detail: str = "", *, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.status = status
        self.headers = headers
        self.code = f"HTTP {status}"
        super().__init__(detail)


# --- what a caller meets ---


class CallFailed(SygefravaerError):
    """The call got no usable answer."""

    who: ClassVar[Party] = Party.RECEIVER
    retryable: ClassVar[bool] = True


class Unreachable(CallFailed):
    """No connection could be made, so nothing was received."""

    code = "Unreachable"


class NoAnswer(CallFailed):
    """The connection ended or timed out after the message left: whether it was received is unknown."""

    code = "NoAnswer"


class HttpFailure(CallFailed):
    """The service answered with an HTTP status and no SOAP envelope."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        self.status = status
        self.retry_after = retry_after
        self.code = f"HTTP {status}"
        super().__init__(f"(HTTP {status})")


class NotAnEnvelope(CallFailed):
    """The answer is not the envelope that the operation promises."""

    code = "NotAnEnvelope"


class FaultReceived(CallFailed):
    """The service answered with a fault."""

    retryable: ClassVar[bool] = False

    def __init__(self, faultcode: str, code: str | None, text: str) -> None:
        self.faultcode = faultcode
        self.code = code or faultcode
        self.fault_text = text
        super().__init__(f"({faultcode}, {self.code})")


class NotQuiet(CallFailed):
    """Some parts did not come to rest in time, so the clock was not moved further."""

    code = "NotQuiet"
    hint: ClassVar[str] = "Look at the parts that are named, and move on from here; --timeout gives an instant longer."


# --- the database ---


class StoreError(SygefravaerError):
    """The database did not do what was asked."""

    code = "StoreError"
    who: ClassVar[Party] = Party.OPERATOR


class StoreUnavailable(StoreError):
    """The database cannot be reached, or has no connection free."""

    code = "StoreUnavailable"
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Check that the database server runs and that the DSN in the configuration is right."


class CommitUnknown(StoreError):
    """A commit was not confirmed (connection lost, or the wait for the standby cancelled): its effect is unknown."""

    code = "CommitUnknown"
    retryable: ClassVar[bool] = True


class Conflict(StoreError):
    """Another row with the same key exists."""

    code = "Conflict"


class MigrationError(StoreError):
    """The database's schema does not fit this version of the program."""

    code = "MigrationError"


# --- what a person does with deliveries and routes ---


class DeliveryRefused(SygefravaerError):
    """Nothing was done with the message or the route."""

    who: ClassVar[Party] = Party.OPERATOR


class PlanChanged(DeliveryRefused):
    """What the plan showed is not so any more, and nothing was done."""

    code = "PlanChanged"
    hint: ClassVar[str] = "Make the plan anew, look at it, and run that one."


class NotParked(DeliveryRefused):
    """The message is not parked, so there is nothing for a person to decide."""

    code = "NotParked"
    hint: ClassVar[str] = (
        "`sygefravaer deliveries show` says how it stands; only what is parked is replayed or discarded."
    )


class NoSuchMessage(DeliveryRefused):
    """There is no message with this number or BeskedID."""

    code = "NoSuchMessage"
    hint: ClassVar[str] = "`sygefravaer deliveries list` gives the numbers."


class NothingOwed(DeliveryRefused):
    """Nobody has to be told of the end of this message any more, or ever had to."""

    code = "NothingOwed"
    hint: ClassVar[str] = "`sygefravaer obligations list --kind unheard` shows whose end must still be told."


class NoSuchMail(DeliveryRefused):
    """There is no mail with this number."""

    code = "NoSuchMail"
    hint: ClassVar[str] = "`sygefravaer mail list` gives the numbers."


class NoSuchAgreement(DeliveryRefused):
    """There is no agreement with this id."""

    code = "NoSuchAgreement"
    hint: ClassVar[str] = "The administration shows the agreements and their ids; so does `sygefravaer explain access`."


class RouteStands(DeliveryRefused):
    """On that day the route leads to this system at this address already."""

    code = "RouteStands"
    hint: ClassVar[str] = "`sygefravaer routes list` shows the routes; there is nothing to change."


# --- what the administration answers as a problem ---


class AdminRefused(SygefravaerError):
    """
    The administration did not do it.

    `recorded`: a refusal that is a row in the record, with the rule that decided.
    """

    code = "AdminRefused"
    who: ClassVar[Party] = Party.CALLER
    status: ClassVar[int] = 409
    recorded: ClassVar[bool] = False


class NotSignedIn(AdminRefused):
    """Nobody is signed in, or the session or token is not valid any more."""

    code = "NotSignedIn"
    status: ClassVar[int] = 401
    hint: ClassVar[str] = "Sign in (POST /api/v1/session), or send a valid token as `Authorization: Bearer`."


class LoginRefused(AdminRefused):
    """The sign-in was refused."""

    code = "LoginRefused"
    status: ClassVar[int] = 401
    hint: ClassVar[str] = "Check login and password; an operator can set a new password with `sygefravaer accounts`."


class TooManyLogins(AdminRefused):
    """There were too many refused sign-ins for this login or from this address."""

    code = "TooManyLogins"
    status: ClassVar[int] = 429
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Wait a quarter of an hour, then sign in with the right password."


class NotAllowed(AdminRefused):
    """The signed-in person has no role that may do this."""

    code = "NotAllowed"
    status: ClassVar[int] = 403
    recorded: ClassVar[bool] = True
    hint: ClassVar[str] = "GET /api/v1/session shows your roles; your organisation's administrator gives others."


class NotYours(AdminRefused):
    """This belongs to another organisation than the signed-in person's."""

    code = "NotYours"
    status: ClassVar[int] = 403
    recorded: ClassVar[bool] = True
    hint: ClassVar[str] = "Name your own organisation's CVR number."


class TokenMissing(AdminRefused):
    """A change within a session came without the session's CSRF token."""

    code = "TokenMissing"
    status: ClassVar[int] = 403
    recorded: ClassVar[bool] = True
    hint: ClassVar[str] = "Send the `csrf` of GET /api/v1/session in the header X-CSRF-Token."


class NotThere(AdminRefused):
    """
    There is no such thing, or it is not for the signed-in person to see.

    `foreign`: it is there, and not his; only the record says so.
    """

    code = "NotThere"
    status: ClassVar[int] = 404
    hint: ClassVar[str] = "The lists show what there is for you, with its id."

    def __init__(self, *, foreign: bool = False) -> None:
        self.foreign = foreign
        super().__init__()


class FieldsWrong(AdminRefused):
    """Some fields are missing, unknown, or not what was wanted."""

    code = "FieldsWrong"
    status: ClassVar[int] = 422
    hint: ClassVar[str] = "Compare the fields that are named with /api/v1/openapi.json."

    def __init__(self, fields: tuple[tuple[str, str], ...] = ()) -> None:
        self.fields = fields
        super().__init__()


class BodyTooLarge(AdminRefused):
    """The body of the request is larger than anything that is wanted here."""

    code = "BodyTooLarge"
    status: ClassVar[int] = 413
    hint: ClassVar[str] = "Send at most a megabyte."


class VersionMissing(AdminRefused):
    """A change needs the version that it is a change of."""

    code = "VersionMissing"
    status: ClassVar[int] = 428
    hint: ClassVar[str] = "Read it first, and send its ETag as If-Match."


class VersionChanged(AdminRefused):
    """Somebody has changed it since it was read, and nothing was done."""

    code = "VersionChanged"
    status: ClassVar[int] = 412
    hint: ClassVar[str] = "Read it again, look at it, and send the new ETag as If-Match."


class KeyReused(AdminRefused):
    """The Idempotency-Key has been used for another request."""

    code = "KeyReused"
    status: ClassVar[int] = 422
    hint: ClassVar[str] = "Take a new key for a new request; the same key is for the same request sent again."


class KeyBusy(AdminRefused):
    """A request with this Idempotency-Key has begun and its end is not known."""

    code = "KeyBusy"
    status: ClassVar[int] = 409
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Send it again in a moment; if that goes on, look whether it was done and take a new key."


class MoveRefused(AdminRefused):
    """An agreement that stands as this one does cannot take this step."""

    code = "MoveRefused"
    hint: ClassVar[str] = "Read the agreement again; an agreement that has ended is followed by a new one."


class PreflightFailed(AdminRefused):
    """The request was not passed on, since it could not work as things stand."""

    code = "PreflightFailed"
    hint: ClassVar[str] = "Do what each check that did not pass says, and request again."

    def __init__(self, checks: tuple[Mapping[str, object], ...]) -> None:
        self.more = {"checks": list(checks)}
        super().__init__()


class NotVisible(AdminRefused):
    """The service is for a display group that the system does not belong to."""

    code = "NotVisible"
    status: ClassVar[int] = 403
    recorded: ClassVar[bool] = True
    hint: ClassVar[str] = "Ask the operator to let the system into the display group."


class CertificateRefused(AdminRefused):
    """The certificate cannot be registered for this system."""

    status: ClassVar[int] = 422
    code = "CertificateRefused"
    hint: ClassVar[str] = "Give one certificate in PEM, without its key, from an authority of this environment."


class Taken(AdminRefused):
    """There is one already."""

    code = "Taken"
    hint: ClassVar[str] = "Look it up in the list, and change that one."


class SamePerson(AdminRefused):
    """What one person has proposed another one confirms."""

    code = "SamePerson"
    status: ClassVar[int] = 403
    recorded: ClassVar[bool] = True
    hint: ClassVar[str] = (
        "Let another operator look at it and confirm; another role or account of yours does not count."
    )


class ProposalClosed(AdminRefused):
    """The proposal has been carried out or withdrawn."""

    code = "ProposalClosed"
    hint: ClassVar[str] = "Read the proposal; what is still wanted is a new one."


class ProviderFailed(AdminRefused):
    """The provider at which people sign in did not answer as it should."""

    code = "ProviderFailed"
    status: ClassVar[int] = 502
    who: ClassVar[Party] = Party.OPERATOR
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Try again in a minute; the operator checks `login.issuer` and the provider."


# --- doors of our own ---


class ActRefused(SygefravaerError):
    """The control door refused the act."""

    who: ClassVar[Party] = Party.CALLER

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        super().__init__(detail)


class UsageError(SygefravaerError):
    """The command cannot be carried out as it was given."""

    who: ClassVar[Party] = Party.CALLER
    exit_code: ClassVar[int] = 2

    def __init__(self, code: str, detail: str, *, try_this: str = "") -> None:
        self.code = code
        self.try_this = try_this
        super().__init__(detail)


class FieldRefused(UsageError):
    """A field is missing, unknown, or not what was wanted."""


RETRYABLE_HTTP: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses without an envelope after which the same message may be sent again."""
