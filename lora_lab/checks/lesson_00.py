"""Lesson 00: is everything installed, and the checkers of what the course assumes. Nothing here needs a
package, so that it runs where one is missing.
"""

import math
import os
from importlib import metadata
from pathlib import Path

from lora_lab.checks import checker


def installation_problems(requirements="../requirements.txt"):
    """One sentence for each thing that is not as the course needs it: two processor cores, and each package
    that `pinned_lines` names in the version that it pins. A line with a ";" is for some machines only and is
    left out.
    """
    problems = []
    if (os.cpu_count() or 1) < 2:
        problems.append("There is one processor core: everything works, in about twice the time.")
    for line in pinned_lines(Path(requirements)):
        name, _, pinned = line.partition("==")
        if not pinned or ";" in line:
            continue
        version = installed_version(name)
        if version is None:
            problems.append(
                f"{name} is missing: run 'pip install -r requirements.txt' in the course's folder."
            )
        elif version != pinned:
            problems.append(
                f"{name} is {version}, the course was saved with {pinned}: outputs may differ a little."
            )
    return problems


def pinned_lines(requirements):
    """The lines of the file `requirements`; beside a copy of the lessons alone there is none, and the lines
    are those of the extra "course" of the installed package.
    """
    if requirements.exists():
        return requirements.read_text(encoding="utf-8").splitlines()
    lines = metadata.requires("lora_lab") or []
    return [line.removesuffix('; extra == "course"') for line in lines if 'extra == "course"' in line]


def installed_version(name):
    """The version of an installed package, without a local part such as +cpu; None if it is not there."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


@checker
def check_product(entry):
    """Question 2: row 1 times column 2 is 1 * 6 + 2 * 8 = 22."""
    if entry == 19:
        return "19 is in the first row and first column"
    if entry == 43:
        return "43 is in the second row and first column: row first, then column"
    if entry == 12:
        return "2 * 6 multiplies two entries; a matrix product takes a whole row times a whole column"
    if entry != 22:
        return f"it is first row times second column, 1 * 6 + 2 * 8, not {entry}"


@checker
def check_outer(shape):
    """Question 3: (3, 4)."""
    shape = tuple(shape)
    if shape == (4, 3):
        return "rows come first, and the column of 3 has 3 of them"
    if shape in ((1, 1), ()):
        return "a single number is the inner product, and it needs vectors of one length"
    if shape != (3, 4):
        return f"one entry for each pair of a row and a column: 3 x 4, not {shape}"


@checker
def check_transpose(expression):
    """Question 4: (A B)^T = B^T A^T."""
    expression = str(expression).replace(" ", "")
    if expression == "A.T@B.T":
        return "A.T is 3 x 2 and B.T is 4 x 3: do these shapes fit together?"
    if expression != "B.T@A.T":
        return f"choose one of the two expressions, not {expression!r}"


@checker
def check_norm(length):
    """Question 1: sqrt(9 + 16) = 5."""
    if length == 7:
        return "7 is the sum of the entries; square them first"
    if length == 25:
        return "25 is the squared length: take the root"
    if not math.isclose(float(length), 5):
        return f"the root of the sum of squares is asked for, not {length}"


@checker
def check_orthogonal(vector):
    """Question 5: any non-zero multiple of (1, -2)."""
    numbers = [float(number) for number in vector]
    if len(numbers) != 2:
        return f"a vector of two numbers is asked for, yours has {len(numbers)}"
    if not any(numbers):
        return "the zero vector is perpendicular to everything, and is excluded"
    product = 2 * numbers[0] + numbers[1]
    if abs(product) > 1e-9 * math.hypot(*numbers):
        return f"its product with (2, 1) must be zero, yours is {product:g}"


@checker
def check_gradient(gradient):
    """Question 7: 2 (w x - 1) x = 20."""
    if gradient == 10:
        return "10 is 2 (w x - 1): the inner derivative, x, is missing"
    if gradient == 25:
        return "25 is the value of the expression; its derivative with respect to w is asked for"
    if not math.isclose(float(gradient), 20):
        return f"the chain rule gives 2 (w x - 1) x, not {gradient}; run the three lines"


@checker
def check_parameters(count):
    """Question 6: 5 * 10 weights and 5 biases."""
    if count == 50:
        return "50 are the weights; what else does the layer add to each output?"
    if count == 60:
        return "the bias has one number per output, not per input"
    if count != 55:
        return f"count the entries of the weight, 5 x 10, and of the bias; yours is {count}"
