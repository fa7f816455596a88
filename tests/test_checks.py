"""What every checker gives: one of three verdicts, whatever the learner's object does."""

import math

import pytest
import torch

from lora_lab.adapters import save_adapter
from lora_lab.checks import attempt, checker, lesson_15
from lora_lab.gpt2 import apply_lora_to_gpt2, load_gpt2, lora_layers
from lora_lab.story_gpt2.language import samples
from lora_lab.story_gpt2.parts import labels_by_part


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


# The capstone's judge, which no planted mistake can reach in a short time


def pirate_tell(n, held_out):
    return samples("pirate", n, seed=1, held_out=held_out)


@pytest.mark.parametrize(
    ("rank", "size", "said"),
    [(1, 3.0, "what the base remembered costs"), (16, 0.0, "% of the model's bytes")],
)
def test_the_capstone_refuses_an_adapter_that_forgets_or_is_too_large(
    rank, size, said, tmp_path, monkeypatch
):
    monkeypatch.setattr(lesson_15, "LEARNED", -math.inf)
    monkeypatch.setattr(lesson_15, "HELD_OUT", 440)  # fewer stories: this adapter is far from the limits
    monkeypatch.setattr(lesson_15, "labels_by_part", lambda n, count=labels_by_part: count(40))
    model = apply_lora_to_gpt2(load_gpt2(), rank, alpha=2 * rank)
    with torch.no_grad():
        for lora in lora_layers(model).values():
            lora.B.normal_(0, size, generator=torch.Generator().manual_seed(0))
    save_adapter(model, tmp_path)
    verdict = lesson_15.check_adapter(tmp_path, pirate_tell, 0.3)
    assert verdict.state == "hint" and said in verdict.text
