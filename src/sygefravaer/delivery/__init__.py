# SPDX-License-Identifier: MPL-2.0
"""
The gateway's use of lanes: a message is accepted once, carried to its receiver in order, and answered as it stands.

Whoever holds a claim carries it: the request that accepted the message, as long as its caller waits and after that in
the background, or the worker. Both run the same code: today's route, post with no transaction open, settle with the
audit row. The receiver's receipt is written down once, in the response element of the contract, and is the same bytes
for every later question.
"""

from sygefravaer.delivery.carrying import (
    EVENT_OF,
    MIGRATIONS,
    STATUS_OF,
    UNHEARD,
    Delivery,
    response,
)
from sygefravaer.delivery.nodes import CHANNEL, Bell
from sygefravaer.delivery.parked import Act, Done, Parked, Plan, Selection, Step, plan_of
from sygefravaer.delivery.receivers import CONCURRENCY, INLINE, PATIENCE, REST_CEILING, Clients, Receiver, Receivers
from sygefravaer.delivery.routes import Change, RoutePlan, Routes
from sygefravaer.delivery.sealed import BODY, RECEIPT, SEALED
from sygefravaer.delivery.senders import AT_A_TIME, Callers, Crowds, Heard, Senders
from sygefravaer.delivery.worker import HANDFUL, POLL

__all__ = [
    "AT_A_TIME",
    "BODY",
    "CHANNEL",
    "CONCURRENCY",
    "EVENT_OF",
    "HANDFUL",
    "INLINE",
    "MIGRATIONS",
    "PATIENCE",
    "POLL",
    "RECEIPT",
    "REST_CEILING",
    "SEALED",
    "STATUS_OF",
    "UNHEARD",
    "Act",
    "Bell",
    "Callers",
    "Change",
    "Clients",
    "Crowds",
    "Delivery",
    "Done",
    "Heard",
    "Parked",
    "Plan",
    "Receiver",
    "Receivers",
    "RoutePlan",
    "Routes",
    "Selection",
    "Senders",
    "Step",
    "plan_of",
    "response",
]
