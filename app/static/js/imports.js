// Says early what the server would refuse, takes a dropped file, and follows an import under way. Everything works without this file.

const form = document.querySelector("[data-upload]");
const progress = document.querySelector("[data-progress]");
const columns = document.querySelector("[data-columns]");

function prepareUpload() {
  const input = form.querySelector("input[type=file]");
  const status = form.querySelector("[data-upload-status]");
  const button = form.querySelector("[data-upload-button]");
  const zone = form.querySelector("[data-zone]");

  function look() {
    const file = input.files[0];
    const tooLarge = file && file.size > Number(form.dataset.largest);
    status.textContent = tooLarge ? `${file.name} is larger than ${form.dataset.largestInWords}. Split it, then upload the parts.` : "";
    button.disabled = Boolean(tooLarge);
  }

  input.addEventListener("change", look);
  form.addEventListener("submit", () => {
    status.textContent = "Uploading and checking…";
    button.disabled = true;
  });
  // Out of the back/forward cache the form is to be used again.
  window.addEventListener("pageshow", look);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    zone.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.toggleAttribute("data-over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) {
        input.files = event.dataTransfer.files;
        look();
      }
    });
  }
}

function follow() {
  const bar = progress.querySelector("[data-bar]");
  const percent = progress.querySelector("[data-percent]");
  const said = progress.querySelector("[data-said]");
  const source = new EventSource(progress.dataset.progress);
  progress.querySelector("[data-without-script]").hidden = true;

  source.addEventListener("progress", (event) => {
    const told = JSON.parse(event.data);
    // One that stood still and goes on is drawn anew: the page says that it stands still.
    if (told.over || ("stuck" in progress.dataset && told.percent !== bar.value)) {
      source.close();
      return location.reload();
    }
    bar.value = told.percent;
    percent.textContent = `${told.percent} %`;
    for (const shown of document.querySelectorAll("[data-count]")) {
      const name = shown.dataset.count;
      const count = told.counts[name] + (name === "unchanged" ? told.counts.skipped : 0);
      shown.textContent = count.toLocaleString("en");
    }
    if (told.state === "running" && !("stuck" in progress.dataset)) said.textContent = "You can leave this page; the import goes on.";
  });
  source.addEventListener("end", (event) => {
    if (!JSON.parse(event.data).again) source.close();
  });
  source.addEventListener("error", () => {
    // The browser tries again by itself unless the server said no.
    if (source.readyState === EventSource.CLOSED) progress.querySelector("[data-without-script]").hidden = false;
  });
}

function watchColumns() {
  const start = columns.querySelector("[data-start]");
  const again = columns.querySelector("[data-again]");
  const label = start.textContent;
  const inputs = [...columns.querySelectorAll("select, input[type=radio]")];
  const told = (input) => (input.type === "radio" ? input.checked : input.value);
  const before = new Map(inputs.map((input) => [input, told(input)]));
  columns.addEventListener("change", () => {
    const changed = inputs.filter((input) => told(input) !== before.get(input));
    const same = !changed.length;
    start.textContent = same ? label : changed.some((input) => input.type === "radio") ? "Check with this answer" : "Check these columns";
    start.disabled = false;
    // Both would do the same.
    again.hidden = !same;
  });
}

// A sheet is shown as soon as it is chosen.
function watchSheet(choice) {
  choice.querySelector("button").hidden = true;
  choice.addEventListener("change", () => choice.requestSubmit());
}

const sheet = document.querySelector("[data-sheet]");
if (sheet) watchSheet(sheet);
if (form) prepareUpload();
if (progress) follow();
if (columns) watchColumns();
