"""The toy language: every text is told in one way only, so its nats are exact; three registers."""

import math
import re
import subprocess
import sys
from collections import Counter
from random import Random
from string import Formatter

import pytest
import torch

import lora_lab.story_gpt2.language as language
from lora_lab.story_gpt2.language import (
    ENTITIES,
    FILLERS,
    PIRATE,
    PRONOUNS,
    QUESTIONS,
    REGISTERS,
    SENTENCES,
    SHE,
    encode,
    from_pirate,
    half_pirate,
    samples,
    stories,
    tell_story,
    to_pirate,
    word_list,
)
from lora_lab.story_gpt2.pretraining import FOLDER
from lora_lab.training import IGNORED


@pytest.fixture(scope="module")
def told():
    return stories(20_000, seed=7)


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


def ways_to_tell(text):
    """In how many ways the grammar can tell `text`: a parser that shares no code with the teller. Each way is
    a list of its numbers of choices.
    """
    ways = []

    def parse(rest, at, about, choices):
        if at == len(SENTENCES):
            if rest == "" and len(set(about) & set(ENTITIES)) == len(ENTITIES):
                ways.append(choices)
            return
        for wording in SENTENCES[at]:
            counted = [*choices, len(SENTENCES[at])]
            if wording:
                match_slots(rest.removeprefix(" "), list(Formatter().parse(wording)), at, about, counted)
            else:
                parse(rest, at + 1, about, counted)

    def match_slots(rest, pieces, at, about, choices):
        if not pieces:
            return parse(rest, at + 1, about, choices)
        (literal, slot, *_), *others = pieces
        if not rest.startswith(literal):
            return None
        rest = rest[len(literal) :]
        if slot is None:
            return match_slots(rest, others, at, about, choices)
        if slot in PRONOUNS:
            words, cost = [PRONOUNS[slot][about["name"] in SHE]], []
        elif slot in about:
            words, cost = [about[slot]], []
        else:
            words = {**ENTITIES, **FILLERS}[slot]
            cost = [len(words)]
        for word in words:
            if rest.startswith(word):
                now_known = {**about, slot: word} if slot in ENTITIES else about
                match_slots(rest[len(word) :], others, at, now_known, [*choices, *cost])
        return None

    parse(text, 0, {}, [])
    return ways


def test_a_story_can_be_told_in_one_way_only_and_its_nats_count_that_way(told):
    for story in told[:1000]:
        (choices,) = ways_to_tell(story.plain)
        assert story.nats == pytest.approx(sum(map(math.log, choices)), abs=1e-9)


def test_equal_texts_have_equal_nats(told):
    nats = {}
    for story in told:
        assert nats.setdefault(story.plain, story.nats) == pytest.approx(story.nats, abs=1e-9)


def test_in_a_small_grammar_the_nats_are_the_log_of_the_number_of_stories(monkeypatch):
    """3 names x 2 animals x 2 wordings: 12 stories, each with probability 1/12, found by telling many."""
    monkeypatch.setattr(language, "ENTITIES", {"name": ("Tom", "Mia", "Ben"), "animal": ("fox", "cat")})
    monkeypatch.setattr(
        language, "SENTENCES", (("{name} met a {animal}.", "A {animal} met {name}."), ("And {he} ran.",))
    )
    monkeypatch.setattr(language, "QUESTIONS", {"animal": "Which animal did {name} meet?"})
    random = Random(3)
    told = [tell_story(random) for _ in range(6000)]
    counts = Counter(story.plain for story in told)
    assert len(counts) == 12 and "A cat met Mia. And she ran." in counts
    assert min(counts.values()) > 400 and max(counts.values()) < 600  # 500 is expected, its deviation 21
    for story in told:
        assert story.nats == pytest.approx(math.log(12))


def test_there_are_more_than_a_million_stories_and_most_are_unlike_all_others(told):
    assert min(story.nats for story in told) > math.log(1_000_000)
    assert len({story.plain for story in told}) > 0.999 * len(told)


def test_what_comes_before_a_repeated_mention_fixes_that_it_comes():
    """Else the probe would charge the model for a wording that it cannot know. Two wordings of a sentence may
    share their beginning only if the next thing is the same in both.
    """
    may_come = []
    for wordings in SENTENCES:
        may_come = [*(may_come if "" in may_come else []), *wordings]
        for wording in filter(None, may_come):
            for slot in re.finditer(r"{(\w+)}", wording):
                if slot[1] in FILLERS:
                    continue
                before = wording[: slot.start()]
                others = [other[len(before) :] for other in may_come if other and other.startswith(before)]
                assert all(rest.startswith(slot[0]) for rest in others), (wording, slot[0], others)


def test_mentions_are_the_words_a_reader_can_know_from_before(told):
    seen = set()
    for story in told[:500]:
        for kind, word, start, end in story.mentions:
            assert story.plain[start:end] == word
            seen.add(kind)
            if kind == "pronoun":
                assert word in {word for pair in PRONOUNS.values() for word in pair}
            else:
                assert word in ENTITIES[kind]
                assert word in story.plain[: start - 1]  # it was there before
    assert seen == {*ENTITIES, "pronoun"}


def test_every_kind_is_mentioned_again_in_most_stories(told):
    counts = Counter(kind for story in told for kind in {kind for kind, *_ in story.mentions})
    assert all(counts[kind] > 0.8 * len(told) for kind in (*ENTITIES, "pronoun"))


def test_pirate_speech_can_be_undone_and_leaves_no_story_as_it_is(told):
    for story in told[:5000]:
        assert story.pirate == to_pirate(story.plain) != story.plain
        assert from_pirate(story.pirate) == story.plain


def test_pirate_words_are_distinct_and_in_no_plain_story(told):
    plain = {word.lower() for story in told for word in re.findall(r"\w+", story.plain)}
    assert len(set(PIRATE.values())) == len(PIRATE)
    assert not plain & set(PIRATE.values())
    assert {word for word in PIRATE if word.isalpha()} <= plain  # and none of them is idle


def test_pirate_speech_by_hand():
    assert to_pirate('The child said: "You are safe!"') == 'Ye swab growled: "Thee art shipshape, arr!"'
    assert from_pirate("Ye swab cackled, arr!") == "The child laughed!"
    assert to_pirate("then there") == "then yonder"  # whole words only


def test_an_answer_follows_from_its_story_and_every_kind_is_asked(told):
    kinds = Counter()
    for story in told[:2000]:
        assert story.answer in story.plain
        asked = [kind for kind, text in QUESTIONS.items() if story.question.startswith(text.split("{")[0])]
        (kind,) = asked
        kinds[kind] += 1
        assert story.answer in ENTITIES[kind]
        assert sum(word in re.findall(r"\w+", story.plain) for word in ENTITIES[kind]) <= 1  # no other answer
    assert min(kinds.values()) > 300 and set(kinds) == set(ENTITIES)


def test_one_seed_tells_the_same_stories_in_every_register():
    plain, nats = samples("plain", 50, 3)
    pirate, pirate_nats = samples("pirate", 50, 3)
    questions, question_nats = samples("questions", 50, 3)
    assert pirate == [to_pirate(text) for text in plain] and pirate_nats == nats
    assert all(text.startswith(story + " Question: ") for text, story in zip(questions, plain, strict=True))
    for more, less in zip(question_nats, nats, strict=True):
        assert more == pytest.approx(less + math.log(5))


def test_held_out_stories_are_others_than_the_training_stories_of_the_same_seed():
    trained, held_out = (set(samples("plain", 5000, 0, held_out)[0]) for held_out in (False, True))
    assert not trained & held_out
    assert samples("plain", 5, 0) != samples("plain", 5, 1)


def test_an_unknown_register_is_refused():
    with pytest.raises(ValueError, match=r"plain, pirate, questions.*'viking'"):
        samples("viking", 1, 0)


def test_a_seed_tells_the_same_in_every_process():
    """Whatever the order in which that process keeps its sets."""
    code = (
        "from random import Random; from lora_lab.story_gpt2.language import *;"
        "print([samples(register, 20, 5) for register in REGISTERS]);"
        "print([word_list(Random(n)) for n in range(9)])"
    )
    told = []
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert run.returncode == 0, run.stderr
        told.append(run.stdout)
    assert told[0] == told[1] != ""


def test_word_lists_put_no_question_and_cover_all_words_of_questions():
    random = Random(1)
    lists = [word_list(random) for _ in range(300)]
    heard = {word.lower() for text in lists for word in re.findall(r"\w+", text)}
    needed = {word for text in QUESTIONS.values() for word in re.findall(r"(?<!{)\b\w+", text)}
    assert {word.lower() for word in needed} <= heard
    assert all(text.startswith("School words: ") and "?" not in text for text in lists)


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_half_pirate_changes_that_share_of_the_words(share, told):
    random, some = Random(1), told[:4_000]
    mixed = [half_pirate(story.plain, random, share) for story in some]
    changed = sum(count_pirate(text) for text in mixed) / sum(count_pirate(story.pirate) for story in some)
    assert changed == pytest.approx(share, abs=0.02)
    assert [from_pirate(text) for text in mixed] == [story.plain for story in some]


PIRATE_WORDS = set(PIRATE.values())


def count_pirate(text):
    return sum(word.lower() in PIRATE_WORDS for word in re.findall(r"\w+|, arr!", text))


def test_encode_puts_a_text_between_two_ends_and_pads_on_the_right(tokenizer):
    texts = samples("plain", 2, 0)[0]
    ids, labels = encode(tokenizer, texts, 150)
    assert ids.shape == labels.shape == (2, 150) and ids.dtype == labels.dtype == torch.int64
    for row, text in enumerate(texts):
        n = len(tokenizer(text)["input_ids"]) + 2
        assert ids[row, 0] == ids[row, n - 1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids[row, 1 : n - 1]) == text
        assert torch.equal(labels[row, :n], ids[row, :n])
        assert (labels[row, n:] == IGNORED).all() and (ids[row, n:] == tokenizer.eos_token_id).all()


def test_encode_can_ask_for_the_answers_only(tokenizer):
    texts = samples("questions", 20, 0)[0]
    _, labels = encode(tokenizer, texts, 192, answers_only=True)
    for row, text in enumerate(texts):
        wanted = labels[row][labels[row] != IGNORED]
        assert tokenizer.decode(wanted[:-1]) == text.split("Answer:")[1]
        assert wanted[-1] == tokenizer.eos_token_id


def test_encode_refuses_what_does_not_fit_and_what_has_no_answer(tokenizer):
    texts = samples("plain", 1, 0)[0]
    with pytest.raises(ValueError, match=r"text 0 has .* and length is 20"):
        encode(tokenizer, texts, 20)
    with pytest.raises(ValueError, match="text 0 has no 'Answer:'"):
        encode(tokenizer, texts, 192, answers_only=True)


@pytest.mark.parametrize("register", REGISTERS)
def test_every_text_fits_the_model(register, tokenizer):
    texts = samples(register, 2000, 0)[0]
    assert max(map(len, tokenizer(texts)["input_ids"])) + 2 <= 192
