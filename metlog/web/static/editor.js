// Colours and completion for a textarea with SQL; without it the textarea is one. What comes from events is only ever set as text.
"use strict";
const TOKENS = /(--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|('(?:[^']|'')*(?:'|$))|("(?:[^"]|"")*(?:"|$))|(\$[A-Za-z_]\w*)|(\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)|([A-Za-z_]\w*)|([\s\S])/g;
const vocabulary = { keywords: new Set(), functions: new Set(), columns: new Set(), offers: [], fields: [] };
let loading = null;

function load() {
  loading ??= fetch("/api/schema").then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(answer.statusText)))).then((schema) => {
    for (const text of schema.keywords) for (const word of text.split(" ")) vocabulary.keywords.add(word);
    vocabulary.functions = new Set(schema.functions);
    const columns = new Map();
    for (const [view, list] of Object.entries(schema.views)) for (const { name, type } of list) if (!columns.has(name)) columns.set(name, type.toLowerCase() + " · " + view);
    vocabulary.columns = new Set(columns.keys());
    vocabulary.fields = schema.fields.map(({ name, type, share }) => ({ text: name, note: type + " · " + (100 * share).toFixed(share < 0.1 ? 1 : 0) + " %" }));
    vocabulary.offers = [
      ...[...columns].map(([text, note]) => ({ text, note })),
      ...Object.keys(schema.views).map((text) => ({ text, note: "view" })),
      ...schema.functions.map((name) => ({ text: name + "(", note: "function" })),
      ...schema.keywords.map((text) => ({ text, note: "" })),
    ];
    list(schema.fields);
  }).catch(() => { loading = null; });
  return loading;
}

function list(fields) {
  const place = document.querySelector("[data-fields]");
  if (!place || !fields.length) return;
  const facts = place.querySelector("dl");
  for (const { name, type, share } of fields) {
    const term = document.createElement("dt");
    const code = document.createElement("code");
    code.textContent = name;
    term.append(code);
    const note = document.createElement("dd");
    note.textContent = type + " · " + (100 * share).toFixed(share < 0.1 ? 1 : 0) + " %";
    facts.append(term, note);
  }
  place.hidden = false;
}

function coloured(text) {
  const part = document.createDocumentFragment();
  for (const found of text.matchAll(TOKENS)) {
    const [whole, comment, quoted, , parameter, number, word] = found;
    const kind = comment !== undefined ? "c" : quoted !== undefined ? "s" : parameter !== undefined ? "p" : number !== undefined ? "n"
      : word === undefined ? "" : vocabulary.keywords.has(word.toUpperCase()) && (!vocabulary.columns.has(word) || text[found.index + whole.length + 1] === "'") ? "k" : vocabulary.functions.has(word.toLowerCase()) && text[found.index + whole.length] === "(" ? "f" : "";
    if (!kind) { part.append(whole); continue; }
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = whole;
    part.append(span);
  }
  part.append("\n");  // a line's height below the last one, as a textarea has it
  return part;
}

class Editor {
  constructor(box) {
    this.box = box;
    this.area = box.querySelector("textarea");
    this.below = document.createElement("pre");
    this.below.setAttribute("aria-hidden", "true");
    this.offers = document.createElement("ul");
    this.offers.className = "offers";
    this.offers.id = "offers";
    this.offers.setAttribute("role", "listbox");
    this.offers.hidden = true;
    box.prepend(this.below);
    box.append(this.offers);
    box.classList.add("coloured");
    this.area.setAttribute("aria-autocomplete", "list");
    this.area.setAttribute("aria-controls", "offers");
    this.area.addEventListener("input", () => { this.paint(); this.offer(false); });
    this.area.addEventListener("scroll", () => { this.below.scrollTop = this.area.scrollTop; });
    this.area.addEventListener("keydown", (event) => this.key(event));
    this.area.addEventListener("blur", () => setTimeout(() => this.close(), 150));
    new ResizeObserver(() => { this.below.style.width = this.area.clientWidth + 2 + "px"; }).observe(this.area);
    this.paint();
    load().then(() => this.paint());
  }

  paint() {
    this.below.replaceChildren(coloured(this.area.value));
    this.below.scrollTop = this.area.scrollTop;
  }

  // The word before the cursor; behind ->> or -> it is the name of a field.
  word() {
    const before = this.area.value.slice(0, this.area.selectionStart);
    const field = before.match(/->>?\s*('?)([\w.$-]*)$/);
    if (field) return { text: field[2], field: true, quote: field[1], from: before.length - field[2].length - field[1].length };
    const word = before.match(/[A-Za-z_]\w*$/);
    if (!word || /'[^'\n]*$/.test(before.replace(/'[^']*'/g, ""))) return null;
    return { text: word[0], field: false, quote: "", from: before.length - word[0].length };
  }

  offer(asked) {
    const word = this.word();
    if (!word || (!word.field && word.text.length < (asked ? 1 : 2))) { this.close(); return; }
    const begins = word.text.toLowerCase();
    const all = (word.field ? vocabulary.fields : vocabulary.offers).filter(({ text }) => text.toLowerCase().startsWith(begins));
    const found = all.slice(0, 12);
    if (!found.length || (!asked && found.length === 1 && found[0].text.toLowerCase() === begins)) { this.close(); return; }
    this.found = found;
    this.chosen = 0;
    this.offers.replaceChildren(...found.map(({ text, note }, at) => {
      const item = document.createElement("li");
      item.setAttribute("role", "option");
      item.id = "offer-" + at;
      item.textContent = text;
      if (note) { const small = document.createElement("small"); small.textContent = note; item.append(small); }
      item.addEventListener("mousedown", (event) => { event.preventDefault(); this.chosen = at; this.take(); });
      return item;
    }));
    this.offers.hidden = false;
    this.place(word.from);
    this.mark();
  }

  place(from) {
    const probe = document.createElement("span");
    const text = this.area.value;
    this.below.replaceChildren(text.slice(0, from), probe, text.slice(from) + "\n");
    probe.textContent = "\u200b";
    const { offsetLeft, offsetTop, offsetHeight } = probe;
    this.paint();
    this.offers.style.left = Math.max(0, Math.min(offsetLeft, this.box.clientWidth - this.offers.offsetWidth - 8)) + "px";
    this.offers.style.top = offsetTop + offsetHeight + 3 - this.area.scrollTop + "px";
  }

  mark() {
    [...this.offers.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === this.chosen)));
    this.area.setAttribute("aria-activedescendant", "offer-" + this.chosen);
    this.offers.children[this.chosen].scrollIntoView({ block: "nearest" });
  }

  take() {
    const word = this.word();
    if (!word) { this.close(); return; }
    const { text } = this.found[this.chosen];
    const after = this.area.value[this.area.selectionStart] === "'";
    const made = word.field ? "'" + text.replaceAll("'", "''") + (after ? "" : "'") : text;
    this.area.setRangeText(made, word.from, this.area.selectionStart, "end");
    this.close();
    this.paint();
  }

  close() {
    this.offers.hidden = true;
    this.area.removeAttribute("aria-activedescendant");
  }

  key(event) {
    if (event.key === " " && event.ctrlKey) { event.preventDefault(); load().then(() => this.offer(true)); return; }
    if (this.offers.hidden) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      this.chosen = (this.chosen + step + this.found.length) % this.found.length;
      this.mark();
    } else if (event.key === "Tab" && !event.shiftKey) {
      event.preventDefault();
      this.take();
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey && this.area.getAttribute("aria-activedescendant") && this.moved(event)) {
      event.preventDefault();
      this.take();
    } else if (event.key === "Escape") {
      event.preventDefault();
      this.close();
    } else if (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End") {
      this.close();
    }
  }

  // Enter takes what was chosen with the arrows; otherwise it is a new line.
  moved() { return this.chosen > 0; }
}

for (const box of document.querySelectorAll("[data-editor]")) new Editor(box);

// A query that is on its way says so; after a second the page that waits comes, with a way to end it.
const form = document.getElementById("query");
if (form) {
  form.addEventListener("submit", () => {
    const place = form.querySelector("[data-running]");
    const began = performance.now();
    place.hidden = false;
    const tell = () => { place.querySelector("[data-elapsed]").textContent = ((performance.now() - began) / 1000).toFixed(1) + " s"; };
    tell();
    const timer = setInterval(tell, 200);
    addEventListener("pageshow", () => { clearInterval(timer); place.hidden = true; });
  });
}
