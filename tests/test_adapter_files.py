"""The two files of an adapter: after an error or a kill at any moment there is the old pair or the new."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
import torch
from safetensors.torch import save

from lora_lab.adapters import files
from lora_lab.adapters.files import CONFIG, NOTE, SAVED, WEIGHTS, read_files, replace_files

needs_locks = pytest.mark.skipif(files.fcntl is None, reason="fcntl")


def adapter(number, kind=0):
    """The two files of an adapter that holds `number`."""
    weights = save({"A": torch.tensor([number])}, {NOTE: str(number)})
    return {WEIGHTS: weights, CONFIG: json.dumps({"kind": kind}).encode()}


OLD = adapter(1)
NEW = pytest.mark.parametrize("new", [adapter(2), adapter(2, kind=2)], ids=["same kind", "another kind"])
NOTES = {"notes.txt": b"mine"}


def contents(folder):
    """{name: bytes of a file, None of a folder}."""
    return {path.name: None if path.is_dir() else path.read_bytes() for path in folder.iterdir()}


def fill(folder, files):
    """Let `files` be all that is in `folder`."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture(params=[{}, OLD], ids=["no old one", "an old one"])
def old(request, tmp_path):
    """The files of the adapter that is in tmp_path, if any, beside a file of somebody else."""
    fill(tmp_path, {**request.param, **NOTES})
    return request.param


def test_what_was_read_stays_when_the_file_changes(tmp_path):
    """Were the tensors the file itself, they would change with it, or the process would die."""
    replace_files(tmp_path, adapter(3))
    _, tensors, _ = read_files(tmp_path)
    with open(tmp_path / WEIGHTS, "r+b") as file:
        file.write(bytes((tmp_path / WEIGHTS).stat().st_size))
    assert tensors["A"].tolist() == [3]


def test_what_was_written_is_read(tmp_path):
    replace_files(tmp_path / "a" / "b", adapter(3, kind=4))
    config, tensors, note = read_files(tmp_path / "a" / "b")
    assert (json.loads(config), tensors["A"].tolist(), note) == ({"kind": 4}, [3], "3")
    assert contents(tmp_path / "a" / "b") == adapter(3, kind=4)


@NEW
def test_an_old_adapter_is_replaced_and_other_files_stay(new, old, tmp_path):
    replace_files(tmp_path, new)
    assert contents(tmp_path) == {**new, **NOTES}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "adapter").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"an adapter is a folder, but .* is a file"):
        replace_files(tmp_path / "adapter", OLD)
    assert (tmp_path / "adapter").read_text() == "mine"


# A step that fails


class Stop(BaseException):
    pass


STEPS = ("mkdir", "fsync", "replace", "unlink", "rmdir")  # what changes a disk, in the module os


def stopped_at(count, how, function, *arguments):
    """Run `function` and let its `count`-th step fail ("error"), or that and all that would follow, as if the
    process were gone ("kill"). Return whether it had so many steps.
    """
    steps = []

    def stopping(step):
        def stopping_step(*arguments, **options):
            steps.append(step)
            if len(steps) == count or (len(steps) > count and how == "kill"):
                raise Stop
            return step(*arguments, **options)

        return stopping_step

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, stopping(getattr(os, name)))
        with suppress(Stop):
            function(*arguments)
    return len(steps) >= count


def seen_by_peft(folder):
    return {name: content for name, content in contents(folder).items() if name in (WEIGHTS, CONFIG)}


def check_for_peft(folder, old, new):
    """PEFT, which looks for two files, sees old or new, or for a moment no configuration: never a mixture."""
    seen = seen_by_peft(folder)
    assert seen in (old, new) or (CONFIG not in seen and old.get(CONFIG) != new[CONFIG])


def settled(folder):
    """What is in `folder` after the next load, but for the file of somebody else."""
    try:
        _, tensors, note = read_files(folder)
        assert tensors["A"].tolist() == [int(note)]
    except FileNotFoundError:
        assert not seen_by_peft(folder)
    now = contents(folder)
    assert now.items() >= NOTES.items()
    return {name: content for name, content in now.items() if name not in NOTES}


@NEW
def test_an_error_at_any_step_leaves_the_old_adapter_until_the_new_weights_are_in_place(new, old, tmp_path):
    count = 1
    while stopped_at(count, "error", replace_files, tmp_path, new):
        if seen_by_peft(tmp_path).get(WEIGHTS) == new[WEIGHTS]:
            assert settled(tmp_path) == new
        else:
            assert contents(tmp_path) == {**old, **NOTES}
        fill(tmp_path, {**old, **NOTES})
        count += 1
    assert count > 6 and settled(tmp_path) == new


def test_both_files_are_on_the_disk_before_the_step_that_counts(tmp_path, monkeypatch):
    steps = []
    for name in ("fsync", "replace"):
        step = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, step=step: (steps.append(name), step(*a)))
    replace_files(tmp_path, OLD)
    assert steps[:3] == ["fsync", "fsync", "replace"]


# A process that is killed


@NEW
def test_killed_at_any_step_of_saving_it_leaves_the_old_adapter_or_the_new_one(new, old, tmp_path):
    found, left, count = [], set(), 1
    while stopped_at(count, "kill", replace_files, tmp_path, new):
        check_for_peft(tmp_path, old, new)
        left |= {name.split("-")[0] for name in contents(tmp_path)}
        found.append(settled(tmp_path))
        fill(tmp_path, {**old, **NOTES})
        count += 1
    assert settled(tmp_path) == new
    assert {".saving", ".saved"} <= left
    up_to = found.count(old)  # this step it is the old one, from then on the new one
    assert found == [old] * up_to + [new] * (len(found) - up_to) and 0 < up_to < len(found)


@NEW
@pytest.mark.parametrize("then", ["load", "save"])
def test_who_finishes_a_saving_may_be_killed_too(then, new, old, tmp_path):
    third, count, more = adapter(3, kind=3), 1, True
    while more:
        (tmp_path / SAVED).mkdir()
        fill(tmp_path / SAVED, new)
        (tmp_path / ".saving-x").mkdir()
        fill(tmp_path / ".saving-x", {WEIGHTS: b"half"})
        again = (read_files, tmp_path) if then == "load" else (replace_files, tmp_path, third)
        more = stopped_at(count, "kill", *again)
        assert settled(tmp_path) in ([new] if then == "load" else [new, third])
        fill(tmp_path, {**old, **NOTES})
        count += 1
    assert count > 5


@NEW
def test_who_puts_the_old_adapter_back_may_be_killed_too(new, tmp_path):
    def save_with_an_error(at):
        return stopped_at(at, "error", replace_files, tmp_path, new)

    pairs = []
    for at in range(1, 12):
        fill(tmp_path, {**OLD, **NOTES})
        count = 1
        while stopped_at(count, "kill", save_with_an_error, at):
            check_for_peft(tmp_path, OLD, new)
            pairs.append(settled(tmp_path))
            fill(tmp_path, {**OLD, **NOTES})
            count += 1
    assert all(pair in (OLD, new) for pair in pairs) and OLD in pairs and new in pairs


SAVE_ON_AND_ON = """
import runpy, sys
from pathlib import Path
files = runpy.run_path(sys.argv[1])
folder, pairs = Path(sys.argv[2]), [eval(line) for line in sys.argv[3:]]
files["replace_files"](folder, pairs[0])
print("ready", flush=True)
while True:
    for pair in reversed(pairs):
        files["replace_files"](folder, pair)
"""


@contextmanager
def saving_process(folder, *pairs):
    """A process that saves `pairs` to `folder` in turn, after it has saved the first. At the end it is
    killed.
    """
    code = [sys.executable, "-c", SAVE_ON_AND_ON, files.__file__, str(folder), *map(repr, pairs)]
    with subprocess.Popen(code, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def test_a_process_killed_forty_times_leaves_one_adapter_or_the_other_each_time(tmp_path):
    old, new = adapter(1), adapter(2, kind=2)
    chance, found = random.Random(0), []
    (tmp_path / "notes.txt").write_bytes(NOTES["notes.txt"])
    for _ in range(40):
        with saving_process(tmp_path, old, new):
            time.sleep(chance.uniform(0, 0.02))
        check_for_peft(tmp_path, old, new)
        found.append(settled(tmp_path))
        assert found[-1] in (old, new)
    assert old in found and new in found


@needs_locks
def test_who_loads_while_others_save_gets_one_adapter_or_the_other(tmp_path):
    pairs = adapter(1), adapter(2, kind=2)
    with saving_process(tmp_path, *pairs) as first, saving_process(tmp_path, *pairs[::-1]) as second:
        seen = set()
        for _ in range(2000):
            config, tensors, note = read_files(tmp_path)
            assert json.loads(config)["kind"] == {1: 0, 2: 2}[int(note)]
            assert tensors["A"].tolist() == [int(note)]
            seen.add(note)
            if len(seen) == 2:
                break
        assert len(seen) == 2
        assert first.poll() is None and second.poll() is None  # nobody took a file from under them
