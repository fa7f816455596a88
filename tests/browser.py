"""A Chromium for the tests that look at what a reader sees, and what they all hold against it."""

import os
import shutil
from urllib.parse import urlsplit

import pytest
from notebook_rules import ROOT

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
AXE = ROOT / "docs" / "node_modules" / "axe-core" / "axe.min.js"
# What MathJax could not set: it marks a mistake, and writes a macro that it does not know in red.
NOT_SET = "[data-mml-node=merror], mjx-container mtext[mathcolor=red]"
RAW = """(where) => {
  const found = [];
  for (const part of document.querySelectorAll(where)) {
    const walk = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const { parentElement, nodeValue } = walk.currentNode;
      const code = parentElement.closest("code, pre, mjx-container, script, style");
      if (!code && /\\$\\S[^$]*\\$/.test(nodeValue)) found.push(nodeValue);
    }
  }
  return found;
}"""
SERIOUS = """async (where) => {
  const { violations } = await axe.run(where, { resultTypes: ["violations"], preload: false });
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.length}, such as ${nodes[0].html.slice(0, 120)}`);
}"""


@pytest.fixture(scope="session")
def browser():
    """A Chromium. Where there is none, the tests of a server say so, and those of a maintainer fail."""
    if not BROWSER:
        missing = f"no browser was opened: none of {', '.join(NAMES)} is in the PATH"
        pytest.skip(missing) if os.environ.get("CI") else pytest.fail(f"{missing}; install one of them")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def watch(page, home=None, known=lambda text: False):
    """A list that fills with what `page` says to its console as an error, and with what it asks of another
    host than `home`; but not with what is `known`.
    """
    faults = []

    def note(kind, text):
        if not known(text):
            faults.append(f"{kind}: {text[:300]}")

    def requested(something):
        address = urlsplit(something.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.netloc != home:
            faults.append(f"request to outside: {something.url[:200]}")

    page.on("console", lambda message: message.type == "error" and note("console", message.text))
    page.on("pageerror", lambda error: note("error", str(error)))
    page.on("request", requested)
    page.on("websocket", requested)
    return faults


def serious_findings(page, where):
    """What axe finds in the parts `where` (CSS selectors) of a page that keeps someone from reading it."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    return page.evaluate(SERIOUS, {"include": [[part] for part in where]})
