# SPDX-License-Identifier: MPL-2.0
"""Signing in at a real OpenID provider, a process of its own: npm's oidc-provider."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from desk import COOKIE, OPERATOR_CVR, ROOMS, VIBORG, Desk, Person
from sygefravaer.admin.provider import Provider
from sygefravaer.config import Login
from sygefravaer.errors import LoginRefused, UsageError

SCRIPT = Path(__file__).parent / "strangers" / "oidc" / "provider.mjs"
BACK = "http://127.0.0.1:1/api/v1/session/provider/back"  # nobody listens there: the test is the browser
BEGUN = "__Host-sygefravaer-login"
PEOPLE = {
    "anna": {"name": "Anna", "cvr": VIBORG, "roles": ["sp-kommune", "else"], "person": "p1"},
    "otto": {"name": "Otto", "cvr": OPERATOR_CVR, "roles": "sp-drift", "person": "p2"},
    "odd": {"name": "Odd", "cvr": "12345678", "roles": ["sp-drift"], "person": "p3"},
    "none": {"name": "None", "cvr": VIBORG, "roles": ["else"], "person": "p4"},
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The provider's package, from the registry, with nothing of it run."""
    directory = tmp_path_factory.mktemp("oidc")
    npm = shutil.which("npm")
    assert npm, "node and npm are needed: the provider is a real one"
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefer-offline"]
    subprocess.run([npm, "install", *options, "oidc-provider@8.8.1"], cwd=directory, check=True, timeout=100)
    shutil.copy(SCRIPT, directory)
    return directory


@pytest.fixture
async def provider(installed, tmp_path):
    """The provider at work; gives its settings, and the file of the people it knows."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    people = tmp_path / "people.json"
    people.write_text(json.dumps(PEOPLE))
    child = await asyncio.create_subprocess_exec(
        *("node", SCRIPT.name, str(port), BACK, str(people)),
        cwd=installed,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    while (await asyncio.wait_for(child.stdout.readline(), 60)).strip() != b"READY":
        assert child.returncode is None
    login = Login(
        issuer=f"http://127.0.0.1:{port}",
        client_id="sygefravaer",
        redirect=BACK,
        person_claim="person",
        roles=("sp-kommune=municipality", "sp-drift=operator"),
    )
    yield login, people
    child.kill()
    await child.wait()


@pytest.fixture
async def desk(make_store, vault, clock, provider):
    login, _ = provider
    async with Desk(await make_store(*ROOMS), vault, clock, provider=Provider(login, "a-secret-of-the-test")) as made:
        yield made


async def begun(desk):
    """Begin a sign-in: where the browser is sent, and the cookie that binds it."""
    told = await desk.call("GET", "/session/provider")
    assert told.status == 303
    flags = told.headers["set-cookie"].lower()
    assert all(flag in flags for flag in (BEGUN.lower(), "httponly", "secure", "samesite=lax"))
    return told.headers["location"], told.cookies[BEGUN]


async def at_provider(url, who):
    """Be the browser at the provider: follow it until it sends back here."""
    cookies = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=cookies, trust_env=False) as session:
        url = f"{url}&login_hint={who}"
        for _ in range(6):
            async with session.get(url, allow_redirects=False) as answer:
                assert answer.status in {302, 303}, await answer.text()
                url = answer.headers["Location"]
            if url.startswith(BACK):
                return parse_qs(urlsplit(url).query)
            url = url if url.startswith("http") else str(answer.url.join(URL(url)))
    raise AssertionError("the provider never sent back")


async def back(desk, cookie, **query):
    path = "/session/provider/back?" + "&".join(f"{name}={value}" for name, value in query.items())
    return await desk.call("GET", path, None, {"Cookie": f"{BEGUN}={cookie}"})


async def signed_in(desk, who):
    url, cookie = await begun(desk)
    query = await at_provider(url, who)
    return await back(desk, cookie, **{name: values[0] for name, values in query.items()})


async def test_a_person_signs_in_at_the_provider(desk, provider):
    """What he may do is what the claims say, today: a role that is taken away is gone at the next sign-in."""
    _, people = provider
    told = await signed_in(desk, "anna")
    assert told.status == 200
    assert "samesite=strict" in told.headers["set-cookie"].lower()
    anna = Person(desk, cookie=told.cookies[COOKIE])
    me = (await anna("GET", "/session")).body
    assert (me["name"], me["cvr"], me["roles"]) == ("Anna", VIBORG, ["municipality"])
    otto = Person(desk, cookie=(await signed_in(desk, "otto")).cookies[COOKIE])
    assert (await otto("GET", "/session")).body["roles"] == ["operator"]

    people.write_text(json.dumps(PEOPLE | {"otto": PEOPLE["otto"] | {"roles": []}}))
    assert (await signed_in(desk, "otto")).body["code"] == "LoginRefused"
    people.write_text(json.dumps(PEOPLE | {"anna": PEOPLE["anna"] | {"cvr": OPERATOR_CVR, "roles": "sp-drift"}}))
    again = Person(desk, cookie=(await signed_in(desk, "anna")).cookies[COOKIE])
    assert (await again("GET", "/session")).body == (await anna("GET", "/session")).body | {
        "csrf": (await again("GET", "/session")).body["csrf"],
    }
    events = [row["event"] for row in await desk.record()]
    assert events.count("account.added") == 2
    assert events.count("account.changed") == 1
    assert events.count("session.refused") == 1


@pytest.mark.parametrize("who", ["odd", "none", "nobody"])
async def test_a_stranger_is_not_let_in(desk, who):
    """No right CVR number, no role here, or unknown to the provider."""
    told = await signed_in(desk, who)
    assert (told.status, told.body["code"]) == (401, "LoginRefused")
    assert COOKIE not in told.cookies


async def test_the_answer_counts_once_and_in_the_browser_that_began(desk, provider):
    """Another's state, another's code, a code again, no cookie, too late: each is refused."""
    url, cookie = await begun(desk)
    query = {name: values[0] for name, values in (await at_provider(url, "anna")).items()}
    other_url, other = await begun(desk)
    other_query = {name: values[0] for name, values in (await at_provider(other_url, "otto")).items()}

    # a right answer in a browser that did not begin it, or in none: nobody is signed in as somebody else unawares
    assert (await back(desk, other, **query)).status == 401
    assert (await back(desk, "", **query)).status == 401
    # the attacker's own code in the victim's sign-in: the verifier, and else the nonce, are another's
    assert (await back(desk, cookie, state=query["state"], code=other_query["code"])).status == 401
    assert (await back(desk, cookie, **query)).status == 401  # the state is used up
    desk.machine = desk.time().replace(year=desk.time().year + 1)
    assert (await back(desk, other, **other_query)).status == 401
    assert len(await desk.record("event = 'session.refused'")) == 5


async def test_a_word_that_is_not_the_providers_is_refused(desk, provider):
    """Signed by another key, for another client, of another issuer, without or with another nonce, out of date."""
    login, _ = provider
    at = desk.office.provider
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    published = {"keys": [json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"kid": "k"}]}
    now = int(time.time())
    right = {
        "iss": login.issuer, "aud": "sygefravaer", "sub": "anna", "iat": now, "exp": now + 60, "nonce": "n",
        "person": "p", "name": "A", "cvr": VIBORG, "roles": ["sp-kommune"],
    }  # fmt: skip

    def word(claims, signer=key, algorithm="RS256"):
        return jwt.encode(claims, signer, algorithm=algorithm, headers={"kid": "k"})

    assert at._read(at._checked(word(right), published), "n").cvr == VIBORG
    for wrong in (
        word(right, stranger),
        word(right | {"aud": "other"}),
        word(right | {"aud": ["sygefravaer", "other"], "azp": "other"}),
        word(right | {"aud": ["sygefravaer", "other"]}),
        word(right | {"iss": "http://127.0.0.1:2"}),
        word(right | {"exp": now - 120}),
        word({name: value for name, value in right.items() if name != "nonce"}),
        word(right, None, "none"),
        word(right, "x" * 32, "HS256"),
        "no token",
    ):
        with pytest.raises(LoginRefused):
            at._checked(wrong, published)
    with pytest.raises(LoginRefused):
        at._read(at._checked(word(right), published), "another")


def test_an_issuer_without_tls_or_a_role_that_is_none_ends_the_start():
    """Http is for this machine alone."""
    for change in ({"issuer": "http://login.example"}, {"roles": ("a=king",)}, {"roles": ("operator",)}):
        given = {"issuer": "https://login.example", "client_id": "x", "redirect": BACK} | change
        with pytest.raises(UsageError):
            Provider(Login(**given))
