// Findings as short lines: how severe, what, when.

import { h } from "../dom.js";
import { ago, fullMoment, plural } from "../format.js";
import { link } from "../url.js";

const ORDER = { critical: 0, high: 1, medium: 2, low: 3 };

/** How severe, as a badge. @param {string} name */
export function severity(name) {
  return h(`span.badge.${Object.hasOwn(ORDER, name) ? name : "low"}`, {}, name);
}

/** A time with how long ago it is. @param {number} ms */
export function when(ms) {
  return h("time", { title: fullMoment(ms), datetime: new Date(ms).toISOString() }, ago(ms));
}

/** Where a finding is explained. @param {import("../url.js").State} state @param {string} id */
export function findingHref(state, id) {
  return link(state, { path: `/findings/${encodeURIComponent(id)}`, options: {} });
}

/** The most severe first, then the latest. @param {any[]} findings */
export function ranked(findings) {
  return [...findings].sort(
    (a, b) => (ORDER[a.severity] ?? 4) - (ORDER[b.severity] ?? 4) || b.lastMilliseconds - a.lastMilliseconds,
  );
}

/**
 * A list of findings.
 * @param {any[]} findings
 * @param {import("../url.js").State} state
 * @param {string} empty what it says where there are none
 */
export function findingList(findings, state, empty) {
  if (!findings.length) return h("p.empty", {}, empty);
  return h(
    "ul.findings",
    {},
    ranked(findings).map((one) =>
      h(
        "li",
        { data: { finding: one.id } },
        severity(one.severity),
        h("a", { href: findingHref(state, one.id) }, one.title),
        h(
          "small",
          {},
          one.state === "open" ? "open, " : "ended, ",
          when(one.lastMilliseconds),
          one.count > 1 ? `, ${plural(one.count, "time")}` : "",
        ),
      ),
    ),
  );
}
