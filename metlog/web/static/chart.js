// Draws the chart again in the browser, with values under the pointer. Where this fails the picture stays.
"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
const phone = matchMedia("(max-width: 640px)");

async function draw(figure) {
  const address = figure.dataset.report + "&_size=" + (phone.matches ? "phone" : figure.dataset.size || "page") + (dark.matches ? "&_theme=dark" : "&_theme=light");
  const answer = await fetch(address);
  if (!answer.ok) return;
  const { chart } = await answer.json();
  const place = document.createElement("div");
  place.className = "vega";
  const picture = figure.querySelector("picture");
  const before = figure.querySelector(".vega");
  picture.hidden = true;
  if (before) before.remove();
  figure.append(place);
  try {
    await vegaEmbed(place, { ...chart, width: "container" }, {
      actions: false, ast: true, defaultStyle: false, renderer: "canvas", tooltip: { disableDefaultStyle: true },
    });
    figure.classList.add("drawn");
  } catch (error) {
    place.remove();
    picture.hidden = false;
    console.warn("the chart stays a picture:", error.message);
  }
}

if (window.vegaEmbed) {
  for (const figure of document.querySelectorAll("[data-report]")) {
    draw(figure);
    for (const media of [dark, phone]) media.addEventListener("change", () => draw(figure));
  }
}
