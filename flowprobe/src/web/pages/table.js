// Tables: sorted by a click on any column, as many rows as are asked for, and what is known of the rest.

import { fill, focusable, h, icon, spoken } from "./dom.js";
import { bytes, count, exact, plural } from "./format.js";
import { askAgain } from "./nav.js";

const MORE = [10, 20, 100, 1000];

/**
 * @typedef {{key: string, label: string, numeric?: boolean, ranked?: boolean, class?: string, title?: string,
 *   value: (row: any) => number | string | null, cell: (row: any, context: Context) => Node | string | (Node | string | null)[],
 *   largest?: (row: any) => number}} Column
 * @typedef {{state: import("./url.js").State, largest: number, total: any}} Context
 */

/** A table of rows that the API gave. */
export class Table {
  #columns = [];
  #sort = null;
  #answer = null;
  #context = null;

  /**
   * @param {{name: string, caption: string, limit?: number, empty?: string, keyOf?: (row: any) => string,
   *   hrefOf?: (row: any, state: import("./url.js").State) => string | null, noun?: string, nouns?: string}} options `hrefOf`: where a click
   *   on a row leads
   */
  constructor({
    name,
    caption,
    limit = 20,
    empty = "Nothing was seen in this time.",
    keyOf,
    hrefOf,
    noun = "row",
    nouns = `${noun}s`,
  }) {
    Object.assign(this, { limit, empty, keyOf, hrefOf, noun, nouns });
    this.head = h("thead");
    this.rows = h("tbody");
    this.nothing = h("p.empty", { hidden: true });
    this.box = h(
      "div.scroll",
      {},
      h("table", { data: { table: name } }, h("caption", {}, caption), this.head, this.rows),
    );
    this.foot = h("footer");
    this.el = h("div.tabled", {}, this.box, this.nothing, this.foot);
  }

  /**
   * Shows an answer.
   * @param {Column[]} columns
   * @param {{rows: any[], of?: number, total?: any, rough?: boolean}} answer
   * @param {{state: import("./url.js").State, csv?: string}} around
   */
  show(columns, answer, around) {
    if (columns.map((column) => column.key).join() !== this.#columns.map((column) => column.key).join())
      this.#sort = null;
    this.#columns = columns;
    this.#answer = answer;
    this.#context = around;
    this.#draw();
  }

  #draw() {
    const focus = this.#focus();
    this.#drawHead();
    this.#drawRows();
    this.#drawFoot();
    this.#refocus(focus);
  }

  #drawHead() {
    const cells = this.#columns.map((column) => {
      const order = this.#orderOf(column);
      const button = h(
        "button",
        { type: "button", title: column.title, on: { click: () => this.#sortBy(column) } },
        column.label,
        h("i", { "aria-hidden": "true" }),
      );
      return h(
        `th.${column.class ?? (column.numeric ? "n" : "t")}`,
        { scope: "col", "aria-sort": order, data: { column: column.key } },
        button,
      );
    });
    fill(this.head, h("tr", {}, cells));
  }

  #orderOf(column) {
    if (this.#sort) return this.#sort.key === column.key ? this.#sort.order : null;
    return column.ranked ? "descending" : null;
  }

  #sortBy(column) {
    const now = this.#orderOf(column);
    const first = column.numeric ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    this.#sort = { key: column.key, order: now === first ? other : first };
    this.#draw();
  }

  #sorted() {
    const rows = this.#answer.rows;
    const column = this.#sort && this.#columns.find((one) => one.key === this.#sort.key);
    if (!column) return rows;
    const sign = this.#sort.order === "descending" ? -1 : 1;
    return [...rows].sort((a, b) => compare(column.value(a), column.value(b), sign));
  }

  #drawRows() {
    const rows = this.#sorted();
    const contexts = this.#columns.map((column) => ({
      state: this.#context.state,
      total: this.#answer.total,
      largest: column.largest ? rows.reduce((most, row) => Math.max(most, column.largest(row)), 0) : 0,
    }));
    fill(
      this.rows,
      rows.map((row) => this.#row(row, contexts)),
    );
    this.box.hidden = rows.length === 0;
    this.nothing.hidden = rows.length > 0;
    this.nothing.textContent = this.empty;
  }

  #row(row, contexts) {
    const href = this.hrefOf?.(row, this.#context.state) ?? null;
    const cells = this.#columns.map((column, position) => {
      const value = column.value(row);
      const name = position === 0 ? "th" : "td";
      return h(
        `${name}.${column.class ?? (column.numeric ? "n" : "t")}`,
        {
          scope: position === 0 ? "row" : null,
          title: column.numeric && typeof value === "number" ? exact(value) : null,
          data: { column: column.key, value: value ?? "" },
        },
        column.cell(row, contexts[position]),
      );
    });
    return h("tr", { data: { key: this.keyOf?.(row) ?? "", ...(href ? { href } : {}) } }, cells);
  }

  #drawFoot() {
    const { rows, of = rows.length, total, rough } = this.#answer;
    const parts = [
      h(
        "span",
        { data: { rows: rows.length, of } },
        rows.length < of
          ? `${count(rows.length)} of ${plural(of, this.noun, this.nouns)}`
          : plural(of, this.noun, this.nouns),
      ),
    ];
    if (rough)
      parts.push(
        h(
          "span",
          { title: "There were more than can be kept apart in memory; the largest are right." },
          "small ones may be missing",
        ),
      );
    const next = MORE.find((step) => step > this.limit);
    if (rows.length < of && next) {
      const more = () => {
        this.limit = next;
        askAgain();
      };
      parts.push(
        h(
          "button.quiet",
          { type: "button", data: { action: "more" }, on: { click: more } },
          `Show ${count(Math.min(next, of))}`,
        ),
      );
    }
    if (total) parts.push(h("span.sum", {}, "Total ", ...totals(total)));
    if (this.#context.csv) {
      parts.push(
        h(
          "a.quiet.csv",
          { href: this.#context.csv, download: "" },
          icon("download"),
          "CSV",
          spoken(` of ${this.nouns}`),
        ),
      );
    }
    fill(this.foot, parts);
  }

  /** Where the focus is in here, so that it can stay when rows are made anew. */
  #focus() {
    const active = document.activeElement;
    if (!active || !this.el.contains(active)) return null;
    const column = active.closest("th[data-column][scope=col]");
    if (column) return { column: column.dataset.column };
    const row = active.closest("tr[data-key]");
    if (row) return { key: row.dataset.key, position: focusable(row).indexOf(active) };
    return { action: active.dataset.action ?? "" };
  }

  #refocus(focus) {
    if (!focus) return;
    if (focus.column)
      this.head.querySelector(`[data-column="${CSS.escape(focus.column)}"] button`)?.focus({ preventScroll: true });
    else if (focus.key !== undefined) {
      const row = [...this.rows.rows].find((one) => one.dataset.key === focus.key);
      if (row) focusable(row)[focus.position]?.focus({ preventScroll: true });
    } else
      this.foot.querySelector(focus.action ? `[data-action="${focus.action}"]` : "a")?.focus({ preventScroll: true });
  }
}

function compare(a, b, sign) {
  const [noA, noB] = [a === null || a === undefined || a === "", b === null || b === undefined || b === ""];
  if (noA || noB) return noA - noB;
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), "en", { numeric: true });
}

/** The totals of an answer, each with its exact number. */
export function totals(total) {
  const one = (key, text) => h("b", { title: exact(total[key]), data: { total: key, value: total[key] } }, text);
  const parts = [];
  if (total.octets !== undefined) parts.push(one("octets", bytes(total.octets)));
  if (total.packets !== undefined) parts.push(", ", one("packets", plural(total.packets, "packet")));
  if (total.flows !== undefined) parts.push(", ", one("flows", plural(total.flows, "flow")));
  return parts;
}
