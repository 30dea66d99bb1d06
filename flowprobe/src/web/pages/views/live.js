// Overview, live: what the probe meters and hears at this moment. No time range and no filter applies.

import {
  addressCell,
  addressColumn,
  filterHref,
  hostHref,
  namesOf,
  numberColumn,
  protocolColumn,
  serviceColumn,
  serviceFilters,
  shareColumn,
} from "../cells.js";
import { fill, h, icon } from "../dom.js";
import * as format from "../format.js";
import { colours } from "../palette.js";
import { Panel } from "../panel.js";
import { ChartPanel, unitOf, unitSwitch } from "../series.js";
import { Table } from "../table.js";
import { rates } from "../timechart.js";
import { accountingTile, loadState, ranking, tile, tileRow } from "./overview.js";
import { rankOf, rankSwitch } from "./rank.js";

const STATE_EVERY_MS = 10_000;

/** The page. */
export default {
  title: "Overview",
  subtitle: "Live: what the probe meters and hears now",

  mount(root) {
    const tiles = new Panel({ name: "totals", title: "Rates of now", lines: 0 });
    tiles.el.classList.add("bare");
    const charts = [
      new ChartPanel({ name: "volume", title: "The last five minutes", span: "seven" }),
      new ChartPanel({ name: "protocols-over-time", title: "Protocols", span: "five" }),
    ];
    const tables = makeTables();
    const accounting = new Panel({ name: "accounting", title: "Accounting", span: "two-thirds", lines: 5 });
    const findings = new Panel({ name: "findings", title: "Open findings", span: "third", lines: 3 });
    const parts = {
      tiles,
      charts,
      tables,
      accounting,
      findings,
      unit: h("div.switch"),
      by: h("div.switch"),
      filters: h("p.notice", { hidden: true }),
      askedState: 0,
      accounted: null,
    };
    root.append(
      h(
        "div.grid",
        {},
        parts.filters,
        tiles.el,
        h("div.rule", {}, h("h2", {}, "Second by second"), parts.unit),
        charts.map((chart) => chart.el),
        h("div.rule", {}, h("h2", {}, "The last 60 seconds, most by"), parts.by),
        Object.values(tables).map(({ panel }) => panel.el),
        accounting.el,
        findings.el,
      ),
    );
    return { load: (run) => load(run, parts), destroy: () => charts.forEach((chart) => chart.destroy()) };
  },
};

function makeTables() {
  const conversations = new Panel({
    name: "top-conversations",
    title: "Top conversations",
    span: "two-thirds",
    lines: 10,
  });
  const interfaces = new Panel({ name: "interfaces", title: "Interfaces now", span: "third", lines: 4 });
  const conversationKey = (row) =>
    [
      row.sourceIPAddress,
      row.sourceTransportPort,
      row.destinationIPAddress,
      row.destinationTransportPort,
      row.protocolIdentifier,
    ].join(" ");
  return {
    sources: ranking("top-sources", "Top sources", "source", "top sources", (row, state) =>
      hostHref(state, row.address),
    ),
    destinations: ranking("top-destinations", "Top destinations", "destination", "top destinations", (row, state) =>
      hostHref(state, row.address),
    ),
    services: ranking("top-services", "Top services", "service", "top services", (row, state) =>
      filterHref(recent(state), serviceFilters(row)),
    ),
    conversations: {
      panel: conversations,
      table: new Table({
        name: "top-conversations",
        caption: "top conversations",
        limit: 20,
        noun: "conversation",
        keyOf: conversationKey,
      }),
    },
    interfaces: {
      panel: interfaces,
      table: new Table({
        name: "interfaces",
        caption: "rates of interfaces",
        limit: 100,
        noun: "counter",
        keyOf: (row) => `${row.interface} ${row.direction}`,
        hrefOf: (row, state) => filterHref(recent(state), [["interface", row.interface]]),
      }),
    },
  };
}

function load(run, parts) {
  fill(parts.unit, unitSwitch(run.state));
  fill(parts.by, rankSwitch(run.state, ["octets", "packets"]));
  const { filters } = run.state;
  parts.filters.hidden = filters.length === 0;
  if (filters.length)
    fill(
      parts.filters,
      icon("warn"),
      "Live shows everything that is metered. The filters above apply again to every other time range.",
    );
  const ask = (busy) => run.askPlain("live?top=20&seconds=60", busy);
  const all = [
    parts.tiles.load(run, ask, (answer) => drawTiles(parts, answer)),
    parts.charts[0].load(run, ask, (answer) => volume(answer, run.state)),
    parts.charts[1].load(run, ask, (answer) => protocols(answer, run.state)),
    ...drawTables(run, parts.tables, ask),
  ];
  if (!run.isRefresh || performance.now() - parts.askedState > STATE_EVERY_MS) {
    parts.askedState = performance.now();
    all.push(
      ...loadState(run, parts.accounting, parts.findings),
      run.askPlain("accounting").then(
        (answer) => {
          parts.accounted = answer;
          parts.tiles.body.querySelector("[data-tile=accounting]")?.replaceWith(accountingTile(answer));
        },
        () => {},
      ),
    );
  }
  return Promise.all(all);
}

function drawTiles({ tiles, accounted }, answer) {
  const { series } = answer;
  const curve = (unit) => rates(series[unit.key], series.seconds, unit);
  const one = (key, value, more) => {
    const unit = format.UNITS[key];
    return tile({ key, name: unit.name, value, text: unit.short(value), more, curve: curve(unit) });
  };
  fill(
    tiles.body,
    tileRow([
      one("bits", answer.bitsPerSecond, [
        h(
          "span.all",
          { data: { total: "octets", value: answer.total.octets } },
          `${format.bytes(answer.total.octets)} in ${answer.seconds} s`,
        ),
      ]),
      one("packets", answer.packetsPerSecond, [
        h(
          "span.all",
          { data: { total: "packets", value: answer.total.packets } },
          `${format.count(answer.total.packets)} packets in ${answer.seconds} s`,
        ),
      ]),
      one("flows", answer.flowsPerSecond, [
        h(
          "span.all",
          { title: format.exact(answer.openFlows), data: { total: "openFlows", value: answer.openFlows } },
          `${format.count(answer.openFlows)} open flows`,
        ),
      ]),
      accounted ? accountingTile(accounted) : h("div.tile", { data: { tile: "accounting" } }),
    ]),
  );
}

/** What is filtered is history: of the time that is nearest to now. */
function recent(state) {
  return { ...state, range: { kind: "last", last: "15m" } };
}

/** From when to when the seconds of the answer are. */
function frame({ series }, state) {
  const last = series.milliseconds.length - 1;
  const to = last < 0 ? Date.now() : series.milliseconds[last] + series.seconds[last] * 1000;
  return {
    state,
    from: Math.min(series.milliseconds[0] ?? to, to - 300_000),
    to,
    milliseconds: series.milliseconds,
    seconds: series.seconds,
  };
}

function volume(answer, state) {
  const unit = unitOf(state);
  return {
    ...frame(answer, state),
    unit,
    isStacked: false,
    lines: [{ name: unit.name, colour: "c0", y: rates(answer.series[unit.key], answer.series.seconds, unit) }],
  };
}

/** Live knows of protocols what they move, not how many flows. */
function protocols(answer, state) {
  const wanted = unitOf(state);
  const unit = wanted.key === "flows" ? format.UNITS.packets : wanted;
  const sum = (group) => group.octets.reduce((total, octets) => total + octets, 0);
  const groups = [...answer.series.protocols].sort((a, b) => sum(b) - sum(a));
  const hues = colours(
    "protocol",
    groups.map((group) => group.protocol),
  );
  const lines = groups.map((group, at) => ({
    name: group.protocol,
    colour: hues[at],
    y: rates(group[unit.key], answer.series.seconds, unit),
    filters: [["protocol", String(group.protocolIdentifier)]],
  }));
  return { ...frame(answer, recent(state)), unit, isStacked: true, lines };
}

/** The port behind an address; of ICMP its type and code, where the destination's port would be. */
function endOf(row, port) {
  const number = row[port];
  if (format.hasPort({ ...row, port: number })) return h("span.port", {}, `:${number}`);
  const isType = /^ICMP/.test(row.protocol) && port === "destinationTransportPort";
  return isType ? h("span.port", { title: "Type and code" }, ` ${number >> 8}/${number & 255}`) : null;
}

function drawTables(run, tables, ask) {
  const by = rankOf(run.state) === "packets" ? "packets" : "octets";
  const name = format.AMOUNTS[by].name;
  const state = run.state;
  const one = (which, key, columns) =>
    which.panel.load(run, ask, (answer) => {
      if (!which.table.el.isConnected) fill(which.panel.body, which.table.el);
      const rows = [...answer[key]].sort((a, b) => (b[by] ?? 0) - (a[by] ?? 0)).slice(0, which.table.limit);
      which.table.show(columns, { rows, of: rows.length }, { state });
    });
  const address = (label) => addressColumn({ label, toHost: true });
  const end = (key, port, label) => ({
    key,
    label,
    class: "a",
    value: (row) => row[key],
    cell: (row) =>
      addressCell(state, row[key], namesOf(row), {
        toHost: true,
        after: endOf(row, port),
      }),
  });
  return [
    one(tables.sources, "sources", [address("Source"), shareColumn(by, [by], name)]),
    one(tables.destinations, "destinations", [address("Destination"), shareColumn(by, [by], name)]),
    one(tables.services, "services", [serviceColumn(), shareColumn(by, [by], name)]),
    one(tables.conversations, "conversations", [
      end("sourceIPAddress", "sourceTransportPort", "Source"),
      end("destinationIPAddress", "destinationTransportPort", "Destination"),
      protocolColumn(),
      shareColumn(by, [by], name),
    ]),
    one(tables.interfaces, "interfaces", [
      {
        key: "interface",
        label: "Interface",
        value: (row) => row.interface,
        cell: (row) => h("span", {}, row.interface, h("small", {}, row.direction)),
      },
      numberColumn("bitsPerSecond", "Bits/s", format.bits),
      numberColumn("packetsPerSecond", "Packets/s", format.perSecond),
    ]),
  ];
}
