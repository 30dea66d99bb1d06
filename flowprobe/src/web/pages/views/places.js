// Countries and autonomous systems, where a database says which address is where.

import { bar, bothWays, filterHref, partColumn, shareColumn } from "../cells.js";
import { fill, h } from "../dom.js";
import * as format from "../format.js";
import { Panel } from "../panel.js";
import { ChartPanel, stacked, unitSwitch } from "../series.js";
import { Table } from "../table.js";
import { rankOf, rankSwitch } from "./rank.js";

const BARS = 12;
const KINDS = {
  countries: {
    title: "Countries",
    noun: "country",
    nouns: "countries",
    group: "country",
    field: "countryCode",
    name: (row) => (row.countryCode ? format.country(row.countryCode) : "not known"),
    aside: (row) => row.countryCode ?? "",
    filters: (row) => (row.countryCode ? [["country", row.countryCode]] : null),
    plain: "country",
  },
  systems: {
    title: "Autonomous systems",
    noun: "system",
    nouns: "systems",
    group: "system",
    field: "asNumber",
    name: (row) => row.asOrganization ?? (row.asNumber === null ? "not known" : `AS${row.asNumber}`),
    aside: (row) => (row.asNumber === null ? "" : `AS${row.asNumber}`),
    filters: (row) => (row.asNumber === null ? null : [["as", row.asNumber]]),
    plain: "autonomous system",
  },
};

/** The page. */
export default {
  title: "Countries and autonomous systems",
  subtitle: "Where the traffic goes to and comes from",

  mount(root) {
    const charts = Object.fromEntries(
      Object.entries(KINDS).map(([key, kind]) => [
        key,
        new ChartPanel({ name: `${key}-over-time`, title: `${kind.title} over time`, span: "half" }),
      ]),
    );
    const parts = Object.fromEntries(Object.entries(KINDS).map(([key, kind]) => [key, part(key, kind)]));
    const unit = h("div.switch");
    const by = h("div.switch");
    const rules = [h("div.rule", {}, h("h2", {}, "Most by"), by), h("div.rule", {}, h("h2", {}, "Over time"), unit)];
    const bars = [parts.countries.ranked.el, parts.systems.ranked.el];
    const overTime = [charts.countries.el, charts.systems.el];
    const help = h("div.notice", { hidden: true, data: { notice: "no-places" } });
    root.append(
      h("div.grid", {}, help, rules[0], bars, rules[1], overTime, parts.countries.panel.el, parts.systems.panel.el),
    );
    return {
      load: async (run) => {
        fill(unit, unitSwitch(run.state));
        fill(by, rankSwitch(run.state));
        await Promise.all(Object.keys(KINDS).flatMap((key) => loadKind(run, key, parts[key], charts[key])));
        await explain(run, help, [...rules, ...bars, ...overTime]);
      },
      destroy: () => Object.values(charts).forEach((chart) => chart.destroy()),
    };
  },
};

function part(key, kind) {
  const hrefOf = (row, state) => (kind.filters(row) ? filterHref(state, kind.filters(row)) : null);
  return {
    ranked: new Panel({ name: `ranked-${key}`, title: `${kind.title}: the largest`, span: "half", lines: BARS }),
    panel: new Panel({ name: key, title: kind.title, span: "half", lines: 10 }),
    table: new Table({
      name: key,
      caption: kind.title,
      noun: kind.noun,
      nouns: kind.nouns,
      keyOf: (row) => String(row[kind.field]),
      hrefOf,
      empty: `Nothing is known of any ${kind.plain} in this time.`,
    }),
  };
}

function loadKind(run, key, { ranked: bars, panel, table }, chart) {
  const kind = KINDS[key];
  const by = rankOf(run.state);
  const more = { by, top: table.limit };
  const ask = (busy) => run.ask(`top/${key}`, more, busy);
  const sum = (row) => row[`${by}Sent`] + row[`${by}Received`];
  const columns = [
    nameColumn(kind),
    shareColumn(by, [`${by}Sent`, `${by}Received`], "Both ways"),
    partColumn(sum, by),
    ...bothWays().filter((column) => column.key.startsWith(by)),
  ];
  return [
    bars.load(run, ask, (answer) => drawBars(bars.body, kind, answer, by, run.state)),
    panel.load(run, ask, (answer) => {
      fill(panel.body, table.el);
      table.show(columns, answer, { state: run.state, csv: run.url(`top/${key}`, { ...more, format: "csv" }) });
    }),
    chart.load(
      run,
      (busy) => Promise.all([run.ask("series", { group: kind.group, top: 5 }, busy), ask(busy)]),
      ([series, ranked]) => named(stacked(series, run.state, kind.group), kind, ranked.rows),
    ),
  ];
}

/** The lines of a chart by the names that the tables have. */
function named(picture, kind, rows) {
  const nameOf = ({ name, filters }) => {
    const code = filters?.[0]?.[1];
    const row = code === undefined ? null : rows.find((one) => String(one[kind.field]) === code);
    return row ? kind.name(row) : name;
  };
  return { ...picture, lines: picture.lines.map((line) => ({ ...line, name: nameOf(line) })) };
}

function nameColumn(kind) {
  return {
    key: kind.field,
    label: kind.title.replace(/ies$/, "y").replace(/s$/, ""),
    class: "w",
    value: kind.name,
    cell: (row, { state }) => {
      const filters = kind.filters(row);
      const name = filters
        ? h("a", { href: filterHref(state, filters), title: `Show only ${kind.name(row)}` }, kind.name(row))
        : kind.name(row);
      return h("div.who", {}, name, kind.aside(row) ? h("small", {}, kind.aside(row)) : null);
    },
  };
}

function drawBars(body, kind, answer, by, state) {
  const rows = answer.rows.slice(0, BARS);
  const parts = (row) => [row[`${by}Sent`], row[`${by}Received`]];
  const sum = (row) => parts(row)[0] + parts(row)[1];
  const largest = Math.max(0, ...rows.map(sum));
  if (!rows.length) return fill(body, h("p.empty", {}, `Nothing is known of any ${kind.plain} in this time.`));
  return fill(
    body,
    h(
      "ol.bars",
      {},
      rows.map((row) => {
        const filters = kind.filters(row);
        const inside = [
          h("span", {}, kind.name(row), " ", h("small", {}, kind.aside(row))),
          bar(parts(row), largest),
          h("b", { title: format.exact(sum(row)) }, format.AMOUNTS[by].write(sum(row))),
        ];
        return h(
          "li",
          { data: { bar: row[kind.field] ?? "" } },
          filters
            ? h("a", { href: filterHref(state, filters), title: `Show only ${kind.name(row)}` }, inside)
            : h("span.plain", {}, inside),
        );
      }),
    ),
    h("p.key", {}, h("i.sent"), "sent from there", h("i.received"), "received there"),
  );
}

/** Where nothing is known: how to change that, in the place of what would be empty. */
async function explain(run, help, charted) {
  const answers = await Promise.allSettled(
    Object.keys(KINDS).map((key) => run.ask(`top/${key}`, { by: rankOf(run.state), top: 20 })),
  );
  const isEmpty = answers.every(
    ({ value }) =>
      value && !value.rows.some((row) => row.countryCode || (row.asNumber !== null && row.asNumber !== undefined)),
  );
  if (run.signal.aborted) return;
  help.hidden = !isEmpty;
  for (const one of charted) one.hidden = isEmpty;
  if (!isEmpty) return;
  const daemon = await run.askPlain("status").catch(() => null);
  const files = (daemon?.enrichment?.files ?? []).filter((file) => file.key === "mmdb");
  fill(
    help,
    h(
      "span",
      {},
      files.length
        ? `Databases are loaded (${files.map((file) => file.contents).join(", ")}), but they know none of the addresses of this time.`
        : [
            "No database says which address is where. Start flowprobe with ",
            h("code", {}, "--mmdb FILE"),
            ", once for each file: databases in the MMDB format, such as GeoLite2 or those of DB-IP, of countries, cities or autonomous systems. History that was stored before stays without.",
          ],
    ),
  );
}
