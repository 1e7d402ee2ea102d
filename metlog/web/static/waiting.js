// Tells how far a query is, and shows its page when it has ended. Without scripts the page asks again by itself.
"use strict";
const waiting = document.querySelector("[data-job]");

async function look() {
  const answer = await fetch(waiting.dataset.job);
  if (!answer.ok) { location.reload(); return; }
  const { state, seconds, text, share } = await answer.json();
  if (state === "done") { location.reload(); return; }
  waiting.querySelector("[data-text]").textContent = text;
  waiting.querySelector("[data-seconds]").textContent = Math.round(seconds);
  if (share !== null) waiting.querySelector("[data-share]").value = share;
}

if (waiting) setInterval(() => look().catch(() => {}), 1000);
