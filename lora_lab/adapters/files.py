"""The two files of an adapter on disk: read whole, and replaced together.

Two files cannot take the place of two others in one step. So both are written to a folder beside them, and
the renaming of that folder is the step that counts: a process killed before it has saved nothing, and after
it the next load or save moves the files to where PEFT looks for them.
"""

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from safetensors import SafetensorError, safe_open

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
NOTE = "lora_lab"  # where the metadata of WEIGHTS hold what PEFT does not read
SAVING, SAVED = ".saving-", ".saved-adapter"  # a folder of new files before and after the step that counts
OLD_CONFIG = "old_config.json"


def read_files(folder):
    """(bytes of the configuration, {key: tensor}, our note or None) of the adapter in `folder`. Raises
    FileNotFoundError if the folder or a file is missing, ValueError if the weights are damaged.
    """
    if not os.path.isdir(folder):  # Path.is_dir raises OSError for a name that is too long
        raise FileNotFoundError(f"there is no folder {folder}")
    with alone_in(folder):
        settle(folder)
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"there is no {name} in {folder}: an adapter is {CONFIG} and {WEIGHTS}"
                )
        try:
            with safe_open(folder / WEIGHTS, "pt") as file:
                # Copies, since the file may be replaced as long as the tensors live.
                tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
                note = (file.metadata() or {}).get(NOTE)
        except SafetensorError as error:
            raise ValueError(f"{folder / WEIGHTS} is damaged or no safetensors file: {error}") from error
        return (folder / CONFIG).read_bytes(), tensors, note


def replace_files(folder, contents):
    """Write `contents`, the bytes of WEIGHTS and of CONFIG by name, to `folder`, which is made if it is not
    there. Other files stay.

    Whenever the process is killed, `read_files` then gives the old pair or the new one. PEFT, which does not
    know of our folders, sees one of these pairs too, or for a moment no configuration. An error leaves the
    old pair unless it comes when the new weights are in place already.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"an adapter is a folder, but {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        settle(folder)
        new, saved = Path(mkdtemp(prefix=SAVING, dir=folder)), folder / SAVED
        try:
            for name, content in contents.items():
                with open(new / name, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(new, saved)  # the step that counts
            settle(folder)
        except BaseException:
            if (saved / WEIGHTS).exists():
                if (saved / OLD_CONFIG).exists():
                    os.replace(saved / OLD_CONFIG, folder / CONFIG)
                os.replace(saved, new)
            shutil.rmtree(new, ignore_errors=True)
            raise


def settle(folder):
    """Finish the saving that a killed process had come to the end of, and clear away what it had not."""
    saved = folder / SAVED
    if (saved / WEIGHTS).exists():
        old = folder / CONFIG
        if old.exists() and old.read_bytes() != (saved / CONFIG).read_bytes():
            os.replace(old, saved / OLD_CONFIG)  # nobody shall read the new weights by it
        os.replace(saved / WEIGHTS, folder / WEIGHTS)
    if (saved / CONFIG).exists():
        os.replace(saved / CONFIG, folder / CONFIG)
    for left in (saved, *folder.glob(f"{SAVING}*")):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def alone_in(folder):
    """Wait until no other process loads from or saves to `folder`, and keep others waiting. The lock goes
    with the process. Where there are no such locks, two that save at once may disturb each other.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network's file system may have none
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def check_finite(key, tensor):
    """Raise ValueError if a tensor holds a NaN or infinite number."""
    if not tensor.isfinite().all():
        raise ValueError(f"{key} holds a NaN or infinite number")
