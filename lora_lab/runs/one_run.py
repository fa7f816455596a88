"""A run: a fresh model, made trainable in some way, trained, and judged on stories that it has not seen."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import torch

from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import ALL_TARGETS, load_gpt2
from lora_lab.runs.methods import ALPHA, RANK, make_trainable, options_of
from lora_lab.story_gpt2.batches import story_data
from lora_lab.story_gpt2.parts import labels_by_part
from lora_lab.training import evaluate, fit

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Setting:
    """What is asked of a run: `method` with its options, as `make_trainable` takes them; `steps` steps of 16
    stories, of which there are `stories`, of the kind `task`; and `held_out` others to measure on. With the
    numbers given here each story is seen once.
    """

    method: str
    rate: float
    rank: int = RANK
    alpha: float = ALPHA
    targets: str = ", ".join(ALL_TARGETS)
    d: int = 1024
    seed: int = 0  # of A or of the subspace, and of the batches
    task: str = "pirate"
    stories: int = 1600
    steps: int = 100
    warmup: int = 10
    held_out: int = 200

    def options(self):
        """The options that its method heeds, for `make_trainable`."""
        options = {name: getattr(self, name) for name in options_of(self.method)}
        return options | ({"targets": tuple(self.targets.split(", "))} if "targets" in options else {})

    def asked(self):
        """All of it as a dict, but for options that its method does not heed: what is stored."""
        unheeded = {"rank", "alpha", "targets", "d"} - set(options_of(self.method))
        return {name: value for name, value in asdict(self).items() if name not in unheeded}


def fresh_model(setting):
    """The shipped model with what the method of `setting` trains asking for a gradient."""
    return make_trainable(load_gpt2(), setting.method, **setting.options())


def train_run(setting, fresh=fresh_model):
    """One run, as (model, dict): the trained model, which was `fresh(setting)`, and what was asked for with
    how many numbers were trained. What a lesson measures on the model it adds to the dict.
    """
    torch.manual_seed(setting.seed)  # A is drawn
    model = fresh(setting)
    trainable = count_trainable_parameters(model)
    data = story_data(setting.task, setting.stories)
    fit(model, *data, setting.steps, setting.rate, warmup=setting.warmup, seed=setting.seed)
    return model, setting.asked() | {"trainable": trainable}


def halves(kind, n):
    """Two sets of n / 2 stories of `kind` that no run has seen: to choose a rate on, and to report on."""
    ids, labels = story_data(kind, n, held_out=True)
    return (ids[: n // 2], labels[: n // 2]), (ids[n // 2 :], labels[n // 2 :])


def held_out_loss(model, kind, n):
    """The loss of `model` on `n` stories of `kind` that no run has seen, to five digits."""
    return round(evaluate(model, *story_data(kind, n, held_out=True)), 5)


def losses_by_part(model, kind, n, names):
    """The loss of `model` on the half of `n` stories of `kind` that a rate is chosen by, "chosen", on the
    other, `kind`, and on the first n / 2 plain stories by the parts `names` of `labels_by_part`; to five
    digits. (In pirate speech, those are the ones that a rate is chosen by.)
    """
    choose, report = halves(kind, n)
    plain, parts = labels_by_part(n // 2)
    found = {"chosen": evaluate(model, *choose), kind: evaluate(model, *report)}
    found |= {name: evaluate(model, plain, parts[name]) for name in names}
    return {name: round(loss, 5) for name, loss in found.items()}


def in_parallel(settings, measure):
    """`measure` of each of `settings`, in two processes of one thread each, whose results do not depend on
    the machine's cores.
    """
    start = {"max_workers": 2, "mp_context": get_context("spawn")}
    with ProcessPoolExecutor(**start, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = [pool.submit(measure, setting) for setting in settings]
        runs = []
        for setting, one in zip(settings, waiting, strict=True):
            runs.append(one.result())
            print(f"{len(runs)} of {len(settings)}: {setting.asked()}", flush=True)
    return runs
