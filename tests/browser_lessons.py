"""Every lesson as its reader sees it: opened in JupyterLab in a browser, run from the menu, looked at, and
its sliders moved by the keyboard. `make browser-test` runs this; it takes some minutes.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from browser import browser, serious_findings, watch  # noqa: F401
from notebook_rules import NOTEBOOKS, ROOT, contents, read

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
NOT_COPIED = shutil.ignore_patterns(".*", "build", "node_modules", "__pycache__", "package", "lora_lab")
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
COLUMNS = ("seconds", "cells", "formulas", "pictures", "links", "moves", "outside", "console", "axe")

IN_PAGE = (ROOT / "tests" / "in_jupyterlab.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The address of a JupyterLab on a copy of the course, with folders of its own for all that it writes."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT, folder / "course", ignore=NOT_COPIED)
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    places |= {f"JUPYTERLAB_{kind}_DIR": str(folder / kind.lower()) for kind in ("SETTINGS", "WORKSPACES")}
    options = [
        *("--no-browser", "--allow-root", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *("--IdentityProvider.token=", f"--ServerApp.root_dir={folder / 'course'}"),
        *("--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"),
        *("--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
    ]
    environment = {**os.environ, **places, "LORA_LAB_PROGRESS": "off", "PYTHONPATH": str(ROOT)}
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=log, stderr=log
        )
    address = f"127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://{address}/api/status", timeout=2).close()
            break
        except OSError:
            time.sleep(0.5)
    else:
        server.kill()
        pytest.fail((folder / "log").read_text()[-2000:])
    yield address
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="session")
def numbers(request):
    """A dict that each lesson puts its numbers into; at the end they are shown as a table."""
    found = {}
    yield found
    rows = [f"{'in JupyterLab':30}" + "".join(f"{name:>10}" for name in COLUMNS)]
    for lesson, row in found.items():
        rows.append(f"{lesson:30}" + "".join(f"{row[name]:>10}" for name in COLUMNS))
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        print("", *rows, sep="\n")


@pytest.fixture
def page(browser, lab):  # noqa: F811
    """A page of a fresh browser, which must not complain and not ask anything of another host."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, service_workers="block")
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    opened.faults = faults = watch(opened, lab)
    yield opened
    context.close()
    assert not faults, "\n".join(faults)


def run_all(page):
    """Run > Run All Cells, on a notebook that has forgotten its outputs."""
    page.wait_for_function("lesson.idle()")
    page.evaluate("lesson.forget()")
    page.locator("#jp-MainMenu .lm-MenuBar-itemLabel").get_by_text("Run", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function("lesson.done()", timeout=600_000, polling=500)


def move_sliders(page):
    """Press an arrow key on every slider, and return how many pictures changed; the names of sliders whose
    picture did not, or that tell a screen reader another value than the one that is seen, come second.
    """
    moved, still = 0, []
    for handle in page.locator(".jp-Cell-outputArea .noUi-handle").all():
        handle.scroll_into_view_if_needed()
        area = handle.evaluate_handle("handle => handle.closest('.jp-Cell-outputArea')")
        before = area.evaluate("area => area.querySelector('img').src")
        now, most = handle.get_attribute("aria-valuenow"), handle.get_attribute("aria-valuemax")
        handle.press("ArrowLeft" if now == most else "ArrowRight")
        read = "handle => handle.closest('.widget-slider').querySelector('.widget-readout').textContent"
        changed = page.evaluate("lesson.changed", [area, before])
        if changed and handle.get_attribute("aria-valuetext") == handle.evaluate(read):
            moved += 1
        else:
            still.append(handle.get_attribute("aria-label") or "without a name")
    return moved, still


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_looks_right_in_jupyterlab(path, page, lab, numbers):
    page.goto(f"http://{lab}/lab/tree/notebooks/{path.name}?reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.evaluate(IN_PAGE)
    began = time.perf_counter()
    run_all(page)
    seconds = time.perf_counter() - began
    seen = page.evaluate("lesson.seen()")
    moved, still = move_sliders(page)
    found = serious_findings(page, [".jp-RenderedMarkdown", ".jp-OutputArea-output"])
    outside = sum("outside" in fault for fault in page.faults)
    numbers[path.stem] = seen | {"seconds": round(seconds), "moves": moved, "axe": len(found)}
    numbers[path.stem] |= {"outside": outside, "console": len(page.faults) - outside}
    assert not seen["errors"] and not seen["warnings"]
    assert not seen["notSet"] and (seen["formulas"] > 0 or "$" not in str(read(path)))
    assert not seen["blank"] and seen["pictures"] >= contents(read(path))["figures"]
    assert not seen["dead"]
    for address in set(seen["files"]):
        assert page.request.get(address).ok, address
    assert not still and moved >= contents(read(path))["sliders"]
    assert not found, "\n".join(found)
