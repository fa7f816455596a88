"""A lesson, the README and the package as pages for Sphinx, whose settings are in docs/conf.py."""

import ast
import pkgutil
import re

import lora_lab
from lora_lab.pages.lessons import is_folded


def page_of_lesson(notebook, other_forms=None):
    """The notebook, a dictionary, as myst-nb is to read it: cells that JupyterLab folds are folded, the
    package's names in the text are links, and the first cell links to `other_forms` of the lesson, {what it
    is: path from the site's root}.
    """
    for cell in notebook["cells"]:
        if is_folded(cell):
            cell["metadata"].setdefault("tags", []).append("hide-input")
        if cell["cell_type"] == "markdown":
            cell["source"] = link_names("".join(cell["source"]))
        for output in cell.get("outputs", []):
            if "text/markdown" in output.get("data", {}):
                output["data"]["text/markdown"] = link_pages("".join(output["data"]["text/markdown"]))
    if other_forms:
        links = [f'<a href="../{path}">{form}</a>' for form, path in other_forms.items()]
        notebook["cells"][0]["source"] += f"\n\nAs {' · '.join(links)}"
    return notebook


def jupyter_anchor(title):
    """An anchor as JupyterLab makes it, by which the lessons link to each other's sections."""
    return title.replace(" ", "-")


def link_names(markdown):
    """`lora_lab.lora` in backquotes becomes a reference to where Sphinx describes it."""
    return re.sub(r"(?<!`)`(lora_lab(?:\.\w+)+)`", r"{py:obj}`\1`", markdown)


def link_pages(markdown):
    """Links to other lessons become links to their pages; Sphinx does so in cells, and not in outputs."""
    return re.sub(r"(\]\([\w-]+)\.ipynb", r"\1.html", markdown)


def imported_names(notebook):
    """The full names of what the cells of a notebook, a dictionary, import from lora_lab."""
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "lora_lab":
                yield from (f"{node.module}.{name.name}" for name in node.names)


def defined_as(imported, objects):
    """Those of the full names `objects` by which a full name that a lesson imports is described: what comes
    from a room may be defined in a module of it.
    """
    room, _, name = imported.rpartition(".")
    return [full for full in objects if re.fullmatch(rf"{room}(\.\w+)?\.{name}", full)]


def link_imported(html, places):
    """Highlighted code in which the names of `places`, {full name: address}, are links."""
    full = {name.split(".")[-1]: name for name in places}
    return re.sub(
        r'<span class="n[cf]?">(\w+)</span>',
        lambda span: link(full[span[1]], places, span[0]) if span[1] in full else span[0],
        html,
    )


def link(name, places, text):
    """An HTML link to where `name` is described."""
    return f'<a class="from-lora-lab" href="{places[name]}" title="{name}">{text}</a>'


def plain_text(line):
    """A line of a docstring in which reStructuredText sees no markup but names in backquotes."""
    return re.sub(r"(`[^`]*`)|([*|_\\])", lambda found: found[1] or "\\" + found[2], line)


def rooms():
    """{module or room of lora_lab: the full names of its modules, itself first}."""
    found = {}
    for module in pkgutil.walk_packages(lora_lab.__path__, "lora_lab."):
        if not module.name.endswith("__main__"):
            found.setdefault(module.name.split(".")[1], []).append(module.name)
    return found


def package_page(room, modules):
    """The page of one module or room, as reStructuredText."""
    title = f"lora_lab.{room}"
    parts = [f"{title}\n{'=' * len(title)}", f".. automodule:: {modules[0]}"]
    for name in modules[1:]:
        parts += [f"{name}\n{'-' * len(name)}", f".. automodule:: {name}"]
    return "\n\n".join(parts) + "\n"
