// Tells how far a query is, and shows its page when it has ended. Without scripts the page asks again by itself.
"use strict";
const waiting = document.querySelector("[data-job]");

async function look() {
  const answer = await fetch(waiting.dataset.job);
  const { state, seconds, text, share } = answer.ok ? await answer.json() : { state: "done" };
  if (state === "done") { location.reload(); return; }  // and no more questions: the result is handed out once
  waiting.querySelector("[data-text]").textContent = text;
  waiting.querySelector("[data-seconds]").textContent = Math.round(seconds);
  if (share !== null) waiting.querySelector("[data-share]").value = share;
  again();
}
function again() { setTimeout(() => look().catch(again), 700); }

if (waiting) again();
