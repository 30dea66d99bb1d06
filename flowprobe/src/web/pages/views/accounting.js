// The accounting sum: what each interface saw, and where all of it went; what sinks lost.

import { bytes, count, exact, plural } from "../format.js";
import { fill, h, icon } from "../dom.js";
import { filterHref } from "../cells.js";

const TERMS = [
  ["seen", "Seen"],
  ["exported", "Exported"],
  ["held", "Held"],
  ["overflow", "Overflow"],
  ["unparsed", "Unparsed"],
  ["sampledOut", "Sampled out"],
  ["filteredOut", "Filtered out"],
];
const TITLES = {
  seen: "Packets and frame octets, as the interface counts them",
  exported: "In finished flow records",
  held: "In flows that are open",
  overflow: "For which the flow map had no room",
  unparsed: "Frames that carry no IP, or are broken",
  sampledOut: "Not chosen by sampling",
  filteredOut: "Not chosen by the filter",
};

/**
 * What the accounting comes to, in one sentence.
 * @param {any} accounting of /api/v1/accounting
 * @returns {{isSound: boolean, text: string, more: string}}
 */
export function verdict({ sums, sinks }) {
  const broken = sums.filter((sum) => !sum.balances);
  const overflow = sums.reduce((total, sum) => total + sum.overflow.packets, 0);
  const lost = sinks.reduce((total, sink) => total + sink.lost.records, 0);
  if (broken.length)
    return {
      isSound: false,
      text: "Does not add up",
      more: broken.map((sum) => `${sum.interface} ${sum.direction}`).join(", "),
    };
  if (overflow || lost) {
    const found = [
      overflow ? `${plural(overflow, "packet")} in overflow` : "",
      lost ? `${plural(lost, "record")} lost by sinks` : "",
    ].filter(Boolean);
    return { isSound: false, text: "Adds up, with losses", more: found.join(", ") };
  }
  return {
    isSound: true,
    text: "All accounted for",
    more: sums.length ? `${plural(sums.length, "counter")}, nothing lost` : "no interface is metered",
  };
}

/**
 * Writes it into a panel.
 * @param {HTMLElement} body
 * @param {any} accounting
 * @param {import("../url.js").State} state
 */
export function drawAccounting(body, accounting, state) {
  const { sums, sinks } = accounting;
  const head = h(
    "tr",
    {},
    h("th", { scope: "col" }, "Interface"),
    TERMS.map(([key, name], at) =>
      h("th.n", { scope: "col", title: TITLES[key] }, at === 0 ? name : `${at === 1 ? "=" : "+"}\u00a0${name}`),
    ),
    h("th", { scope: "col" }, "Sum"),
  );
  const rows = sums.map((sum) => sumRow(sum, state));
  const table = sums.length
    ? h(
        "div.scroll",
        {},
        h(
          "table",
          { data: { table: "accounting" } },
          h("caption", {}, "The accounting sum of each interface and direction since the start"),
          h("thead", {}, head),
          h("tbody", {}, rows),
        ),
      )
    : h("p.empty", {}, "No interface is metered.");
  fill(body, table, sums.flatMap(losses), unparsed(sums), lostBySinks(sinks));
}

function sumRow(sum, state) {
  const cell = ([key]) => {
    const { packets, octets } = sum[key];
    const isBad = key === "overflow" && packets > 0;
    return h(
      `td.n${isBad ? ".bad" : ""}`,
      { title: `${exact(packets)} packets, ${exact(octets)} octets`, data: { term: key, packets, octets } },
      count(packets),
      h("small", {}, bytes(octets)),
    );
  };
  const mark = sum.balances
    ? h(
        "span.good",
        { title: "What was seen is the sum of the others, in packets and in octets" },
        icon("check"),
        "adds up",
      )
    : h("span.bad.loud", {}, icon("warn"), "does not add up");
  return h(
    "tr",
    { data: { key: `${sum.interface} ${sum.direction}`, balances: String(sum.balances) } },
    h(
      "th",
      { scope: "row" },
      h("a", { href: filterHref(state, [["interface", sum.interface]]) }, sum.interface),
      h("small", {}, sum.direction),
    ),
    TERMS.map(cell),
    h("td", {}, mark),
  );
}

/** What found no room, where something did. */
function losses(sum) {
  const where = `${sum.interface} ${sum.direction}`;
  const lines = [];
  if (sum.overflow.packets) {
    const to = (sum.overflowByDestination ?? [])
      .slice(0, 5)
      .map((one) => `${one.destination} (${count(one.packets)})`)
      .join(", ");
    lines.push(
      h(
        "p.notice.small",
        {},
        icon("warn"),
        h(
          "span",
          {},
          `${where}: ${plural(sum.overflow.packets, "packet")} found no room in the flow map: by protocol ${parts(sum.overflowByProtocol)}${to ? `; to ${to}` : ""}.`,
        ),
      ),
    );
  }
  return lines;
}

/** What could not be read, and why. */
function unparsed(sums) {
  const all = sums
    .filter((sum) => sum.unparsed.packets)
    .map((sum) => `${sum.interface} ${sum.direction} ${parts(sum.unparsedByReason) || count(sum.unparsed.packets)}`);
  return all.length ? h("p.aside", {}, `Unparsed: ${all.join("; ")}`) : null;
}

/** How a term is divided. */
function parts(breakdown) {
  return Object.entries(breakdown ?? {})
    .map(([name, amount]) => `${name} ${count(amount.packets)}`)
    .join(", ");
}

function lostBySinks(sinks) {
  if (!sinks.length) return h("p.aside", {}, "No sink takes records.");
  return h(
    "ul.sinks",
    { "aria-label": "Sinks" },
    sinks.map(({ name, lost, collector }) => {
      const isBad = lost.records > 0 || lost.packets > 0 || collector?.isAway;
      const text = lost.records
        ? `lost ${plural(lost.records, "record")} (${plural(lost.packets, "packet")}, ${bytes(lost.octets)})`
        : "nothing lost";
      return h(
        "li",
        { data: { sink: name, lost: lost.records } },
        h(`span.${isBad ? "bad" : "good"}`, {}, icon(isBad ? "warn" : "check")),
        h("b", {}, name),
        ` ${text}${collector?.isAway ? ", cannot be reached" : ""}`,
      );
    }),
  );
}
