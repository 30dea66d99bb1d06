// The biggest conversations as streams: from client through service to server. A click on a stream or an end filters.

import { filterHref, serviceFilters } from "./cells.js";
import { fill, h } from "./dom.js";
import { colour, faded, font, Plot } from "./drawing.js";
import * as format from "./format.js";
import { go } from "./nav.js";
import { colours } from "./palette.js";

/** A diagram of conversations. */
export class Sankey {
  #rows = [];
  #by = "octets";
  #state = null;
  #nodes = [];
  #links = [];

  constructor() {
    this.plot = new Plot((plot) => this.#listen(plot));
    this.plot.el.setAttribute("role", "img");
    this.plot.el.dataset.chart = "streams";
    this.hint = h("div.hint", { hidden: true, "aria-hidden": "true" });
    this.empty = h("p.empty.over", { hidden: true }, "Nothing was seen in this time.");
    this.el = h(
      "div.chart",
      {},
      h(
        "div.ends",
        { "aria-hidden": "true" },
        h("span", {}, "Client"),
        h("span", {}, "Service"),
        h("span", {}, "Server"),
      ),
      h("div.stage.streams", {}, this.plot.el, this.empty, this.hint),
    );
  }

  /**
   * Shows conversations.
   * @param {any[]} rows of /api/v1/conversations
   * @param {"octets" | "packets" | "flows"} by
   * @param {import("./url.js").State} state
   */
  show(rows, by, state) {
    this.#rows = rows;
    this.#by = by;
    this.#state = state;
    this.empty.hidden = rows.length > 0;
    const largest = rows
      .slice(0, 5)
      .map(
        (row) =>
          `${row.client} to ${row.server} by ${format.service(row)}, ${format.AMOUNTS[by].write(amountOf(row, by))}`,
      );
    this.plot.el.setAttribute(
      "aria-label",
      `The biggest conversations as streams; the table below has the same. ${largest.join("; ")}.`,
    );
    return this.plot.show((width) => this.#make(width));
  }

  /** Gives back what it holds. */
  destroy() {
    this.plot.destroy();
  }

  #make(width) {
    const rows = this.#rows.slice(0, width < 560 ? 8 : 20);
    this.#collect(rows, width);
    const bare = "rgba(0,0,0,0)";
    const hue = this.#hues();
    return {
      data: [
        {
          type: "sankey",
          arrangement: "fixed",
          orientation: "h",
          hoverinfo: "none",
          textfont: { ...font(width < 560 ? 10 : 11.5), color: colour("text") },
          node: {
            label: this.#nodes.map((node) => node.label),
            color: this.#nodes.map((node) => (node.kind === "service" ? colour(hue.get(node.key)) : colour("quiet"))),
            pad: 10,
            thickness: 10,
            line: { width: 0 },
            hoverinfo: "none",
          },
          link: {
            source: this.#links.map((one) => one.source),
            target: this.#links.map((one) => one.target),
            value: this.#links.map((one) => one.value),
            color: this.#links.map((one) => faded(colour(hue.get(one.service)), 0.34)),
            hovercolor: this.#links.map((one) => faded(colour(hue.get(one.service)), 0.62)),
            hoverinfo: "none",
          },
        },
      ],
      layout: {
        margin: { l: 4, r: 4, t: 4, b: 6 },
        paper_bgcolor: bare,
        plot_bgcolor: bare,
        font: font(),
        hovermode: "closest",
      },
    };
  }

  #hues() {
    const services = this.#nodes.filter((node) => node.kind === "service");
    const names = colours(
      "service",
      services.map((node) => node.hue),
    );
    return new Map(services.map((node, at) => [node.key, names[at]]));
  }

  /** Ends and streams of these conversations. */
  #collect(rows, width) {
    const nodes = new Map();
    const longest = width < 560 ? 15 : 32;
    const node = (key, kind, label, filters, hue = label) => {
      if (!nodes.has(key))
        nodes.set(key, {
          key,
          kind,
          hue,
          label: shortened(label, longest),
          full: label,
          filters,
          amount: 0,
          at: nodes.size,
        });
      return nodes.get(key);
    };
    const links = new Map();
    const flow = (from, to, service, value, filters, text) => {
      const key = `${from.at} ${to.at} ${service}`;
      const known = links.get(key);
      if (known)
        Object.assign(known, {
          value: known.value + value,
          filters: known.filters.filter((one) => filters.some((other) => other.join() === one.join())),
        });
      else links.set(key, { source: from.at, target: to.at, service, value, filters, text });
    };
    for (const row of rows) {
      const value = amountOf(row, this.#by);
      const key = `s ${row.protocolIdentifier}/${row.port}`;
      const client = node(`c ${row.client}`, "client", row.clientHostName ?? row.client, [["address", row.client]]);
      const service = node(key, "service", serviceName(row), serviceFilters(row), groupName(row));
      const server = node(`d ${row.server}`, "server", row.serverHostName ?? row.server, [["address", row.server]]);
      for (const one of [client, service, server]) one.amount += value;
      flow(
        client,
        service,
        key,
        value,
        [["address", row.client], ...serviceFilters(row)],
        `${client.full} → ${service.full}`,
      );
      flow(
        service,
        server,
        key,
        value,
        [["address", row.server], ...serviceFilters(row)],
        `${service.full} → ${server.full}`,
      );
    }
    this.#nodes = [...nodes.values()];
    this.#links = [...links.values()];
  }

  #listen(plot) {
    const chosen = (event) => {
      const point = event.points[0];
      return point?.source === undefined || point.target === undefined
        ? this.#nodes[point?.pointNumber]
        : this.#links[point.pointNumber];
    };
    plot.on("plotly_click", (event) => {
      const one = chosen(event);
      if (one) go(filterHref(this.#state, one.filters));
    });
    plot.on("plotly_hover", (event) => {
      const one = chosen(event);
      if (one) this.#point(one, event.event);
    });
    plot.on("plotly_unhover", () => {
      this.hint.hidden = true;
    });
  }

  #point(one, pointer) {
    fill(
      this.hint,
      h("p", {}, one.text ?? one.full),
      h(
        "ul",
        {},
        h("li", {}, h("span", {}, "both ways"), h("b", {}, format.AMOUNTS[this.#by].write(one.value ?? one.amount))),
      ),
    );
    this.hint.hidden = false;
    const stage = this.hint.parentElement.getBoundingClientRect();
    const own = this.hint.getBoundingClientRect();
    const x = Math.min(pointer.clientX - stage.left + 14, stage.width - own.width);
    const y = Math.min(pointer.clientY - stage.top + 14, stage.height - own.height);
    this.hint.style.transform = `translate(${Math.round(Math.max(0, x))}px, ${Math.round(Math.max(0, y))}px)`;
  }
}

/** What a conversation moved both ways. */
function amountOf(row, by) {
  return row[`${by}Sent`] + row[`${by}Received`];
}

/** What a service is called here: https/tcp. */
function serviceName(row) {
  return format.hasPort(row) ? `${row.serviceName ?? row.port}/${row.protocol.toLowerCase()}` : row.protocol;
}

/** What series call it, so that it has the same colour: TCP/443 https. */
function groupName(row) {
  return format.hasPort(row)
    ? `${row.protocol}/${row.port}${row.serviceName ? ` ${row.serviceName}` : ""}`
    : row.protocol;
}

function shortened(text, longest) {
  return text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
}
