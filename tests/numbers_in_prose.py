"""The numbers that a text claims, and those that a lesson computes. The rule that the first are among the
second is in notebook_rules.
"""

import ast
import contextlib
import re
from typing import NamedTuple

SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9}
WHOLE = r"\d{1,3}(?:,\d{3})+|\d+"
PRINTED = re.compile(rf"(?<![\w.])({WHOLE})(\.\d+)?( ?%)?")
CLAIMED = re.compile(
    rf"(?<![\w.])(?<![A-Za-z]-)(?P<whole>{WHOLE})(?P<decimals>\.\d+)?(?!\w)"
    rf"(?: *(?P<percent>%|per ?cent)| (?P<scale>{'|'.join(SCALES)})\b)?"
)
YEAR = re.compile(r"19\d\d|20[0-3]\d")
# Numbers that are names: in the address of a link, of a heading, an exercise, a lesson, a version, a paper.
NAMES = re.compile(
    r"\]\([^)]*\)|</?[A-Za-z][^>]*>|https?://\S+|^#+ *(?:Exercise )?[\d.]*|\b[Ee]xercises? [\d.]+"
    r"|\b[Ll]essons? \d\d|\d+\.\d+\.\d+|\bPython \d\.\d+|\b\d{4}\.\d{5}\b",
    re.M,
)
CITES = re.compile(
    r"\]\(https?:|arXiv|\bet al\b|[A-Z][\w'’-]+,? \(?(?:19|20)\d\d\b|(?<![oO]n )(?<!for )\bpapers?\b"
    r"|\b[Ss]ections? \d|\b[Tt]ables? \d"
)
BETWEEN_SENTENCES = re.compile(r"(?<=[.!?:])[)*\"”]*\s+(?=[A-Z*$(\[>-])|\n\s*\n|\n(?=\s*[-|>\d])")
LESSON = re.compile(r"\b[Ll]essons? (\d\d)|\((\d\d)_\w+\.ipynb")


class Claim(NamedTuple):
    """A number in a text, rounded to `unit`, and the lessons that its sentence names."""

    text: str
    value: float
    unit: float
    is_percentage: bool
    lessons: list

    def is_among(self, computed):
        """Whether one of the (number, is_percentage) in `computed` rounds to it; for 97 % a 0.968 will do."""
        for number, is_percentage in computed:
            as_claimed = 100 * number if self.is_percentage and not is_percentage else number
            if abs(as_claimed - self.value) <= self.unit / 2 * (1 + 1e-9):
                return True
        return False


def claims(prose):
    """The numbers of three digits or more, and the percentages, in a text without code. Left out is what its
    sentence cites, what is a year and what is part of a name.
    """
    for sentence in BETWEEN_SENTENCES.split(prose):
        if CITES.search(sentence):
            continue
        lessons = ["".join(found) for found in LESSON.findall(sentence)]
        plain = NAMES.sub(" ", sentence).replace("{,}", ",").replace("\\,", " ").replace("\\", " ")
        for found in CLAIMED.finditer(plain):
            whole, decimals = found["whole"].replace(",", ""), found["decimals"] or ""
            is_long = len((whole + decimals[1:]).lstrip("0")) >= 3 and not YEAR.fullmatch(found[0])
            if is_long or found["percent"]:
                scale = SCALES.get(found["scale"], 1)
                unit = scale * 10.0 ** -len(decimals[1:])
                yield Claim(found[0], float(whole + decimals) * scale, unit, bool(found["percent"]), lessons)


def printed_numbers(text):
    """(number, whether it is a percentage) for each number in what a cell printed."""
    for whole, decimals, percent in PRINTED.findall(text):
        yield float(whole.replace(",", "") + decimals), bool(percent)


def numbers_in_code(source):
    """The same for the numbers in Python code. What a comment or a string says is not computed."""
    with contextlib.suppress(SyntaxError):  # another rule's matter
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and type(node.value) in (int, float):
                yield float(node.value), False
