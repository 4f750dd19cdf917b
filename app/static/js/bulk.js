// Ticking many rows: all at once, and how many there are. The form works without.

const form = document.querySelector("[data-bulk]");
const boxes = [...form.querySelectorAll("input[name=item]")];
const bar = form.querySelector("[data-bulk-bar]");

function ready() {
  const every = bar.querySelector("[data-bulk-all]");
  const count = bar.querySelector("[data-bulk-count]");
  const all = every.querySelector("input");
  every.hidden = false;
  bar.querySelector("[data-bulk-hint]").hidden = true;
  bar.classList.add("bulk-ready");

  function show() {
    const ticked = boxes.filter((box) => box.checked).length;
    count.textContent = ticked ? `${ticked} selected` : "Select all";
    all.checked = ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
    bar.classList.toggle("bulk-on", ticked > 0);
  }

  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    show();
  });
  form.addEventListener("change", show);
  show();
}

if (bar) ready();
