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
const every = Number(document.body.dataset.refresh);
if (every) {
  setInterval(() => {
    const busy = document.hidden || document.querySelector("main details[open]") || document.activeElement.matches("input, textarea, select")
      || String(getSelection());
    if (!busy) location.reload();
  }, every * 1000);
}
// Bars of a histogram are one stop of the keyboard; arrows go from bar to bar.
for (const bars of document.querySelectorAll("[data-bars]")) {
  bars.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const links = [...bars.querySelectorAll("a")];
    const next = step && links[links.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    document.activeElement.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}
