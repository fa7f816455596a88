// What `browser_lessons.py` asks of a page of JupyterLab. `jupyterapp` is the application: the server exposes it.
window.lesson = {
  panel: () => jupyterapp.shell.currentWidget,
  cells: () => lesson.panel().content.widgets,
  code: () => lesson.cells().filter(({ model }) => model.type === "code" && model.sharedModel.getSource().trim()),
  outputs: () => lesson.code().flatMap(({ model }) => model.sharedModel.getOutputs()),
  errors: () => lesson.outputs().filter((output) => output.output_type === "error"),
  idle: () => lesson.panel()?.sessionContext?.session?.kernel?.status === "idle",

  async forget() {
    await jupyterapp.commands.execute("notebook:clear-all-cell-outputs");
    for (const { model } of lesson.code()) model.executionCount = null;
  },

  done: () =>
    lesson.errors().length > 0 || (lesson.idle() && lesson.code().every(({ model }) => model.executionCount)),

  // Texts that look like formulas, and parts of formulas that could not be set.
  notSet() {
    const found = [];
    for (const part of lesson.find(".jp-RenderedMarkdown")) {
      const walk = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
      while (walk.nextNode()) {
        const { parentElement, nodeValue } = walk.currentNode;
        const code = parentElement.closest("code, pre, mjx-container, script, style");
        if (!code && /\$\S[^$]*\$|\\[a-z]{2,}/.test(nodeValue)) found.push(nodeValue);
      }
    }
    const marked = lesson.find("mjx-merror, mjx-container mtext[mathcolor=red]");
    return [...found, ...marked.map((part) => part.textContent)];
  },

  find: (selector) => [...lesson.panel().content.node.querySelectorAll(selector)],

  async seen() {
    const images = lesson.find("img");
    await Promise.all(images.map((image) => image.decode().catch(() => null)));
    const ids = new Set(lesson.find("[id], [data-jupyter-id]").flatMap((part) => [part.id, part.dataset.jupyterId]));
    const links = lesson.find(".jp-RenderedMarkdown a[href]:not(.jp-InternalAnchorLink)");
    const inside = links.map((link) => link.getAttribute("href")).filter((href) => href.startsWith("#"));
    return {
      cells: lesson.cells().length,
      errors: lesson.errors().map(({ ename, evalue }) => `${ename}: ${evalue}`),
      warnings: lesson.outputs().filter(({ name }) => name === "stderr").map(({ text }) => String(text)),
      formulas: lesson.find("mjx-container").length,
      notSet: lesson.notSet(),
      pictures: images.length,
      blank: images
        .filter(({ naturalWidth, alt }) => !naturalWidth || !alt || alt === "Image") // JupyterLab fills in "Image"
        .map(({ src }) => src.slice(0, 80)),
      links: links.length,
      dead: inside.filter((href) => !ids.has(decodeURIComponent(href.slice(1)))),
      files: links.map(({ href }) => href).filter((href) => new URL(href).host === location.host),
    };
  },

  // Whether the picture in `area` becomes another than `before`, within twenty seconds.
  async changed([area, before]) {
    for (let wait = 0; wait < 400; wait += 1) {
      const image = area.querySelector("img");
      if (image && image.src !== before) return true;
      await new Promise((next) => setTimeout(next, 50));
    }
    return false;
  },
};
