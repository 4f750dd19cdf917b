// Somebody else saves what an open form is about: the form says so, and shows it when it is asked to. Nothing in it moves by itself.

const shell = document.getElementById("shell");
const { toast } = await import(shell.src);
const { root } = document.documentElement.dataset;
const PAGES = { finding: "findings", item: "checklist", deal: "" };

const pathOf = ({ draft, deal }) => {
  const [form, id] = draft.split("-");
  return [`${root}/api/deals`, deal, PAGES[form], id].filter(Boolean).join("/");
};

function ago(moment) {
  const seconds = Math.max(1, Math.round((Date.now() - new Date(moment)) / 1000));
  if (seconds < 60) return `${seconds} ${seconds === 1 ? "second" : "seconds"} ago`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} ${minutes === 1 ? "minute" : "minutes"} ago` : "meanwhile";
}

export function watchSaves(element) {
  const { version } = element.elements;
  const { draft, deal } = element.dataset;
  if (!version || !(draft.split("-")[0] in PAGES)) return; // something new, or the access of a colleague
  let told = Number(version.value);

  // Sent like the form itself, but nothing is saved: the answer is the form with both in it.
  const look = Object.assign(document.createElement("button"), { name: "look", value: "1", hidden: true, formNoValidate: true });
  element.append(look);

  async function edited({ detail }) {
    if (detail && (detail.form !== draft || String(detail.deal_id) !== deal)) return;
    const answer = await fetch(pathOf(element.dataset)).catch(() => null);
    if (answer?.status === 404 && detail) return toast("This was deleted meanwhile. What you typed is still here: save it, and it can become a new one.", { kind: "edited" });
    const said = answer?.ok && (await answer.json());
    const thing = said && (said.finding ?? said.item ?? said.deal);
    if (!thing || thing.version <= told) return;
    told = thing.version;
    const by = detail?.by ?? thing.updated_by;
    const who = String(by?.id) === shell.dataset.user ? "You" : (by?.name ?? "Somebody");
    const where = who === "You" ? " elsewhere" : "";
    // Where there is still something to choose, what is new since comes with the choice.
    const actions = element.querySelector("[name^=conflict-]") ? [] : [["Show what changed", () => element.requestSubmit(look)]];
    toast(`${who} saved this${where} ${ago(thing.updated_at)}.`, { kind: "edited", actions });
  }

  document.addEventListener("holdfast:edited", edited);
  if ("heard" in document.documentElement.dataset) edited({});
}
