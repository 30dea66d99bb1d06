// Numbers and times for people. Units are decimal, as interfaces are rated; a narrow no-break space stands before them.

const NARROW = "\u202f";
const PREFIXES = ["", "k", "M", "G", "T", "P", "E"];
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clockSeconds = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dayYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const grouped = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const exactNumber = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 3 });
const regions = new Intl.DisplayNames(["en"], { type: "region", fallback: "none" });

/** Three digits and the prefix that fits: [1.23, "M"]. */
function scaled(number) {
  const size = Math.abs(number);
  let power = size < 1 ? 0 : Math.min(PREFIXES.length - 1, Math.floor(Math.log10(size) / 3 + 1e-12));
  let value = number / 1000 ** power;
  if (Math.abs(value) >= 999.5 && power < PREFIXES.length - 1) {
    power += 1;
    value /= 1000;
  }
  return [value, PREFIXES[power]];
}

function digits(value, isWhole) {
  const size = Math.abs(value);
  if (value === 0 || isWhole) return grouped.format(value);
  if (size < 0.01) return "< 0.01";
  return value.toFixed(size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

function withUnit(number, unit) {
  const [value, prefix] = scaled(number);
  return `${digits(value, prefix === "" && Number.isInteger(value))}${NARROW}${prefix}${unit}`;
}

/** Octets: 1.23 MB. @param {number} octets */
export function bytes(octets) {
  return withUnit(octets, "B");
}

/** A rate of bits: 1.23 Mbit/s. @param {number} rate */
export function bits(rate) {
  return withUnit(rate, "bit/s");
}

/** A count: exact below a million, then 1.23M. @param {number} number */
export function count(number) {
  if (Math.abs(number) < 999_999.5) return grouped.format(number);
  const [value, prefix] = scaled(number);
  return digits(value, false) + prefix;
}

/** A count a second, without its unit: 0.12, 12.3, 12.3k. @param {number} number */
export function perSecond(number) {
  const [value, prefix] = scaled(number);
  return digits(value, prefix === "" && Number.isInteger(value)) + prefix;
}

/** Every digit, for titles. @param {number} number */
export function exact(number) {
  return exactNumber.format(number);
}

/** A part of a whole: 12.3 %. @param {number} part @param {number} whole */
export function percent(part, whole) {
  if (!whole) return "–";
  const value = (part / whole) * 100;
  if (value > 0 && value < 0.1) return `< 0.1${NARROW}%`;
  return `${value.toFixed(value < 99.95 ? 1 : 0)}${NARROW}%`;
}

/**
 * What a chart may show: how a step's amount becomes a rate, and how that is written.
 * @type {Record<string, {key: string, name: string, noun: string, rate: (amount: number, seconds: number) => number,
 *   write: (rate: number) => string, short: (rate: number) => string, rates: string}>}
 */
export const UNITS = {
  bits: {
    key: "octets",
    name: "Bits/s",
    noun: "bits per second",
    rates: "bitsPerSecond",
    rate: (amount, seconds) => (amount * 8) / seconds,
    write: bits,
    short: bits,
  },
  packets: {
    key: "packets",
    name: "Packets/s",
    noun: "packets per second",
    rates: "packetsPerSecond",
    rate: (amount, seconds) => amount / seconds,
    write: (rate) => `${perSecond(rate)}${NARROW}packets/s`,
    short: perSecond,
  },
  flows: {
    key: "flows",
    name: "Flows/s",
    noun: "flows per second",
    rates: "flowsPerSecond",
    rate: (amount, seconds) => amount / seconds,
    write: (rate) => `${perSecond(rate)}${NARROW}flows/s`,
    short: perSecond,
  },
};

/** What tables may be ranked by, by the names that the API has for it. */
export const AMOUNTS = {
  octets: { name: "Bytes", write: bytes },
  packets: { name: "Packets", write: count },
  flows: { name: "Flows", write: count },
};

/** The name of the browser's time zone, and its distance from UTC at a time. @param {number} [at] milliseconds */
export function zoneName(at = Date.now()) {
  const minutes = -new Date(at).getTimezoneOffset();
  const size = Math.abs(minutes);
  const offset = `${Math.floor(size / 60)}${size % 60 ? `:${String(size % 60).padStart(2, "0")}` : ""}`;
  const utc = minutes === 0 ? "UTC" : `UTC${minutes < 0 ? "\u2212" : "+"}${offset}`;
  return zone && zone !== "UTC" ? `${zone}, ${utc}` : utc;
}

/** Time of day: 14:05, or 14:05:09. @param {number} ms @param {boolean} [seconds] */
export function time(ms, seconds = true) {
  return (seconds ? clockSeconds : clock).format(ms);
}

/** Day of the year: 30 Nov. @param {number} ms */
export function date(ms) {
  return day.format(ms);
}

/** Day and time; the day only where it is not today's, the year only where it is not this one. @param {number} ms */
export function moment(ms, seconds = true) {
  const now = new Date();
  const then = new Date(ms);
  if (then.toDateString() === now.toDateString()) return time(ms, seconds);
  const format = then.getFullYear() === now.getFullYear() ? day : dayYear;
  return `${format.format(ms)}, ${time(ms, seconds)}`;
}

/** Day, year and time, for titles. @param {number} ms */
export function fullMoment(ms) {
  return `${dayYear.format(ms)}, ${time(ms)}.${String(Math.floor(ms) % 1000).padStart(3, "0")} (${zoneName(ms)})`;
}

/** From when to when. @param {number} from @param {number} to milliseconds */
export function span(from, to) {
  const seconds = to - from < 600_000;
  const isOneDay = new Date(from).toDateString() === new Date(to).toDateString();
  if (isOneDay) return `${moment(from, seconds)} – ${time(to, seconds)}`;
  return `${date(from)}, ${time(from, seconds)} – ${date(to)}, ${time(to, seconds)}`;
}

/** A length of time: 3 min 20 s. @param {number} ms */
export function duration(ms) {
  const seconds = Math.round(ms / 1000);
  const [days, hours, minutes, rest] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60,
    seconds % 60,
  ];
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  if (minutes) return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
  return `${rest} s`;
}

/** How long ago, roughly. @param {number} ms milliseconds since 1970 */
export function ago(ms) {
  const past = Date.now() - ms;
  if (past < 2000) return "now";
  if (past < 3_600_000) return `${duration(past < 60_000 ? past : Math.floor(past / 60_000) * 60_000)} ago`;
  return past < 86_400_000 ? `${Math.floor(past / 3_600_000)} h ago` : `${Math.floor(past / 86_400_000)} d ago`;
}

/** The name of a country, or its code where it has none. @param {string} code two letters */
export function country(code) {
  try {
    return regions.of(code.toUpperCase()) ?? code;
  } catch {
    return code;
  }
}

/** Numbers of IANA with the names that the API has for them. */
const PROTOCOLS = {
  1: "ICMP",
  2: "IGMP",
  4: "IPIP",
  6: "TCP",
  17: "UDP",
  41: "6in4",
  47: "GRE",
  50: "ESP",
  51: "AH",
  58: "ICMPv6",
  89: "OSPF",
  112: "VRRP",
  132: "SCTP",
};

/** The name of a protocol, or its number where it has none. @param {number | string} number */
export function protocol(number) {
  return PROTOCOLS[number] ?? String(number);
}

/** Protocols that have ports: TCP, UDP, DCCP, SCTP, UDP-Lite. */
const WITH_PORTS = new Set([6, 17, 33, 132, 136]);

/** Whether the port of a row is one: ICMP has its type in that place, others nothing. */
export function hasPort({ protocolIdentifier, port }) {
  return port !== null && port !== undefined && WITH_PORTS.has(protocolIdentifier);
}

/** A service: its name where it has one, else its port; the protocol without ports. */
export function service(row) {
  return hasPort(row) ? (row.serviceName ?? `port ${row.port}`) : row.protocol;
}

/** A port with its protocol: 443/tcp. */
export function portOf(row) {
  return hasPort(row) ? `${row.port}/${row.protocol.toLowerCase()}` : "";
}

/** "1 row", "2 rows". @param {number} number @param {string} noun @param {string} [nouns] */
export function plural(number, noun, nouns = `${noun}s`) {
  return `${count(number)} ${number === 1 ? noun : nouns}`;
}
