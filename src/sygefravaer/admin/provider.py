# SPDX-License-Identifier: MPL-2.0
"""
Signing in at an OpenID provider: authorization code with PKCE, state and nonce.

What the provider says is believed when it comes over TLS from the issuer that the settings name, is signed by a key
that the issuer publishes, is for this client, and answers the very sign-in that this browser began. What a person may
do here is what the claims say today.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import jwt

from sygefravaer.admin.accounts import Role
from sygefravaer.config import Login
from sygefravaer.errors import LoginRefused, ProviderFailed, UsageError

PATIENCE: Final = 10.0  # seconds for one question to the provider
READ_MAX: Final = 256 * 1024
LEEWAY: Final = 60  # seconds that two clocks may differ
_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA")  # signatures only: never none, never a shared secret
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_WELL_KNOWN: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A sign-in that has begun: where the browser goes, and what the answer must fit."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, kw_only=True)
class Vouched:
    """Whom the provider vouches for."""

    subject: str
    person: str
    name: str
    cvr: str
    roles: frozenset[Role]


class Provider:
    """The provider that the settings name."""

    def __init__(self, login: Login, secret: str | None = None) -> None:
        """Raise `UsageError` when the settings name a role that is none, or an issuer without TLS."""
        self.login = login
        self._secret = secret
        self._roles: dict[str, Role] = {}
        for pair in login.roles:
            value, equals, role = pair.rpartition("=")
            if not equals or role not in set(Role):
                raise UsageError(
                    "SettingWrong", f"`login.roles` wants `value=role`; a role is one of {', '.join(Role)}."
                )
            self._roles[value] = Role(role)
        _check_url(login.issuer)

    async def begin(self) -> Begun:
        """Begin a sign-in; raises `ProviderFailed`."""
        async with _session() as session:
            told = await self._discovered(session)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.login.client_id,
            "redirect_uri": self.login.redirect,
            "scope": self.login.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return Begun(
            url=f"{told['authorization_endpoint']}?{urlencode(query)}", state=state, nonce=nonce, verifier=verifier
        )

    async def vouched(self, code: str, *, nonce: str, verifier: str) -> Vouched:
        """Change the code for what the provider says of the person; raises `LoginRefused`, `ProviderFailed`."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.login.redirect,
            "client_id": self.login.client_id,
            "code_verifier": verifier,
        }
        shown = {}
        if self._secret is not None:  # RFC 6749, 2.3.1: both are quoted first
            shown["Authorization"] = aiohttp.encode_basic_auth(quote(self.login.client_id), quote(self._secret))
        async with _session() as session:
            told = await self._discovered(session)
            answer = await _ask(session, "POST", str(told["token_endpoint"]), data=form, headers=shown)
            keys = await _ask(session, "GET", str(told["jwks_uri"]))
        return self._read(self._checked(str(answer.get("id_token", "")), keys), nonce)

    def _checked(self, token: str, keys: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            known = jwt.get_unverified_header(token).get("kid")
            published = jwt.PyJWKSet.from_dict(dict(keys)).keys
            key = next(one for one in published if known is None or one.key_id == known)
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(_ALGORITHMS),
                audience=self.login.client_id,
                issuer=self.login.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iat", "aud", "iss", "sub", "nonce"]},
            )
        except (jwt.PyJWTError, StopIteration) as error:
            raise LoginRefused("The provider's word cannot be checked.") from error
        # OpenID Connect Core 3.1.3.7, 4 and 5: a word for several says for whom it was made.
        for_several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if for_several else self.login.client_id) != self.login.client_id:
            raise LoginRefused("The provider's word is for somebody else.")
        return claims

    def _read(self, claims: Mapping[str, Any], nonce: str) -> Vouched:
        if not hmac.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
            raise LoginRefused("The provider's word answers another sign-in.")
        said = claims.get(self.login.roles_claim)
        values = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        person = claims.get(self.login.person_claim)
        if not person or not isinstance(person, str):
            raise LoginRefused("The provider does not say who the person is.")
        return Vouched(
            subject=str(claims["sub"]),
            person=f"{self.login.issuer} {person}",
            name=str(claims.get(self.login.name_claim) or "")[:200],
            cvr=str(claims.get(self.login.cvr_claim) or ""),
            roles=frozenset(self._roles[value] for value in values if isinstance(value, str) and value in self._roles),
        )

    async def _discovered(self, session: aiohttp.ClientSession) -> Mapping[str, Any]:
        told = await _ask(session, "GET", self.login.issuer.rstrip("/") + _WELL_KNOWN)
        if told.get("issuer") != self.login.issuer:
            raise ProviderFailed("It says that it is another issuer.")
        try:
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                _check_url(str(told.get(name, "")))
        except UsageError as error:
            raise ProviderFailed("It names an endpoint without TLS.") from error
        return told


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE), trust_env=False)


async def _ask(session: aiohttp.ClientSession, method: str, url: str, **more: Any) -> Mapping[str, Any]:
    """Ask the provider; a refusal of the code is the person's, anything else the provider's."""
    try:
        async with session.request(method, url, allow_redirects=False, **more) as answer:
            body = await answer.content.read(READ_MAX)
            while not answer.content.at_eof() and len(body) < READ_MAX:
                body += await answer.content.read(READ_MAX - len(body))
            told = json.loads(body)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ProviderFailed from error
    if answer.status in {400, 401} and method == "POST":
        raise LoginRefused("The provider does not stand by it.")
    if answer.status != 200 or not isinstance(told, dict):  # noqa: PLR2004  HTTP's own number
        raise ProviderFailed
    return told


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise UsageError("SettingWrong", "`login.issuer` and what it names must be https (http on this machine only).")
