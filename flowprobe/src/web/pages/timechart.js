// Charts over time: stacked bands, lines, or two directions from one line; with a legend that filters, a hint under the pointer, a
// drag that zooms, and the numbers themselves for those who want them.

import { numbers, times } from "./axis.js";
import { fill, h, icon } from "./dom.js";
import { colour, faded, font, Plot } from "./drawing.js";
import * as format from "./format.js";
import { go } from "./nav.js";
import { link } from "./url.js";

const MARGIN = { l: 78, r: 8, t: 8, b: 36 };
const SHORTEST_ZOOM_MS = 5000;
/** Parts of the height: what stays free above what is shown, and the least that a direction has. */
const ROOM = 0.05;
const LEAST = 0.08;

/**
 * @typedef {{name: string, y: number[], colour: string, filters?: [string, string][] | null, total?: string, down?: boolean}} Line
 *   `y`: rates; `colour`: a custom property; `down`: drawn below the line
 * @typedef {{state: import("./url.js").State, from: number, to: number, milliseconds: number[], seconds: number[],
 *   unit: typeof format.UNITS.bits, lines: Line[], isStacked: boolean, band?: {low: number[], middle: number[], high: number[], days: number} | null,
 *   summary: string}} Picture
 */

/** A chart over time. */
export class TimeChart {
  #picture = null;
  #range = [0, 1];

  /** @param {string} name */
  constructor(name) {
    this.legend = h("ul.legend");
    this.plot = new Plot((plot) => this.#listen(plot));
    this.plot.el.setAttribute("role", "img");
    this.plot.el.dataset.chart = name;
    this.hint = h("div.hint", { hidden: true, "aria-hidden": "true" });
    this.cursor = h("div.cursor", { hidden: true });
    this.numbers = h(
      "details.numbers",
      { on: { toggle: () => this.#writeNumbers() } },
      h("summary", {}, "Numbers of this chart"),
    );
    this.empty = h("p.empty.over", { hidden: true }, "Nothing was seen in this time.");
    this.el = h(
      "div.chart",
      {},
      this.legend,
      h("div.stage", {}, this.plot.el, this.empty, this.cursor, this.hint),
      this.numbers,
    );
  }

  /**
   * Shows a picture.
   * @param {Picture} picture
   * @returns {Promise<void>} until it is drawn
   */
  show(picture) {
    this.#picture = picture;
    this.plot.el.setAttribute("aria-label", picture.summary);
    this.empty.hidden = picture.lines.some((line) => line.y.some((value) => value > 0));
    this.#writeLegend();
    this.#writeNumbers();
    return this.plot.show((width) => this.#make(width));
  }

  /** Gives back what it holds. */
  destroy() {
    this.plot.destroy();
    this.#picture = null;
  }

  #writeLegend() {
    const { lines, state, band } = this.#picture;
    const usual = band
      ? h(
          "li",
          {},
          h("span.plain", {}, h("i.band"), `usual at this hour (${format.plural(band.days, "day")} of history)`),
        )
      : null;
    fill(
      this.legend,
      lines.map((line) => {
        const swatch = h("i");
        swatch.style.background = `var(--${line.colour})`;
        const text = [swatch, h("span.what", {}, line.name), line.total ? h("span.much", {}, line.total) : null];
        const href = line.filters ? link(state, { add: line.filters }) : null;
        return h(
          "li",
          {},
          href
            ? h("a", { href, title: `Show only ${line.name}`, data: { legend: line.name } }, text)
            : h("span.plain", {}, text),
        );
      }),
      usual,
    );
  }

  #make(width) {
    const picture = this.#picture;
    const { from, to, unit } = picture;
    const x = picture.milliseconds.map((start, at) => start + picture.seconds[at] * 500);
    const ticks = this.#ticks();
    const time = times(from, to, width - MARGIN.l - MARGIN.r);
    const grid = colour("grid");
    const axis = {
      showline: false,
      zeroline: false,
      fixedrange: true,
      gridcolor: grid,
      tickfont: font(),
      ticks: "",
      ticklabelstandoff: 5,
    };
    return {
      data: [...this.#bandTraces(x), ...(picture.isStacked ? this.#stack(x) : this.#lines(x))],
      layout: {
        margin: MARGIN,
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        showlegend: false,
        font: font(),
        hovermode: "x",
        hoverdistance: -1,
        dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
        xaxis: {
          ...axis,
          fixedrange: false,
          range: [from, to],
          showgrid: false,
          tickvals: time.values,
          ticktext: time.texts,
          ticklabelposition: "outside",
        },
        yaxis: {
          ...axis,
          range: this.#range,
          tickvals: ticks,
          ticktext: ticks.map((tick) => round(unit.short(Math.abs(tick)))),
          zeroline: true,
          zerolinecolor: colour("line"),
          zerolinewidth: 1,
        },
      },
    };
  }

  /** Round numbers for the axis of amounts, which ends a little above what it shows. */
  #ticks() {
    const { lines, isStacked, milliseconds, band } = this.#picture;
    const most = (of) =>
      isStacked
        ? Math.max(0, ...milliseconds.map((_, at) => of.reduce((sum, line) => sum + line.y[at], 0)))
        : Math.max(0, ...of.flatMap((line) => line.y));
    const down = lines.filter((line) => line.down);
    const usual = band ? [...band.high, ...band.middle].filter(Number.isFinite) : [];
    const up = Math.max(most(lines.filter((line) => !line.down)), ...usual);
    const below = most(down);
    const all = up + below || 1;
    const room = all * ROOM;
    this.#range = [down.length ? -Math.max(below + room, all * LEAST) : 0, Math.max(up + room, all * LEAST)];
    return numbers(...this.#range);
  }

  #bandTraces(x) {
    const band = this.#picture.band;
    if (!band) return [];
    const edge = { type: "scatter", mode: "lines", x, hoverinfo: "skip", line: { width: 0 } };
    return [
      { ...edge, y: band.low },
      { ...edge, y: band.high, fill: "tonexty", fillcolor: faded(colour("quiet"), 0.16) },
      { ...edge, y: band.middle, line: { width: 1, dash: "dot", color: colour("quiet") } },
    ];
  }

  #stack(x) {
    const mode = x.length > 1 ? "lines" : "lines+markers";
    const gap = colour("panel");
    return this.#picture.lines.map((line) => ({
      type: "scatter",
      mode,
      x,
      y: line.y,
      name: line.name,
      stackgroup: "all",
      hoverinfo: "none",
      line: { width: 0.6, color: gap },
      marker: { color: colour(line.colour), size: 6 },
      fillcolor: faded(colour(line.colour), 0.9),
    }));
  }

  #lines(x) {
    const mode = x.length > 1 ? "lines" : "lines+markers";
    const isFilled = this.#picture.lines.length <= 2;
    return this.#picture.lines.map((line) => ({
      type: "scatter",
      mode,
      x,
      y: line.down ? line.y.map((value) => -value) : line.y,
      name: line.name,
      hoverinfo: "none",
      line: { width: 1.6, color: colour(line.colour) },
      marker: { color: colour(line.colour), size: 6 },
      fill: isFilled ? "tozeroy" : "none",
      fillcolor: faded(colour(line.colour), 0.16),
    }));
  }

  #listen(plot) {
    plot.on("plotly_hover", (event) => this.#point(event));
    plot.on("plotly_unhover", () => {
      this.hint.hidden = true;
      this.cursor.hidden = true;
    });
    plot.on("plotly_click", (event) => this.#pick(event));
    plot.on("plotly_relayout", (change) => this.#zoom(change));
  }

  /** The hint: every line's rate in the step under the pointer. */
  #point(event) {
    const at = event.points[0]?.pointIndex;
    const { milliseconds, seconds, lines, unit, band, isStacked } = this.#picture;
    if (at === undefined || milliseconds[at] === undefined) return;
    const under = this.#lineUnder(event.event, at);
    const row = (name, value, swatch, isUnder) =>
      h(`li${isUnder ? ".under" : ""}`, {}, swatch, h("span", {}, name), h("b", {}, unit.write(value)));
    const rows = lines.map((line) =>
      row(line.name, line.y[at], swatchOf(line.colour), lines.length > 1 && line === under),
    );
    if (isStacked) rows.reverse();
    if (isStacked && lines.length > 1)
      rows.push(
        row(
          "all",
          lines.reduce((sum, line) => sum + line.y[at], 0),
          h("i"),
        ),
      );
    if (band && Number.isFinite(band.low[at])) {
      rows.push(
        h(
          "li",
          {},
          h("i"),
          h("span", {}, "usual at this hour"),
          h("b", {}, `${unit.write(band.low[at])} – ${unit.write(band.high[at])}`),
        ),
      );
    }
    const until = milliseconds[at] + seconds[at] * 1000;
    fill(this.hint, h("p", {}, `${format.moment(milliseconds[at])} – ${format.time(until)}`), h("ul", {}, rows));
    this.#placeHint(event.event);
    this.#placeCursor(milliseconds[at] + seconds[at] * 500);
  }

  /** A line through the step under the pointer. */
  #placeCursor(time) {
    const area = this.plot.el.querySelector(".nsewdrag")?.getBoundingClientRect();
    if (!area) return;
    const { from, to } = this.#picture;
    const stage = this.cursor.parentElement.getBoundingClientRect();
    this.cursor.hidden = false;
    this.cursor.style.height = `${area.height}px`;
    this.cursor.style.transform = `translate(${area.left - stage.left + ((time - from) / (to - from)) * area.width}px, ${area.top - stage.top}px)`;
  }

  #placeHint(pointer) {
    this.hint.hidden = false;
    const stage = this.hint.parentElement.getBoundingClientRect();
    const own = this.hint.getBoundingClientRect();
    const x = pointer.clientX - stage.left;
    const left = x + 16 + own.width > stage.width ? Math.max(0, x - own.width - 16) : x + 16;
    this.hint.style.transform = `translate(${Math.round(left)}px, 8px)`;
  }

  /** The line or band that lies under the pointer in a step. */
  #lineUnder(pointer, at) {
    const area = this.plot.el.querySelector(".nsewdrag")?.getBoundingClientRect();
    if (!area || !pointer) return null;
    const [bottom, top] = this.#range;
    const value = bottom + ((area.bottom - pointer.clientY) / area.height) * (top - bottom);
    const { lines, isStacked } = this.#picture;
    if (!isStacked) return nearest(lines, at, value);
    let sum = 0;
    return (
      lines.find((line) => {
        sum += line.y[at];
        return value <= sum && value >= 0;
      }) ?? null
    );
  }

  #pick(event) {
    const line = this.#lineUnder(event.event, event.points[0]?.pointIndex);
    if (line?.filters) go(link(this.#picture.state, { add: line.filters }));
  }

  #zoom(change) {
    const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]].map(Number);
    if (!Number.isFinite(from) || !Number.isFinite(to) || !this.#picture) return;
    const start = Math.floor(from / 1000) * 1000;
    const end = Math.max(Math.ceil(to / 1000) * 1000, start + SHORTEST_ZOOM_MS);
    go(link(this.#picture.state, { range: { kind: "custom", from: String(start), to: String(end) } }));
  }

  /** The numbers as a table, while it is open. */
  #writeNumbers() {
    if (!this.numbers.open || !this.#picture) return;
    const { milliseconds, lines, unit, band } = this.#picture;
    const columns = [
      ...lines.map((line) => [line.name, line.y]),
      ...(band
        ? [
            ["usual, low", band.low],
            ["usual, high", band.high],
          ]
        : []),
    ];
    const head = h(
      "tr",
      {},
      h("th", { scope: "col" }, "From"),
      columns.map(([name]) => h("th.n", { scope: "col" }, name)),
    );
    const rows = milliseconds
      .map((start, at) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, format.moment(start)),
          columns.map(([, y]) =>
            h("td.n", { data: { value: y[at] ?? "" } }, Number.isFinite(y[at]) ? unit.write(y[at]) : "–"),
          ),
        ),
      )
      .reverse();
    const table = h(
      "div.scroll.short",
      { tabindex: "0", role: "region", "aria-label": "Numbers of this chart" },
      h("table", {}, h("caption", {}, `${unit.name}, latest first`), h("thead", {}, head), h("tbody", {}, rows)),
    );
    fill(this.numbers, this.numbers.querySelector("summary"), table);
  }
}

/** Ticks are round numbers: 2.50 Mbit/s is 2.5 Mbit/s. */
function round(text) {
  return text.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}

function swatchOf(name) {
  const swatch = h("i");
  swatch.style.background = `var(--${name})`;
  return swatch;
}

function nearest(lines, at, value) {
  const distance = (line) => Math.abs((line.down ? -line.y[at] : line.y[at]) - value);
  return lines.reduce((best, line) => (best === null || distance(line) < distance(best) ? line : best), null);
}

/** Rates of a series: amounts by the seconds that each step lasts. @param {number[]} amounts @param {number[]} seconds */
export function rates(amounts, seconds, unit) {
  return amounts.map((amount, at) => (seconds[at] > 0 ? unit.rate(amount, seconds[at]) : 0));
}

/** What listeners hear of a chart. */
export function summaryOf(what, picture) {
  const { unit, from, to, lines } = picture;
  const average = (line) =>
    line.y.reduce((sum, value, at) => sum + value * picture.seconds[at], 0) /
    picture.seconds.reduce((sum, one) => sum + one, 0);
  const parts = lines.slice(0, 8).map((line) => `${line.name} ${unit.write(average(line) || 0)}`);
  return `${what}, ${format.span(from, to)}, in ${unit.noun}. On average: ${parts.join(", ") || "nothing"}.`;
}

/** The icon and words of a chart that did not load. */
export function chartTrouble(error) {
  return h("p.trouble", {}, icon("warn"), `This chart is missing: ${error.message}.`);
}
