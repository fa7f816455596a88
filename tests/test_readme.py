"""The README tells the truth: it quotes what the notebooks print, and its links lead somewhere."""

import re

import pytest
from notebook_rules import NOTEBOOKS, ROOT, read

README = (ROOT / "README.md").read_text(encoding="utf-8")
CLAIMS = re.findall(r"^\| (.+) \| \[\d\d\]\((.+?)\) \| (.+) \|$", README, re.MULTILINE)


def printed(path):
    """All that the notebook at `path` prints, with single spaces."""
    outputs = [output for cell in read(path)["cells"] for output in cell.get("outputs", [])]
    return " ".join(" ".join("".join(output.get("text", "")) for output in outputs).split())


def test_there_are_claims():
    assert len(CLAIMS) >= 10


@pytest.mark.parametrize(("claim", "path", "measured"), CLAIMS, ids=[claim[:40] for claim, _, _ in CLAIMS])
def test_what_was_measured_is_what_the_notebook_prints(claim, path, measured):
    quotes = re.findall(r"`([^`]+)`", measured)
    assert quotes, "the last column must quote an output"
    for quote in quotes:
        assert " ".join(quote.split()) in printed(ROOT / path), quote


def test_every_lesson_has_a_row_and_every_link_leads_to_a_file():
    rows = set(re.findall(r"^\| \[\d\d .+?\]\(notebooks/(.+?)\)", README, re.MULTILINE))
    assert rows == {path.name for path in NOTEBOOKS.glob("*.ipynb")}
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert all((ROOT / link).exists() for link in links)


def test_every_module_and_every_room_has_a_sentence():
    rows = dict(re.findall(r"^\| `lora_lab\.(\w+)` \| (.+) \|$", README, re.MULTILINE))
    package = ROOT / "lora_lab"
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    assert rows.keys() == modules | rooms and all(len(sentence.split()) > 5 for sentence in rows.values())
    assert modules and len(rooms) == 6


def test_the_sentence_of_a_room_names_its_modules():
    for path in sorted((ROOT / "lora_lab").glob("*/[!_]*.py")):
        [row] = re.findall(rf"^\| `lora_lab\.{path.parent.name}` \| (.+) \|$", README, re.MULTILINE)
        named = f"`{path.stem}`" in row or (
            path.stem.startswith("lesson_") and "one module per lesson" in row
        )
        assert named, f"{path.stem} is in {path.parent.name}/, whose row in README.md does not name it"
