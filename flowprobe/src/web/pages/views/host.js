// One host: who it is, what it sent and received, with whom, and by what.

import {
  addressColumn,
  bothWays,
  conversationFilters,
  copyButton,
  filterHref,
  momentColumn,
  numberColumn,
  serviceColumn,
  serviceFilters,
  shareColumn,
} from "../cells.js";
import { fill, h } from "../dom.js";
import * as format from "../format.js";
import { Panel } from "../panel.js";
import { ChartPanel, frame, unitOf, unitSwitch } from "../series.js";
import { Table, totals } from "../table.js";
import { rates } from "../timechart.js";
import { link } from "../url.js";
import { findingList } from "./findinglist.js";

const addressOf = (state) => {
  try {
    return decodeURIComponent(state.path.slice("/hosts/".length));
  } catch {
    return state.path.slice("/hosts/".length);
  }
};

/** The page. */
export default {
  title: addressOf,
  subtitle: (state) => [h("a", { href: link(state, { path: "/hosts", options: {} }) }, "All hosts")],

  mount(root, state) {
    const address = addressOf(state);
    const about = new Panel({ name: "about", title: "Who it is", span: "third", lines: 7 });
    const chart = new ChartPanel({ name: "host-over-time", title: "Sent and received over time", span: "two-thirds" });
    const panels = {
      peers: new Panel({ name: "peers", title: "Peers", span: "half", lines: 10 }),
      services: new Panel({ name: "services", title: "Services", span: "half", lines: 10 }),
      conversations: new Panel({ name: "conversations", title: "Conversations", lines: 10 }),
      findings: new Panel({ name: "findings", title: "Findings", lines: 2 }),
    };
    const recordsOf = (row) => (now) =>
      link(now, { path: "/records", options: {}, filters: conversationFilters(address, row.peer, row) });
    const tables = {
      peers: new Table({
        name: "peers",
        caption: "Peers",
        noun: "peer",
        keyOf: (row) => row.address,
        hrefOf: (row, now) => link(now, { path: `/hosts/${row.address}`, options: {} }),
      }),
      services: new Table({
        name: "services",
        caption: "Services",
        noun: "service",
        keyOf: (row) => `${row.role} ${row.protocolIdentifier}/${row.port}`,
        hrefOf: (row, now) => filterHref(now, serviceFilters(row)),
      }),
      conversations: new Table({
        name: "conversations",
        caption: "Conversations",
        noun: "conversation",
        keyOf: (row) => `${row.role} ${row.peer} ${row.protocolIdentifier}/${row.port}`,
        hrefOf: (row, now) => recordsOf(row)(now),
      }),
    };
    const unit = h("div.switch");
    const onward = h("div.onward");
    root.append(
      h(
        "div.grid",
        {},
        h("div.rule", {}, onward, h("span.grow"), unit),
        about.el,
        chart.el,
        panels.peers.el,
        panels.services.el,
        panels.conversations.el,
        panels.findings.el,
      ),
    );
    return {
      load: (run) => {
        fill(unit, unitSwitch(run.state));
        fill(onward, links(run.state, address));
        return load(run, address, { about, chart, panels, tables });
      },
      destroy: () => chart.destroy(),
    };
  },
};

function links(state, address) {
  const add = [["address", address]];
  return [
    h("a.button", { href: link(state, { path: "/records", options: {}, add }) }, "Its flow records"),
    h("a.button", { href: link(state, { path: "/conversations", options: {}, add }) }, "Its conversations"),
    h("a.button", { href: link(state, { path: "/", options: {}, add }) }, "Overview of it alone"),
  ];
}

function load(run, address, { about, chart, panels, tables }) {
  const top = Math.max(...Object.values(tables).map((table) => table.limit));
  const ask = (busy) => run.ask(`hosts/${encodeURIComponent(address)}`, { top }, busy);
  const table = (key, columns) =>
    panels[key].load(run, ask, (answer) => {
      fill(panels[key].body, tables[key].el);
      tables[key].show(
        columns,
        { rows: answer[key].slice(0, tables[key].limit), of: answer[`${key}Of`] },
        { state: run.state },
      );
    });
  const share = shareColumn("octets", ["octetsSent", "octetsReceived"], "Both ways");
  const short = [
    numberColumn("octetsSent", "Sent", format.bytes),
    numberColumn("octetsReceived", "Received", format.bytes),
    numberColumn("flowsSent", "Flows sent"),
  ];
  return Promise.all([
    about.load(run, ask, (answer) => drawAbout(about, answer, run.state)),
    chart.load(run, ask, (answer) => mirrored(answer, run.state)),
    table("peers", [addressColumn({ label: "Peer", toHost: true }), share, ...short]),
    table("services", [serviceColumn(), roleColumn(), share, ...short]),
    table("conversations", [
      addressColumn({ key: "peer", label: "Peer", prefix: "peer", toHost: true }),
      roleColumn(),
      serviceColumn(),
      share,
      ...bothWays().slice(0, 4),
      momentColumn("firstMilliseconds", "First"),
      momentColumn("lastMilliseconds", "Last"),
    ]),
    panels.findings.load(run, ask, (answer) =>
      fill(panels.findings.body, findingList(answer.findings, run.state, "No finding names this host.")),
    ),
  ]);
}

function roleColumn() {
  return { key: "role", label: "It is the", value: (row) => row.role, cell: (row) => row.role };
}

/** Sent above the line, received below. */
function mirrored(answer, state) {
  const unit = unitOf(state);
  const { series } = answer;
  const line = (name, colour, amounts, down) => ({
    name,
    colour,
    down,
    y: rates(amounts[unit.key], series.seconds, unit),
    filters: null,
  });
  return {
    ...frame({ ...answer, ...series }, state),
    unit,
    isStacked: false,
    lines: [line("sent", "sent", series.sent, false), line("received", "received", series.received, true)],
  };
}

function drawAbout(panel, answer, state) {
  const { names, macAddresses } = answer;
  const place = [names.cityName, names.countryCode && `${format.country(names.countryCode)} (${names.countryCode})`]
    .filter(Boolean)
    .join(", ");
  const filter = (kind, value, text) =>
    h("a", { href: link(state, { path: "/hosts", options: {}, add: [[kind, value]] }) }, text);
  const facts = [
    ["Address", [h("span.address", {}, answer.address), copyButton(answer.address)]],
    ["Name", names.hostName ?? "not known"],
    names.label ? ["Label", filter("label", names.label, names.label)] : null,
    names.asNumber === null
      ? null
      : [
          "Autonomous system",
          filter("as", names.asNumber, `AS${names.asNumber}${names.asOrganization ? ` ${names.asOrganization}` : ""}`),
        ],
    place ? ["Place", names.countryCode ? filter("country", names.countryCode, place) : place] : null,
    ["MAC addresses", macAddresses.length ? h("ul.plain", {}, macAddresses.map(macAddress)) : "none seen"],
    ["First seen", moment(answer.firstMilliseconds)],
    ["Last seen", moment(answer.lastMilliseconds)],
    ["Sent", h("span", { data: { way: "sent" } }, totals(answer.sent))],
    ["Received", h("span", { data: { way: "received" } }, totals(answer.received))],
  ];
  fill(
    panel.body,
    h(
      "dl.facts",
      {},
      facts.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    ),
  );
}

function macAddress({ macAddress: mac, macVendor, lastMilliseconds }) {
  return h(
    "li",
    { title: lastMilliseconds ? `Last seen ${format.fullMoment(lastMilliseconds)}` : null },
    h("span.address", {}, mac),
    copyButton(mac),
    h("small", {}, `${macVendor ?? "maker not known"}${lastMilliseconds ? `, ${format.ago(lastMilliseconds)}` : ""}`),
  );
}

function moment(ms) {
  return ms === null
    ? "not in history"
    : h(
        "time",
        { title: format.fullMoment(ms), datetime: new Date(ms).toISOString() },
        `${format.moment(ms)} (${format.ago(ms)})`,
      );
}
