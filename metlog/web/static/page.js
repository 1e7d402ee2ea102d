// Small comforts; every page works without them.
"use strict";
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const field = document.querySelector("[data-focus='/']");
    if (field) { event.preventDefault(); field.focus(); field.select(); }
  }
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && typing && typing.matches("[data-run]")) {
    event.preventDefault();
    typing.form.requestSubmit();
  }
});
// Fields that are empty say nothing in an address that somebody may send to a colleague.
for (const form of document.querySelectorAll("form[method=get]")) {
  form.addEventListener("submit", () => {
    for (const field of form.querySelectorAll("input[name], select[name]")) {
      if (!field.value) { field.disabled = true; setTimeout(() => { field.disabled = false; }, 0); }
    }
  });
}
// The time control: this browser's zone, all zones to choose from, and asking again, while nobody reads, types or has something open.
const mine = Intl.DateTimeFormat().resolvedOptions().timeZone;
const zones = document.getElementById("zones");
if (zones && mine) {
  const offer = (name) => { const option = document.createElement("option"); option.value = name; zones.append(option); };
  offer(mine);
  document.getElementById("tz").addEventListener("focus", () => {
    for (const name of Intl.supportedValuesOf ? Intl.supportedValuesOf("timeZone") : []) offer(name);
  }, { once: true });
  const button = document.querySelector("[data-zone]");
  button.hidden = false;
  button.textContent = "Use " + mine;
  button.addEventListener("click", () => { document.getElementById("tz").value = mine; button.form.requestSubmit(); });
}
// A calendar beside each time that can be typed.
for (const field of document.querySelectorAll("[data-time]")) {
  const picker = document.createElement("input");
  picker.type = "datetime-local";
  picker.className = "picker";
  picker.setAttribute("aria-label", field.labels[0].textContent + ", from a calendar");
  picker.addEventListener("change", () => { if (picker.value) field.value = picker.value; });
  field.after(picker);
  field.parentElement.classList.add("timed");
}
const every = Number(document.body.dataset.refresh);
if (every) {
  setInterval(() => {
    const busy = document.hidden || document.querySelector("main details[open]") || document.activeElement.matches("input, textarea, select")
      || String(getSelection());
    if (!busy) location.reload();
  }, every * 1000);
}
// The place of a picture that is still being drawn.
for (const picture of document.images) {
  if (picture.complete) continue;
  picture.classList.add("coming");
  for (const ended of ["load", "error"]) picture.addEventListener(ended, () => picture.classList.remove("coming"));
}
// Bars of a histogram are one stop of the keyboard; arrows go from bar to bar.
document.addEventListener("keydown", (event) => {
  const bars = event.target.closest("[data-bars]");
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!bars || !step) return;
  const links = [...bars.querySelectorAll("a")];
  const next = links[links.indexOf(document.activeElement) + step];
  if (!next) return;
  event.preventDefault();
  document.activeElement.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
// The fields of an event that was opened: each value to search for, or against, or as a column of its own.
const hits = document.getElementById("hits");
function choice(name, value, text, label, look) {
  const button = document.createElement("button");
  button.setAttribute("form", "search");
  button.name = name;
  button.value = value;
  button.textContent = text;
  button.className = look;
  if (label) { button.title = label; button.setAttribute("aria-label", label); }
  return button;
}
function offer(table) {
  const columns = hits.dataset.columns ? hits.dataset.columns.split(",") : [];
  for (const row of table.rows) {
    const [name, text] = [...row.cells].map((cell) => cell.textContent);
    const last = row.insertCell();
    if (!("plain" in row.dataset)) {
      last.append(choice("field", name + "=" + text, "+", "Events with " + name + " = " + text, "mini"), " ",
        choice("field", "!" + name + "=" + text, "\u2212", "Events without " + name + " = " + text, "mini"), " ");
    }
    if (!columns.includes(name) && !name.includes(",")) {
      last.append(choice("cols", [...columns, name].join(","), "column", "Show " + name + " as a column", "mini"));
    }
  }
}
if (hits) {
  hits.addEventListener("toggle", (event) => {
    if (!event.target.open) return;
    for (const table of event.target.querySelectorAll(".fields")) if (!table.querySelector("button")) offer(table);
    for (const word of event.target.querySelectorAll("[data-for]")) {
      const name = word.dataset.for, text = word.textContent;
      word.replaceWith(choice(name, text, text, "Only " + text, "for"), choice("not_" + name, text, "\u2212", "Without " + text, "mini"));
    }
  }, true);
}
