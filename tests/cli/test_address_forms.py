"""Each address form in `geocli docs inputs` is parsed in the same way by lookup, in lists, CSV, JSON lines and logs."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from geocli.addresses import BRACKETS, DEFANGED, QUOTES
from tests.helpers.documentation import PAGES
from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

TABLE = PAGES["inputs"].partition("| how an address may be written | is read as |\n|---|---|\n")[2].partition("\n\n")[0]
ROWS = [row.strip("| ").rsplit(" | ", 1) for row in TABLE.splitlines()]
FORMS = [
    (form.strip("`") if "``" not in form else form.strip("`").strip(), address.strip("`"))
    for forms, address in ROWS
    for form in re.findall(r"``.+?``|`[^`]+`", forms)
]


def test_the_table_has_all_defanged_spellings_quotes_and_brackets() -> None:
    """The table in the documentation and those in the code list the same."""
    forms = [form for form, _ in FORMS]

    assert [] == [spelling for spelling in DEFANGED if not any(spelling in form for form in forms)]
    assert [] == [mark for mark in (*QUOTES, *BRACKETS) if not any(form.startswith(mark) for form in forms)]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return the parsed address of each form, by command."""
    geocli = Geocli(tmp_path_factory.mktemp("forms"))
    forms = [form for form, _ in FORMS]
    lines = "".join(f"{form}\n" for form in forms).encode()
    table = io.StringIO()
    csv.writer(table).writerows([["id", "address"], *(["1", form] for form in forms)])
    objects = "".join(json.dumps({"at": form}) + "\n" for form in forms).encode()
    rows = geocli("batch", "-i", "csv", "-c", "address", "-F", "ip", stdin=table.getvalue().encode()).stdout
    answers = geocli("batch", "-i", "jsonl", "-c", "at", "-F", "ip", stdin=objects).stdout
    log = geocli("batch", "-i", "log", "-F", "ip", stdin=b"x " + lines.replace(b"\n", b" y\nx ")).stdout
    return {
        "lookup": geocli("lookup", "-f", "value", "-F", "ip", "--", *forms).stdout.decode().splitlines(),
        "list": geocli("batch", "-f", "value", "-F", "ip", stdin=lines).stdout.decode().splitlines(),
        "csv": [row[-1] for row in csv.reader(io.StringIO(rows.decode()))][1:],
        "jsonl": [json.loads(line)["geo"]["ip"] for line in answers.splitlines()],
        "log": [",".join(re.findall(r" \[([0-9a-f:.]+)\]", line)) for line in log.decode().splitlines()],
    }


@pytest.mark.parametrize("place", ["lookup", "list", "csv", "jsonl", "log"])
@pytest.mark.parametrize(("number", "form", "address"), [(at, *form) for at, form in enumerate(FORMS)])
def test_each_form(read: dict[str, list[str]], place: str, number: int, form: str, address: str) -> None:
    """An address in any of these forms has one answer, in all commands."""
    assert address == read[place][number], form
