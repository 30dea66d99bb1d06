// Columns that tables share: addresses with their names, services, amounts with a bar, times.

import { h, icon, spoken } from "./dom.js";
import * as format from "./format.js";
import { link } from "./url.js";

/** The page of a host. @param {import("./url.js").State} state @param {string} address */
export function hostHref(state, address) {
  return link(state, { path: `/hosts/${encodeURIComponent(address).replaceAll("%3A", ":")}`, options: {} });
}

/** A link that adds filters. @param {import("./url.js").State} state @param {[string, string | number][]} add */
export function filterHref(state, add) {
  return link(state, { add: add.map(([kind, value]) => [kind, String(value)]) });
}

/** What is known of an address, in words. @param {any} row @param {string} [prefix] of the names: "client", "source" … */
export function namesOf(row, prefix = "") {
  const get = (name) => row[prefix ? prefix + name[0].toUpperCase() + name.slice(1) : name] ?? null;
  return {
    hostName: get("hostName"),
    label: get("label"),
    asNumber: get("asNumber"),
    asOrganization: get("asOrganization"),
    countryCode: get("countryCode"),
    cityName: get("cityName"),
  };
}

/** The line below an address: what it is called, and where it is. */
function described(names) {
  const system =
    names.asNumber === null ? null : `AS${names.asNumber}${names.asOrganization ? ` ${names.asOrganization}` : ""}`;
  return [names.hostName, names.label, system, names.countryCode].filter(Boolean).join(" · ");
}

/** The same in full, for the title. */
function describedFully(names) {
  const place = [names.cityName, names.countryCode && format.country(names.countryCode)].filter(Boolean).join(", ");
  return [described(names), place].filter(Boolean).join("\n");
}

/** A button that copies. @param {string} text */
export function copyButton(text) {
  return h(
    "button.tool",
    { type: "button", title: `Copy ${text}`, data: { copy: text } },
    icon("copy"),
    spoken(`Copy ${text}`),
  );
}

/**
 * An address with its names, and what can be done with it.
 * @param {import("./url.js").State} state
 * @param {string} address
 * @param {ReturnType<typeof namesOf>} names
 * @param {{kind?: string, toHost?: boolean, after?: Node | null}} [how] the kind of its filter; whether a click leads to the host's
 *   page; what stands behind it
 */
export function addressCell(state, address, names, { kind = "address", toHost = false, after = null } = {}) {
  const host = hostHref(state, address);
  const filter = filterHref(state, [[kind, address]]);
  const words = described(names);
  const other = toHost
    ? h(
        "a.tool",
        { href: filter, title: `Show only ${address}`, data: { action: "filter" } },
        icon("filter"),
        spoken(`Show only ${address}`),
      )
    : h(
        "a.tool",
        { href: host, title: `About ${address}`, data: { action: "host" } },
        icon("host"),
        spoken(`About ${address}`),
      );
  return h(
    "div.who",
    {},
    h(
      "div.line",
      {},
      h(
        "a.address",
        {
          href: toHost ? host : filter,
          title: toHost ? `About ${address}` : `Show only ${address}`,
          data: { address },
        },
        breakable(address),
      ),
      after,
      h("span.tools", {}, other, copyButton(address)),
    ),
    words ? h("small", { title: describedFully(names) }, words) : null,
  );
}

/** An address that is broken behind its colons, if it has to be: its text stays what it is. */
function breakable(address) {
  return address.split(/(?<=:)(?=[^:])/).flatMap((part, at) => (at === 0 ? [part] : [h("wbr"), part]));
}

/** A column of exporters; what was metered here has none. */
export function exporterColumn() {
  return {
    key: "exporterIPAddress",
    label: "Exporter",
    class: "a",
    value: (row) => row.exporterIPAddress,
    cell: (row, { state }) =>
      row.exporterIPAddress
        ? h("a.address", { href: filterHref(state, [["exporter", row.exporterIPAddress]]) }, row.exporterIPAddress)
        : "metered here",
  };
}

/** A column of addresses. @param {{key?: string, label?: string, prefix?: string, kind?: string, toHost?: boolean}} [how] */
export function addressColumn({
  key = "address",
  label = "Address",
  prefix = "",
  kind = "address",
  toHost = false,
} = {}) {
  return {
    key,
    label,
    class: "a",
    value: (row) => row[key],
    cell: (row, { state }) => (row[key] ? addressCell(state, row[key], namesOf(row, prefix), { kind, toHost }) : "–"),
  };
}

/** The filters that are a service's. */
export function serviceFilters(row) {
  const protocol = ["protocol", String(row.protocolIdentifier)];
  return format.hasPort(row) ? [protocol, ["port", String(row.port)]] : [protocol];
}

/** A column of services: the name, and port and protocol below. */
export function serviceColumn(label = "Service") {
  return {
    key: "service",
    label,
    class: "s",
    value: (row) => `${format.service(row)} ${format.portOf(row)}`,
    cell: (row, { state }) =>
      h(
        "div.who",
        {},
        h(
          "a",
          { href: filterHref(state, serviceFilters(row)), title: `Show only ${format.service(row)}` },
          format.service(row),
        ),
        format.portOf(row) ? h("small", {}, format.portOf(row)) : null,
      ),
  };
}

/** A column of protocols. */
export function protocolColumn() {
  return {
    key: "protocol",
    label: "Protocol",
    class: "s",
    value: (row) => row.protocol,
    cell: (row, { state }) =>
      h(
        "a",
        {
          href: filterHref(state, [["protocol", row.protocolIdentifier]]),
          title: `Show only ${row.protocol} (protocol ${row.protocolIdentifier})`,
        },
        row.protocol,
      ),
  };
}

/** A column of numbers. @param {string} key @param {string} label @param {(number: number) => string} write */
export function numberColumn(key, label, write = format.count, ranked = false) {
  return {
    key,
    label,
    numeric: true,
    ranked,
    value: (row) => row[key] ?? null,
    cell: (row) => (row[key] === null || row[key] === undefined ? "–" : write(row[key])),
  };
}

/** A column of times. @param {string} key @param {string} label */
export function momentColumn(key, label) {
  return {
    key,
    label,
    class: "m",
    value: (row) => row[key] ?? null,
    cell: (row) =>
      row[key]
        ? h(
            "time",
            { title: format.fullMoment(row[key]), datetime: new Date(row[key]).toISOString() },
            format.moment(row[key]),
          )
        : "–",
  };
}

/**
 * A column that says how much, with a bar beside it. `keys`: of one amount, or of what was sent and what was received.
 * @param {"octets" | "packets" | "flows"} by
 * @param {string[]} keys
 * @param {string} label
 */
export function shareColumn(by, keys, label) {
  const sum = (row) => keys.reduce((total, key) => total + (row[key] ?? 0), 0);
  const write = format.AMOUNTS[by].write;
  return {
    key: "share",
    label,
    numeric: true,
    ranked: true,
    class: "share",
    title:
      keys.length > 1
        ? "Sent and received; the bar is longest for the largest row"
        : "The bar is longest for the largest row",
    value: sum,
    largest: sum,
    cell: (row, { largest }) =>
      h(
        "div",
        {},
        bar(
          keys.map((key) => row[key] ?? 0),
          largest,
        ),
        h("span", {}, write(sum(row))),
      ),
  };
}

/** A bar of one part or two. @param {number[]} parts @param {number} largest */
export function bar(parts, largest) {
  const classes = parts.length > 1 ? ["sent", "received"] : ["only"];
  return h(
    "b.track",
    { "aria-hidden": "true" },
    parts.map((part, position) => {
      const piece = h(`i.${classes[position]}`);
      piece.style.width = `${largest > 0 ? Math.max(part > 0 ? 0.6 : 0, (part / largest) * 100) : 0}%`;
      return piece;
    }),
  );
}

/** A column of the part that a row is of the whole. @param {(row: any) => number} part @param {"octets" | "packets" | "flows"} by */
export function partColumn(part, by) {
  return {
    key: "part",
    label: "Part",
    numeric: true,
    title: "Of the total of this question",
    value: part,
    cell: (row, { total }) => format.percent(part(row), total?.[by] ?? 0),
  };
}

/** The six columns of what was sent and received. */
export function bothWays({ sent = "Sent", received = "Received" } = {}) {
  return [
    numberColumn("octetsSent", sent, format.bytes),
    numberColumn("octetsReceived", received, format.bytes),
    numberColumn("packetsSent", `Packets ${sent.toLowerCase()}`),
    numberColumn("packetsReceived", `Packets ${received.toLowerCase()}`),
    numberColumn("flowsSent", `Flows ${sent.toLowerCase()}`),
    numberColumn("flowsReceived", `Flows ${received.toLowerCase()}`),
  ];
}

/** The three columns of a total. */
export function threeAmounts() {
  return [
    numberColumn("octets", "Bytes", format.bytes),
    numberColumn("packets", "Packets"),
    numberColumn("flows", "Flows"),
  ];
}

/** The filters that show one conversation in both directions. */
export function conversationFilters(a, b, row) {
  return [["source", a], ["source", b], ["destination", a], ["destination", b], ...serviceFilters(row)];
}
