# SPDX-License-Identifier: MPL-2.0
"""
The control door of a part: acts by name, JSON in and out, on a Unix socket that only its owner can open.

`door` has both ends of it, `fields` reads what an act is given, `standing` has the acts that several parts offer. It
knows no party: a part gives its acts, and whoever may open the socket knocks. Off unless a configuration names a path.
"""

from sygefravaer.contract.plain import Json
from sygefravaer.control.door import LONGEST_PATH, Act, Door, Visitor, knock
from sygefravaer.control.fields import Fields
from sygefravaer.control.standing import Faulty, Work, chaos_act, clock_act, head, offered

__all__ = [
    "LONGEST_PATH",
    "Act",
    "Door",
    "Faulty",
    "Fields",
    "Json",
    "Visitor",
    "Work",
    "chaos_act",
    "clock_act",
    "head",
    "knock",
    "offered",
]
