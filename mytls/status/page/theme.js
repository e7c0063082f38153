// The colours that were chosen, before anything is drawn; the button that chooses is made use of in page.js.
"use strict";

const THEMES = { auto: "as the system", light: "light", dark: "dark" };

function storedTheme() {
  try {
    return localStorage.getItem("mytls-theme") ?? "auto";
  } catch {
    // a browser may forbid it
    return "auto";
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme in THEMES ? theme : "auto";
  try {
    localStorage.setItem("mytls-theme", document.documentElement.dataset.theme);
  } catch {
    // then it holds until the page is loaded again
  }
}

document.documentElement.dataset.theme = storedTheme() in THEMES ? storedTheme() : "auto";
