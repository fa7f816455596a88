"""The stored runs: what takes longer than a lesson should, made beforehand and kept in data/.

Each topic has a module: which runs it has, and what it measures after each. All of them train by `one_run`,
with the `methods` that the lessons compare; and here is how stored runs are written, read and chosen.
`python -m lora_lab.runs` makes them again.
"""

import json
from pathlib import Path

DATA = Path(__file__).parent / "data"


def read_runs(topic):
    """What is stored of `topic`, the name of its module: a dict whose values are lists of runs, each a dict
    of what was asked for and what was measured, or other numbers. ValueError if nothing is stored of it.
    """
    path = DATA / f"{topic}.json"
    if not path.exists():
        known = ", ".join(sorted(path.stem for path in DATA.glob("*.json")))
        raise ValueError(f"there are stored runs of {known}, got {topic!r}")
    return json.loads(path.read_text(encoding="utf-8"))


def write_runs(topic, stored):
    """Store what `read_runs` is to return, with a run a line."""
    lines = (f'"{name}": {json.dumps(value)}'.replace("}, {", "},\n{") for name, value in stored.items())
    DATA.mkdir(exist_ok=True)
    (DATA / f"{topic}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def runs_of(runs, **wanted):
    """Those of `runs` that have all the `wanted` values, in their order: `runs_of(runs, rank=8, seed=0)`.
    ValueError if none of them has such a key at all.
    """
    known = {key for run in runs for key in run}
    if runs and not wanted.keys() <= known:
        raise ValueError(f"runs have {', '.join(sorted(known))}, got {', '.join(wanted.keys() - known)}")
    return [run for run in runs if all(run.get(key) == value for key, value in wanted.items())]


def lowest(runs, loss="pirate"):
    """Of several runs, the one with the lowest `loss`: that on the new register, unless told otherwise."""
    return min(runs, key=lambda run: run[loss])


def at_best(runs, **wanted):
    """Of `runs` with the `wanted` values, those at the best rate, one for each seed: of the rates that were
    run with most seeds, the one with the lowest mean loss "chosen". ValueError if two runs of a rate have the
    same seed, or if there is none.
    """
    by_rate = {}
    for run in runs_of(runs, **wanted):
        by_rate.setdefault(run["rate"], []).append(run)
    if not by_rate:
        raise ValueError(f"no run has {wanted}")
    if any(len({run["seed"] for run in of_rate}) < len(of_rate) for of_rate in by_rate.values()):
        raise ValueError("runs differ in more than rate and seed: say which are wanted, such as rank=8")
    most = max(map(len, by_rate.values()))
    several = [of_rate for of_rate in by_rate.values() if len(of_rate) == most]
    return min(several, key=lambda of_rate: sum(run["chosen"] for run in of_rate))


def share_of_way(stored, run):
    """How far `run` went from the base's loss on its task to the floor, as a share: what is `stored` of
    fine_tuning or facts has both, as "base" and "floor". Measured on the stories that are reported.
    """
    base, floor = stored["base"][run["task"]], stored["floor"]
    return (base - run[run["task"]]) / (base - floor)
