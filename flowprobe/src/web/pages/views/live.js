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
/** Frames without IP are no flows: so little may be missing from tables that are complete. */
const MISSED_OCTETS = 20_000;

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
      since: h("span.note"),
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
        h("div.rule", {}, h("h2", {}, "The last 60 seconds, most by"), parts.by, parts.since),
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
    parts.tiles.load(run, ask, (answer) => {
      drawTiles(parts, answer);
      drawSince(parts, answer);
    }),
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

/** What the interfaces saw in the last seconds: that is always counted. */
function recentSum({ series, seconds, milliseconds }, amount) {
  const since = milliseconds - seconds * 1000;
  return series[amount].reduce((sum, value, at) => sum + (series.milliseconds[at] > since ? value : 0), 0);
}

/** Since when flows are counted, if that is less long: they are while somebody looks. Null where the tables are complete. */
function countedSince({ series, seconds, milliseconds }) {
  const since = milliseconds - seconds * 1000;
  const counted = series.milliseconds.map((_, at) => series.protocols.reduce((sum, one) => sum + one.octets[at], 0));
  let missed = 0;
  for (const [at, moment] of series.milliseconds.entries()) {
    if (moment <= since) continue;
    if (counted[at] > 0) return missed > MISSED_OCTETS ? moment : null;
    missed += series.octets[at];
  }
  return missed > MISSED_OCTETS ? milliseconds : null;
}

function drawTiles({ tiles, accounted }, answer) {
  const { series } = answer;
  const curve = (unit) => rates(series[unit.key], series.seconds, unit);
  const one = (key, value, more) => {
    const unit = format.UNITS[key];
    return tile({ key, name: unit.name, value, text: unit.short(value), more, curve: curve(unit) });
  };
  const seen = (amount, write) => {
    const sum = recentSum(answer, amount);
    const text = `${write(sum)} at interfaces in ${answer.seconds} s`;
    return h("span.all", { title: format.exact(sum), data: { total: amount, value: sum } }, text);
  };
  fill(
    tiles.body,
    tileRow([
      one("bits", answer.bitsPerSecond, [seen("octets", format.bytes)]),
      one("packets", answer.packetsPerSecond, [seen("packets", (packets) => format.plural(packets, "packet"))]),
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

/** Tables that reach less far back than they say have a word about it. */
function drawSince({ since }, answer) {
  const moment = countedSince(answer);
  since.textContent = moment === null ? "" : `Counted while somebody looks: here since ${format.time(moment)}`;
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
