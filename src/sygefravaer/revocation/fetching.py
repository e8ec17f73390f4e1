# SPDX-License-Identifier: MPL-2.0
"""Fetching within limits: so many bytes, so many seconds, no redirect, no proxy."""

from __future__ import annotations

from typing import Final

import aiohttp

from sygefravaer.revocation.evidence import EvidenceRefused

LONGEST_LIST: Final = 32 * 2**20  # bytes; the largest public lists have a few
LONGEST_ANSWER: Final = 64 * 2**10
_OK: Final = 200


async def fetch(url: str, *, limit: int, seconds: float, question: bytes | None = None) -> bytes:
    """Get what stands at an address, or the answer to a question; raises `EvidenceRefused`."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    headers = {"User-Agent": "sygefravaer"}
    if question is not None:
        headers |= {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            ) as session,
            session.request(
                "GET" if question is None else "POST", url, data=question, headers=headers, allow_redirects=False
            ) as response,
        ):
            if response.status != _OK:
                raise EvidenceRefused(f"http_{response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise EvidenceRefused("too_long")
            return bytes(body)
    except TimeoutError as error:
        raise EvidenceRefused("timeout") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise EvidenceRefused("unreachable") from error
