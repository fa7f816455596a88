"""Exercise checkers, one module per lesson. A checker takes the learner's own object and returns one of three
verdicts: not attempted yet, a hint that names the symptom, or correct. It tests properties, so that every
right solution passes. What was found correct is ticked (`progress`), and `python -m lora_lab.checks FOLDER`
runs the checkers over the notebooks of a class (`grading`).
"""

import functools

from lora_lab.checks.progress import note_solved


class NotAttempted(Exception):
    """Raised inside a checker when the learner's code is still the stub."""


class Verdict:
    """What a checker found: `state` is "not attempted", "hint" or "correct". A notebook shows its text."""

    def __init__(self, state, text):
        self.state, self.text = state, text

    def __repr__(self):
        return self.text


def checker(check):
    """Make a checker of a function that returns a hint, or None if the answer is right."""

    @functools.wraps(check)
    def run(*answers):
        if any(is_blank(answer) for answer in answers):
            return Verdict("not attempted", "Not attempted yet.")
        try:
            hint = check(*answers)
        except NotAttempted:
            return Verdict("not attempted", "Not attempted yet.")
        except Exception as error:  # the learner's code failed: that is a finding, not a crash
            hint = f"your code stopped with {type(error).__name__}: {error}"
        if hint:
            return Verdict("hint", f"Not yet: {hint}")
        return Verdict("correct", f"Correct. {note_solved(check)}".strip())

    return run


def is_blank(answer):
    """True for what a stub leaves behind: `...` or None."""
    return answer is None or answer is ...


def attempt(function, *arguments):
    """Call the learner's function; NotAttempted if it returns what a stub returns."""
    answer = function(*arguments)
    if is_blank(answer):
        raise NotAttempted
    return answer


def attempt_watched(function, *arguments):
    """(`attempt`, the set of shapes of all matrix products that torch has computed meanwhile)."""
    from torch import ops  # the first lessons do without torch
    from torch.utils._python_dispatch import TorchDispatchMode

    products, shapes = (ops.aten.mm, ops.aten.addmm, ops.aten.bmm), set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            result = function(*arguments, **(options or {}))
            if function.overloadpacket in products:
                shapes.add(tuple(result.shape[-2:]))
            return result

    with Watch():
        return attempt(function, *arguments), shapes
