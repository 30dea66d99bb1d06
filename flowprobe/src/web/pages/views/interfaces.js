// Interfaces and exporters: what is metered where, who is listened to, and how those fare who get records.

import { exporterColumn, filterHref, numberColumn, threeAmounts } from "../cells.js";
import { fill, h, icon } from "../dom.js";
import * as format from "../format.js";
import { colours } from "../palette.js";
import { Panel } from "../panel.js";
import { ChartPanel, frame, totalOf, unitOf, unitSwitch } from "../series.js";
import { Table } from "../table.js";
import { rates } from "../timechart.js";
import { link } from "../url.js";

const VERSIONS = { 5: "NetFlow v5", 7: "NetFlow v7", 9: "NetFlow v9", 10: "IPFIX" };
const QUIET_MS = 300_000;

/** The page. */
export default {
  title: "Interfaces and exporters",
  subtitle: "Where records come from, and where they go",

  mount(root) {
    const chart = new ChartPanel({ name: "interfaces-over-time", title: "In above, out below", span: "whole" });
    const panels = {
      interfaces: new Panel({ name: "interfaces", title: "Interfaces", lines: 4 }),
      totals: new Panel({ name: "interface-totals", title: "By interface, in this time", span: "half", lines: 4 }),
      sources: new Panel({ name: "exporter-totals", title: "By exporter, in this time", span: "half", lines: 4 }),
      exporters: new Panel({ name: "exporters", title: "Exporters that are heard", lines: 3 }),
      listeners: new Panel({ name: "listeners", title: "Listeners", span: "half", lines: 3 }),
      sinks: new Panel({ name: "sinks", title: "Collectors and other sinks", span: "half", lines: 3 }),
    };
    const tables = makeTables();
    const unit = h("div.switch");
    root.append(
      h(
        "div.grid",
        {},
        panels.interfaces.el,
        h("div.rule", {}, h("h2", {}, "Over time"), unit),
        chart.el,
        panels.totals.el,
        panels.sources.el,
        panels.exporters.el,
        panels.listeners.el,
        panels.sinks.el,
      ),
    );
    return {
      load: (run) => {
        fill(unit, unitSwitch(run.state));
        return load(run, chart, panels, tables);
      },
      destroy: () => chart.destroy(),
    };
  },
};

function makeTables() {
  const byInterface = (row, state) => filterHref(state, [["interface", row.interface]]);
  return {
    interfaces: new Table({
      name: "interfaces",
      caption: "Interfaces",
      noun: "interface",
      keyOf: (row) => row.interface,
      empty: "No interface is metered.",
    }),
    totals: new Table({
      name: "interface-totals",
      caption: "Totals by interface",
      noun: "interface",
      keyOf: (row) => row.interface,
      hrefOf: byInterface,
    }),
    sources: new Table({
      name: "exporter-totals",
      caption: "Totals by exporter",
      noun: "exporter",
      keyOf: (row) => row.exporterIPAddress ?? "",
      hrefOf: (row, state) => (row.exporterIPAddress ? filterHref(state, [["exporter", row.exporterIPAddress]]) : null),
    }),
    exporters: new Table({
      name: "exporters",
      caption: "Exporters",
      noun: "exporter",
      keyOf: (row) => `${row.address} ${row.domain} ${row.version}`,
      empty: "No exporter is heard. Listeners are opened by --listen.",
      hrefOf: (row, state) => filterHref(state, [["exporter", row.address]]),
    }),
    listeners: new Table({
      name: "listeners",
      caption: "Listeners",
      noun: "listener",
      keyOf: (row) => row.url,
      empty: "There is no listener. One is opened by --listen URL.",
    }),
    sinks: new Table({
      name: "sinks",
      caption: "Sinks",
      noun: "sink",
      keyOf: (row) => row.name,
      empty: "No sink takes records.",
    }),
  };
}

function load(run, chart, panels, tables) {
  const one = (key, ask, columns, pick, csv) =>
    panels[key].load(run, ask, (answer) => {
      fill(panels[key].body, tables[key].el);
      tables[key].show(columns, pick(answer), { state: run.state, csv });
    });
  const plain = (path) => (busy) => run.askPlain(path, busy);
  const asked = (path) => (busy) => run.ask(path, { top: 20 }, busy);
  const csv = (path) => run.url(path, { top: 20, format: "csv" });
  return Promise.all([
    one("interfaces", plain("interfaces"), interfaceColumns(), (answer) => ({ rows: answer.interfaces })),
    chart.load(
      run,
      (busy) => run.ask("series", { group: "interface" }, busy),
      (answer) => mirrored(answer, run.state),
    ),
    one("totals", asked("top/interfaces"), totalColumns(), (answer) => answer, csv("top/interfaces")),
    one(
      "sources",
      asked("top/exporters"),
      [exporterColumn(), ...threeAmounts()],
      (answer) => answer,
      csv("top/exporters"),
    ),
    one("exporters", plain("exporters"), exporterColumns(), (answer) => ({ rows: answer.exporters })),
    one("listeners", plain("exporters"), listenerColumns(), (answer) => ({ rows: answer.listeners })),
    one("sinks", plain("accounting"), sinkColumns(), (answer) => ({ rows: answer.sinks })),
  ]);
}

/** A column of text. */
function text(key, label, value, more = {}) {
  return { key, label, value, cell: (row) => value(row) ?? "–", ...more };
}

function direction(row, name) {
  return row.directions.find((one) => one.direction === name) ?? null;
}

/** A link that shows an interface only. */
function interfaceLink(row, { state }) {
  const href = filterHref(state, [["interface", row.interface]]);
  return h("a", { href, title: `Show only ${row.interface}` }, row.interface);
}

/** What goes in, or out, at this moment. */
function rateColumn(way, label) {
  const written = ({ bitsPerSecond, packetsPerSecond }) => [
    format.bits(bitsPerSecond),
    h("small", {}, `${format.perSecond(packetsPerSecond)} packets/s`),
  ];
  return {
    key: `${way}Rate`,
    label,
    numeric: true,
    value: (row) => direction(row, way)?.bitsPerSecond ?? null,
    cell: (row) => (direction(row, way) ? written(direction(row, way)) : "–"),
  };
}

/** The part of its speed that the busier direction uses. */
function useColumn() {
  const use = ({ directions, speedBitsPerSecond }) => {
    const most = Math.max(...directions.map((one) => one.bitsPerSecond), 0);
    return speedBitsPerSecond ? most / speedBitsPerSecond : null;
  };
  const drawn = (part) => h("div", {}, gauge(part), h("span", {}, format.percent(part, 1)));
  return {
    key: "use",
    label: "Use",
    numeric: true,
    title: "The busier direction, of the speed",
    class: "share",
    value: use,
    cell: (row) => (use(row) === null ? "–" : drawn(use(row))),
  };
}

/** What was seen since the start. */
function seenColumn() {
  const seen = (row, amount) => row.directions.reduce((sum, one) => sum + one.seen[amount], 0);
  return {
    key: "seen",
    label: "Seen",
    numeric: true,
    title: "Since the start",
    value: (row) => seen(row, "octets"),
    cell: (row) => [format.bytes(seen(row, "octets")), h("small", {}, format.plural(seen(row, "packets"), "packet"))],
  };
}

function interfaceColumns() {
  const talkers = (row, state) => link(state, { path: "/hosts", options: {}, add: [["interface", row.interface]] });
  return [
    { key: "interface", label: "Interface", value: (row) => row.interface, cell: interfaceLink },
    {
      key: "hook",
      label: "Hook",
      value: (row) => row.hook ?? "",
      cell: (row) => row.hook ?? h("span.bad", {}, icon("warn"), "not there"),
    },
    {
      key: "speed",
      label: "Speed",
      numeric: true,
      value: (row) => row.speedBitsPerSecond,
      cell: (row) => (row.speedBitsPerSecond ? format.bits(row.speedBitsPerSecond) : "not known"),
    },
    rateColumn("ingress", "In now"),
    rateColumn("egress", "Out now"),
    useColumn(),
    seenColumn(),
    {
      key: "talkers",
      label: "Go to",
      class: "m",
      value: () => null,
      cell: (row, { state }) => h("a", { href: talkers(row, state) }, "top talkers"),
    },
  ];
}

/** How much of something is used. */
function gauge(part) {
  const piece = h(`i${part > 0.8 ? ".full" : ".only"}`);
  piece.style.width = `${Math.min(100, Math.max(part > 0 ? 0.6 : 0, part * 100))}%`;
  return h("b.track", { "aria-hidden": "true" }, piece);
}

/** Groups "eth0 in" and "eth0 out" as one line each, of one colour. */
function mirrored(answer, state) {
  const unit = unitOf(state);
  const names = [...new Set(answer.groups.map((group) => group.filter?.interface ?? group.name))];
  const hues = new Map(colours("interface", names).map((hue, at) => [names[at], hue]));
  const lines = answer.groups.map((group) => ({
    name: group.name,
    colour: hues.get(group.filter?.interface ?? group.name),
    down: / out$/.test(group.name),
    y: rates(group[unit.key], answer.seconds, unit),
    filters: group.filter ? Object.entries(group.filter) : null,
    total: totalOf(group[unit.key], unit),
  }));
  return { ...frame(answer, state), unit, lines, isStacked: false };
}

function totalColumns() {
  return [
    {
      key: "interface",
      label: "Interface",
      value: (row) => row.interface,
      cell: (row, { state }) => h("a", { href: filterHref(state, [["interface", row.interface]]) }, row.interface),
    },
    { ...numberColumn("octetsIn", "In", format.bytes), ranked: true },
    numberColumn("octetsOut", "Out", format.bytes),
    numberColumn("packetsIn", "Packets in"),
    numberColumn("packetsOut", "Packets out"),
    numberColumn("flowsIn", "Flows in"),
    numberColumn("flowsOut", "Flows out"),
  ];
}

function exporterColumns() {
  const faults = (row) =>
    Object.entries(row.faults ?? {})
      .map(([name, times]) => `${name} ${format.count(times)}`)
      .join(", ");
  return [
    {
      key: "address",
      label: "Exporter",
      class: "a",
      value: (row) => row.address,
      cell: (row, { state }) =>
        h(
          "div.who",
          {},
          h(
            "a.address",
            { href: filterHref(state, [["exporter", row.address]]), title: `Show only what ${row.address} sent` },
            row.address,
          ),
          h("small", {}, `domain ${row.domain}, at ${row.listener}`),
        ),
    },
    text("version", "Protocol", (row) => VERSIONS[row.version] ?? `version ${row.version}`),
    numberColumn("records", "Records", format.count, true),
    numberColumn("messages", "Messages"),
    {
      key: "missing",
      label: "Lost",
      numeric: true,
      title: "Missing by the sequence numbers",
      value: (row) => row.missing,
      cell: (row) => (row.missing ? h("span.bad", {}, icon("warn"), format.count(row.missing)) : "0"),
    },
    {
      key: "sampling",
      label: "Sampling",
      numeric: true,
      value: (row) => row.samplingInterval,
      cell: (row) => (row.samplingInterval ? `1 in ${format.count(row.samplingInterval)}` : "–"),
    },
    {
      key: "skew",
      label: "Clock",
      numeric: true,
      title: "Its clock less ours",
      value: (row) => row.clockSkewMs,
      cell: (row) =>
        `${row.clockSkewMs > 0 ? "+" : row.clockSkewMs < 0 ? "\u2212" : ""}${format.duration(Math.abs(row.clockSkewMs))}`,
    },
    {
      key: "faults",
      label: "Faults",
      value: faults,
      cell: (row) => (faults(row) ? h("span.bad", {}, faults(row)) : "none"),
    },
    {
      key: "last",
      label: "Last heard",
      class: "m",
      value: (row) => row.lastSeenMs,
      cell: (row) =>
        h(
          `time${Date.now() - row.lastSeenMs > QUIET_MS ? ".bad" : ""}`,
          { title: format.fullMoment(row.lastSeenMs), datetime: new Date(row.lastSeenMs).toISOString() },
          format.ago(row.lastSeenMs),
        ),
    },
  ];
}

function listenerColumns() {
  const loss = (key, label, title) => ({
    key,
    label,
    title,
    numeric: true,
    value: (row) => row[key],
    cell: (row) => (row[key] ? h("span.bad", {}, icon("warn"), format.count(row[key])) : "0"),
  });
  return [
    text("url", "Listener", (row) => row.url, { class: "a" }),
    numberColumn("messages", "Messages", format.count, true),
    loss("kernelDrops", "Dropped", "By the kernel, because the receive buffer was full"),
    loss("refused", "Refused", "Of senders that the access list does not have"),
  ];
}

function sinkColumns() {
  const of = (row, key) => row.collector?.[key] ?? null;
  const number = (key, label, write = format.count) => ({
    key,
    label,
    numeric: true,
    value: (row) => of(row, key),
    cell: (row) => (of(row, key) === null ? "–" : write(of(row, key))),
  });
  return [
    text("name", "Sink", (row) => row.name, { class: "a" }),
    {
      key: "state",
      label: "State",
      value: (row) => (row.collector ? String(row.collector.isAway) : ""),
      cell: (row) =>
        row.collector
          ? row.collector.isAway
            ? h("span.bad", {}, icon("warn"), "away")
            : h("span.good", {}, icon("check"), "reached")
          : "–",
    },
    number("sentRecords", "Records sent"),
    number("waitingRecords", "Waiting"),
    {
      key: "lost",
      label: "Lost",
      numeric: true,
      title: "Records that went nowhere",
      value: (row) => row.lost.records,
      cell: (row) => (row.lost.records ? h("span.bad", {}, icon("warn"), format.count(row.lost.records)) : "0"),
    },
  ];
}
