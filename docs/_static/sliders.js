// A slider without a kernel: each of its pictures was drawn beforehand. One control moves, the others go back.
document.addEventListener("input", ({ target: moved }) => {
  const slider = moved.closest?.(".slider");
  if (!slider) return;
  for (const control of slider.querySelectorAll("input")) {
    if (control !== moved) control.value = control.dataset.saved;
    const frame = JSON.parse(control.dataset.frames)[control.value];
    control.setAttribute("aria-valuetext", frame.value);
    control.parentElement.querySelector("output").textContent = frame.value;
    if (control === moved) {
      const image = slider.querySelector("img");
      image.src = `${slider.dataset.address}/${frame.file}`;
      image.alt = frame.alt;
    }
  }
});
