"""What a notebook defines under a name that lora_lab also has is the very code of lora_lab, up to comments,
docstrings and layout.
"""

import ast
import copy
import difflib

import nbformat
import pytest
from notebook_rules import NOTEBOOKS, ROOT, cells, definitions, read, syntax_tree, tags

PACKAGE = ROOT / "lora_lab"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_same_name_same_code(path):
    """What a learner builds is what later lessons import."""
    problems = code_differences(read(path))
    assert not problems, f"{path.name}:\n" + "\n\n".join(problems)


def test_no_two_modules_share_a_name():
    """Otherwise nobody could say which code a notebook's name stands for."""
    names = [node.name for _, node in package_definitions()]
    assert not {name for name in names if names.count(name) > 1}


def test_a_change_in_any_function_of_any_room_is_found():
    """Every function and class of lora_lab in one notebook, as it is and with one statement more."""
    files, nodes = zip(*package_definitions(), strict=True)
    assert {file.split("/")[1] for file in files} >= {"adapters", "story_gpt2", "runs", "drawing", "checks"}
    assert not code_differences(lesson_with(nodes))
    changed = copy.deepcopy(nodes)
    for node in changed:
        node.body += ast.parse("changed = True").body
    differences = code_differences(lesson_with(changed))
    for file, node, difference in zip(files, nodes, differences, strict=True):
        assert f"defines {node.name} otherwise than {file}:" in difference
        assert "+    changed = True" in difference


def lesson_with(nodes):
    """A notebook that defines what these syntax trees say, a cell for each."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(ast.unparse(node)) for node in nodes])


def package_definitions():
    """(file name, syntax tree) of each function and class of lora_lab; the figures are not for learners."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "diagrams.py":
            for node in definitions(ast.parse(path.read_text(encoding="utf-8"))):
                yield path.relative_to(ROOT).as_posix(), node


def code_differences(notebook):
    """How a notebook's functions and classes differ from those of the same name in lora_lab; a sentence and a
    diff for each.
    """
    originals = {node.name: (file, node) for file, node in package_definitions()}
    return [
        f"{place} defines {node.name} otherwise than {file}:\n{diff}"
        for place, cell in cells(notebook, "code")
        if "exercise" not in tags(cell)
        for node in definitions(syntax_tree(cell))
        for file, original in [originals.get(node.name, ("", node))]
        if (diff := code_diff(original, node, file, place))
    ]


def code_diff(original, other, *places):
    """A unified diff of two syntax trees without their docstrings, or "" if they are equal."""
    original, other = without_docstrings(original), without_docstrings(other)
    if ast.dump(original) == ast.dump(other):
        return ""
    lines = (ast.unparse(tree).splitlines() for tree in (original, other))
    return "\n".join(difflib.unified_diff(*lines, *places, lineterm=""))


def without_docstrings(tree):
    """A copy of a syntax tree without its docstrings."""
    tree = copy.deepcopy(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree
