// Draws the chart again in the browser, with values under the pointer. The picture stays where this fails.
"use strict";
async function draw(figure) {
  const [answer, theme] = await Promise.all([fetch(figure.dataset.report), fetch(figure.dataset.theme)]);
  if (!answer.ok || !theme.ok) return;
  const { chart } = await answer.json();
  const themes = await theme.json();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const place = document.createElement("div");
  place.className = "vega";
  const render = () => vegaEmbed(place, { ...chart, width: "container", autosize: { type: "fit", contains: "padding" } }, {
    actions: false, ast: true, defaultStyle: false, renderer: "canvas", config: themes[dark.matches ? "dark" : "light"],
    tooltip: { disableDefaultStyle: true }, loader: { load: () => Promise.reject(new Error("a chart loads nothing")) },
  });
  const picture = figure.querySelector("picture");
  figure.append(place);
  try {
    await render();
    picture.hidden = true;
    dark.addEventListener("change", render);
  } catch (error) {
    place.remove();
    console.warn("the chart stays a picture:", error.message);
  }
}
if (window.vegaEmbed) for (const figure of document.querySelectorAll("[data-report]")) draw(figure);
