// Events as they arrive. What comes from an event is only ever set as text.
"use strict";
const list = document.getElementById("events");
const state = document.getElementById("state");
const none = document.getElementById("none");
const pause = document.getElementById("pause");
const SHOWN = 500;
const SEVERITIES = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];
let source = null;
let waiting = [];
let count = 0;
let missed = 0;
let problem = "";
let login = false;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// A number that is another one as a double, such as an id beyond 2^53, is a text behind a mark until it is shown.
const MARK = "exact-" + Math.random().toString(36).slice(2) + ":";
const MARKED = new RegExp('"?' + MARK + '([-+.0-9eE]+)"?', "g");

function read(source) {
  return JSON.parse(source.replace(/"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[-+.0-9eE]*/g,
    (token) => (token[0] === '"' || String(Number(token)) === token ? token : '"' + MARK + token + '"')));
}

function shown(value, indent) {
  return (typeof value === "string" ? value : JSON.stringify(value, null, indent)).replace(MARKED, "$1");
}

function preview(fields) {
  return Object.entries(fields).slice(0, 12).map(([key, value]) => (key + "=" + shown(value)).slice(0, 80)).join("  ");
}

const zone = new Intl.DateTimeFormat("sv", {
  timeZone: list.dataset.zone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

function local(timestamp) {
  const [day, clock] = zone.format(new Date(timestamp)).split(" ");
  return [day, clock + "." + (timestamp.slice(20, 23).replace(/\D.*/, "").padEnd(3, "0"))];
}

function row(event) {
  const item = element("li", "new");
  const details = element("details");
  const summary = element("summary");
  const time = element("time");
  time.dateTime = event.timestamp;
  const [day, clock] = local(event.timestamp);
  time.append(element("span", "", day), " " + clock);
  const severity = element("span", "sev sev" + event.severity, SEVERITIES[event.severity]);
  const fields = Object.keys(event.fields).length;
  const payload = element("span", "payload", event.payload.slice(0, 300));
  if (fields) payload.append(" ", element("small", event.payload ? "" : "only", preview(event.fields)));
  summary.append(time, severity, element("span", "type", event.type === "oldstyle" ? "log line" : event.type),
    payload, element("span", "logger", event.logger || "(no name)"));
  details.append(summary);
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    const inside = element("div", "inside");
    if (event.payload) inside.append(element("pre", "", event.payload));
    if (fields) inside.append(element("pre", "", shown(event.fields, 2)));
    const line = element("p", "quiet", [event.tokens.join(", "), event.hostname, event.pid ? "process " + shown(event.pid) : ""].filter(Boolean).join(" · "));
    if (event.stream) {
      const link = element("a", "", "in full, with those before and after");
      link.href = "/events/" + encodeURIComponent(event.stream) + "/" + shown(event.seq) + "?at=" + encodeURIComponent(event.timestamp);
      line.append(" · ", link);
    }
    inside.append(line);
    details.append(inside);
  });
  item.append(details);
  return item;
}

function show() {
  if (!waiting.length) return;
  const part = document.createDocumentFragment();
  for (const event of waiting.slice(-SHOWN).reverse()) part.append(row(event));
  waiting = [];
  list.prepend(part);
  while (list.children.length > SHOWN) list.lastElementChild.remove();
  none.hidden = true;
  tell();
}

function tell() {
  const left = missed ? ", " + missed.toLocaleString("en") + " left out because they came too fast" : "";
  state.textContent = (source ? "following" : problem || "paused") + (count ? " · " + count.toLocaleString("en") + " events" + left : "");
  state.classList.toggle("on", Boolean(source));
  pause.textContent = source ? "Pause" : "Resume";
  if (!login) return;
  const link = element("a", "", "log in again");
  link.href = location.href;
  state.append(" · ", link);
}

function follow() {
  problem = "";
  login = false;
  source = new EventSource(list.dataset.source);
  source.onopen = tell;
  source.onmessage = (message) => { count += 1; waiting.push(read(message.data)); };
  source.addEventListener("missed", (message) => { missed += Number(message.data); });
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) { refused(); return; }
    state.textContent = "the connection is gone; trying again";
    state.classList.remove("on");
  };
}

// An answer that is no stream ends an EventSource for good, without a word of what it was.
async function refused() {
  source = null;
  problem = "the connection is gone";
  const ended = new AbortController();
  try {
    const answer = await fetch(list.dataset.source, { signal: ended.signal });
    if (!answer.ok) problem = (await answer.json()).error;
    login = answer.status === 401;
  } catch { /* no answer, or one of a proxy */ } finally { ended.abort(); }
  if (!source) tell();
}

pause.hidden = false;
pause.addEventListener("click", () => {
  if (source) { source.close(); source = null; } else { follow(); }
  tell();
});
setInterval(show, 150);
follow();
