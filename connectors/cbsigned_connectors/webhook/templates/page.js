"use strict";
/* The page works without this: it says that a look-up is under way, keeps it from being sent twice, adds Ctrl+Enter. */
(() => {
  const rest = (form) => {
    form.removeAttribute("aria-busy");
    form.querySelectorAll("[aria-live]").forEach((place) => { place.textContent = ""; });
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const button = form.querySelector("[data-busy]");
    if (form.getAttribute("aria-busy")) {
      event.preventDefault();
    } else if (button) {
      form.setAttribute("aria-busy", "true");
      form.querySelector("[aria-live]").textContent = button.dataset.busy;
    }
  });

  window.addEventListener("pageshow", () => document.querySelectorAll("form[aria-busy]").forEach(rest));

  const paste = document.getElementById("paste");
  if (paste) {
    document.getElementById("keys").hidden = false;
    paste.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        paste.form.requestSubmit();
      }
    });
  }
  if (location.hash === "#result") {
    const result = document.getElementById("result");
    if (result) { result.focus(); }
  }
})();
