"""What every checker gives: one of three verdicts, whatever the learner's object does."""

import pytest

from lora_lab.checks import attempt, checker


@checker
def check_double(function):
    """A checker as the lessons have them."""
    return None if attempt(function, 3) == 6 else "is it twice its argument?"


def raising(error):
    def function(x):
        raise error

    return function


def test_a_right_answer_is_correct_and_a_wrong_one_gets_the_hint():
    right, wrong = check_double(lambda x: 2 * x), check_double(lambda x: x**2)
    assert (right.state, repr(right)) == ("correct", "Correct.")
    assert (wrong.state, repr(wrong)) == ("hint", "Not yet: is it twice its argument?")


STUBS = {"...": ..., "None": None, "returns ...": lambda x: ..., "returns None": lambda x: None}


@pytest.mark.parametrize("blank", STUBS.values(), ids=STUBS)
def test_a_stub_is_not_attempted_yet(blank):
    verdict = check_double(blank)
    assert (verdict.state, repr(verdict)) == ("not attempted", "Not attempted yet.")


def test_one_stub_among_several_answers_is_not_attempted_yet():
    compare = checker(lambda first, second: None if first < second else "the wrong way round")
    assert [compare(*answers).state for answers in [(1, ...), (None, 1), (1, 2), (2, 1)]] == [
        *("not attempted", "not attempted", "correct", "hint")
    ]


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError("no"), TypeError("no"), KeyError("no"), IndexError("no"), AttributeError("no")),
        *(NameError("no"), ZeroDivisionError("no"), RuntimeError("no"), RecursionError("no")),
        *(AssertionError("no"), StopIteration("no"), ImportError("no"), OSError("no"), Exception("no")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_code_that_stops_gets_a_hint_with_its_error(error):
    verdict = check_double(raising(error))
    assert verdict.state == "hint" and f"your code stopped with {type(error).__name__}: " in verdict.text


@pytest.mark.parametrize("answer", [42, "2 * x", [1, 2]], ids=repr)
def test_so_does_what_is_no_function(answer):
    assert "your code stopped with TypeError: " in check_double(answer).text


def test_who_interrupts_a_check_is_not_told_that_the_answer_is_wrong():
    with pytest.raises(KeyboardInterrupt):
        check_double(raising(KeyboardInterrupt()))
