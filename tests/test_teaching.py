"""The pages for teachers: every lesson has one of the same form, its minutes add up, its links lead
somewhere, and what it quotes is what the lesson prints.
"""

import re
from urllib.parse import unquote

import pytest
from notebook_rules import (
    NOTEBOOKS,
    ROOT,
    anchors,
    computed_numbers,
    output_texts,
    outputs,
    read,
    without_code,
)
from numbers_in_prose import claims
from planted_mistakes import PLANTED

TEACHING = ROOT / "docs" / "teaching"
PAGES = sorted(TEACHING.glob("[0-9]*.md"))
PARTS = [
    "45 minutes",
    "Ask before you show",
    "Wrong answers, and what to ask back",
    "On the board",
    "Cut",
    "The machine",
]
PERIODS = (45, 30, 20)  # a lesson's page says how to fill each
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def parts(page):
    """{heading: text} of the parts of a page."""
    text = page.read_text(encoding="utf-8")
    return dict(re.findall(r"^## ([^\n]+)\n(.+?)(?=^## |\Z)", text, re.M | re.S))


def minutes(text):
    """The first column of the tables in a text."""
    return [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.M)]


def lesson_of(page):
    """The lesson that a page is about."""
    return read(NOTEBOOKS / f"{page.stem}.ipynb")


def test_every_lesson_has_a_page_of_the_same_parts():
    assert [page.stem for page in PAGES] == [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    for page in PAGES:
        assert list(parts(page)) == PARTS, page.name
        assert len(page.read_text(encoding="utf-8").splitlines()) <= 60, page.name


@each_page
def test_a_period_has_45_minutes_and_an_exercise(page):
    timetable = parts(page)["45 minutes"]
    assert sum(minutes(timetable)) == 45 and min(minutes(timetable)) >= 3
    assert re.search(r"exercise|questions", timetable)


@each_page
def test_an_exercise_has_at_least_the_minutes_that_the_lesson_gives_it(page):
    text = "\n".join(cell.source for cell in lesson_of(page).cells if cell.cell_type == "markdown")
    asked = dict(re.findall(r"^### Exercise ([\d.]+) .*\b(\d+) minutes?\)", text, re.M))
    for given, exercise in re.findall(
        r"^\| (\d+) \| exercise ([\d.]+),", page.read_text(encoding="utf-8"), re.M
    ):
        assert int(given) >= int(asked[exercise]), exercise
    for exercise in re.findall(
        rf"\b[Ee]xercise ({page.stem[:2].lstrip('0')}\.\d)", page.read_text(encoding="utf-8")
    ):
        assert exercise in asked


@each_page
def test_a_cut_has_the_minutes_that_it_says(page):
    cuts = dict(re.findall(r"^- \*\*(\d+) minutes:\*\* (.+)$", parts(page)["Cut"], re.M))
    assert [int(length) for length in cuts] == [*PERIODS[1:]]
    for length, kept in cuts.items():
        assert sum(int(one) for one in re.findall(r"(?:^|; )(\d+) ", kept)) == int(length), kept


def test_the_plans_add_up_and_follow_from_the_pages():
    plans = parts(TEACHING / "plans.md")
    assert list(plans) == ["90 minutes", "Half a day", "Four weeks", "A term"]
    assert sum(minutes(plans["90 minutes"])) == 90
    assert sum(minutes(plans["Half a day"])) == int(re.match(r"\s*(\d+) minutes", plans["Half a day"])[1])
    assert {*minutes(plans["90 minutes"]), *minutes(plans["Half a day"])} <= {*PERIODS}
    sessions = re.findall(r"^\| \d \|.*?\|(.*?)\|", plans["Four weeks"], re.M)
    taken = [[int(one) for one in re.findall(r"\b(\d+) (?:minutes )?of \[", session)] for session in sessions]
    assert [sum(session) for session in taken] == [90] * 4
    assert all({*session} <= {*PERIODS} for session in taken)
    assert minutes(plans["A term"]) == list(range(1, 15))


@pytest.mark.parametrize(
    "page", [*PAGES, TEACHING / "plans.md", TEACHING / "README.md"], ids=lambda page: page.stem
)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert links
    for link in links:
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor and target.suffix == ".ipynb":
            assert anchor in anchors(read(target)), link
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in [heading.replace(" ", "-") for heading in headings], link


@each_page
def test_what_a_page_quotes_stands_in_the_lesson(page):
    lesson = lesson_of(page)
    printed = " ".join(text for _, output in outputs(lesson) for text in output_texts(output).values())
    source = " ".join(cell.source for cell in lesson.cells)
    mistakes = " ".join(code for planted in PLANTED.values() for code, _ in planted)
    known = " ".join(f"{printed} {source} {mistakes}".split())
    assert "`" in parts(page)["Ask before you show"]
    for quote in re.findall(r"`([^`]+)`", page.read_text(encoding="utf-8")):
        assert " ".join(quote.split()) in known, quote


@each_page
def test_the_numbers_of_a_page_were_computed_in_the_lesson(page):
    computed = computed_numbers(lesson_of(page))
    text = without_code(page.read_text(encoding="utf-8"))
    for claim in claims(re.sub(rf"\b{page.stem[:2]}\.[1-4]\b", "", text)):  # its exercises
        assert claim.is_among(computed), claim.text
