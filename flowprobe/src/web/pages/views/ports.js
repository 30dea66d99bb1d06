// Ports and protocols: what the traffic is, over time and in all.

import {
  filterHref,
  partColumn,
  protocolColumn,
  serviceColumn,
  serviceFilters,
  shareColumn,
  threeAmounts,
} from "../cells.js";
import { fill, h } from "../dom.js";
import * as format from "../format.js";
import { Panel } from "../panel.js";
import { ChartPanel, stacked, unitSwitch } from "../series.js";
import { Table } from "../table.js";
import { rankOf, rankSwitch } from "./rank.js";

const icmpFilters = (row) => [
  ["protocol", row.protocolIdentifier],
  ["icmp", `${row.icmpType}/${row.icmpCode}`],
];

/** The page. */
export default {
  title: "Ports and protocols",
  subtitle: "What the traffic is",

  mount(root) {
    const charts = {
      protocol: new ChartPanel({ name: "protocols-over-time", title: "Protocols over time", span: "half" }),
      service: new ChartPanel({ name: "services-over-time", title: "Services over time", span: "half" }),
    };
    const tables = {
      services: tabled(
        "services",
        "Services",
        "half",
        "service",
        (row) => `${row.protocolIdentifier}/${row.port}`,
        serviceFilters,
      ),
      protocols: tabled(
        "protocols",
        "Protocols",
        "half",
        "protocol",
        (row) => String(row.protocolIdentifier),
        (row) => [["protocol", row.protocolIdentifier]],
      ),
      icmp: tabled(
        "icmp",
        "ICMP types and codes",
        "half",
        "type",
        (row) => `${row.protocolIdentifier} ${row.icmpType}/${row.icmpCode}`,
        icmpFilters,
      ),
    };
    tables.icmp.table.empty = "No ICMP was seen in this time.";
    const unit = h("div.switch");
    const by = h("div.switch");
    root.append(
      h(
        "div.grid",
        {},
        h("div.rule", {}, h("h2", {}, "Over time"), unit),
        charts.protocol.el,
        charts.service.el,
        h("div.rule", {}, h("h2", {}, "Most by"), by),
        tables.services.panel.el,
        h("div.column.half", {}, tables.protocols.panel.el, tables.icmp.panel.el),
      ),
    );
    return {
      load: (run) => {
        fill(unit, unitSwitch(run.state));
        fill(by, rankSwitch(run.state));
        return Promise.all([...loadCharts(run, charts), ...loadTables(run, tables)]);
      },
      destroy: () => Object.values(charts).forEach((chart) => chart.destroy()),
    };
  },
};

function tabled(name, title, span, noun, keyOf, filtersOf) {
  const panel = new Panel({ name, title, span, lines: 10 });
  return {
    panel,
    table: new Table({ name, caption: title, noun, keyOf, hrefOf: (row, state) => filterHref(state, filtersOf(row)) }),
  };
}

function loadCharts(run, charts) {
  const one = (group, top) =>
    charts[group].load(
      run,
      (busy) => run.ask("series", { group, top }, busy),
      (answer) => stacked(answer, run.state, group),
    );
  return [one("protocol", 5), one("service", 7)];
}

function loadTables(run, tables) {
  const by = rankOf(run.state);
  const one = (key, columns) =>
    tables[key].panel.load(
      run,
      (busy) => run.ask(`top/${key}`, { by, top: tables[key].table.limit }, busy),
      (answer) => {
        fill(tables[key].panel.body, tables[key].table.el);
        tables[key].table.show(columns, answer, {
          state: run.state,
          csv: run.url(`top/${key}`, { by, top: tables[key].table.limit, format: "csv" }),
        });
      },
    );
  const amounts = [
    shareColumn(by, [by], format.AMOUNTS[by].name),
    partColumn((row) => row[by], by),
    ...threeAmounts().filter((column) => column.key !== by),
  ];
  return [
    one("services", [serviceColumn(), ...amounts]),
    one("protocols", [protocolColumn(), ...amounts]),
    one("icmp", [icmpColumn(), ...amounts]),
  ];
}

function icmpColumn() {
  const name = (row) => row.name ?? `type ${row.icmpType}, code ${row.icmpCode}`;
  return {
    key: "icmp",
    label: "Type and code",
    class: "s",
    value: (row) => row.icmpType * 256 + row.icmpCode,
    cell: (row, { state }) =>
      h(
        "div.who",
        {},
        h("a", { href: filterHref(state, icmpFilters(row)), title: `Show only ${name(row)}` }, name(row)),
        h("small", {}, `${row.protocol} ${row.icmpType}/${row.icmpCode}`),
      ),
  };
}
