"""The half of grading that is in a learner's kernel, where the learner's functions are. It is read from its
file before the learner's first cell, and so are the checkers, into modules of their own. So it does not
matter what a notebook does to its `check_...`, to lora_lab.checks, or to what it prints.

Who knows this file can still reach it: the objects of one process are open to each other. But who only wants
to be told "correct" finds the solution folded below the exercise. The verdicts are for help, not for marks.
"""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

# What checkers compute with. If a notebook has replaced a function of these, it is put back before a check.
JUDGED_WITH = {"builtins", "lora_lab", "math", "numpy", "torch"}


def ready(namespace, folder, lesson):
    """A function `judge(checker, answers, words)` with the checkers of `folder` as they are now. It gives to
    the checker what the learner's `namespace` has under the names `answers`, and prints one line: the secret
    word that `words` has for the state, and the text. A notebook cannot print that word before, or exchange
    one verdict for another afterwards.
    """
    checkers, stdout = load(folder, lesson), sys.stdout
    kept = [
        (module.__dict__, {name: value for name, value in module.__dict__.items() if callable(value)})
        for full_name, module in list(sys.modules.items())
        if full_name.partition(".")[0] in JUDGED_WITH
    ]

    def judge(checker, answers, words):
        for there, functions in kept:  # no name of a builtin stands before this: it may be the learner's
            there.update(functions)
        missing = [name for name in answers if name not in namespace]
        if missing:
            state, text = "missing", ", ".join(f"`{name}`" for name in missing)
        else:
            state, text = judged(getattr(checkers, checker), [namespace[name] for name in answers])
        stdout.write(f"{words[state]} {' '.join(text.split())}\n")
        stdout.flush()

    return judge


def judged(check, answers):
    """The state and the text of a verdict, or "stopped" and why there is none. What is printed is dropped."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            verdict = check(*answers)
        except BaseException as error:  # `exit()` in an answer is none of the errors that a checker expects
            return "stopped", f"the check of it stopped with {type(error).__name__}: {error}"
    return verdict.state, verdict.text


def load(folder, lesson):
    """The checkers of `lesson` in a module that only its owner has: no `import` finds it."""
    usual = importlib.import_module("lora_lab.checks")
    try:
        sys.modules["lora_lab.checks"] = module_from(Path(folder, "__init__.py"), "lora_lab.checks")
        return module_from(Path(folder, f"{lesson}.py"), f"lora_lab.checks.{lesson}")
    finally:
        sys.modules["lora_lab.checks"] = usual


def module_from(path, name):
    """The file at `path` as a module, which is not put into sys.modules."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
