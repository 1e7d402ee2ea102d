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

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function preview(fields) {
  const parts = Object.entries(fields).slice(0, 12);
  return parts.map(([key, value]) => (key + "=" + (typeof value === "string" ? value : JSON.stringify(value))).slice(0, 80)).join("  ");
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
  const fields = Object.keys(event.fields).length ? JSON.stringify(event.fields) : "";
  const payload = element("span", "payload", event.payload.slice(0, 300));
  if (fields) payload.append(" ", element("small", event.payload ? "" : "only", preview(event.fields)));
  summary.append(time, severity, element("span", "type", event.type === "oldstyle" ? "log line" : event.type),
    payload, element("span", "logger", event.logger || "(no name)"));
  details.append(summary);
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    const inside = element("div", "inside");
    if (event.payload) inside.append(element("pre", "", event.payload));
    if (fields) inside.append(element("pre", "", JSON.stringify(event.fields, null, 2)));
    const line = element("p", "quiet", [event.tokens.join(", "), event.hostname, event.pid ? "process " + event.pid : ""].filter(Boolean).join(" · "));
    if (event.stream) {
      const link = element("a", "", "in full, with those before and after");
      link.href = "/events/" + encodeURIComponent(event.stream) + "/" + event.seq + "?at=" + encodeURIComponent(event.timestamp);
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
  state.textContent = (source ? "following" : "paused") + (count ? " · " + count.toLocaleString("en") + " events" + left : "");
  state.classList.toggle("on", Boolean(source));
}

function follow() {
  source = new EventSource(list.dataset.source);
  source.onopen = tell;
  source.onmessage = (message) => { count += 1; waiting.push(JSON.parse(message.data)); };
  source.addEventListener("missed", (message) => { missed += Number(message.data); });
  source.onerror = () => { state.textContent = "the connection is gone; trying again"; state.classList.remove("on"); };
}

pause.hidden = false;
pause.addEventListener("click", () => {
  if (source) { source.close(); source = null; pause.textContent = "Resume"; } else { follow(); pause.textContent = "Pause"; }
  tell();
});
setInterval(show, 150);
follow();
