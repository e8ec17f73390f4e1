# SPDX-License-Identifier: MPL-2.0
"""
What people do in the life of a case, as acts at the doors: employers, citizens, KSD's caseworkers, the jobcentres'.

Each takes the run it happens in. Days are as people would give them: today, or some time back.
"""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID, uuid4

from lifecycles.world import AARHUS, EMPLOYERS, JOBCENTERS, VIBORG, Case, Json, Person, Run
from sygefravaer.client import Client, client_tls, hoved
from sygefravaer.contract.messages import (
    AuthorityContextType,
    SendHaendelseSygefravaerssagRequest,
    SygefravaerResponse,
    SygefravaerssagType,
)
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.contract.plain import of_plain
from sygefravaer.contract.values import Cpr

OTHER = {VIBORG: AARHUS, AARHUS: VIBORG}
WITHOUT_EMPLOYER = ("17", "21", "22", "41")


def report(
    run: Run,
    person: Person | None = None,
    *,
    days_ago: int = 36,
    sagsart: str = "11",
    municipality: str = VIBORG,
    employer: int | None = 0,
    last_day: int | None = None,
    pensioner: bool = False,
) -> Case | None:
    """A report comes from NemRefusion; with `last_day` days of absence it is closed."""
    if person is None:
        person = Person(numbers=[run.world.new_number()], municipality=municipality)
        run.persons.append(person)
    first = run.world.today - timedelta(days=days_ago)
    fields: Json = {"FoersteFravaersdag": first.isoformat(), "Sagsart": sagsart}
    if employer is not None:
        fields["Arbejdsgiver"] = {"CVRNummer": EMPLOYERS[employer], "Navn": "Et sted"}
    if last_day is not None:
        fields["SidsteFravaersdag"] = min(run.world.today, first + timedelta(days=last_day)).isoformat()
    if pensioner:
        fields["pensioner_since"] = first.isoformat()
    told = run.ksd("create_case", cpr=person.cpr, municipality_cvr=person.municipality, **fields)
    if told is None:
        return None
    case = Case(
        sags_id=told["sags_id"],
        person=person,
        state=told["state"],
        municipality=person.municipality,
        first_day=first,
        pensioner_since=first if pensioner else None,
    )
    run.cases.append(case)
    return case


# --- KSD's caseworkers, and what comes to KSD ---


def form(run: Run, case: Case) -> None:
    """The oplysningsskema comes back."""
    run.ksd("change_case", sags_id=case.sags_id, OplysningsskemaModtaget=run.world.today.isoformat())


def change(run: Run, case: Case, **fields: object) -> None:
    """Something about a case changes."""
    run.ksd("change_case", sags_id=case.sags_id, **fields)


def correct_first_day(run: Run, case: Case, days: int) -> None:
    """The employer corrects the first day of absence."""
    first = min(case.first_day + timedelta(days=days), run.world.today)
    if run.ksd("change_case", sags_id=case.sags_id, FoersteFravaersdag=first.isoformat()) is not None:
        case.first_day = first


def set_review(run: Run, case: Case, days: int) -> None:
    """A caseworker sets the RevurderingsDato, and it stands."""
    day = run.world.today + timedelta(days=days)
    if run.ksd("change_case", sags_id=case.sags_id, RevurderingsDato=day.isoformat()) is not None:
        case.by_hand = True


def attach(run: Run, case: Case) -> None:
    """A later report belongs to the case, also to one that has ended."""
    run.ksd("attach_report", sags_id=case.sags_id, report=str(uuid4()))


def stop(run: Run, case: Case) -> None:
    """Payment stops, as the citizen does not cooperate (s. 21)."""
    run.ksd("change_case", sags_id=case.sags_id, move="STOP")


def resume(run: Run, case: Case) -> None:
    """Payment goes on, as he does."""
    run.ksd("change_case", sags_id=case.sags_id, move="RESUME")


def end(run: Run, case: Case, cause: str = "RASKMELDT", days_ago: int = 0) -> None:
    """KSD ends a case, perhaps from a day that is past."""
    on = max(run.world.today - timedelta(days=days_ago), case.first_day)
    run.ksd("end_case", sags_id=case.sags_id, cause=cause, on=on.isoformat())


def reopen(run: Run, case: Case) -> None:
    """An ended case goes on."""
    run.ksd("reopen_case", sags_id=case.sags_id)


def move(run: Run, person: Person) -> None:
    """A citizen moves, and his open cases with him."""
    person.municipality = OTHER[person.municipality]
    for case in run.cases:
        if case.person is person and case.state not in ("AFSLUTTET", "ANNULLERET"):
            run.ksd("move_case", sags_id=case.sags_id, municipality_cvr=person.municipality)


def renumber(run: Run, person: Person) -> None:
    """A citizen gets a new number."""
    number = run.world.new_number()
    run.ksd("change_cpr", cpr=person.cpr, new_cpr=number)
    person.numbers.append(number)
    run.dirty = True


def merge(run: Run, person: Person, other: Person) -> None:
    """Two citizens turn out to be one, known by the number of the second."""
    run.ksd("change_cpr", cpr=person.cpr, new_cpr=other.cpr)
    person.numbers += other.numbers
    run.persons.remove(other)
    for case in run.cases:
        if case.person is other:
            case.person = person
            # A pensioner is one by his case; two cases of one citizen may not agree on that.
    run.dirty = True


def ask(run: Run, case: Case) -> None:
    """A caseworker asks for an extension."""
    run.ksd("ask_extension", sags_id=case.sags_id)


def remind(run: Run, case: Case) -> None:
    """A caseworker reminds of the question that is open."""
    for request in run.world.act("ksd", "case", sags_id=case.sags_id)["requests"]:
        if request["status"] == "open" and request["reminders"] < 9:
            run.ksd("remind", anmodning_id=request["anmodning_id"])


def decide(run: Run, case: Case, cause: str | None = None) -> None:
    """A caseworker decides on a refusal."""
    run.ksd("decide", sags_id=case.sags_id, **({"cause": cause} if cause else {}))


def tell_again(run: Run, case: Case) -> None:
    """KSD tells what the case is like once more."""
    run.ksd("resend", sags_id=case.sags_id)


# --- the jobcentres' caseworkers ---


def update(run: Run, case: Case, *kinds: str, cvr: str | None = None, **fields: object) -> Json | None:
    """A jobcentre tells of something, the one that has the case unless another is named."""
    run.settle()
    return run.jobcenter(
        cvr or case.municipality, "update", sags_id=case.sags_id, Opdateringstype=list(kinds), **fields
    )


def visit(run: Run, case: Case, kategori: str = "2", cvr: str | None = None) -> None:
    """The kategori is chosen."""
    today = run.world.today.isoformat()
    update(run, case, "VISITATION", cvr=cvr, Visitationskategori=kategori, VisitationsDato=today)


def talk(run: Run, case: Case, kind: str = "FOERSTE_OPFOELGNING", outcome: str = "AFHOLDT") -> None:
    """A follow-up was held, or was not."""
    held = {"AfholdtTid": run.world.now.isoformat()} if outcome == "AFHOLDT" else {}
    each = {"Opfoelgningstype": kind, "Form": "FREMMOEDE", "Udfald": outcome, **held}
    update(run, case, "OPFOELGNING", Opfoelgning=[each])


def stand_by(run: Run, case: Case, *, exempt: bool = False) -> None:
    """Serious illness, or a predictable course: no talks."""
    status = {"JobcentersagStatus": "UDEN_OPFOELGNING_P13F"} if exempt else {}
    update(run, case, "STANDBY", **status)


def expect(run: Run, case: Case, days: int) -> None:
    """Recovery is expected on another day."""
    day = (run.world.today + timedelta(days=days)).isoformat()
    update(run, case, "FORVENTET_RASKMELDING", ForventetRaskmeldingsdato=day)


def part_time(run: Run, case: Case, hours: str = "18.00") -> None:
    """A part-time return is agreed; of less than four hours' absence a week it is the end."""
    period = {"FraDato": run.world.today.isoformat(), "FravaerstimerPrUge": hours}
    update(run, case, "DELVIS_RASKMELDING", DelvisPeriode=[period])


def recover(run: Run, case: Case, days_ago: int = 0, by: str = "BORGER") -> None:
    """The jobcentre hears of a recovery."""
    last, today = max(run.world.today - timedelta(days=days_ago), case.first_day), run.world.today
    told = {"SidsteFravaersdag": last.isoformat(), "MeddeltAf": by, "MeddeltDato": today.isoformat()}
    update(run, case, "RASKMELDING", Raskmelding=told)


def go_over(run: Run, case: Case, scheme: str) -> None:
    """Another scheme takes over."""
    update(run, case, "OVERGANG", Overgang={"Type": scheme, "Dato": run.world.today.isoformat()})


def miss(run: Run, case: Case, kind: str = "UDEBLIVELSE") -> None:
    """The citizen does not cooperate; what follows is for KSD to decide."""
    told = {"HaendelsesDato": run.world.today.isoformat(), "Type": kind}
    update(run, case, "MANGLENDE_MEDVIRKEN", ManglendeMedvirken=told)


def close_locally(run: Run, case: Case) -> None:
    """The jobcentre closes its own case."""
    if update(run, case, "SAG_LUKKET") is not None:
        sag = run.world.act(JOBCENTERS[case.municipality], "case", sags_id=case.sags_id)
        run.closed_locally.add(sag["jobcentersag_id"])


def say_twice(run: Run, case: Case) -> None:
    """An update is told twice, as a sender does that lost the receipt: same OpdateringID, new BeskedID."""
    told: Json = {"OpdateringID": str(uuid4()), "GyldigFra": run.world.today.isoformat()}
    told["ForventetRaskmeldingsdato"] = (run.world.today + timedelta(days=30)).isoformat()
    told["JobcentersagStatus"] = "I_OPFOELGNING"
    for _ in range(2):
        update(run, case, "FORVENTET_RASKMELDING", **told)
        run.settle()


def say_under_former_number(run: Run, case: Case, which: int = 0) -> None:
    """The jobcentre speaks of a citizen by a number that he had."""
    number = case.person.numbers[which % len(case.person.numbers)]
    update(run, case, "STANDBY", cpr=number)


def open_question(run: Run, case: Case) -> Json | None:
    """Give the question that waits for its answer."""
    found = run.world.act("ksd", "case", sags_id=case.sags_id)["requests"]
    return next((each for each in found if each["status"] == "open"), None)


def grant(run: Run, case: Case, kode: str = "P27_1_2", weeks: int = 26) -> None:
    """The jobcentre says that payment goes on, and until when."""
    run.settle()
    asked = open_question(run, case)
    if asked is not None:
        last = (date.fromisoformat(asked["review"]) + timedelta(weeks=weeks)).isoformat()
        _answer(run, asked, code="ACCEPTERET", Forlaengelseskode=kode, ForlaengelseTil=last)


def refuse(run: Run, case: Case, cause: str = "INGEN_GRUND_OPFYLDT") -> None:
    """The jobcentre refuses an extension."""
    run.settle()
    asked = open_question(run, case)
    if asked is not None:
        _answer(run, asked, code="AFVIST", Afvisningsaarsag=cause)


def assess(run: Run, case: Case, code: str = "MODTAGET") -> None:
    """The jobcentre says that it is looking, or that it failed."""
    run.settle()
    asked = open_question(run, case)
    if asked is not None:
        _answer(run, asked, code=code)


def answer_old(run: Run, case: Case) -> None:
    """The jobcentre answers a question that is settled already."""
    run.settle()
    found = run.world.act("ksd", "case", sags_id=case.sags_id)["requests"]
    for asked in [each for each in found if each["status"] != "open"][-1:]:
        _answer(run, asked, code="AFVIST", Afvisningsaarsag="INGEN_GRUND_OPFYLDT")


def _answer(run: Run, asked: Json, **fields: object) -> None:
    run.jobcenter(asked["municipality_cvr"], "answer_extension", anmodning_id=asked["anmodning_id"], **fields)


# --- the way between them ---


def late_copy(run: Run, case: Case) -> None:
    """An earlier event comes once more, late, under another BeskedID: a gateway that was restored, a sender's mistake."""
    run.settle()
    ksd = run.world.act("ksd", "case", sags_id=case.sags_id, reason="a copy of it comes late")
    rows = [row for row in ksd["versions"] if row["municipality_cvr"] == ksd["municipality_cvr"]]
    if len(rows) < 2:
        return
    besked_id = uuid4()
    run.strangers.add(str(besked_id))
    run.say("an old version comes late", sags_id=case.sags_id, version=rows[0]["version"])
    run.world.wait(_send_copy(run, rows[0], besked_id))
    run.dirty = True
    run.settle()


async def _send_copy(run: Run, row: Json, besked_id: UUID) -> None:
    config = run.world.stage.config("ksd")
    if config.client is None or config.system_id is None or config.gateway_url is None:
        raise AssertionError
    picture = of_plain(SygefravaerssagType, row["picture"])
    operation = OPERATIONS["SendHaendelseSygefravaerssag"]
    message = SendHaendelseSygefravaerssagRequest(
        AuthorityContext=AuthorityContextType(MunicipalityCVR=row["municipality_cvr"]),
        Hoved=hoved(
            operation,
            municipality=row["municipality_cvr"],
            sender=config.system_id,
            cpr=Cpr.of_wire(row["picture"]["CprNummer"]),
            now=run.world.now,
            nemrefusions_id=picture.NemrefusionsID,
            besked_id=besked_id,
        ),
        Haendelsestype=row["event"],
        HaendelsesDato=date.fromisoformat(row["effective_on"]),
        Aendringsaarsag=tuple(row["reasons"]),
        Sygefravaerssag=picture,
    )
    tls = client_tls(config.client.certificate, config.client.key, config.client.ca)
    url = config.gateway_url.rstrip("/") + Service.SYGEFRAVAER_JC.path
    async with Client(url, service=Service.SYGEFRAVAER_JC, tls=tls, timeout=20.0) as client:
        answer = await client.call(message)
    if not isinstance(answer, SygefravaerResponse):
        raise TypeError(answer)
