// What scrolls sideways can be scrolled with the arrow keys.
addEventListener("load", () => {
  for (const box of document.querySelectorAll("article pre, article .table-wrapper"))
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
});
