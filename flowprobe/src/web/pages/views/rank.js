// The switch between what tables are ranked by, which lives in the address.

import { segments } from "../dom.js";
import { AMOUNTS } from "../format.js";
import { link, option } from "../url.js";

const NAMES = Object.keys(AMOUNTS);

/** What the address asks tables to be ranked by. @param {import("../url.js").State} state @returns {"octets" | "packets" | "flows"} */
export function rankOf(state) {
  return option(state, "by", NAMES);
}

/** The switch. @param {import("../url.js").State} state @param {string[]} [names] */
export function rankSwitch(state, names = NAMES) {
  return segments(
    "Ranked by",
    names.map((name) => ({
      name: AMOUNTS[name].name,
      value: name,
      current: name === rankOf(state),
      href: link(state, { options: { by: name === NAMES[0] ? null : name } }),
    })),
  );
}
