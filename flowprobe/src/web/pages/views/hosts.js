// Hosts: everyone who was seen, both ways; as sources, as destinations, or by their networks.

import { addressColumn, bothWays, copyButton, filterHref, hostHref, shareColumn } from "../cells.js";
import { fill, h, icon, segments, spoken } from "../dom.js";
import { go } from "../nav.js";
import { Panel } from "../panel.js";
import { Table } from "../table.js";
import { link, option } from "../url.js";
import { rankOf, rankSwitch } from "./rank.js";

const VIEWS = {
  addresses: { name: "All", title: "Hosts", keys: ["Sent", "Received"], kind: "address" },
  sources: { name: "Sources", title: "Hosts by what they sent", keys: ["Sent"], kind: "source" },
  destinations: { name: "Destinations", title: "Hosts by what they received", keys: ["Received"], kind: "destination" },
  networks: { name: "Networks", title: "Networks", keys: ["Sent", "Received"], kind: "address" },
};

/** The page. */
export default {
  title: "Hosts",
  subtitle: "Everyone who sent or received",

  mount(root) {
    const panel = new Panel({ name: "hosts", title: "Hosts", lines: 20 });
    const tables = {
      hosts: new Table({
        name: "hosts",
        caption: "Hosts",
        limit: 100,
        noun: "host",
        keyOf: (row) => row.address,
        hrefOf: (row, state) => hostHref(state, row.address),
      }),
      networks: new Table({
        name: "networks",
        caption: "Networks",
        limit: 100,
        noun: "network",
        keyOf: (row) => row.network,
        hrefOf: (row, state) => filterHref(state, [["address", row.network]]),
      }),
    };
    const which = h("div.switch");
    const by = h("div.switch");
    const lengths = prefixForm();
    root.append(h("div.grid", {}, h("div.rule", {}, which, lengths.el, h("span.grow"), by), panel.el));
    return {
      load: (run) => {
        const view = option(run.state, "view", Object.keys(VIEWS));
        fill(which, viewSwitch(run.state, view));
        fill(by, rankSwitch(run.state));
        lengths.show(run.state, view === "networks");
        return load(run, view, panel, view === "networks" ? tables.networks : tables.hosts, lengths);
      },
    };
  },
};

function viewSwitch(state, now) {
  return segments(
    "Which hosts",
    Object.entries(VIEWS).map(([key, { name }]) => ({
      name,
      value: key,
      current: key === now,
      href: link(state, { options: { view: key === "addresses" ? null : key } }),
    })),
  );
}

async function load(run, view, panel, table, lengths) {
  const { title, keys, kind } = VIEWS[view];
  const by = rankOf(run.state);
  const isNetworks = view === "networks";
  const more = { by, top: table.limit, ...(isNetworks ? lengths.parameters(run.state) : {}) };
  panel.title.textContent = title;
  await panel.load(
    run,
    (busy) => run.ask(`top/${view}`, more, busy),
    (answer) => {
      const first = isNetworks ? networkColumn() : addressColumn({ kind, toHost: true });
      const columns = [
        first,
        shareColumn(
          by,
          keys.map((key) => by + key),
          keys.length > 1 ? "Both ways" : keys[0],
        ),
        ...bothWays(),
      ];
      fill(panel.body, table.el);
      table.show(columns, answer, { state: run.state, csv: run.url(`top/${view}`, { ...more, format: "csv" }) });
    },
  );
  lengths.found(run.problems);
}

function networkColumn() {
  return {
    key: "network",
    label: "Network",
    class: "a",
    value: (row) => row.network,
    cell: (row, { state }) =>
      h(
        "div.who",
        {},
        h(
          "div.line",
          {},
          h(
            "a.address",
            { href: filterHref(state, [["address", row.network]]), title: `Show only ${row.network}` },
            row.network,
          ),
          h(
            "span.tools",
            {},
            h(
              "a.tool",
              {
                href: link(state, { add: [["address", row.network]], options: { view: null } }),
                title: `Hosts of ${row.network}`,
              },
              icon("host"),
              spoken(`Hosts of ${row.network}`),
            ),
            copyButton(row.network),
          ),
        ),
      ),
  };
}

/** How long the prefixes of networks are. */
function prefixForm() {
  let state = null;
  const input = (name, label, longest, usual) => {
    const field = h("input", {
      id: name,
      name,
      type: "number",
      min: "0",
      max: String(longest),
      required: true,
      placeholder: String(usual),
    });
    return [h("label", { for: name }, label), field];
  };
  const problem = h("span.problem", { role: "alert" });
  const form = h(
    "form.inline",
    { hidden: true, novalidate: true, "aria-label": "Prefix lengths" },
    input("prefix", "IPv4 /", 32, 24),
    input("prefix6", "IPv6 /", 128, 64),
    h("button.quiet", { type: "submit" }, "Apply"),
    problem,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { prefix, prefix6 } = form.elements;
    go(link(state, { options: { prefix: prefix.value || null, prefix6: prefix6.value || null } }));
  });
  return {
    el: form,
    parameters: ({ options }) => ({ prefix: options.prefix ?? 24, prefix6: options.prefix6 ?? 64 }),
    show(now, isShown) {
      state = now;
      form.hidden = !isShown;
      problem.textContent = "";
      for (const [name, usual] of [
        ["prefix", "24"],
        ["prefix6", "64"],
      ])
        if (form.elements[name] !== document.activeElement) form.elements[name].value = now.options[name] ?? usual;
    },
    found(problems) {
      const wrong = problems.find((one) => one.parameter === "prefix" || one.parameter === "prefix6");
      problem.textContent = wrong?.message ?? "";
    },
  };
}
