// A box of the page: a title, what it holds, and what went wrong when that was asked for. One that fails leaves the others alone.

import { ApiError } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { plural, time } from "./format.js";
import { FILTERS } from "./url.js";

/** Parameters that stand above the page, and so does what is wrong with them. */
const SHARED = new Set(["last", "from", "to", ...FILTERS.map(({ kind }) => kind)]);

/** A panel. */
export class Panel {
  #hasShown = false;
  #shownAt = 0;

  /**
   * @param {{name: string, title: string, span?: "whole" | "half" | "third" | "two-thirds" | "seven" | "five", lines?: number,
   *   actions?: Node[]}} options
   */
  constructor({ name, title, span = "whole", lines = 6, actions = [] }) {
    this.title = h("h2", {}, title);
    this.note = h("span.note");
    this.actions = h("div.actions", {}, actions);
    this.trouble = h("p.trouble", { hidden: true });
    this.warning = h("p.warning", { hidden: true });
    this.body = h(
      "div.body",
      {},
      Array.from({ length: lines }, () => h("span.skeleton")),
    );
    this.el = h(
      `section.panel.${span}`,
      { data: { panel: name }, "aria-label": title },
      h("header", {}, this.title, this.note, this.actions),
      this.trouble,
      this.warning,
      this.body,
    );
  }

  /**
   * Asks, and draws what is answered.
   * @template T
   * @param {import("./run.js").Run} run
   * @param {(onBusy: (seconds: number) => void) => Promise<T>} ask
   * @param {(answer: T) => void} draw
   */
  async load(run, ask, draw) {
    this.el.setAttribute("aria-busy", "true");
    this.el.classList.toggle("asking", !run.isRefresh && this.#hasShown);
    try {
      const answer = await ask((seconds) => this.#say(`The daemon is busy. Asking again in ${seconds} s.`, "busy"));
      if (run.signal.aborted) return;
      if (!this.#hasShown) fill(this.body);
      draw(answer);
      this.#shown(answer);
    } catch (error) {
      if (run.signal.aborted) return;
      run.problems.push(error);
      this.#fail(error, run.isRefresh && this.#hasShown);
    }
    this.el.removeAttribute("aria-busy");
    this.el.classList.remove("asking");
  }

  #shown(answer) {
    this.#hasShown = true;
    this.#shownAt = Date.now();
    this.trouble.hidden = true;
    this.el.classList.remove("failed");
    const unreadable = answer?.unreadable ?? [];
    this.warning.hidden = unreadable.length === 0;
    if (unreadable.length) {
      fill(
        this.warning,
        icon("warn"),
        `${plural(unreadable.length, "file")} of history could not be read, and what is in them is missing: ${unreadable.join("; ")}`,
      );
    }
  }

  #fail(error, keepsOld) {
    this.el.classList.toggle("failed", !keepsOld);
    const isSaidAbove = error instanceof ApiError && (error.hasNoHistory || isShared(error));
    this.#say(
      keepsOld ? `${reason(error)} What is shown is as of ${time(this.#shownAt)}.` : reason(error),
      isSaidAbove ? "shared" : "error",
    );
    if (!keepsOld) this.#forget();
  }

  /** What was shown answers another question: better nothing than that. */
  #forget() {
    this.el.querySelectorAll("[data-value]").forEach((element) => delete element.dataset.value);
  }

  #say(text, kind) {
    this.trouble.dataset.kind = kind;
    this.trouble.hidden = false;
    fill(this.trouble, icon("warn"), text);
  }
}

/** The sentence for what went wrong. */
function reason(error) {
  if (!(error instanceof ApiError)) return `This cannot be shown: ${error.message}.`;
  if (error.status === 0) return `No answer: ${error.message}.`;
  if (error.hasNoHistory) return "No history is kept, so there is nothing to show here.";
  if (isShared(error)) return "Not answered: see the top of the page.";
  return `The daemon answered: ${error.message.replace(/\.$/, "")}.`;
}

function isShared(error) {
  return error.status === 400 && SHARED.has(error.parameter);
}
