"""Rules for notebooks that nbval does not check. A rule takes a notebook as nbformat reads it and gives a
sentence for each problem it finds, so an empty list means that all is well.
"""

import ast
import copy
import difflib
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
from figure_rules import PNG_IN_HTML, figure_differences
from nbclient import NotebookClient
from numbers_in_prose import claims, numbers_in_code, printed_numbers

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
SECONDS_PER_CELL = 60
WIDGET = "application/vnd.jupyter.widget-view+json"

MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:home|root|tmp|Users)/|\bC:\\")
SKIP_MARKER = re.compile(r"NBVAL_|PYTEST_VALIDATE_")
SKIP_TAG = re.compile(r"nbval-|skip-execution|raises-exception")
NOT_IN_A_LESSON = {
    "a star import": re.compile(r"\bimport \*"),
    "sys.path": re.compile(r"\bsys\.path\b"),
    "a change of folder": re.compile(r"\bchdir\b|^\s*%cd\b", re.M),
    "a question to the keyboard": re.compile(r"(?<![\w.])input\("),
    "a shell command": re.compile(r"^\s*!", re.M),
}


def read(path):
    """The notebook at `path`."""
    return nbformat.read(path, as_version=4)


def run_again(notebook, folder=NOTEBOOKS):
    """A copy of the notebook, without its outputs and executed afresh in `folder`."""
    fresh = copy.deepcopy(notebook)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(fresh, timeout=SECONDS_PER_CELL, kernel_name="python3", resources=where).execute()
    return fresh


# What the rules look at


def cells(notebook, kind):
    """The non-empty "code" or "markdown" cells, each with a name for it that a reader can search for."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == kind and cell.source.strip():
            yield f"cell {number} ({cell.source.strip().splitlines()[0][:50]!r})", cell


def outputs(notebook):
    """Every saved output, with its cell's name."""
    return ((place, output) for place, cell in cells(notebook, "code") for output in cell.outputs)


def output_texts(output):
    """The texts of an output by their kind, without its pictures and without a widget's ever new number."""
    if output.output_type == "stream":
        return {output.name: output.text}
    if output.output_type == "error":
        return {"error": f"{output.ename}: {output.evalue}"}
    data = {kind: content for kind, content in output.data.items() if kind != WIDGET}
    return {kind: PNG_IN_HTML.sub("PICTURE", str(content)) for kind, content in sorted(data.items())}


def tags(cell):
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def syntax_tree(cell):
    """The parsed source of a code cell, or None if it is not plain Python."""
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return None


def only_imports(cell):
    """Whether a code cell is a list of imports, which nobody reads line by line."""
    tree = syntax_tree(cell)
    return tree is not None and all(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)


def definitions(tree):
    """The functions and classes at the top level of a syntax tree."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node for node in tree.body if isinstance(node, kinds)] if tree else []


def without_code(markdown):
    """Markdown without its code: brackets in code are no links."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", markdown, flags=re.S | re.M)


class ImgTags(HTMLParser):
    """Collects (alt, src) of every <img> in a text."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Called by `feed` for every tag."""
        if tag == "img":
            self.found.append(tuple(dict(attributes).get(name) or "" for name in ("alt", "src")))


def written_pictures(markdown):
    """(alt, source) of every picture in a markdown text."""
    text = without_code(markdown)
    return re.findall(r"!\[(.*?)\]\(([^)\s]+)", text, flags=re.S) + ImgTags(text).found


def drawn_pictures(output):
    """(alt, source) of every picture in an output."""
    return ImgTags(output.get("data", {}).get("text/html", "")).found


def contents(notebook):
    """What a notebook has to show: its figures, sliders and exercises, counted."""
    saved = [output for _, output in outputs(notebook)]
    return {
        "figures": sum(len(drawn_pictures(output)) for output in saved),
        "sliders": sum(WIDGET in output.get("data", {}) for output in saved),
        "exercises": sum("exercise" in tags(cell) for cell in notebook.cells),
    }


# Rules for the notebook as it was saved


def it_was_run_from_top_to_bottom(notebook, folder):
    """Execution counts are 1..n, and nothing was left out of the run or of the comparison."""
    counts = [cell.execution_count for _, cell in cells(notebook, "code")]
    if counts != list(range(1, len(counts) + 1)):
        yield f"the execution counts are not 1 to {len(counts)} but {counts}: run `make notebooks`"
    for place, cell in cells(notebook, "code"):
        if SKIP_MARKER.search(cell.source) or any(map(SKIP_TAG.match, tags(cell))):
            yield f"{place} is marked to be skipped, ignored or allowed to fail"
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield f"the kernel is {kernel!r}, not 'python3'"


def its_outputs_are_clean(notebook, folder):
    """No error, no warning, no debris, and no picture that has no alternative text."""
    for place, output in outputs(notebook):
        texts = output_texts(output)
        for kind in {"error", "stderr"} & set(texts):
            yield f"{place} has a saved {kind}: {texts[kind].strip()!r}"
        for kind in (kind for kind in texts if kind.startswith("image/")):
            yield f"{place} shows a bare {kind}: show figures with lora_lab.drawing.show"
        if any("%|" in text for text in texts.values()):
            yield f"{place} has what is left of a progress bar in its output"
        if any(map(MACHINE_PATH.search, texts.values())):
            yield f"{place} has a path of one machine in its output"


def its_code_runs_anywhere(notebook, folder):
    """Plain Python, without what works on one machine only or surprises a reader."""
    for place, cell in cells(notebook, "code"):
        if not syntax_tree(cell):
            yield f"{place} is not plain Python"
        for what in (what for what, pattern in NOT_IN_A_LESSON.items() if pattern.search(cell.source)):
            yield f"{place} has {what}"
    for place, cell in (*cells(notebook, "code"), *cells(notebook, "markdown")):
        if MACHINE_PATH.search(cell.source):
            yield f"{place} has a path of one machine"


def its_threads_sleep_while_they_wait(notebook, folder):
    """A lesson that trains says so before PyTorch is imported: beside another busy process a lesson whose
    waiting threads spin has not ended after five times its time.
    """
    sources = [cell.source for _, cell in cells(notebook, "code")]
    if any(re.search(r"\.backward\(|\bfit\(", source) for source in sources):
        before = sources[
            : next(i for i, source in enumerate(sources) if re.search(r"^import torch", source, re.M))
        ]
        if not any('os.environ["OMP_WAIT_POLICY"] = "passive"' in source for source in before):
            yield "trains, and does not set OMP_WAIT_POLICY before it imports torch"


def its_pictures_can_be_read_and_found(notebook, folder):
    """Every picture has alternative text, and none is loaded from the web."""
    written = [
        (place, *p) for place, cell in cells(notebook, "markdown") for p in written_pictures(cell.source)
    ]
    drawn = [(place, *p) for place, output in outputs(notebook) for p in drawn_pictures(output)]
    for place, alt, source in written + drawn:
        if not alt.strip():
            yield f"{place} has a picture without alt text"
        if re.match(r"(https?:)?//", source):
            yield f"{place} loads a picture from the web: {source}"
    for place, _, source in written:
        if source.startswith("data:") or not (folder / unquote(source)).is_file():
            yield f"{place} shows a picture that is not a file of the course: {source[:80]}"


def its_links_lead_somewhere(notebook, folder):
    """A link to another file leads to a file that exists, and `#...` to a heading in it."""
    for place, cell in cells(notebook, "markdown"):
        text = without_code(cell.source)
        for link in re.findall(r'\]\(([^)\s]+)|href="([^"]+)"', text):
            link = "".join(link)
            name, _, anchor = link.partition("#")  # as it is written: the site unquotes no anchor
            name = unquote(name)
            if re.match(r"\w+:", link):
                continue  # a web page: the tests have no network
            if name and not (folder / name).exists():
                yield f"{place} links to a file that does not exist: {link}"
            elif anchor and (not name or name.endswith(".ipynb")):
                target = read(folder / name) if name else notebook
                if anchor not in anchors(target):
                    yield f"{place} links to a heading that does not exist: {link}"


def anchors(notebook):
    """The anchors that JupyterLab makes of headings: it keeps the case and turns spaces into hyphens."""
    for _, cell in cells(notebook, "markdown"):
        for heading in re.findall(r"^#{1,6} +(.+?)\s*$", cell.source, flags=re.M):
            yield re.sub(r"[`*]", "", heading).replace(" ", "-")
        yield from re.findall(r'\b(?:id|name)="([^"]+)"', cell.source)


def it_reads_well(notebook, folder):
    """A title, short cells, words above them, and each name defined once."""
    if not notebook.cells or not re.match(r"# \S", notebook.cells[0].source):
        yield "the first cell is not a `# ` title"
    defined = {}
    for place, cell in cells(notebook, "code"):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if len(lines) > 30 and not only_imports(cell):
            yield f"{place} has {len(lines)} lines; at most 30 can be read at once"
        for name in (node.name for node in definitions(syntax_tree(cell))):
            if name in defined:
                yield f"{place} defines {name} again, after {defined[name]}"
            defined[name] = place
    # A check stands directly below its exercise, so it cannot have words above it.
    above = [
        before.cell_type
        for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False)
        if cell.cell_type == "code" and "check" not in tags(cell)
    ]
    if above.count("markdown") < 0.75 * len(above):
        yield f"only {above.count('markdown')} of {len(above)} code cells have words above them; 75 % should"


def its_numbers_were_computed(notebook, folder):
    """A number of three digits or more, or a percentage, in the prose stands in an output or in code: of this
    lesson, or of one that its sentence names. A sentence may cite its source instead.
    """
    computed = computed_numbers(notebook)
    for place, cell in cells(notebook, "markdown"):
        for claim in claims(without_code(cell.source)):
            named = [read(path) for number in claim.lessons for path in folder.glob(f"{number}_*.ipynb")]
            if not any(map(claim.is_among, (computed, *map(computed_numbers, named)))):
                yield f"{place} says {claim.text}: no cell computes or prints it, and no source is cited"


def computed_numbers(notebook):
    """(number, whether it is a percentage) for each number in the code and the outputs of a notebook. The
    alternative text of a figure is prose.
    """
    numbers = {number for _, cell in cells(notebook, "code") for number in numbers_in_code(cell.source)}
    for _, output in outputs(notebook):
        for kind, text in output_texts(output).items():
            if kind != "text/html" and not text.startswith("Figure:"):
                numbers.update(printed_numbers(text))
    return numbers


STATIC_RULES = (
    it_was_run_from_top_to_bottom,
    its_outputs_are_clean,
    its_code_runs_anywhere,
    its_threads_sleep_while_they_wait,
    its_pictures_can_be_read_and_found,
    its_links_lead_somewhere,
    it_reads_well,
    its_numbers_were_computed,
)


def static_problems(notebook, folder=NOTEBOOKS):
    """What is wrong with a notebook that was saved in `folder`, as far as can be seen without running it."""
    return [problem for rule in STATIC_RULES for problem in rule(notebook, folder)]


# Rules for exercises: a stub, below it a check, below that a folded solution


SOLUTION_FORM = "<details><summary>Solution</summary>\n\n```python\n...\n```\n\n</details>"


def exercises(notebook):
    """(stub, check, solution) for each exercise: the next code cell, and the markdown cell after that."""
    nothing = nbformat.v4.new_markdown_cell()
    for number, cell in enumerate(notebook.cells):
        if "exercise" in tags(cell):
            below = notebook.cells[number + 1 :]
            check = next((cell for cell in below if cell.cell_type == "code"), nothing)
            below = below[below.index(check) + 1 :] if check in below else []
            yield cell, check, next((cell for cell in below if cell.cell_type == "markdown"), nothing)


def solution_code(solution):
    """The one Python block of a folded solution, or None if the cell does not have that form. Words may stand
    around it.
    """
    folded = re.fullmatch(
        r"<details>\s*<summary>.+?</summary>\n\n(.+)\n\n</details>\s*", solution.source, re.S
    )
    blocks = re.findall(r"(?:^|\n\n)```python\n(.*?)\n```(?=\n\n|$)", folded[1] if folded else "", re.S)
    return blocks[0] if len(blocks) == 1 else None


def exercise_problems(notebook):
    """What is wrong with the form of the exercises of an unsolved notebook."""
    problems = []
    found = list(exercises(notebook))
    for stub, check, solution in found:
        place = f"the exercise {stub.source.splitlines()[0]!r}"
        if "check" not in tags(check):
            problems.append(f"{place} is not followed by a code cell tagged 'check'")
        elif "solution" not in tags(solution):
            problems.append(f"the check of {place} is not followed by a markdown cell tagged 'solution'")
        elif not solution_code(solution):
            problems.append(f"the solution of {place} is not folded as {SOLUTION_FORM!r}")
        else:
            said = "".join(text for output in check.outputs for text in output_texts(output).values())
            if not said or said.replace("Not attempted yet.", "").strip("(), \n"):
                problems.append(f"the saved check of {place} must say 'Not attempted yet.', it says {said!r}")
    for tag in ("check", "solution"):
        count = sum(tag in tags(cell) for cell in notebook.cells)
        if count != len(found):
            problems.append(f"there are {len(found)} cells tagged 'exercise', but {count} tagged {tag!r}")
    return problems


# Rules for a saved notebook and the same notebook run again


def output_differences(saved, fresh):
    """What a reader of the saved notebook sees that somebody who runs it does not, or the other way round."""
    if len(saved.cells) != len(fresh.cells):
        return [f"the saved notebook has {len(saved.cells)} cells, the fresh one {len(fresh.cells)}"]
    pairs = zip(cells(saved, "code"), cells(fresh, "code"), strict=True)
    return [
        f"{place} {difference}"
        for (place, old), (_, new) in pairs
        for difference in differences(streams_joined(old.outputs), streams_joined(new.outputs))
    ]


def streams_joined(outputs):
    """The outputs of one cell, with what was printed in several pieces as one piece."""
    joined = []
    for output in copy.deepcopy(outputs):
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def differences(old, new):
    """The differences between the saved outputs of one cell and its fresh ones."""
    if new and not old:
        return ["was saved without its outputs"]
    if kinds(old) != kinds(new):
        return [f"was saved with outputs of the kinds {kinds(old)}, a fresh run gives {kinds(new)}"]
    found = []
    for saved, fresh in zip(old, new, strict=True):
        for was, now in zip(output_texts(saved).values(), output_texts(fresh).values(), strict=True):
            if was != now:
                lines = difflib.unified_diff(
                    was.splitlines(), now.splitlines(), "saved", "fresh", "", "", 1, ""
                )
                found.append("has another text:\n" + "\n".join(lines))
        found += figure_differences(saved, fresh)
    return found


def kinds(outputs):
    """What sort of outputs a cell has: printed or shown, and in which forms."""
    return [(o.output_type, *output_texts(o), *(WIDGET,) * (WIDGET in o.get("data", {}))) for o in outputs]
