// Conversations: who talks to whom by what, as streams and as a table.

import { addressColumn, bothWays, conversationFilters, momentColumn, serviceColumn, shareColumn } from "../cells.js";
import { fill, h, icon, spoken } from "../dom.js";
import { Panel } from "../panel.js";
import { Sankey } from "../sankey.js";
import { Table } from "../table.js";
import { chartTrouble } from "../timechart.js";
import { link } from "../url.js";
import { rankOf, rankSwitch } from "./rank.js";

const STREAMS = 20;
const recordsHref = (row, state) =>
  link(state, { path: "/records", options: {}, filters: conversationFilters(row.client, row.server, row) });

/** The page. */
export default {
  title: "Conversations",
  subtitle: "Who talks to whom, and by what",

  mount(root) {
    const streams = new Panel({ name: "streams", title: "The biggest conversations", lines: 0 });
    const panel = new Panel({ name: "conversations", title: "Conversations", lines: 20 });
    const sankey = new Sankey();
    streams.el.classList.add("charted");
    streams.body.append(sankey.el);
    const keyOf = (row) => `${row.client} ${row.server} ${row.protocolIdentifier}/${row.port}`;
    const table = new Table({
      name: "conversations",
      caption: "Conversations",
      limit: 100,
      noun: "conversation",
      keyOf,
      hrefOf: recordsHref,
    });
    const by = h("div.switch");
    root.append(h("div.grid", {}, h("div.rule", {}, h("h2", {}, "Most by"), by), streams.el, panel.el));
    return {
      load: (run) => {
        fill(by, rankSwitch(run.state));
        return load(run, { streams, sankey, panel, table });
      },
      destroy: () => sankey.destroy(),
    };
  },
};

function load(run, { streams, sankey, panel, table }) {
  const by = rankOf(run.state);
  const more = { by, top: table.limit };
  const ask = (busy) => run.ask("conversations", more, busy);
  const columns = [
    addressColumn({ key: "client", label: "Client", prefix: "client" }),
    addressColumn({ key: "server", label: "Server", prefix: "server" }),
    serviceColumn(),
    shareColumn(by, [`${by}Sent`, `${by}Received`], "Both ways"),
    ...bothWays({ sent: "To server", received: "To client" }).slice(0, 4),
    momentColumn("firstMilliseconds", "First"),
    momentColumn("lastMilliseconds", "Last"),
    drillColumn(),
  ];
  return Promise.all([
    streams.load(run, ask, (answer) => {
      const rows = answer.rows.slice(0, STREAMS);
      streams.note.textContent =
        rows.length < answer.of ? `the first ${rows.length} of ${answer.of}; a click filters` : "a click filters";
      fill(streams.body, sankey.el);
      run.drawing(sankey.show(rows, by, run.state).catch((error) => fill(streams.body, chartTrouble(error))));
    }),
    panel.load(run, ask, (answer) => {
      fill(panel.body, table.el);
      table.show(columns, answer, { state: run.state, csv: run.url("conversations", { ...more, format: "csv" }) });
    }),
  ]);
}

function drillColumn() {
  return {
    key: "records",
    label: "Records",
    class: "m",
    value: (row) => row.flowsSent + row.flowsReceived,
    cell: (row, { state }) =>
      h(
        "a.tool.shown",
        { href: recordsHref(row, state), title: "Its flow records" },
        icon("records"),
        spoken(`Flow records of ${row.client} and ${row.server}`),
      ),
  };
}
