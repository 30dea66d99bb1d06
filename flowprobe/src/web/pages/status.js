// How new what is shown is, in words, with a button that stops it from changing.

import { fill, h, icon } from "./dom.js";
import { duration, time } from "./format.js";

/** The line about newness. */
export class Status {
  /**
   * @param {HTMLElement} el
   * @param {{pause: () => void, resume: () => void}} actions
   */
  constructor(el, { pause, resume }) {
    this.words = h("span");
    this.button = h("button.quiet", { type: "button", on: { click: () => (this.isPaused ? resume() : pause()) } });
    this.isPaused = false;
    this.el = el;
    fill(el, h("i", { "aria-hidden": "true" }), this.words, this.button);
  }

  /** @param {{kind: "fresh" | "live" | "still" | "paused" | "hidden" | "away", wait?: number}} now */
  show({ kind, wait }) {
    this.el.dataset.kind = kind;
    this.isPaused = kind === "paused";
    const every = wait ? `every ${duration(wait)}` : "";
    const words = {
      live: `Live, ${every}`,
      fresh: `Updated ${time(Date.now())}, ${every}`,
      still: `As of ${time(Date.now())}`,
      paused: `Paused at ${time(Date.now())}`,
      hidden: "Paused while the tab is hidden",
      away: `The daemon does not answer. Trying again in ${duration(wait ?? 0)}`,
    }[kind];
    if (this.words.textContent !== words) this.words.textContent = words;
    // Whoever listens hears of trouble, not of every minute.
    this.words.setAttribute("aria-live", kind === "away" ? "polite" : "off");
    this.button.hidden = kind === "still" || kind === "away" || kind === "hidden";
    const label = this.isPaused ? "Resume" : "Pause";
    if (this.button.dataset.label !== label) {
      this.button.dataset.label = label;
      fill(this.button, icon(this.isPaused ? "play" : "pause"), label);
    }
  }
}
