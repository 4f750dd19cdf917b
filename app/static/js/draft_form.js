// A form as its draft sees it: what was typed into it, what it said when it was drawn, and how both are put back.

const UNKEPT = new Set(["deal", "by", "here", "draft"]); // the page's own
const isToggle = (field) => field.type === "checkbox" || field.type === "radio";
const all = (form) => [...form.elements].filter((each) => each.name && !UNKEPT.has(each.name) && each.type !== "submit" && each.localName !== "button");
const isTypedInto = ({ name }) => !/^(was|choice|conflict|base)-|^version$/.test(name);
const fieldsOf = (form) => all(form).filter(isTypedInto);
const valueOf = (field) => (isToggle(field) && !field.checked ? "" : field.value);

export const labelOf = (form, name) => {
  const field = fieldsOf(form).find((each) => each.name === name);
  return field?.labels?.[0]?.textContent.trim() || name.replace(/_id$/, "").replaceAll("_", " ");
};

// A value as a person reads it.
export function shown(form, name, value) {
  const field = fieldsOf(form).find((each) => each.name === name);
  if (field?.localName === "select") return [...field.options].find((option) => option.value === value)?.text ?? value;
  return field?.type === "checkbox" ? (value ? "yes" : "no") : value;
}

// As the server sent it, whatever was typed before this script came.
function sentValue(field) {
  if (isToggle(field)) return field.defaultChecked ? field.value : "";
  if (field.localName === "select") return ([...field.options].find((option) => option.defaultSelected) ?? field.options[0])?.value ?? "";
  return field.defaultValue;
}

export function makeForm(form) {
  const hidden = all(form).filter(({ type }) => type === "hidden").map((field) => [field, field.value]);
  const isUnsaved = "unsaved" in form.dataset;
  // Where both changed the same line and nobody has chosen yet, the draft goes on from what the form said before.
  const was = (name) => (form.elements[`base-${name}`] ?? form.elements[`was-${name}`])?.value;
  const begun = Object.fromEntries(fieldsOf(form).map((field) => [field.name, isUnsaved ? "" : sentValue(field)]));

  function drawn() {
    const names = fieldsOf(form).map(({ name }) => name);
    return Object.fromEntries(names.filter((name) => was(name) !== undefined).map((name) => [name, was(name)]));
  }

  function typed() {
    const changed = fieldsOf(form).filter((field) => valueOf(field) !== (was(field.name) ?? begun[field.name]));
    return Object.fromEntries(changed.map((field) => [field.name, valueOf(field)]));
  }

  function put({ fields, drawn: said, itemVersion }) {
    for (const field of all(form)) {
      const { name } = field;
      if (name === "version") field.value = itemVersion ?? field.value;
      else if (name.startsWith("was-")) field.value = said[name.slice(4)] ?? field.value;
      else if (isTypedInto(field) && (name in fields || name in said)) {
        const value = fields[name] ?? said[name];
        if (isToggle(field)) field.checked = field.value === value;
        else field.value = value;
      }
    }
  }

  return {
    isUnsaved,
    begun,
    values: () => Object.fromEntries(fieldsOf(form).map((field) => [field.name, valueOf(field)])),
    typed,
    drawn,
    put,
    isTyped: () => isUnsaved || Object.keys(typed()).length > 0,
    version: () => Number((form.elements["base-version"] ?? form.elements.version)?.value) || null,
    reset() {
      form.reset();
      for (const [field, value] of hidden) field.value = value;
    },
    focus: () => fieldsOf(form).find((field) => field.type !== "hidden")?.focus(),
  };
}

export function ago(moment) {
  const minutes = Math.round((Date.now() - moment) / 60000);
  if (minutes < 1) return "a moment ago";
  if (minutes < 60) return `${minutes} ${minutes === 1 ? "minute" : "minutes"} ago`;
  const hours = Math.round(minutes / 60);
  if (hours < 24) return `${hours} ${hours === 1 ? "hour" : "hours"} ago`;
  const days = Math.round(hours / 24);
  return `${days} ${days === 1 ? "day" : "days"} ago`;
}

// Where a draft was written, as its person would say it.
export function place({ device }) {
  if (/iPhone|Android/.test(device)) return "on your phone";
  return /iPad/.test(device) ? "on your tablet" : device ? `in ${device}` : "elsewhere";
}

// A line before a form: a text, and what can be done about it as [label, action].
export function line(form, text, actions) {
  const box = document.createElement("div");
  box.className = "notice draft appear";
  const said = document.createElement("p");
  said.className = "notice-text";
  said.setAttribute("role", "status");
  said.textContent = text;
  const acts = document.createElement("div");
  acts.className = "notice-actions";
  box.append(said, acts);
  for (const [label, action] of actions) {
    const isLink = typeof action === "string";
    const part = document.createElement(isLink ? "a" : "button");
    part.className = "link-button";
    part.textContent = label;
    if (isLink) part.href = action;
    else {
      part.type = "button";
      part.addEventListener("click", action);
    }
    acts.append(part);
  }
  form.before(box);
  return box;
}

function version(name, value, label, text, isChosen) {
  const box = document.createElement("div");
  box.className = "version";
  const choice = document.createElement("label");
  choice.className = "check";
  const radio = document.createElement("input");
  Object.assign(radio, { type: "radio", name: `draft-${name}`, value, checked: isChosen });
  const words = document.createElement("span");
  words.textContent = label;
  choice.append(radio, words);
  const shownText = document.createElement("p");
  shownText.className = "prose-source";
  if (text) shownText.textContent = text;
  else shownText.append(Object.assign(document.createElement("span"), { className: "muted", textContent: "empty" }));
  box.append(choice, shownText);
  return box;
}

// Both texts beside each other, field by field, for the person to choose. `chosen` gets the fields that are to be taken from there.
export function choose(form, mine, theirs, current, chosen) {
  const names = Object.keys(theirs);
  const card = document.createElement("form");
  card.className = "card conflict draft-choice appear";
  card.setAttribute("aria-label", "Two drafts");
  const head = document.createElement("p");
  head.className = "card-body";
  head.setAttribute("role", "alert");
  head.textContent = `You also wrote this ${place(current)}, ${ago(new Date(current.updated_at))}. Nothing is overwritten: both are here. Choose, then go on.`;
  card.append(head);
  for (const name of names) {
    const group = document.createElement("fieldset");
    group.className = "versions";
    const legend = document.createElement("legend");
    legend.textContent = labelOf(form, name);
    group.append(legend);
    group.append(version(name, "theirs", `Take what you wrote ${place(current)}`, shown(form, name, theirs[name]), false));
    group.append(version(name, "mine", "Keep what is here", shown(form, name, mine[name]), true));
    card.append(group);
  }
  const foot = document.createElement("div");
  foot.className = "card-foot";
  const go = Object.assign(document.createElement("button"), { className: "button button-primary", textContent: "Go on with what is chosen" });
  foot.append(go);
  card.append(foot);
  card.addEventListener("submit", (event) => {
    event.preventDefault();
    const taken = names.filter((name) => new FormData(card).get(`draft-${name}`) === "theirs");
    card.remove();
    chosen(Object.fromEntries(taken.map((name) => [name, theirs[name]])));
  });
  form.before(card);
  return card;
}
