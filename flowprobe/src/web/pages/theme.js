// The colour theme. A classic script that the head waits for, so that no page flashes in the wrong one: the rest of the program
// finds it as window.flowprobeTheme.
(function () {
  "use strict";
  const key = "flowprobe-theme";
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const listeners = new Set();
  let choice = "system";
  try {
    choice = localStorage.getItem(key) || "system";
  } catch {
    // Storage may be forbidden; the system's theme is shown then.
  }

  function apply() {
    const isDark = choice === "dark" || (choice !== "light" && system.matches);
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    for (const listener of listeners) listener();
  }

  system.addEventListener("change", apply);
  apply();

  window.flowprobeTheme = {
    get choice() {
      return choice;
    },
    choose(next) {
      choice = next;
      try {
        if (next === "system") localStorage.removeItem(key);
        else localStorage.setItem(key, next);
      } catch {
        // It holds until the page is left, then.
      }
      apply();
    },
    onChange(listener) {
      listeners.add(listener);
    },
  };
})();
