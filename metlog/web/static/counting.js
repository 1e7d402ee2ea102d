// Counts that were not ready with the page of a search: put in their places when they are; the events, and what is open of them, stay.
"use strict";
const counting = document.querySelector("[data-counting]");
async function counts() {
  const answer = await fetch(counting.dataset.counting);
  const { state, share } = answer.ok ? await answer.json() : { state: "done" };
  if (state !== "done") {
    const progress = document.querySelector("#bars [data-share]");
    if (progress && share) progress.value = share;
    setTimeout(counted, 500);
    return;
  }
  const whole = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
  for (const id of ["bars", "found", "facets"]) {
    const here = document.getElementById(id), there = whole.getElementById(id);
    if (here && there) here.replaceWith(document.adoptNode(there));
    else if (here && whole.getElementById("found")) here.remove();
  }
}
function counted() { counts().catch(() => {}); }
if (counting) setTimeout(counted, 300);
