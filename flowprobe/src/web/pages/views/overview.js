// Overview: how much crosses the network, what it is, who moves it, whether all of it is accounted for.

import { addressColumn, filterHref, serviceColumn, serviceFilters, shareColumn } from "../cells.js";
import { fill, h, icon } from "../dom.js";
import * as format from "../format.js";
import { Panel } from "../panel.js";
import { ChartPanel, stacked, unitSwitch, volume } from "../series.js";
import { spark } from "../spark.js";
import { Table } from "../table.js";
import { rates } from "../timechart.js";
import { drawAccounting, verdict } from "./accounting.js";
import { findingList } from "./findinglist.js";
import { rankOf, rankSwitch } from "./rank.js";

const TILES = [
  ["bits", "octets"],
  ["packets", "packets"],
  ["flows", "flows"],
];

/** The page. */
export default {
  title: "Overview",
  subtitle: "What crosses the network, and who moves it",

  mount(root) {
    const tiles = new Panel({ name: "totals", title: "Totals", lines: 0 });
    tiles.el.classList.add("bare");
    fill(tiles.body, tileRow([...TILES, ["accounting"]].map(([key]) => emptyTile(key))));
    const charts = [
      new ChartPanel({ name: "volume", title: "Volume over time", span: "seven" }),
      new ChartPanel({ name: "protocols-over-time", title: "Protocols over time", span: "five" }),
    ];
    const tables = {
      sources: ranking("top-sources", "Top sources", "source", "top sources", (row, state) =>
        filterHref(state, [["source", row.address]]),
      ),
      destinations: ranking("top-destinations", "Top destinations", "destination", "top destinations", (row, state) =>
        filterHref(state, [["destination", row.address]]),
      ),
      services: ranking("top-services", "Top services", "service", "top services", (row, state) =>
        filterHref(state, serviceFilters(row)),
      ),
    };
    const accounting = new Panel({ name: "accounting", title: "Accounting", span: "two-thirds", lines: 5 });
    const findings = new Panel({ name: "findings", title: "Open findings", span: "third", lines: 3 });
    const switches = { unit: h("div.switch"), by: h("div.switch") };
    root.append(
      h(
        "div.grid",
        {},
        tiles.el,
        h("div.rule", {}, h("h2", {}, "Over time"), switches.unit),
        charts.map((chart) => chart.el),
        h("div.rule", {}, h("h2", {}, "Most by"), switches.by),
        Object.values(tables).map(({ panel }) => panel.el),
        accounting.el,
        findings.el,
      ),
    );
    return {
      load: (run) => {
        fill(switches.unit, unitSwitch(run.state));
        fill(switches.by, rankSwitch(run.state));
        return Promise.all([
          loadTiles(run, tiles),
          ...loadCharts(run, charts),
          ...loadTables(run, tables),
          ...loadState(run, accounting, findings),
        ]);
      },
      destroy: () => charts.forEach((chart) => chart.destroy()),
    };
  },
};

/** A panel with a table of the first ten. */
export function ranking(name, title, noun, caption, hrefOf) {
  const panel = new Panel({ name, title, span: "third", lines: 10 });
  const keyOf = (row) => row.address ?? `${row.protocolIdentifier}/${row.port}`;
  return { panel, table: new Table({ name, caption, limit: 10, noun, keyOf, hrefOf }) };
}

function emptyTile(key) {
  return h(
    "div.tile",
    { data: { tile: key } },
    h("dt", {}, "\u00a0"),
    h("dd", {}, h("span.skeleton")),
    h("dd.more", {}, "\u00a0"),
  );
}

/** The row that tiles stand in. */
export function tileRow(tiles) {
  return h("dl.tiles", {}, tiles);
}

/**
 * A tile: a number, what is beside it, and its curve.
 * @param {{key: string, name: string, value: number, text: string, more: (Node | string)[], curve?: number[]}} tile
 */
export function tile({ key, name, value, text, more, curve }) {
  return h(
    "div.tile",
    { data: { tile: key } },
    h("dt", {}, name),
    h("dd", { title: format.exact(value), data: { rate: key, value } }, text),
    h("dd.more", {}, more),
    curve ? h("dd.curve", {}, spark(curve)) : null,
  );
}

/** The tile that says whether the sum adds up. @param {any} accounting */
export function accountingTile(accounting) {
  const { isSound, text, more } = verdict(accounting);
  return h(
    `div.tile.${isSound ? "sound" : "unsound"}`,
    { data: { tile: "accounting", sound: String(isSound) } },
    h("dt", {}, "Accounting"),
    h("dd.words", {}, icon(isSound ? "check" : "warn"), text),
    h("dd.more", {}, more),
  );
}

function loadTiles(run, panel) {
  const row = panel.body.querySelector(".tiles");
  const slot = (key) => row.querySelector(`[data-tile="${key}"]`);
  const sum = run.askPlain("accounting").then(
    (answer) => !run.signal.aborted && slot("accounting").replaceWith(accountingTile(answer)),
    () => {},
  );
  const totals = panel.load(
    run,
    (busy) => run.ask("series", { baseline: true }, busy),
    (answer) => {
      if (!panel.body.contains(row)) fill(panel.body, row);
      for (const [name, amount] of TILES) slot(name).replaceWith(rateTile(answer, name, amount));
    },
  );
  return Promise.all([sum, totals]);
}

function rateTile(answer, name, amount) {
  const unit = format.UNITS[name];
  const { minimum, average, maximum } = answer.rates[unit.rates];
  const total = answer.total[amount];
  const [written, noun] = amount === "octets" ? [format.bytes(total), ""] : [format.count(total), ` ${amount}`];
  const part = (word, value) =>
    h("span", { title: format.exact(value), data: { rate: `${name}-${word}`, value } }, `${word} ${unit.short(value)}`);
  const curve = answer.groups[0] ? rates(answer.groups[0][unit.key], answer.seconds, unit) : [];
  return tile({
    key: name,
    name: `${unit.name}, average`,
    value: average,
    text: unit.short(average),
    curve,
    more: [
      part("min", minimum),
      part("max", maximum),
      h(
        "span.all",
        { title: `${format.exact(total)} ${amount}`, data: { total: amount, value: total } },
        `${written}${noun} in all`,
      ),
    ],
  });
}

function loadCharts(run, [volumes, protocols]) {
  return [
    volumes.load(
      run,
      (busy) => run.ask("series", { baseline: true }, busy),
      (answer) => volume(answer, run.state),
    ),
    protocols.load(
      run,
      (busy) => run.ask("series", { group: "protocol", top: 5 }, busy),
      (answer) => stacked(answer, run.state, "protocol"),
    ),
  ];
}

function loadTables(run, { sources, destinations, services }) {
  const by = rankOf(run.state);
  const one = (which, path, columns) =>
    which.panel.load(
      run,
      (busy) => run.ask(path, { by, top: which.table.limit }, busy),
      (answer) => {
        if (!which.table.el.isConnected) fill(which.panel.body, which.table.el);
        which.table.show(columns, answer, {
          state: run.state,
          csv: run.url(path, { by, top: which.table.limit, format: "csv" }),
        });
      },
    );
  return [
    one(sources, "top/sources", [
      addressColumn({ kind: "source", label: "Source" }),
      shareColumn(by, [`${by}Sent`], "Sent"),
    ]),
    one(destinations, "top/destinations", [
      addressColumn({ kind: "destination", label: "Destination" }),
      shareColumn(by, [`${by}Received`], "Received"),
    ]),
    one(services, "top/services", [serviceColumn(), shareColumn(by, [by], format.AMOUNTS[by].name)]),
  ];
}

/** Accounting and findings: the state of now, whatever the time range. */
export function loadState(run, accounting, findings) {
  return [
    accounting.load(
      run,
      (busy) => run.askPlain("accounting", busy),
      (answer) => {
        fill(accounting.note, `since the start, as of ${format.time(answer.drainedMilliseconds)}`);
        drawAccounting(accounting.body, answer, run.state);
      },
    ),
    findings.load(
      run,
      (busy) => run.askPlain("findings", busy),
      (answer) => {
        const open = answer.findings.filter((one) => one.state === "open");
        fill(findings.note, open.length ? format.count(open.length) : null);
        fill(
          findings.body,
          findingList(
            open,
            run.state,
            answer.findings.length ? "No finding is open." : "No findings. None has been reported.",
          ),
        );
      },
    ),
  ];
}
