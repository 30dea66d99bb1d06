// Series of the API as pictures for charts, and the panels that show them.

import { segments } from "./dom.js";
import * as format from "./format.js";
import { colours } from "./palette.js";
import { Panel } from "./panel.js";
import { chartTrouble, rates, summaryOf, TimeChart } from "./timechart.js";
import { link, option } from "./url.js";

const UNIT_NAMES = Object.keys(format.UNITS);

/** The unit that the address asks charts for. @param {import("./url.js").State} state */
export function unitOf(state) {
  return format.UNITS[option(state, "unit", UNIT_NAMES)];
}

/** The switch between units. @param {import("./url.js").State} state */
export function unitSwitch(state) {
  const now = option(state, "unit", UNIT_NAMES);
  return segments(
    "Unit of the charts",
    UNIT_NAMES.map((name) => ({
      name: format.UNITS[name].name,
      value: name,
      current: name === now,
      href: link(state, { options: { unit: name === UNIT_NAMES[0] ? null : name } }),
    })),
  );
}

/** A panel with a chart over time. */
export class ChartPanel {
  /** @param {{name: string, title: string, span?: string}} options */
  constructor({ name, title, span = "whole" }) {
    this.panel = new Panel({ name, title, span, lines: 0 });
    this.title = title;
    this.chart = new TimeChart(name);
    this.panel.el.classList.add("charted");
    this.panel.body.append(this.chart.el);
    this.el = this.panel.el;
  }

  /**
   * Asks, and draws.
   * @template T
   * @param {import("./run.js").Run} run
   * @param {(onBusy: (seconds: number) => void) => Promise<T>} ask
   * @param {(answer: T) => import("./timechart.js").Picture} toPicture
   */
  load(run, ask, toPicture) {
    return this.panel.load(run, ask, (answer) => {
      const picture = toPicture(answer);
      if (!this.chart.el.isConnected) this.panel.body.replaceChildren(this.chart.el);
      const drawing = this.chart.show({ ...picture, summary: summaryOf(this.title, picture) });
      run.drawing(drawing.catch((error) => this.panel.body.replaceChildren(chartTrouble(error), this.chart.numbers)));
    });
  }

  /** Gives back what it holds. */
  destroy() {
    this.chart.destroy();
  }
}

/**
 * Groups of /api/v1/series as stacked bands.
 * @param {any} answer
 * @param {import("./url.js").State} state
 * @param {string} kind of what the groups are: names of one kind keep their colours
 * @returns {Omit<import("./timechart.js").Picture, "summary">}
 */
export function stacked(answer, state, kind) {
  const unit = unitOf(state);
  const hues = colours(
    kind,
    answer.groups.map((group) => group.name),
  );
  const lines = answer.groups.map((group, at) => ({
    name: group.name,
    colour: hues[at],
    y: rates(group[unit.key], answer.seconds, unit),
    filters: group.filter ? Object.entries(group.filter) : null,
    total: totalOf(group[unit.key], unit),
  }));
  return { ...frame(answer, state), unit, lines, isStacked: true };
}

/**
 * The one group of /api/v1/series, with the band of what is usual.
 * @param {any} answer
 * @param {import("./url.js").State} state
 */
export function volume(answer, state) {
  const unit = unitOf(state);
  const group = answer.groups[0] ?? { [unit.key]: answer.milliseconds.map(() => 0) };
  const lines = [{ name: unit.name, colour: "c0", y: rates(group[unit.key], answer.seconds, unit), filters: null }];
  const band = unit.key === "octets" ? answer.baseline : null;
  return { ...frame(answer, state), unit, lines, isStacked: false, band };
}

/** From when to when, and the steps between: the first may begin before what was asked for, and only its rest counts. */
export function frame(answer, state) {
  const { fromMilliseconds: from, toMilliseconds: to, milliseconds, seconds } = answer;
  return { state, from, to, milliseconds: milliseconds.map((start) => Math.max(start, from)), seconds };
}

/** What a line comes to in all. @param {number[]} amounts */
export function totalOf(amounts, unit) {
  const sum = amounts.reduce((total, amount) => total + amount, 0);
  return unit.key === "octets" ? format.bytes(sum) : format.count(sum);
}
