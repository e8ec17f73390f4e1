# SPDX-License-Identifier: MPL-2.0
"""A citizen's access report on paper: PDF with a font of its own, so that every name prints."""

from __future__ import annotations

from importlib import resources
from typing import Final

from fpdf import FPDF, FontFace
from fpdf.enums import XPos, YPos
from fpdf.fonts import TTFFont

from sygefravaer.audit.reporting import AccessReport, Use
from sygefravaer.law.calendar import DENMARK

_FONT: Final = "DejaVuSans"
_TITLE: Final = "Indsigt i brugen af dine oplysninger"
_WIDTHS: Final = (25, 38, 52, 38, 24, 30, 38)
_HEADS: Final = ("Tidspunkt", "Handling", "Formål", "System", "Kommune", "Medarbejder", "Resultat")
_UNKNOWN: Final = "\ufffd"
_ABOUT: Final = """\
Her står, hvornår dine oplysninger er blevet brugt på Serviceplatformens service Sygefravaer 2.0, der udveksler
sygedagpengesager mellem KSD (Kommunernes Sygedagpengesystem) og kommunernes jobcentre: af hvilket system, for hvilken
kommune, til hvilket formål, og hvad det førte til (databeskyttelsesforordningens artikel 15).

Oplysningerne er dit personnummer, sygedagpengesagens stamdata og forløb, og hvad kommunen og KSD har skrevet til
hinanden om sagen. De kommer fra KSD og fra kommunernes jobcentersystemer, og kun de får dem. Der udveksles ingen
diagnoser, og ingen afgørelse træffes af platformen.

En medarbejder står med et pseudonym: den samme medarbejder har det samme i hele denne rapport. Kommunen ved, hvem det
er.

Du kan bede kommunen om at få oplysninger rettet eller slettet eller om at begrænse brugen af dem, du kan gøre
indsigelse mod den, og du kan klage til Datatilsynet (datatilsynet.dk)."""


def as_pdf(report: AccessReport) -> bytes:
    """Print a report."""
    pdf = _Pages(report)
    pdf.heading()
    pdf.uses()
    return bytes(pdf.output())


class _Pages(FPDF):
    """Pages on their side, numbered, with the number of the report on each."""

    def __init__(self, report: AccessReport) -> None:
        super().__init__(orientation="landscape", format="A4")
        self._report = report
        with resources.as_file(resources.files("sygefravaer.audit").joinpath("data/DejaVuSans.ttf")) as font:
            self.add_font(_FONT, fname=font)
        font_added = self.fonts[_FONT.lower()]
        self._letters = frozenset(font_added.cmap if isinstance(font_added, TTFFont) else ())
        self.set_title(_TITLE)
        self.set_lang("da")
        self.set_creation_date(report.made)
        self.set_auto_page_break(auto=True, margin=18)
        self.add_page()

    def footer(self) -> None:
        """Write the page's number; fpdf calls it."""
        self.set_y(-14)
        self.set_font(_FONT, size=7)
        self.cell(text=f"Rapport {self._report.number}, side {self.page_no()}")

    def heading(self) -> None:
        """Say what this is, for whom, and what rights there are."""
        report = self._report
        self.set_font(_FONT, size=18)
        self.cell(text=_TITLE, new_x=XPos.LMARGIN, new_y=YPos.NEXT, h=12)
        self.set_font(_FONT, size=10)
        made = report.made.astimezone(DENMARK)
        for line in (
            f"Navn: {report.name}" if report.name else "",
            f"Personnummer: {report.citizen}",
            f"Lavet den {made.day}.{made.month}.{made.year} kl. {made:%H.%M}",
            f"Antal behandlinger: {len(report.uses)}",
        ):
            if line:
                self.cell(text=self._printable(line), new_x=XPos.LMARGIN, new_y=YPos.NEXT, h=6)
        self.ln(2)
        self.set_font(_FONT, size=9)
        for paragraph in _ABOUT.split("\n\n"):
            self.multi_cell(
                w=0, text=paragraph.replace("\n", " "), align="LEFT", new_x=XPos.LMARGIN, new_y=YPos.NEXT, h=5
            )
            self.ln(1.5)

    def uses(self) -> None:
        """Print every use as a row of a table that goes on over pages."""
        if not self._report.uses:
            self.cell(text="Dine oplysninger er ikke blevet brugt.", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            return
        self.set_font(_FONT, size=7)
        with self.table(col_widths=_WIDTHS, line_height=4, text_align="LEFT", headings_style=FontFace()) as table:
            table.row(_HEADS)
            for use in self._report.uses:
                table.row([self._printable(cell) for cell in _cells(use)])

    def _printable(self, text: str) -> str:
        """Show what the font has no letter for as such, rather than as nothing."""
        return "".join(letter if ord(letter) in self._letters else _UNKNOWN for letter in text)


def _cells(use: Use) -> tuple[str, ...]:
    at = use.tidspunkt
    when = f"{at.day}.{at.month}.{at.year} {at:%H.%M.%S}"
    return (when, use.handling, use.formaal, use.system, use.kommune, use.medarbejder, use.resultat)
