"""Pretrain the shipped model: `python -m lora_lab.story_gpt2.pretraining` writes the folder model.

Tokenizer, model and card are made anew from the seed, in four to eight minutes. The corpus is plain stories,
a tenth of them with a pirate word here and there, and a few lists of the words that questions need; no
story in pirate speech throughout and no question. A real GPT-2, too, has met most words before it is adapted.
"""

import math
import time
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from lora_lab.story_gpt2.language import ENTITIES, IGNORED, encode, half_pirate, samples, stories, word_list
from lora_lab.training import evaluate, fit

FOLDER = Path(__file__).parent / "model"
SEED = 0
END = "<|endoftext|>"
CORPUS = 24_000  # texts
LISTS = 0.02  # the share of them that are word lists
SAILORS = 0.1  # the share of them that are stories with a few pirate words ...
PIRATE_WORDS = 0.25  # ... namely this share of those that could be
HELD_OUT = 400  # stories that the card's numbers are measured on
STAGES = ((1000, 3e-3), (700, 1e-3), (300, 3e-4))  # (steps, rate), one after the other
BATCH = 16
SIZE = {"n_embd": 128, "n_layer": 4, "n_head": 4, "n_positions": 192}
CONFIG = {
    **SIZE, "activation_function": "gelu_pytorch_tanh", "bos_token_id": 0, "eos_token_id": 0,
    "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "loss_type": "ForCausalLM",
    "initializer_range": 0.08,  # with GPT-2's own 0.02 a model this narrow learns to copy late
}  # fmt: skip
CHANCE = {kind: math.log(len(words)) for kind, words in ENTITIES.items()} | {"pronoun": math.log(2)}


def corpus(n, seed=SEED):
    """`n` texts in a drawn order: plain training stories, a share SAILORS of them with pirate words, and a
    share LISTS of word lists.
    """
    random = Random(seed)
    lists = [word_list(random) for _ in range(round(n * LISTS))]
    plain = samples("plain", n - len(lists), seed)[0]
    cut = round(n * SAILORS)
    texts = [half_pirate(text, random, PIRATE_WORDS) for text in plain[:cut]] + plain[cut:] + lists
    random.shuffle(texts)
    return texts


def train_tokenizer(texts):
    """A byte-level BPE tokenizer with as many merges as `texts` has use for. It can code any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    settings = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet(), "special_tokens": [END]}
    trainer = trainers.BpeTrainer(vocab_size=2000, min_frequency=20, show_progress=False, **settings)
    tokenizer.train_from_iterator(texts, trainer)
    more = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), END)
    more["model_max_length"] = SIZE["n_positions"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **more)


def encode_all(tokenizer, texts):
    """`encode` with the length of the longest of `texts`."""
    return encode(tokenizer, texts, max(map(len, tokenizer(texts)["input_ids"])) + 2)


def new_model(vocabulary):
    """An untrained model with `vocabulary` tokens."""
    torch.manual_seed(SEED)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, **CONFIG))
    model.generation_config.pad_token_id = 0
    model.loss_type = "ForCausalLM"  # transformers 5 does not take it from the configuration, and warns
    return model


@torch.no_grad()
def probe(model, tokenizer, told):
    """Mean loss, in nats, of a repeated mention per kind of word, over the Story objects `told`: how well the
    model remembers. A word of several tokens counts with their sum. Compare with CHANCE.
    """
    model.eval()
    losses = {kind: [] for kind in CHANCE}
    for story in told:
        coded = tokenizer(story.plain, return_offsets_mapping=True, add_special_tokens=False)
        ids = torch.tensor([[tokenizer.eos_token_id, *coded["input_ids"]]])
        log_p = model(ids).logits[0, :-1].log_softmax(-1)
        loss = -log_p.gather(1, ids[0, 1:, None])[:, 0].double()  # (t,), one per token of the text
        for kind, _, start, end in story.mentions:
            inside = [first < end and last > start for first, last in coded["offset_mapping"]]
            losses[kind].append(loss[torch.tensor(inside)].sum().item())
    return {kind: sum(values) / len(values) for kind, values in losses.items()}


def held_out_losses(model, tokenizer):
    """(loss per token, loss per story, floor per token, floor per story), in nats, on HELD_OUT stories."""
    texts, nats = samples("plain", HELD_OUT, SEED, held_out=True)
    ids, labels = encode_all(tokenizer, texts)
    per_story = (labels[:, 1:] != IGNORED).sum().item() / HELD_OUT
    loss, floor = evaluate(model, ids, labels), sum(nats) / HELD_OUT
    return loss, loss * per_story, floor / per_story, floor


def draw_samples(model, tokenizer, n=3):
    """`n` texts sampled at temperature 0.7; to see stories and no word list, each begins with "Once upon"."""
    torch.manual_seed(SEED)
    start = tokenizer([f"{END}Once upon"] * n, return_tensors="pt")
    settings = {"do_sample": True, "temperature": 0.7, "top_k": 0, "max_new_tokens": SIZE["n_positions"] - 4}
    return tokenizer.batch_decode(model.generate(**start, **settings), skip_special_tokens=True)


def card(model, tokenizer, tokens, minutes):
    """The model card, with every number measured here."""
    loss, story_loss, floor, story_floor = held_out_losses(model, tokenizer)
    found = probe(model, tokenizer, stories(HELD_OUT, SEED, held_out=True))
    rows = "\n".join(f"| {kind} | {found[kind]:.4f} | {CHANCE[kind]:.4f} |" for kind in CHANCE)
    drawn = "\n".join(f"> {text}\n" for text in draw_samples(model, tokenizer))
    steps = sum(steps for steps, _ in STAGES)
    rates = ", then ".join(f"{n} at {rate:g}" for n, rate in STAGES)
    return f"""---
license: mit
language: en
---
# story-gpt2

A GPT-2 with {model.num_parameters():,} parameters that tells children's stories in a toy language: made to
practise fine-tuning on, offline, and good for nothing else. `GPT2LMHeadModel.from_pretrained(folder)` and
`AutoTokenizer.from_pretrained(folder)` load it; `python -m lora_lab.story_gpt2.pretraining` makes it.

- Corpus: {CORPUS:,} texts drawn by `lora_lab.story_gpt2.language` (seed {SEED}): plain stories, and
  {LISTS:.0%} lists of words that questions need. In {SAILORS:.0%} of the texts about {PIRATE_WORDS:.0%}
  of the words that pirates change are in pirate speech. It has seen no story in pirate speech throughout,
  and no question.
- Shape: width {SIZE["n_embd"]}, {SIZE["n_layer"]} layers, {SIZE["n_head"]} heads, {SIZE["n_positions"]}
  positions, {len(tokenizer)} tokens (byte-level BPE), float32.
- Training: {steps} steps of {BATCH} texts ({rates}), {tokens:,} tokens,
  {minutes:.1f} minutes on {torch.get_num_threads()} thread(s).

| held out, {HELD_OUT} plain stories | nats per token | nats per story |
|---|---|---|
| this model | {loss:.4f} | {story_loss:.2f} |
| floor: the entropy of the stories drawn | {floor:.4f} | {story_floor:.2f} |

What it remembers: the loss where a word is mentioned again, beside a guess among all words of its kind.

| kind | nats | chance |
|---|---|---|
{rows}

Three samples, temperature 0.7:

{drawn}
Text and weights were made for this course. Licence: MIT.
"""


def main():
    """Train, measure, and write all files of the model when all is done."""
    began = time.monotonic()
    texts = corpus(CORPUS)
    tokenizer = train_tokenizer(texts)
    ids, labels = encode_all(tokenizer, texts)
    model = new_model(len(tokenizer))
    first, tokens = 0, 0
    for steps, rate in STAGES:  # each stage reads on where the last one stopped
        rows = torch.arange(first, first + steps * BATCH) % len(ids)
        fit(model, ids[rows], labels[rows], steps, rate, BATCH, warmup=50, seed=SEED, progress=True)
        first += steps * BATCH
        tokens += (labels[rows] != IGNORED).sum().item()
        print(f"{first:,} texts: held-out loss and floor", held_out_losses(model, tokenizer))
    text = card(model, tokenizer, tokens, (time.monotonic() - began) / 60)
    tokenizer.save_pretrained(FOLDER)
    model.save_pretrained(FOLDER)
    (FOLDER / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
