"""How long a lesson takes, counted and as its header says. Run as a program (`make minutes`), it writes the
counted minutes into every header and into the README.
"""

import re
from typing import NamedTuple

import nbformat
from notebook_rules import NOTEBOOKS, ROOT, read

WORDS_A_MINUTE, LINES_A_MINUTE = 180, 12
TOLERANCE = 1
SECONDS = (10, 30, 60)
HEADER = re.compile(
    r"\*\*Time:\*\* (?P<reading>\d+) minutes to read(?:, (?P<exercises>\d+) for the exercises)?, "
    r"(?P<seconds>\d+) seconds to run\."
)
ROW = r"(^\| \[[^]]*\]\(notebooks/{name}\) .*\| )[^|]*( \|$)"  # of the README's table


class Minutes(NamedTuple):
    """Minutes to read what stands before the exercises, minutes for the exercises, seconds to run."""

    reading: float
    exercises: int
    seconds: int

    def __str__(self):
        """As a header says it."""
        exercises = f", {self.exercises} for the exercises" if self.exercises else ""
        return f"**Time:** {self.reading:.0f} minutes to read{exercises}, {self.seconds} seconds to run."

    def in_table(self):
        """As the README says it."""
        return f"{self.reading:.0f} + {self.exercises}" if self.exercises else f"{self.reading:.0f}"


def said(notebook):
    """The `Minutes` that the header of a notebook says, or None if it does not have their form."""
    found = HEADER.search(notebook.cells[1].source) if len(notebook.cells) > 1 else None
    return found and Minutes(*(int(number or 0) for number in found.groups()))


def counted(notebook):
    """The `Minutes` of a notebook: words / 180 + lines of code / 12 before the exercises, without what is
    folded, and what its exercises say. Seconds are not counted but taken from the header.
    """
    words = lines = 0
    for cell in core(notebook):
        if cell.cell_type == "markdown":
            words += len(re.findall(r"[A-Za-z][\w'’-]*", only_words(cell.source)))
        elif not cell.metadata.get("jupyter", {}).get("source_hidden"):
            lines += len([line for line in cell.source.splitlines() if line.strip()])
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    exercises = sum(int(m) for text in texts for m in re.findall(r"^###.*?(\d+) minutes?\b", text, re.M))
    header = said(notebook)
    seconds = header.seconds if header else SECONDS[0]
    return Minutes(words / WORDS_A_MINUTE + lines / LINES_A_MINUTE, exercises, seconds)


def core(notebook):
    """The cells before the exercises and before what goes further."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.match(r"##? +(Exercises|Going further)", cell.source):
            return
        yield cell


def only_words(markdown):
    """Markdown without formulas, tags, addresses of links, and what is folded."""
    return re.sub(r"<details>.*?</details>|\$[^$]*\$|<[^>]+>|\]\([^)]*\)", " ", markdown, flags=re.S)


def problems(notebook):
    """What the header of a notebook says wrongly about its minutes."""
    header, right = said(notebook), counted(notebook)
    if not header:
        return [f"the second cell does not say: {right}"]
    found = [] if header.seconds in SECONDS else [f"the seconds to run must be one of {SECONDS}"]
    if abs(header.reading - right.reading) > TOLERANCE or header.exercises != right.exercises:
        found.append(f"the header says {header} It must be: {right} (`make minutes` writes it)")
    return found


def write():
    """Write the counted minutes into each header and into the README."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = read(path)
        right, header = counted(notebook), notebook.cells[1]
        header.source = HEADER.sub(str(right), header.source)
        nbformat.write(notebook, path)
        text = re.sub(ROW.format(name=path.name), rf"\g<1>{right.in_table()}\g<2>", text, flags=re.M)
        print(f"{path.stem:28}{right}")
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
