# SPDX-License-Identifier: MPL-2.0
"""The README's lines, run as printed in a directory with a sandbox; only the port and the place of programs differ."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"<!-- tested: (\w+) -->\n```\w+\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory in which `sandbox up` was run as a newcomer would, on any free ports."""
    here = tmp_path_factory.mktemp("readme")
    command = [sys.executable, "-m", "sygefravaer", "sandbox"]
    subprocess.run([*command, "up", "--port", "0", "--admin-port", "0", "--detach"], cwd=here, check=True)
    yield here
    subprocess.run([*command, "down", "--remove"], cwd=here, check=True)


def _run(place: Path, line: str) -> str:
    gateway = json.loads((place / ".sandbox" / "sandbox.json").read_text("utf-8"))["gateway"]["sygefravaer"]
    line = line.replace("https://localhost:8443/service/KSD/Sygefravaer/2", gateway)
    line = line.replace(".venv/bin/sygefravaer", f"{sys.executable} -m sygefravaer")
    done = subprocess.run(["bash", "-c", line], cwd=place, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _lines(kind: str) -> list[str]:
    return [block.removeprefix("$ ").replace("\\\n", " ") for tag, block in BLOCKS if tag == kind]


def test_fifty_citizens_are_there(place):
    """As many as the text says."""
    told = json.loads((place / ".sandbox" / "sandbox.json").read_text("utf-8"))

    assert len({case["cpr"] for case in told["cases"]}) == 50


def test_the_readme_has_what_is_tested():
    """Nothing here passes because nothing is there."""
    assert [kind for kind, _ in BLOCKS] == ["call", "curl", "call", "life", "life", "life", "python"]


@pytest.mark.parametrize("number", range(2))
def test_the_call_lines_work_as_printed(place, number):
    """A look-up answers with the citizen's cases; a send with a receipt that is not FEJL."""
    printed = _run(place, _lines("call")[number])

    assert ("SagsTilstand" if number == 0 else "OK") in printed


def test_the_curl_line_works_as_printed(place):
    """The same look-up with what any machine has."""
    assert "<s:HentSagsListeResponse" in _run(place, _lines("curl")[0])


def test_the_python_example_runs_as_printed(place):
    """The SDK's first lines."""
    example = next(block for kind, block in BLOCKS if kind == "python")

    done = subprocess.run([sys.executable, "-c", example], cwd=place, capture_output=True, check=True, text=True)

    assert re.search(r"^[0-9a-f-]{36} [A-Z_]+ \d{4}-\d\d-\d\d$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("number", "said"), [(0, "SendAnmodningForlaengelse"), (1, "extensions"), (2, "All 15 checks held.")]
)
def test_the_lines_about_time_work_as_printed(place, number, said):
    """The clock runs to the next request for extension, it lies in an inbox, and a story holds."""
    assert said in _run(place, _lines("life")[number])


@pytest.mark.parametrize("target", re.findall(r"^\$ make (\w+)", README, re.MULTILINE))
def test_the_make_targets_exist(target):
    """What the README tells people to type is there."""
    assert re.search(rf"^{target}: ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def test_the_links_lead_somewhere():
    """Every file that the README points to is in the repository."""
    links = re.findall(r"\]\(([^)#]+)\)", README)

    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
