// What a page shows is in its address: the time range, the filters, and what the page itself may be switched to.

/** Kinds of filters by the names that the API has for them, with what the form says of each. */
export const FILTERS = [
  { kind: "address", label: "Address", hint: "10.0.0.7 or 10.0.0.0/8" },
  { kind: "source", label: "Source", hint: "10.0.0.7 or 2001:db8::/32" },
  { kind: "destination", label: "Destination", hint: "10.0.0.7 or 2001:db8::/32" },
  { kind: "port", label: "Port", hint: "443" },
  { kind: "protocol", label: "Protocol", hint: "tcp, or a number" },
  { kind: "icmp", label: "ICMP type", hint: "8/0 (type/code), or 8" },
  { kind: "interface", label: "Interface", hint: "eth0, or an index" },
  { kind: "as", label: "Autonomous system", hint: "64496" },
  { kind: "country", label: "Country", hint: "two letters: DE" },
  { kind: "label", label: "Label", hint: "as in the file of labels" },
  { kind: "exporter", label: "Exporter", hint: "192.0.2.1" },
  { kind: "direction", label: "Direction", hint: "ingress or egress" },
];

/** Time ranges that end now. */
export const RANGES = [
  { last: "15m", short: "15m", label: "the last 15 minutes" },
  { last: "1h", short: "1h", label: "the last hour" },
  { last: "6h", short: "6h", label: "the last 6 hours" },
  { last: "24h", short: "24h", label: "the last 24 hours" },
  { last: "7d", short: "7d", label: "the last 7 days" },
  { last: "30d", short: "30d", label: "the last 30 days" },
];

const KINDS = new Map(FILTERS.map((filter) => [filter.kind, filter]));
const TIME = new Set(["last", "from", "to", "range"]);
const DEFAULT = { kind: "last", last: "1h" };

/**
 * @typedef {{kind: "last", last: string} | {kind: "custom", from: string, to: string} | {kind: "live"}} Range
 * @typedef {{path: string, range: Range, filters: [string, string][], options: Record<string, string>}} State
 */

/**
 * What an address says.
 * @param {URL | Location} url
 * @returns {State}
 */
export function parse(url) {
  const query = new URLSearchParams(url.search);
  const filters = [];
  const options = {};
  for (const [name, value] of query) {
    if (KINDS.has(name)) filters.push([name, value]);
    else if (!TIME.has(name)) options[name] = value;
  }
  return { path: cleanPath(url.pathname), range: rangeOf(query), filters, options };
}

function cleanPath(path) {
  return path.length > 1 ? path.replace(/\/+$/, "") || "/" : path;
}

/** @returns {Range} */
function rangeOf(query) {
  if (query.get("range") === "live") return { kind: "live" };
  const from = query.get("from");
  const to = query.get("to");
  if (from !== null || to !== null) return { kind: "custom", from: from ?? "", to: to ?? "" };
  return { kind: "last", last: query.get("last") ?? DEFAULT.last };
}

/**
 * The address of a state that differs from `state` in what `change` says. Another path leaves the options of the page behind,
 * and keeps time range and filters.
 * @param {State} state
 * @param {{path?: string, range?: Range, add?: [string, string][], remove?: [string, string][], filters?: [string, string][],
 *   options?: Record<string, string | null>}} change
 * @returns {string}
 */
export function link(state, change = {}) {
  const path = change.path ?? state.path;
  const range = change.range ?? state.range;
  let filters = change.filters ?? state.filters;
  if (change.remove) filters = filters.filter((one) => !change.remove.some((other) => same(one, other)));
  for (const one of change.add ?? []) {
    if (!filters.some((other) => same(one, other))) filters = [...filters, [one[0], String(one[1])]];
  }
  const options = { ...(path === state.path ? state.options : {}), ...change.options };
  const query = new URLSearchParams();
  for (const [name, value] of rangeParameters(range, false)) query.append(name, value);
  for (const [kind, value] of filters) query.append(kind, value);
  for (const [name, value] of Object.entries(options))
    if (value !== null && value !== undefined) query.append(name, value);
  const text = readable(query.toString());
  return text ? `${path}?${text}` : path;
}

/** Slashes and colons of addresses and networks need no escape in a query, and are easier on the eye without. */
function readable(query) {
  return query.replaceAll("%2F", "/").replaceAll("%3A", ":");
}

function same(one, other) {
  return one[0] === other[0] && one[1].toLowerCase() === String(other[1]).toLowerCase();
}

function rangeParameters(range, isQuestion) {
  if (range.kind === "live") return isQuestion ? [["last", "15m"]] : [["range", "live"]];
  if (range.kind === "last") return [["last", range.last]];
  return [
    ["from", range.from],
    ["to", range.to],
  ].filter(([, value]) => value !== "");
}

/**
 * The parameters of a question to the API: time range, filters, and more.
 * @param {State} state
 * @param {Record<string, string | number | boolean | undefined>} [more]
 * @returns {URLSearchParams}
 */
export function question(state, more = {}) {
  const query = new URLSearchParams(rangeParameters(state.range, true));
  for (const [kind, value] of state.filters) query.append(kind, value);
  for (const [name, value] of Object.entries(more)) if (value !== undefined) query.append(name, String(value));
  return query;
}

/**
 * An option of the page: the one that the address has, where it is among those that are known, else the first.
 * @param {State} state
 * @param {string} name
 * @param {string[]} known
 */
export function option(state, name, known) {
  return known.includes(state.options[name]) ? state.options[name] : known[0];
}

/**
 * A time of a custom range, in milliseconds; NaN where it is none.
 * @param {string} text milliseconds since 1970, or RFC 3339
 */
export function instant(text) {
  return /^\d+$/.test(text) ? Number(text) : Date.parse(text);
}

/**
 * The words for a kind of filter.
 * @param {string} kind
 */
export function labelOf(kind) {
  return KINDS.get(kind)?.label ?? kind;
}
