// One round of questions: what a page asks for one state of its address. A new round ends the one before.

import { address, get } from "./api.js";
import { question } from "./url.js";

/** A round. */
export class Run {
  #controller = new AbortController();
  #answers = new Map();
  #drawings = [];

  /**
   * @param {import("./url.js").State} state
   * @param {boolean} isRefresh whether the same was asked before, and what is shown is only older
   */
  constructor(state, isRefresh) {
    this.state = state;
    this.isRefresh = isRefresh;
    this.signal = this.#controller.signal;
    /** What went wrong. @type {Error[]} */
    this.problems = [];
    /** From when to when the answers are, as the first of them says. @type {{from: number, to: number} | null} */
    this.covered = null;
  }

  /** Ends it: what is under way is dropped, and changes nothing any more. */
  stop() {
    this.#controller.abort(new DOMException("a newer question took its place", "AbortError"));
  }

  /**
   * Asks about history: with the time range and the filters. The same question is asked once, whoever asks.
   * @param {string} path
   * @param {Record<string, unknown>} [more] parameters beside these
   * @param {(seconds: number) => void} [onBusy]
   */
  ask(path, more = {}, onBusy) {
    return this.#once(this.url(path, more), onBusy);
  }

  /** Asks what has neither time range nor filters. @param {string} path */
  askPlain(path, onBusy) {
    return this.#once(address(path), onBusy);
  }

  /** The address of a question about history. @param {string} path @param {Record<string, unknown>} [more] */
  url(path, more = {}) {
    return address(path, question(this.state, more));
  }

  #once(url, onBusy) {
    if (!this.#answers.has(url)) {
      const answer = get(url, this.signal, onBusy).then((value) => {
        if (value?.fromMilliseconds) this.covered ??= { from: value.fromMilliseconds, to: value.toMilliseconds };
        return value;
      });
      this.#answers.set(url, answer);
    }
    return this.#answers.get(url);
  }

  /** Takes note of a chart that is being drawn. @param {Promise<void>} drawing */
  drawing(drawing) {
    this.#drawings.push(drawing);
  }

  /** Until all charts of which note was taken are drawn. */
  async drawn() {
    await Promise.allSettled(this.#drawings);
  }
}
