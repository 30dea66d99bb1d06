// What is shown at an address that is no page.

import { h } from "../dom.js";
import { link } from "../url.js";

/** The page. */
export default {
  title: "Not found",
  subtitle: "There is no page at this address",

  mount(root, state) {
    root.append(
      h(
        "section.panel.whole",
        { data: { panel: "missing" } },
        h("p", {}, "There is no page at ", h("code", {}, state.path), "."),
        h("p.onward", {}, h("a.button", { href: link(state, { path: "/", options: {} }) }, "Go to the overview")),
      ),
    );
    return { load: async () => {} };
  },
};
