# SPDX-License-Identifier: MPL-2.0
"""What each code does, written from the domain's rules (sections 2, 3 and 5): by list, facet and code."""

from __future__ import annotations

CLAUSES = {
    "forlaengelseskoder": {
        **{f"P27_1_{number}": f"§ 27, stk. 1, nr. {number}" for number in range(1, 8)},
        "P29": "§ 29",
        "P24A6": "§ 24 a, stk. 6",
        "P24B": "§ 24 b, stk. 1",
        "P26_COVID": "§§ 26-26 i",
    },
    "anmodningstyper": {
        "FOERSTE_REVURDERING": "§ 24, stk. 1",
        "FORNYET_FORLAENGELSE": "§ 27",
        "PENSIONIST_PARAGRAF25": "§§ 25 og 29",
    },
}

OK = ("OK", ())
REFUSED_BY_RULE = ("FEJL", ("G001",))


def same(value, *kodes):
    """Say the same of several codes."""
    return dict.fromkeys(kodes, value)


# --- at KSD ---

# How often an event goes out in two minutes, and what is left to a person, by the receipt it gets (3, "everywhere").
SENDER = {
    "OK": (1, ()),
    "ADVARSEL": (2, ()),
    "FEJL": (1, ("message_refused",)),
}
# What is taken, taken with a remark and refused, as the command line shows it: receipt, and whether it fails.
RECEIVER = {"OK": ("OK", False), "ADVARSEL": ("ADVARSEL", False), "FEJL": ("FEJL", True)}

# An answer to an event (3.1): last and final answer, whether it is settled, what is left to a person.
EVENT_ANSWER = {
    "MODTAGET": ("MODTAGET", None, False, ()),
    "AFLEVERET": ("AFLEVERET", None, False, ()),
    "ACCEPTERET": ("ACCEPTERET", "ACCEPTERET", True, ()),
    "AFVIST": ("AFVIST", "AFVIST", True, ("event_refused",)),
    "FEJLET": ("FEJLET", None, False, ("event_failed",)),
}
# An answer to a request (3.2): receipt, state of the case, of the request, whether it is being assessed, what is left.
REQUEST_ANSWER = {
    "MODTAGET": (OK, "REVURDERING", "open", True, ()),
    "AFLEVERET": (REFUSED_BY_RULE, "REVURDERING", "open", False, ()),
    "ACCEPTERET": (OK, "FORLAENGET", "decided", False, ()),
    "AFVIST": (OK, "REVURDERING", "answered", False, ("extension_refused",)),
    "FEJLET": (OK, "REVURDERING", "open", False, ("extension_failed",)),
}

# Whether a report opens a case, and the Beskaeftigelsesstatus that its group gives it (5.5).
OPENING = {
    **same("refused", "00", "49"),
    **same("LOENMODTAGER", "11", "12", "13", "14", "15", "16", "18", "23", "91"),
    "17": "LEDIG",
    **same("SELVSTAENDIG", "21", "22"),
    **same("ARBEJDSSKADE", "41", "42"),
    **same("FLEKSJOB", "43", "44"),
}
UNASKED = {
    "sagsarter": {"11": ("11", "11")},
    "fravaerstyper": {"FULDT": "FULDT"},
    "sagstilstande": {"ANMELDT": "ANMELDT"},
}

# What moves a case in a state, and where to (2.1); "-": it does not apply there, and nothing happens.
MOVES = {
    "ANMELDT": {"form": "OPLYST", "kategori": "-", "part": "-", "ask": "-", "stop": "STANDSET", "end": "AFSLUTTET"},
    "OPLYST": {"form": "-", "kategori": "LOEBENDE", "part": "-", "ask": "-", "stop": "STANDSET", "end": "AFSLUTTET"},
    "LOEBENDE": {
        "form": "-",
        "kategori": "-",
        "part": "DELVIST_RASKMELDT",
        "ask": "REVURDERING",
        "stop": "STANDSET",
        "end": "AFSLUTTET",
    },
    "DELVIST_RASKMELDT": {
        "form": "-",
        "kategori": "-",
        "part": "-",
        "ask": "REVURDERING",
        "stop": "STANDSET",
        "end": "AFSLUTTET",
    },
    "REVURDERING": {
        "form": "-",
        "kategori": "-",
        "part": "-",
        "ask": "-",
        "stop": "STANDSET",
        "end": "AFSLUTTET",
        "grant": "FORLAENGET",
    },
    "FORLAENGET": {
        "form": "-",
        "kategori": "-",
        "part": "-",
        "ask": "REVURDERING",
        "stop": "STANDSET",
        "end": "AFSLUTTET",
    },
    "STANDSET": {
        "form": "-",
        "kategori": "-",
        "part": "-",
        "ask": "-",
        "stop": "-",
        "end": "AFSLUTTET",
        "resume": "LOEBENDE",
    },
    "AFSLUTTET": {"form": "-", "kategori": "-", "part": "-", "ask": "-", "stop": "-", "end": "-", "reopen": "LOEBENDE"},
    "ANNULLERET": {"form": "-", "kategori": "-", "part": "-", "ask": "-", "stop": "-", "end": "-", "reopen": "-"},
}

# From which state, by what, a case comes into a state (2.1).
LED_TO = {
    "OPLYST": ("ANMELDT", "form"),
    "LOEBENDE": ("OPLYST", "kategori"),
    "DELVIST_RASKMELDT": ("LOEBENDE", "part"),
    "REVURDERING": ("LOEBENDE", "ask"),
    "FORLAENGET": ("REVURDERING", "grant"),
    "STANDSET": ("LOEBENDE", "stop"),
    "AFSLUTTET": ("LOEBENDE", "end"),
}

# VISITATION by kategori on 2024-12-31 and on 2025-01-01 (5.6).
VISITED = {"1": (OK, OK), "2": (OK, OK), "3": (OK, ("FEJL", ("O405",)))}

# Asked on days of several laws, and of whom: in 2017, during covid, in 2026; a pensioner in 2026 (5.1).
POSSIBLE = {
    **same((True, True, True, False), *(f"P27_1_{number}" for number in range(1, 8))),
    "P29": (False, False, False, True),
    **same((False, False, False, False), "P24A6", "P24B", "P26_COVID"),
}
_LONG, _NOT = ("FEJL", ("F304",)), ("FEJL", ("F303",))
# An extension until a day after 69 weeks, a day after 134 weeks, and without an end (5.1; 3.2: F303, F304, G001).
LASTS = {
    **same((OK, OK, OK), "P27_1_1", "P27_1_4", "P27_1_5", "P27_1_6", "P27_1_7", "P29"),
    "P27_1_2": (_LONG, _LONG, REFUSED_BY_RULE),
    "P27_1_3": (OK, _LONG, REFUSED_BY_RULE),
    **same((_NOT, _NOT, _NOT), "P24A6", "P24B"),
    "P26_COVID": (_NOT, _NOT, REFUSED_BY_RULE),
}
GRANTED_BY = {kode: clause for kode, clause in CLAUSES["forlaengelseskoder"].items() if LASTS[kode][0] != _NOT}
del GRANTED_BY["P27_1_2"], GRANTED_BY["P27_1_3"]
GRANTED_BY |= {kode: CLAUSES["forlaengelseskoder"][kode] for kode in ("P27_1_2", "P27_1_3")}

# A refusal of an extension: what follows on it, where the case and the request are, and which event is told (5.2).
_WAITS = ("REVURDERING", "answered", None)
REFUSAL = {
    "INGEN_GRUND_OPFYLDT": ("JOBAFKLARING", *_WAITS),
    "ARBEJDSDYGTIG": ("AFSLUTTET", *_WAITS),
    "RASKMELDT": ("AFSLUTTET", *_WAITS),
    "OVERGAAET_ANDEN_YDELSE": ("AFSLUTTET", *_WAITS),
    "BORGER_FLYTTET": ("OMDIRIGERES", *_WAITS),
    "BORGER_DOED": ("AFSLUTTET", *_WAITS),
    "SAG_UKENDT_I_JOBCENTER": ("OPRETTET_SENDES_IGEN", "REVURDERING", "answered", "OPRETTET"),
    "GRUNDLAG_MANGLER": ("NY_ANMODNING", *_WAITS),
    "VARIGHED_OPBRUGT": ("ANDEN_GRUND_ELLER_OPHOER", *_WAITS),
}

# What is done to a case that is told by this event, or with this cause (2.1, 5.3).
EVENTS = {"OPRETTET": "create", "AENDRET": "an employer is corrected", "AFSLUTTET": "end"}
CAUSES = {
    "SAGSART_SKIFT": "the basis of payment changes",
    "FOERSTE_FRAVAERSDAG_RETTET": "the first day is corrected",
    "ARBEJDSGIVER_RETTET": "an employer is corrected",
    "DELVIS_RASKMELDING": "a part-time return",
    "FORLAENGELSE_BEVILGET": "an extension",
    "REVURDERINGSDATO_AENDRET": "the day of reassessment changes",
    "STANDSET_P21": "payment stops",
    "GENOPTAGET": "reopening",
    "CPR_SKIFT": "a new number",
    "KOMMUNE_SKIFT": "a move",
    "VISITATION_MODTAGET": "a visitation",
    "BEREGNING_AENDRET": "a calculation changes",
    "NEMREFUSION_TILKNYTTET": "a later report",
}

# A transfer told by a jobcentre (3.3, 5.4): does it end the case?  Ended by hand: the state, and the last day of absence.
_BY_KSD_ALONE = ("FLYTNING", "SAGSARTSKIFT", "ANNULLERET")
_ENDINGS = (
    *("RASKMELDT", "DELVIS_OPHOERT", "ARBEJDSDYGTIG_P7", "P24_OPHOER", "P27_3_UDLOEBET", "P21_MANGLENDE_MEDVIRKEN"),
    *("JOBAFKLARING", "RESSOURCEFORLOEB", "FLEKSJOB", "FOERTIDSPENSION", "SENIORPENSION", "FOLKEPENSION"),
    *("REVALIDERING", "KONTANTHJAELP_MV", "A_KASSE", "BARSEL", "FERIE_SLUT", "PASNING_SYGT_BARN_SLUT", "UDREJST"),
    *("DOED", "ANSAETTELSE_OPHOERT_I_ARBEJDSGIVERPERIODE"),
)
TRANSFER = {
    **{kode: ("AFSLUTTET", kode, ()) for kode in _ENDINGS},
    **same(("LOEBENDE", None, ("transfer",)), *_BY_KSD_ALONE),
}
ENDED_BY_HAND = {
    **same(("AFSLUTTET", False), *_ENDINGS, "SAGSARTSKIFT"),
    "RASKMELDT": ("AFSLUTTET", True),
    "ANNULLERET": ("ANNULLERET", False),
    "FLYTNING": ("LOEBENDE", False),
}
ENDED_BY_ITSELF = {
    "RASKMELDT": ("a closed absence", "a recovery", "by hand", "seeded as ended"),
    "FLYTNING": ("a move",),
    "ANNULLERET": ("seeded as annulled",),
}

# Which codes may answer a request of this type, and when it is the one that is put by itself (3.2).
ASKED = {
    **same(tuple(f"P27_1_{number}" for number in range(1, 8)), "FOERSTE_REVURDERING", "FORNYET_FORLAENGELSE"),
    "PENSIONIST_PARAGRAF25": ("P29",),
}
ASKED_AFTER = {"FOERSTE_REVURDERING": None, "FORNYET_FORLAENGELSE": "P27_1_3", "PENSIONIST_PARAGRAF25": "P29"}

# An update without the block of its type, with it, and with it beside another type (3.3, "Blocks");
# then what it does: event, state, causes, what is left to a person.
_BLOCK = (REFUSED_BY_RULE, OK, REFUSED_BY_RULE)
UPDATE = {
    "VISITATION": (*_BLOCK, "AENDRET", "LOEBENDE", ("VISITATION_MODTAGET",), ()),
    "OPFOELGNING": (*_BLOCK, None, "LOEBENDE", None, ()),
    "STANDBY": (OK, OK, OK, None, "LOEBENDE", None, ()),
    "FORVENTET_RASKMELDING": (*_BLOCK, "AENDRET", "LOEBENDE", ("VISITATION_MODTAGET",), ()),
    "RASKMELDING": (*_BLOCK, "AFSLUTTET", "AFSLUTTET", (), ()),
    "DELVIS_RASKMELDING": (*_BLOCK, "AENDRET", "DELVIST_RASKMELDT", ("DELVIS_RASKMELDING",), ()),
    "MANGLENDE_MEDVIRKEN": (*_BLOCK, None, "LOEBENDE", None, ("missing_cooperation",)),
    "OVERGANG": (*_BLOCK, "AFSLUTTET", "AFSLUTTET", (), ()),
    "SAG_LUKKET": (OK, OK, OK, None, "LOEBENDE", None, ()),
}
# What the command line fills in as JobcentersagStatus beside a type.
STATUS_BESIDE = {
    "VISITATION": "VISITERET",
    "STANDBY": "STANDBY",
    "OVERGANG": "OVERGAAET",
    "SAG_LUKKET": "AFSLUTTET",
    **same(
        "I_OPFOELGNING",
        *("OPFOELGNING", "FORVENTET_RASKMELDING", "RASKMELDING", "DELVIS_RASKMELDING", "MANGLENDE_MEDVIRKEN"),
    ),
}
MISSING = same("PARTSHOERING_P21", "UDEBLIVELSE", "OPLYSNINGSSKEMA", "LAEGEATTEST", "AFVIST_TILBUD")

# --- at a jobcentre ---

# How a jobcentre answers an event (3.1): by itself, by its policy, of the dead, and by hand.
ANSWERS = {
    "MODTAGET": ("slow", ("MODTAGET",)),
    "AFLEVERET": ("manual", ("AFLEVERET",)),
    "ACCEPTERET": ("diligent", ("MODTAGET", "ACCEPTERET")),
    "AFVIST": ("dead", ("MODTAGET", "AFVIST")),
    "FEJLET": ("by hand", ("FEJLET",)),
}
# An event about a case that is new, about a dead citizen's, and about one that has ended: what is said to it (3.1).
_TAKEN, _DENIED = ("MODTAGET", "ACCEPTERET"), ("MODTAGET", "AFVIST")
EVENT = {
    "OPRETTET": (_TAKEN, _DENIED, _TAKEN),
    "AENDRET": (("MODTAGET",), _DENIED, _DENIED),
    "AFSLUTTET": (("MODTAGET",), ("MODTAGET",), _TAKEN),
}
# The jobcentersag's state when its only case is told in this state, and how many more are open then (2.1, 2.2).
TOLD_STATE = {
    **same(
        ("MODTAGET", 1),
        *("ANMELDT", "OPLYST", "LOEBENDE", "DELVIST_RASKMELDT", "REVURDERING", "FORLAENGET", "STANDSET"),
    ),
    **same(("AFSLUTTET", 0), "AFSLUTTET", "ANNULLERET", "OVERFLYTTET"),
}
# A change of an ended case (B105).
CHANGE_OF_ENDED = {**same(_DENIED, *(kode for kode in CAUSES if kode != "GENOPTAGET")), "GENOPTAGET": _TAKEN}
# Why an extension of a case that ended so is refused (5.2, 5.4).
ENDED_SO = {
    **same("RASKMELDT", "RASKMELDT", "DELVIS_OPHOERT", "P21_MANGLENDE_MEDVIRKEN", "FERIE_SLUT"),
    **same("RASKMELDT", "PASNING_SYGT_BARN_SLUT", "SAGSARTSKIFT", "ANSAETTELSE_OPHOERT_I_ARBEJDSGIVERPERIODE"),
    "ANNULLERET": "RASKMELDT",
    "ARBEJDSDYGTIG_P7": "ARBEJDSDYGTIG",
    "P24_OPHOER": "INGEN_GRUND_OPFYLDT",
    "P27_3_UDLOEBET": "VARIGHED_OPBRUGT",
    **same("BORGER_FLYTTET", "FLYTNING", "UDREJST"),
    "DOED": "BORGER_DOED",
    **same(
        "OVERGAAET_ANDEN_YDELSE",
        *("JOBAFKLARING", "RESSOURCEFORLOEB", "FLEKSJOB", "FOERTIDSPENSION", "SENIORPENSION", "FOLKEPENSION"),
        *("REVALIDERING", "KONTANTHJAELP_MV", "A_KASSE", "BARSEL"),
    ),
}
# Where a refusal by hand leaves the jobcentersag: still incapacitated is jobafklaring (2.2).
REFUSED_BY_HAND = {
    **same("JOBAFKLARING", "INGEN_GRUND_OPFYLDT", "VARIGHED_OPBRUGT"),
    **same(
        "MODTAGET",
        *("ARBEJDSDYGTIG", "RASKMELDT", "OVERGAAET_ANDEN_YDELSE", "BORGER_FLYTTET", "BORGER_DOED"),
        *("SAG_UKENDT_I_JOBCENTER", "GRUNDLAG_MANGLER"),
    ),
}
# When a jobcentre refuses so by itself.
REFUSED_WHEN = {
    "BORGER_FLYTTET": "moved",
    "BORGER_DOED": "dead",
    "SAG_UKENDT_I_JOBCENTER": "unknown",
    "VARIGHED_OPBRUGT": "used up",
}
# Asked about this code alone, having been granted 60 weeks by it: the code and the weeks of the answer, or why not;
# and which of it and P27_1_7 is chosen.
_WEEKS = 26
GRANTED = {
    **same(("ACCEPTERET", _WEEKS, "P27_1_7"), "P27_1_1", "P27_1_4", "P27_1_6"),
    "P27_1_2": ("ACCEPTERET", 9, "P27_1_2"),
    "P27_1_3": ("ACCEPTERET", _WEEKS, "P27_1_3"),
    "P27_1_5": ("ACCEPTERET", _WEEKS, "P27_1_7"),
    "P27_1_7": ("ACCEPTERET", _WEEKS, "P27_1_7"),
    "P29": ("ACCEPTERET", _WEEKS, "P27_1_7"),
}
# A request that names it among the possible codes: a right is no extension (5.1, rule).
NAMED = {
    **same("OK", *(f"P27_1_{number}" for number in range(1, 8)), "P29"),
    **same("G001", "P24A6", "P24B", "P26_COVID"),
}
# The code of a jobcentre's answer, asked so about an employee's code and a pensioner's.
ANSWERED_BY = {**same("P27_1_2", "FOERSTE_REVURDERING", "FORNYET_FORLAENGELSE"), "PENSIONIST_PARAGRAF25": "P29"}
WRONG = {"P24A6": "P24A6"}

# What happens in a jobcentersag that is told by this status (2.2, 5.7).
STATUS = {
    "MODTAGET": "nothing yet",
    "VISITERET": "kategori 1",
    "I_OPFOELGNING": "kategori 2",
    "UDEN_OPFOELGNING_P13F": "exemption",
    "STANDBY": "serious illness",
    "REHABTEAM": "kategori 3",
    "VURDERER_FORLAENGELSE": "a request",
    "OVERGAAET": "a transfer",
    "AFSLUTTET": "closing",
}
# Where a meeting of the rehabiliteringsteam leaves a jobcentersag: by the kategori it has (2.2).
TEAM_MET = {"VISITERET": ("1", "VISITERET"), "REHABTEAM": ("3", "FOERSTE_OPFOELGNING")}
# Where an update leaves the jobcentersag (2.2).
MOVED = {
    "VISITATION": "FOERSTE_OPFOELGNING",
    "OPFOELGNING": "LOEBENDE_OPFOELGNING",
    "STANDBY": "STANDBY",
    **same("MODTAGET", "FORVENTET_RASKMELDING", "RASKMELDING", "DELVIS_RASKMELDING", "MANGLENDE_MEDVIRKEN"),
    "OVERGANG": "JOBAFKLARING",
    "SAG_LUKKET": "AFSLUTTET",
}
KATEGORI = {
    "1": ("VISITERET", "VISITERET"),
    "2": ("FOERSTE_OPFOELGNING", "I_OPFOELGNING"),
    "3": ("REHABTEAM", "REHABTEAM"),
}
# A follow-up of this type that was held is the first talk, or it is not (5.8).
HELD_AS = {
    **same("LOEBENDE_OPFOELGNING", "FOERSTE_OPFOELGNING", "TIDLIG_OPFOELGNING"),
    **same("MODTAGET", "LOEBENDE_OPFOELGNING", "RASKMELDINGSKONTROL", "REHABTEAMMOEDE", "PAA_BORGERS_OENSKE"),
}
# The first talk is held in this form, or with this outcome (5.8).
FORM = {"FREMMOEDE": "LOEBENDE_OPFOELGNING", **same("MODTAGET", "TELEFON", "DIGITALT_FREMMOEDE", "BREV")}
HELD = {
    "AFHOLDT": "LOEBENDE_OPFOELGNING",
    **same("MODTAGET", "UDEBLIVELSE", "AFLYST_BORGER", "AFLYST_KOMMUNE", "FRITAGET"),
}

# --- in the header ---

SF = {
    "SF2090": ("SendHaendelseSygefravaerssag", "SendForretningsSvar"),
    "SF2093": ("SendAnmodningForlaengelse", "SendForretningsSvarForlaengelse"),
    "SF2095": ("SendOpdateringFravaer",),
    "SF2096": ("HentSag", "HentSagsListe"),
}

# What becomes of each message that comes to KSD, and which messages KSD and a jobcentre send for what (3).
TAKEN = {
    "SendForretningsSvar": "the event has an answer",
    "SendForretningsSvarForlaengelse": "the request is being assessed",
    "SendOpdateringFravaer": "the status is kept",
    "HentSag": "a case",
    "HentSagsListe": "a list",
}
SENT = {"SendHaendelseSygefravaerssag": "opening a case", "SendAnmodningForlaengelse": "asking for an extension"}
ANSWERED = {
    "SendHaendelseSygefravaerssag": ("SendForretningsSvar",) * 2,
    "SendAnmodningForlaengelse": ("SendForretningsSvarForlaengelse",) * 2,
}
# What the command line fills in when an answer says nothing of its own.
FILLED_IN = {"SendForretningsSvar": "MODTAGET", "SendForretningsSvarForlaengelse": "MODTAGET"}

# By which Sagsart a report gives its citizen this status (5.5).
BY_SAGSART = {"LOENMODTAGER": "18", "SELVSTAENDIG": "21", "LEDIG": "17", "FLEKSJOB": "43", "ARBEJDSSKADE": "42"}

# The day of reassessment of an absence from 2026-01-05, by what does not count: the employer's thirty days, or the
# first two weeks of self-employed and unemployed (s. 24, 30; 2.4).
_EMPLOYEE, _TWO_WEEKS = "2026-07-31", "2026-06-30"
REVIEWED = {
    **same(_EMPLOYEE, "11", "12", "13", "14", "15", "16", "18", "42", "43", "44", "91"),
    **same(_TWO_WEEKS, "17", "21", "22", "23", "41"),
}
REVIEWED_BY_ABSENCE = {
    **same(_EMPLOYEE, "FULDT", "DELVIST", "ARBEJDSSKADE", "KRONISK_P56"),
    "GRAVIDITETSBETINGET": None,
}

# After how many days of absence the municipality pays, and by which Sagsart then (s. 30, 41; a-kasse: 14 days; F4).
PAID = {
    **{kode: (30, kode) for kode in ("11", "42", "43", "44", "91")},
    **{kode: (0, kode) for kode in ("12", "13", "14", "15", "16", "18", "22", "23")},
    **{kode: (14, kode) for kode in ("21", "41")},
    "17": (14, "11"),
}
# How a case ends, if it ends by itself, a week after a refusal: of a first extension, of a renewed one (5.2, 2.1).
DECIDED = {
    "INGEN_GRUND_OPFYLDT": ("P24_OPHOER", "P27_3_UDLOEBET"),
    "ARBEJDSDYGTIG": ("ARBEJDSDYGTIG_P7", "ARBEJDSDYGTIG_P7"),
    "RASKMELDT": ("RASKMELDT", "RASKMELDT"),
    "BORGER_DOED": ("DOED", "DOED"),
    "VARIGHED_OPBRUGT": ("P27_3_UDLOEBET", "P27_3_UDLOEBET"),
    **same((None, None), "OVERGAAET_ANDEN_YDELSE", "BORGER_FLYTTET", "SAG_UKENDT_I_JOBCENTER", "GRUNDLAG_MANGLER"),
}
# Whether an answer about an extension that is refused so leaves its question with the jobcentre.
ASSESSED_AGAIN = {
    **same(True, "F303", "F304", "F305", "F307", "F309", "G001"),
    **same(False, "F301", "F302", "F308", "T203"),
}
# A kategori that KSD refuses so: where the jobcentersag is then, and how often it is told once the case runs again (3.3).
_BELIEVED, _UNTRUE = "FOERSTE_OPFOELGNING", "MODTAGET"
KATEGORI_REFUSED = {
    "O402": (_BELIEVED, 2),
    **same((_UNTRUE, 1), "O405", "O406", "O407"),
    **same((_BELIEVED, 1), "O401", "O403", "O404", "O408", "G001"),
}
# How often an answer to an event goes out when it is refused so at first, and under how many names.
ANSWER_REFUSED = {"G010": (2, 2), "T201": (1, 1)}
# How often an event goes out when it is answered so at first.
SENT_AGAIN = {"G006": "the same", "G010": "another", "B101": "no more", "G009": "no more"}
BY_HAND = {"INGEN_GRUND_OPFYLDT": "INGEN_GRUND_OPFYLDT"}

# Whether an answer settles an event when it says that a newer version was there (3.1).
OUTDATED = {"MODTAGET": True, "AFLEVERET": False, "ACCEPTERET": True, "AFVIST": True, "FEJLET": False}
# The right of a life-threatening illness that begins after a case that ended so: during jobafklaring (s. 24 b).
RIGHT_AFTER = {
    **dict.fromkeys((kode for kode in ENDED_BY_HAND if kode not in ("FLYTNING", "ANNULLERET")), ()),
    **same(("P24B",), "JOBAFKLARING", "P24_OPHOER", "P27_3_UDLOEBET"),
}
# By which Opdateringstype the command line fills a status in.
STATUS_BY = {
    "VISITERET": "VISITATION",
    "STANDBY": "STANDBY",
    "OVERGAAET": "OVERGANG",
    "AFSLUTTET": "SAG_LUKKET",
    "I_OPFOELGNING": "FORVENTET_RASKMELDING",
}

# What the contract demands of an event: of one that is Sagsart 49, and of one without a cause (3, rule 7; 3.1).
DEMANDED = {"OPRETTET": ("G001", "OK"), "AENDRET": ("OK", "G001"), "AFSLUTTET": ("OK", "OK")}

ON_SCREENS = {
    "SendHaendelseSygefravaerssag": "Hændelse på sag",
    "SendForretningsSvar": "Svar på hændelse",
    "SendAnmodningForlaengelse": "Anmodning om forlængelse",
    "SendForretningsSvarForlaengelse": "Svar på forlængelse",
    "SendOpdateringFravaer": "Oplysning fra jobcenter",
}
"""What the pages call each message."""
