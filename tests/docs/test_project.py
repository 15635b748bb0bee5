"""What the project promises about itself: how to report a vulnerability, and that dependencies are audited."""

from __future__ import annotations

import re

from tests.helpers.documentation import PAGES, PATHS, ROOT


def _anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a page, as hosting sites make them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_within_the_pages_lead_somewhere() -> None:
    """Each link to a file of the project, or to a heading, has its target."""
    for page in (*PATHS.values(), *(ROOT / ".github").glob("*.md")):
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), target
            assert not anchor or anchor in _anchors(file.read_text()), target


def test_readme_is_an_introduction() -> None:
    """It is short, shows a log on the first screen, and names every page of the documentation."""
    lines = PAGES["README"].splitlines()

    assert 200 >= len(lines)
    assert [line for line in lines[:25] if line.startswith("$ ") and "batch -i log" in line]
    assert [] == [
        topic
        for topic in PAGES
        if topic != "README" and f"[`geocli docs {topic}`](geocli/docs/{topic}.md)" not in PAGES["README"]
    ]


def test_security_policy_names_a_private_form_and_no_address() -> None:
    """Reports go by the private form of the hosting site; no mail address is invented."""
    text = (ROOT / ".github" / "SECURITY.md").read_text()

    assert "Report a vulnerability" in text
    assert "What is promised, and to whom" in text
    assert not re.search(r"https?://|@", text)


def test_the_contributors_commands_are_the_same_on_both_pages() -> None:
    """CONTRIBUTING.md and `geocli docs contributing` list the same commands."""
    rows = [
        re.findall(r"^\| (install|test|slow tests|lint|measure) \| `([^`]+)`", text, re.MULTILINE)
        for text in (PAGES["contributing"], (ROOT / ".github" / "CONTRIBUTING.md").read_text())
    ]

    assert 5 == len(rows[0])
    assert rows[0] == rows[1]


def test_licence_text_is_part_of_the_package() -> None:
    """The licence file that pyproject.toml names is inside the package."""
    assert (ROOT / "geocli" / "LICENSE").read_text().startswith("MIT License\n")
    assert 'license-files = ["geocli/LICENSE"]' in (ROOT / "pyproject.toml").read_text()


def test_tests_that_the_documentation_names_exist() -> None:
    """The table of promises names existing tests."""
    paths = set(re.findall(r"`tests/([\w/]+\.py)`", PAGES["durability"]))

    assert len(paths) > 20
    assert set() == {name for name in paths if not (ROOT / "tests" / name).exists()}


def test_continuous_integration_runs_all_and_audits() -> None:
    """The workflow runs the script that contributors run, and audits the dependencies; both can fail it."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()

    assert "- run: .ci/run\n" in text
    assert "pip-audit --strict" in text
    assert 'python: ["3.11", "3.12", "3.13", "3.14"]' in text
    assert "schedule:" in text
    assert "continue-on-error" not in text
    assert "permissions:\n  contents: read\n" in text
