// Columns of flows, as records and as evidence.

import { addressCell, filterHref, namesOf } from "../cells.js";
import { h } from "../dom.js";
import * as format from "../format.js";

const TCP = 6;
/** Bits of tcpControlBits, from the lowest on. */
const FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "NS"];

/** How long a flow has lasted. */
export function durationColumn() {
  return {
    key: "duration",
    label: "Duration",
    numeric: true,
    value: (row) => row.flowEndMilliseconds - row.flowStartMilliseconds,
    cell: (row) => format.duration(row.flowEndMilliseconds - row.flowStartMilliseconds),
  };
}

/** One end of a flow, with its port. @param {"source" | "destination"} side @param {string} label */
export function endColumn(side, label) {
  const [address, port] = [`${side}IPAddress`, `${side}TransportPort`];
  return {
    key: address,
    label,
    class: "a",
    value: (row) => row[address],
    cell: (row, { state }) => {
      const after = row[port]
        ? h(
            "a.port",
            { href: filterHref(state, [["port", row[port]]]), title: `Show only port ${row[port]}` },
            `:${row[port]}`,
          )
        : null;
      return addressCell(state, row[address], namesOf(row, side), { kind: side, after });
    },
  };
}

/** What TCP's headers said; nothing where no row is of TCP. @param {any[]} rows */
export function flagsColumn(rows) {
  if (!rows.some((row) => row.protocolIdentifier === TCP)) return null;
  return {
    key: "tcpControlBits",
    label: "TCP flags",
    value: (row) => row.tcpControlBits ?? null,
    cell: (row) => (row.protocolIdentifier === TCP ? flags(row.tcpControlBits) : "–"),
  };
}

function flags(bits) {
  if (bits === null || bits === undefined) return "–";
  const set = FLAGS.filter((_, position) => bits & (1 << position));
  return h("span.flags", { title: `0x${bits.toString(16).padStart(2, "0")}` }, set.join(" ") || "none");
}

/** Type and code of a message of ICMP: "type/code 8/0". @param {number | null | undefined} both type × 256 + code */
export function typeAndCode(both) {
  return both === null || both === undefined ? null : `type/code ${both >> 8}/${both & 255}`;
}
