"use strict";
(() => {
  // Colour scheme: the system's, unless the reader chooses.
  const schemes = ["auto", "light", "dark"];
  const remember = (value) => { try { if (value === undefined) return localStorage.getItem("theme"); localStorage.setItem("theme", value); } catch { return null; } };
  const theme = document.getElementById("theme");
  const scheme = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    theme.textContent = name[0].toUpperCase() + name.slice(1);
    theme.setAttribute("aria-label", `Colour scheme: ${name === "auto" ? "as the system" : name}`);
    theme.value = name;
  };
  scheme(schemes.includes(remember()) ? remember() : "auto");
  theme.addEventListener("click", () => { const next = schemes[(schemes.indexOf(theme.value) + 1) % 3]; scheme(next); remember(next); });
})();
