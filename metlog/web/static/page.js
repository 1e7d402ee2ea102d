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
      if (!field.value && field.name !== "since") { field.disabled = true; setTimeout(() => { field.disabled = false; }, 0); }
    }
  });
}
