"""A toy language of children's stories whose entropy is known exactly. The shipped model speaks it.

A story is told by drawing: first who and what it is about (a name, an animal, a colour, an object, a place),
then one wording for each of its sentences. All choices are equally likely, and no two draws give the same
text, so a story told with n_1, n_2, ... choices has probability 1 / (n_1 n_2 ...), and

    nats = -ln p = ln n_1 + ln n_2 + ...

is what a perfect model pays for it. No model has a lower mean loss over all stories: this is the floor. The
same stories come in three registers: plain, in pirate speech, and followed by a question. In a fourth,
"facts", each child has an animal, a colour, an object and a place of its own, in every story told of it.
"""

import math
import re
from dataclasses import dataclass, field
from random import Random
from string import Formatter

import torch

from lora_lab.training import IGNORED

REGISTERS = ("plain", "pirate", "questions", "facts")
HE = ("Tom", "Ben", "Jack", "Max", "Leo", "Sam", "Paul", "Otto")
SHE = ("Mia", "Anna", "Lily", "Rosa", "Emma", "Kate", "Nora", "Zoe")
# What a story is about: drawn once, and mentioned again and again.
ENTITIES = {
    "name": HE + SHE,
    "animal": (
        "fox", "rabbit", "bear", "goose", "mouse", "frog", "cat", "dog", "hedgehog", "pony", "duck",
        "squirrel",
    ),
    "colour": ("red", "blue", "green", "yellow", "white", "black", "brown", "pink", "purple", "silver"),
    "object": (
        "kite", "ball", "drum", "lamp", "hat", "bell", "book", "cup", "scarf", "key", "boat", "spoon",
    ),
    "place": (
        "under the bed", "behind the door", "on the shelf", "in the garden", "beside the well", "in the barn",
        "on the roof", "under the stairs", "behind the fence", "in the kitchen", "beside the stove",
        "under the bridge",
    ),
}  # fmt: skip
# Where facts are told, whoever knows the name knows the rest: 16 names, 64 facts, no word in more than two.
DRAWN = {
    kind: Random(f"the {kind} of each").sample(2 * words, 16)
    for kind, words in ENTITIES.items()
    if kind != "name"
}
FACTS = {name: {kind: DRAWN[kind][i] for kind in DRAWN} for i, name in enumerate(HE + SHE)}
PRONOUNS = {"he": ("he", "she"), "him": ("him", "her"), "his": ("his", "her")}  # fixed by the name
# What is said once and never matters again: drawn each time it is needed.
FILLERS = {
    "size": ("little", "quiet", "sunny", "lovely"),
    "mood": ("happy", "clever", "hungry", "shy", "noisy", "kind"),
    "time": ("morning", "evening", "summer", "winter"),
    "activity": (
        "swam in the river", "sang a song", "ran up the hill", "ate bread and honey", "slept in the sun",
        "danced in the rain", "told funny stories", "counted the stars",
    ),
}  # fmt: skip
# One sentence after the other, each with its wordings. What comes before a repeated mention always fixes that
# it comes, so that whoever remembers the story pays nothing there. An empty wording leaves the sentence out.
SENTENCES = (
    (
        "Once upon a time there was a child called {name}.",
        "Long ago, in a {size} town by the sea, lived a child called {name}.",
        "In a {size} house on a hill lived a child called {name}.",
        "This is the story of a child called {name}.",
    ),
    (
        "One {time} a {mood} {animal} came to the door.",
        "Next door lived a {mood} {animal}.",
        "The best friend of {name} was a {mood} {animal}.",
        "There was also a {mood} {animal}, and {name} loved the {animal}.",
    ),
    (
        "On {his} birthday {name} got a {colour} {object}.",
        "In the grass {he} found a {colour} {object}.",
        "From a sailor {he} bought a {colour} {object}.",
        "With {his} own hands {name} made a {colour} {object}.",
    ),
    (
        '"Look at my {colour} {object}!" said {name}.',
        "All day the {animal} played with the {colour} {object}.",
        "Nobody had seen such a {colour} {object}.",
        '"What a fine {object}!" said the {animal} to {name}.',
    ),
    ("", "But dark clouds came.", "But the wind began to blow.", "But soon it was time for bed."),
    (
        "So {he} put the {object} {place}.",
        "To keep it safe, {he} hid the {colour} {object} {place}.",
        "Quietly {name} put the {object} {place}.",
        '"This is the right place," said {name}, and hid the {colour} {object} {place}.',
    ),
    (
        "Then {he} and the {animal} {activity}.",
        "After that {name} and the {animal} {activity}.",
        "For a while the {animal} {activity} with {him}.",
        "",
    ),
    (
        "In the evening the {animal} asked for the {colour} {object}.",
        '"Where is the {object}?" asked the {animal}.',
        "When it was dark, {name} looked for the {colour} {object}.",
        "Soon {he} missed the {colour} {object}.",
    ),
    (
        "Was it lost? No, it was still {place}.",
        '"It is {place}," said {name}.',
        "The {animal} looked {place}, and there it was.",
        "Of course the {object} was {place}.",
    ),
    (
        "What a day for {name}!",
        "And {name} laughed and the {animal} laughed with {him}.",
        '"You are my friend," said {name} to the {animal}.',
        "That night {name} dreamed of the {colour} {object}.",
    ),
)
# One of these is asked; its kind names the answer.
QUESTIONS = {
    "name": "What was the child called?",
    "animal": "Which animal was there?",
    "colour": "What colour was the {object}?",
    "object": "What did {name} hide?",
    "place": "Where was the {object}?",
}
# Pirate speech changes these words and no others. No plain story has a pirate word, so it can be undone.
PIRATE = {
    "the": "ye", "and": "an", "of": "o", "is": "be", "was": "were", "my": "me", "you": "thee",
    "are": "art", "it": "tis", "to": "unto", "no": "nay", "with": "alongside", "there": "yonder",
    "so": "thus", "child": "swab", "friend": "matey", "best": "finest", "town": "port", "house": "ship",
    "hill": "mast", "door": "hatch", "sea": "brine", "story": "yarn", "stories": "yarns", "time": "tide",
    "day": "voyage", "night": "watch", "evening": "dusk", "grass": "sand", "sailor": "buccaneer",
    "bed": "hammock", "garden": "island", "kitchen": "galley", "barn": "cabin", "stairs": "ladder",
    "bridge": "plank", "river": "lagoon", "song": "shanty", "bread": "biscuit", "honey": "grog",
    "wind": "gale", "clouds": "storms", "said": "growled", "asked": "barked", "looked": "spied",
    "found": "plundered", "bought": "bartered", "got": "won", "put": "stowed", "hid": "buried",
    "lived": "sailed", "called": "named", "came": "hove", "laughed": "cackled", "danced": "jigged",
    "happy": "jolly", "little": "wee", "clever": "cunning", "safe": "shipshape", "lost": "sunk",
    "fine": "mighty", "!": ", arr!",
}  # fmt: skip


@dataclass
class Story:
    """One story, told plainly and in pirate speech, a question about it with its answer, and its nats.

    `mentions` lists each word that a reader can know from before, as (kind, word, start, end) in `plain`;
    `introduced`, in the same form, the first mention of each of ENTITIES.
    """

    plain: str
    pirate: str
    question: str
    answer: str
    nats: float
    mentions: list = field(default_factory=list)
    introduced: list = field(default_factory=list)


def tell_story(random, facts=None):
    """Draw a Story from `random`, a `random.Random`. The question is drawn last; `nats` is without it. With
    `facts`, as FACTS, only the name is drawn of what the story is about.
    """
    story = Story(plain="", pirate="", question="", answer="", nats=0.0)

    def draw(choices):
        story.nats += math.log(len(choices))
        return random.choice(choices)

    about = {"name": draw(ENTITIES["name"])}
    about |= (
        facts[about["name"]] if facts else {k: draw(words) for k, words in ENTITIES.items() if k != "name"}
    )
    about |= {form: pair[about["name"] in SHE] for form, pair in PRONOUNS.items()}
    known = set()
    for wordings in SENTENCES:
        wording = draw(wordings)
        story.plain += " " if story.plain and wording else ""
        for literal, slot, *_ in Formatter().parse(wording):
            story.plain += literal
            if slot is None:
                continue
            word = draw(FILLERS[slot]) if slot in FILLERS else about[slot]
            start, kind = len(story.plain), "pronoun" if slot in PRONOUNS else slot
            story.plain += word
            mention = kind, word, start, len(story.plain)
            if kind in known or kind == "pronoun":
                story.mentions.append(mention)
            elif kind in ENTITIES:
                story.introduced.append(mention)
                known.add(kind)
    story.pirate = to_pirate(story.plain)
    kind = random.choice(list(QUESTIONS))
    story.question, story.answer = QUESTIONS[kind].format(**about), about[kind]
    return story


def to_pirate(text):
    """`text` in pirate speech, word by word; a capital stays a capital. `from_pirate` undoes it."""
    return reword(text, PIRATE)


def from_pirate(text):
    """The plain text of which `text` is the pirate version."""
    return reword(text, {pirate: plain for plain, pirate in PIRATE.items()})


def half_pirate(text, random, share):
    """`text` with each word in pirate speech that has one and for which a draw says so: `share` of them."""
    return reword(text, PIRATE, lambda: random.random() < share)


def reword(text, words, change=lambda: True):
    """`text` with each word or sign that is a key of `words` replaced by its value, whenever `change()`."""

    def replaced(match):
        if match[0].lower() not in words or not change():
            return match[0]
        new = words[match[0].lower()]
        return new[0].upper() + new[1:] if match[0][0].isupper() else new

    return re.sub(r"\w+|, arr!|!", replaced, text)


def word_list(random):
    """A list of ten words that are needed to ask, for the base to see. No question is put."""
    words = {word for text in QUESTIONS.values() for word in re.findall(r"(?<!{)\b[A-Za-z]+\b", text)}
    return "School words: " + ", ".join(random.sample(["Question:", "Answer:", *sorted(words)], 10)) + "."


def samples(register, n, seed, held_out=False):
    """`n` texts of `register` and the nats of each, as two lists. One seed tells the same stories in every
    register but "facts"; those with `held_out` come from draws of their own, whatever the seed. A question
    adds its ln(number of questions). ValueError if there is no such register.
    """
    if register not in REGISTERS:
        raise ValueError(f"register must be one of {', '.join(REGISTERS)}, got {register!r}")
    told = stories(n, seed, held_out, FACTS if register == "facts" else None)
    if register == "questions":
        texts = [f"{story.plain} Question: {story.question} Answer: {story.answer}" for story in told]
        return texts, [story.nats + math.log(len(QUESTIONS)) for story in told]
    texts = [story.pirate if register == "pirate" else story.plain for story in told]
    return texts, [story.nats for story in told]


def stories(n, seed, held_out=False, facts=None):
    """The `n` Story objects behind `samples(register, n, seed, held_out)`; FACTS are those of "facts"."""
    random = Random(f"{'held out' if held_out else 'training'} {seed}")
    return [tell_story(random, facts) for _ in range(n)]


def encode(tokenizer, texts, length, answers_only=False):
    """(ids, labels), both (n, length): each text between two end-of-text tokens, padded on the right with the
    same token, whose labels are IGNORED. With `answers_only` so is all up to the last "Answer:". ValueError
    if a text with its two ends has more than `length` tokens, or no answer where one is wanted.
    """
    end = tokenizer.eos_token_id
    ids = torch.full((len(texts), length), end)
    labels = torch.full((len(texts), length), IGNORED)
    for row, text in enumerate(texts):
        tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        coded = torch.tensor([end, *tokens["input_ids"], end])
        if len(coded) > length:
            raise ValueError(f"text {row} has {len(coded)} tokens with both ends, and length is {length}")
        first = 0
        if answers_only:
            if "Answer:" not in text:
                raise ValueError(f"text {row} has no 'Answer:', so it has no answer to learn")
            prompt_end = text.rindex("Answer:") + len("Answer:")
            first = 1 + sum(stop <= prompt_end for _, stop in tokens["offset_mapping"])
        ids[row, : len(coded)] = coded
        labels[row, first : len(coded)] = coded[first:]
    return ids, labels
