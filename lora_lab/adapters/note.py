"""The note in the file of weights, which PEFT does not read: which targets the layers are made of. It also
shows whether the two files are from one save.
"""

import json

from lora_lab.adapters.files import CONFIG, WEIGHTS
from lora_lab.adapters.fused import WHOLE, by_layer, fused_kind
from lora_lab.adapters.settings import is_alpha, is_rank, shown
from lora_lab.gpt2 import check_targets


def written_note(updates, rslora):
    """The note for a file of these updates."""
    kinds = {name: update.kind for name, update in updates.items() if len(update.A)}
    return json.dumps({"use_rslora": rslora, "layers": kinds})


def noted_kinds(note, layers, config):
    """{"0.q": (rank, alpha), ...} by the note, for the `layers` {"0.attn.c_attn": (rank, alpha), ...} of the
    configuration. Without a note, as PEFT writes it, they are whole. ValueError if the note is damaged or
    does not fit.
    """
    if note is None:
        target_of = {layer: target for target, layer in WHOLE.items()}
        places = {name: name.split(".", 1) for name in layers}
        return {f"{number}.{target_of[layer]}": layers[name] for name, (number, layer) in places.items()}
    kinds, rslora = read_note(note, 1 + max(int(name.split(".")[0]) for name in layers))
    expected = {name: fused_kind([*parts.values()], rslora) for name, parts in by_layer(kinds).items()}
    if layers != expected or rslora != config["use_rslora"]:
        names = ("r", "rank_pattern", "lora_alpha", "alpha_pattern", "target_modules", "use_rslora")
        settings = shown({name: config[name] for name in names})
        unfit = f"{settings} does not fit {shown(note)}"
        raise ValueError(f"{CONFIG} and {WEIGHTS} are not from one save: {unfit}")
    return kinds


def read_note(note, blocks):
    """({"0.q": (rank, alpha), ...}, whether it is rsLoRA) for a GPT-2 of so many blocks. ValueError if the
    note is damaged.
    """
    try:
        content = json.loads(note)
        kinds = {name: (rank, alpha) for name, (rank, alpha) in content["layers"].items()}
        targets = sorted({name.split(".")[1] for name in kinds})
        check_targets(targets)
        complete = kinds.keys() == {f"{i}.{target}" for i in range(blocks) for target in targets}
        if not complete or not all(is_rank(rank) and is_alpha(alpha) for rank, alpha in kinds.values()):
            raise ValueError("there must be a rank and an alpha for the same targets of all blocks")
        return kinds, content["use_rslora"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"the note in {WEIGHTS} is damaged: {shown(note)}") from error
