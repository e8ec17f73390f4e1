# SPDX-License-Identifier: MPL-2.0
"""
Accounts, as operators and auditors see them, and closing one.

None is made or widened here: whoever could make a second person for himself would need no second person. Local accounts
are made at the machine (`sygefravaer accounts`), others by the provider.
"""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Response

from sygefravaer.admin import accounts, rest
from sygefravaer.admin.access import Role, User, needs
from sygefravaer.admin.accounts import Account
from sygefravaer.admin.office import In
from sygefravaer.errors import NotThere

router: Final = rest.router("accounts")

Operator = Annotated[User, Depends(needs(Role.OPERATOR))]
Watcher = Annotated[User, Depends(needs(Role.OPERATOR, Role.AUDITOR))]


@router.get("/accounts")
async def list_accounts(_user: Watcher, paging: rest.Paged, office: In) -> rest.Page[Account]:
    """List the accounts."""
    async with office.store.read() as tx:
        rows = await accounts.listed(tx, after=paging.after, limit=paging.wanted)
    return paging.page(rows, lambda one: one.account_id)


@router.get("/accounts/{account}")
async def show_account(account: UUID, _user: Watcher, response: Response, office: In) -> Account:
    """Show one."""
    async with office.store.read() as tx:
        found = await accounts.found(tx, account)
    if found is None:
        raise NotThere
    rest.tag(response, found.version)
    return found


@router.post("/accounts/{account}/close")
async def close_account(
    account: UUID, user: Operator, version: rest.IfMatch, response: Response, office: In
) -> Account:
    """Close an account: its sessions and tokens open nothing any more."""
    async with office.store.tx() as tx:
        closed = await accounts.change(
            tx, account, version=version, active=False, by=user.actor, now=office.clock.now()
        )
    if closed is None:
        raise NotThere
    rest.tag(response, closed.version)
    return closed
