// Flow records one by one: what everything else is the sum of.

import { exporterColumn, filterHref, momentColumn, numberColumn, serviceFilters } from "../cells.js";
import { fill, h } from "../dom.js";
import * as format from "../format.js";
import { Panel } from "../panel.js";
import { Table } from "../table.js";
import { durationColumn, endColumn, flagsColumn, typeAndCode } from "./flowcells.js";

/** flowEndReason of RFC 5102. */
const REASONS = { 1: "idle timeout", 2: "active timeout", 3: "end of flow", 4: "forced end", 5: "lack of resources" };

/** The page. */
export default {
  title: "Flow records",
  subtitle: "What everything else is the sum of, latest first",

  mount(root) {
    const panel = new Panel({ name: "records", title: "Flow records", lines: 20 });
    const keyOf = (row) =>
      [
        row.flowStartMilliseconds,
        row.sourceIPAddress,
        row.sourceTransportPort,
        row.destinationIPAddress,
        row.destinationTransportPort,
        row.protocolIdentifier,
        row.flowDirection,
      ].join(" ");
    const table = new Table({
      name: "records",
      caption: "Flow records",
      limit: 100,
      noun: "record",
      keyOf,
      empty: "No flow record fits in this time.",
    });
    root.append(h("div.grid", {}, panel.el));
    return {
      load: (run) =>
        panel.load(
          run,
          (busy) => run.ask("records", { top: table.limit }, busy),
          (answer) => {
            fill(panel.body, table.el);
            table.show(columns(answer.rows), answer, {
              state: run.state,
              csv: run.url("records", { top: table.limit, format: "csv" }),
            });
          },
        ),
    };
  },
};

/** The columns; those of which no row has anything are left out. */
function columns(rows) {
  return [
    { ...momentColumn("flowEndMilliseconds", "End"), ranked: true, numeric: false },
    durationColumn(),
    endColumn("source", "Source"),
    endColumn("destination", "Destination"),
    protocolAndService(),
    numberColumn("octetDeltaCount", "Bytes", format.bytes),
    numberColumn("packetDeltaCount", "Packets"),
    flagsColumn(rows),
    interfaces(),
    {
      key: "flowEndReason",
      label: "Ended by",
      class: "m",
      value: (row) => REASONS[row.flowEndReason] ?? null,
      cell: (row) => REASONS[row.flowEndReason] ?? "–",
    },
    rows.some((row) => row.samplingInterval > 1)
      ? {
          key: "samplingInterval",
          label: "Sampling",
          numeric: true,
          value: (row) => row.samplingInterval,
          cell: (row) => (row.samplingInterval > 1 ? `1 in ${format.count(row.samplingInterval)}` : "–"),
        }
      : null,
    rows.some((row) => row.exporterIPAddress) ? exporterColumn() : null,
  ].filter(Boolean);
}

function protocolAndService() {
  return {
    key: "protocol",
    label: "Protocol",
    class: "s",
    value: (row) => `${row.protocol} ${row.serviceName ?? ""}`,
    cell: (row, { state }) =>
      h(
        "div.who",
        {},
        h(
          "a",
          {
            href: filterHref(state, serviceFilters({ protocolIdentifier: row.protocolIdentifier })),
            title: `Show only ${row.protocol}`,
          },
          row.protocol,
        ),
        row.serviceName
          ? h("small", {}, row.serviceName)
          : typeAndCode(row.icmpTypeCode) && /ICMP/i.test(row.protocol)
            ? h("small", {}, typeAndCode(row.icmpTypeCode))
            : null,
      ),
  };
}

function interfaces() {
  const name = (row, way) =>
    row[`${way}InterfaceName`] ?? (row[`${way}Interface`] ? String(row[`${way}Interface`]) : null);
  return {
    key: "interfaces",
    label: "Interfaces",
    value: (row) => `${name(row, "ingress") ?? ""} ${name(row, "egress") ?? ""}`,
    cell: (row, { state }) => {
      const part = (way) =>
        name(row, way)
          ? h(
              "a",
              { href: filterHref(state, [["interface", name(row, way)]]), title: `Show only ${name(row, way)}` },
              name(row, way),
            )
          : "–";
      return h("span.nowrap", {}, part("ingress"), " → ", part("egress"));
    },
  };
}
