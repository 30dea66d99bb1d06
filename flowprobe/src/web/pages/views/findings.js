// Findings: what looks wrong, and one of them with its evidence.

import { hostHref, momentColumn, numberColumn } from "../cells.js";
import { fill, h } from "../dom.js";
import * as format from "../format.js";
import { Panel } from "../panel.js";
import { Table } from "../table.js";
import { link } from "../url.js";
import { findingHref, ranked, severity, when } from "./findinglist.js";
import { durationColumn, endColumn, flagsColumn, typeAndCode } from "./flowcells.js";

/** Findings are said within seconds, and asking for them costs next to nothing. */
const EVERY_MS = 5000;

/** The list. */
export const findings = {
  every: EVERY_MS,
  title: "Findings",
  subtitle: "What looks wrong, whatever the time range",

  mount(root) {
    const panel = new Panel({ name: "findings", title: "Findings", lines: 6 });
    const table = new Table({
      name: "findings",
      caption: "Findings",
      limit: 1000,
      noun: "finding",
      keyOf: (row) => row.id,
      hrefOf: (row, state) => findingHref(state, row.id),
      empty: "No findings. This daemon has reported none.",
    });
    root.append(h("div.grid", {}, panel.el));
    return {
      load: (run) =>
        panel.load(
          run,
          (busy) => run.askPlain("findings", busy),
          (answer) => {
            fill(panel.body, table.el);
            table.show(columns(), { rows: ranked(answer.findings) }, { state: run.state });
          },
        ),
    };
  },
};

/** One of them. */
export const finding = {
  every: EVERY_MS,
  title: "Finding",
  subtitle: (state) => [h("a", { href: link(state, { path: "/findings", options: {} }) }, "All findings")],

  mount(root, state) {
    const id = decodeURIComponent(state.path.slice("/findings/".length));
    const about = new Panel({ name: "finding", title: "Finding", lines: 6 });
    const evidence = new Panel({ name: "evidence", title: "Evidence", lines: 6 });
    const table = new Table({
      name: "evidence",
      caption: "Evidence",
      limit: 1000,
      noun: "flow",
      empty: "No flow is kept as evidence of this.",
    });
    root.append(h("div.grid", {}, about.el, evidence.el));
    const find = (run) => async (busy) => {
      const one = (await run.askPlain(`findings?id=${encodeURIComponent(id)}`, busy)).findings[0];
      if (!one) throw new Error(`there is no finding ${id}, or not any more`);
      return one;
    };
    return {
      load: (run) =>
        Promise.all([
          about.load(run, find(run), (one) => drawAbout(about, one, run.state)),
          evidence.load(run, find(run), (one) => {
            fill(evidence.body, table.el);
            table.show(evidenceColumns(one.evidence), { rows: one.evidence }, { state: run.state });
          }),
        ]),
    };
  },
};

function columns() {
  return [
    {
      key: "severity",
      label: "Severity",
      value: (row) => ["low", "medium", "high", "critical"].indexOf(row.severity),
      cell: (row) => severity(row.severity),
    },
    {
      key: "title",
      label: "Finding",
      class: "w",
      value: (row) => row.title,
      cell: (row, { state }) =>
        h(
          "div.who",
          {},
          h("a", { href: findingHref(state, row.id) }, row.title),
          h(
            "small",
            {},
            [row.rule, row.technique].filter(Boolean).join(" · "),
            // On a telephone there is no column for it.
            h("span.narrow", {}, ` · ${row.state}`),
          ),
        ),
    },
    { key: "state", label: "State", value: (row) => row.state, cell: (row) => row.state },
    {
      key: "subjects",
      label: "Hosts",
      class: "a",
      value: (row) => row.subjects.join(" "),
      cell: (row, { state }) => subjects(row.subjects, state),
    },
    { key: "count", label: "Times", numeric: true, value: (row) => row.count, cell: (row) => format.count(row.count) },
    {
      key: "first",
      label: "First",
      class: "m",
      value: (row) => row.firstMilliseconds,
      cell: (row) => when(row.firstMilliseconds),
    },
    {
      key: "last",
      label: "Last",
      class: "m",
      value: (row) => row.lastMilliseconds,
      cell: (row) => when(row.lastMilliseconds),
    },
  ];
}

/** Hosts as links; other subjects, such as network cards, as they are. */
function subjects(names, state) {
  return h(
    "span.list",
    {},
    names.map((name) =>
      isAddress(name) ? h("a.address", { href: hostHref(state, name) }, name) : h("span.address", {}, name),
    ),
  );
}

/** Whether a name is an IP address: six groups with colons are a network card. */
function isAddress(name) {
  return /^[\d.]+$/.test(name) || (/^[\da-f:.]+$/i.test(name) && !/^([\da-f]{2}:){5}[\da-f]{2}$/i.test(name));
}

/** Peers that are shown. */
const PEERS = 20;

function peers(addresses, count, state) {
  const more = count - Math.min(addresses.length, PEERS);
  return [subjects(addresses.slice(0, PEERS), state), more > 0 ? ` and ${format.count(more)} more` : null];
}

function drawAbout(panel, one, state) {
  panel.title.textContent = one.title;
  const facts = [
    ["Severity", severity(one.severity)],
    ["State", one.state],
    ["Hosts", subjects(one.subjects, state)],
    one.peers.length ? ["Peers", peers(one.peers, one.peerCount, state)] : null,
    ["Rule", one.rule],
    one.technique ? ["MITRE ATT&CK", one.technique] : null,
    ["First", format.moment(one.firstMilliseconds)],
    ["Last", format.moment(one.lastMilliseconds)],
    ["Times", format.count(one.count)],
  ];
  fill(
    panel.body,
    h("p.explanation", {}, one.explanation),
    h(
      "dl.facts",
      {},
      facts.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    ),
  );
}

/** The columns of evidence; those of which no flow has anything are left out. */
function evidenceColumns(rows) {
  return [
    momentColumn("flowStartMilliseconds", "Start"),
    durationColumn(),
    endColumn("source", "Source"),
    endColumn("destination", "Destination"),
    {
      key: "protocolIdentifier",
      label: "Protocol",
      class: "s",
      value: (row) => row.protocolIdentifier,
      cell: (row) => {
        const icmp = typeAndCode(row.icmpTypeCodeIPv4 ?? row.icmpTypeCodeIPv6);
        return h("div.who", {}, format.protocol(row.protocolIdentifier), icmp && h("small", {}, icmp));
      },
    },
    numberColumn("octetDeltaCount", "Bytes", format.bytes),
    numberColumn("packetDeltaCount", "Packets"),
    flagsColumn(rows),
    written(rows, "sourceMacAddress", "Source card"),
    written(rows, "destinationMacAddress", "Destination card"),
    written(rows, "vlanId", "VLAN"),
  ].filter(Boolean);
}

/** A column of texts. */
function written(rows, key, label) {
  if (!rows.some((row) => key in row)) return null;
  return {
    key,
    label,
    class: "m",
    value: (row) => row[key] ?? null,
    cell: (row) => h("span.address", {}, String(row[key] ?? "–")),
  };
}
