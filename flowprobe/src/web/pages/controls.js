// What stands above every page: the time range, and the filters.

import { get, address, ApiError } from "./api.js";
import { fill, h, icon, spoken } from "./dom.js";
import * as format from "./format.js";
import { go } from "./nav.js";
import { FILTERS, instant, labelOf, link, RANGES } from "./url.js";

const TIME_PARAMETERS = new Set(["last", "from", "to"]);
/** Time range and filters. */
export class Controls {
  #state = null;
  #covered = null;
  #formOpen = null;

  /** @param {HTMLElement} el */
  constructor(el) {
    this.ranges = h("div.ranges");
    this.covered = h("p.covered", { id: "covered" });
    this.timeProblem = h("p.problem", { role: "alert", hidden: true });
    this.chips = h("ul.chips", { "aria-label": "Filters" });
    this.filterProblem = h("p.problem", { role: "alert", hidden: true });
    this.adder = h(
      "button.quiet.add",
      {
        type: "button",
        "aria-expanded": "false",
        "aria-controls": "filter-form",
        on: { click: () => this.#toggle("filter") },
      },
      icon("plus"),
      "Filter",
    );
    this.filterForm = this.#makeFilterForm();
    this.timeForm = this.#makeTimeForm();
    fill(
      el,
      h("div.times", {}, this.ranges, this.covered),
      this.timeForm,
      this.timeProblem,
      h("div.filters", {}, this.chips, this.adder),
      this.filterForm,
      this.filterProblem,
    );
  }

  /** Shows a state of the address. @param {import("./url.js").State} state */
  show(state) {
    this.#state = state;
    this.#covered = null;
    this.#open(null);
    this.#drawRanges();
    this.#drawCovered();
    this.#drawChips([]);
    this.timeProblem.hidden = true;
    this.filterProblem.hidden = true;
  }

  /**
   * Shows what a round of questions has found: from when to when it reached, and which of the values above are wrong.
   * @param {import("./run.js").Run} run
   */
  found(run) {
    if (run.covered) this.#covered = run.covered;
    this.#drawCovered();
    const wrong = run.problems.filter(
      (problem) => problem instanceof ApiError && problem.status === 400 && problem.parameter,
    );
    const time = wrong.find((problem) => TIME_PARAMETERS.has(problem.parameter));
    const filter = wrong.filter((problem) => this.#state.filters.some(([kind]) => kind === problem.parameter));
    this.timeProblem.hidden = !time;
    fill(this.timeProblem, time ? `${sentence(time.message)}` : "");
    this.filterProblem.hidden = filter.length === 0;
    fill(
      this.filterProblem,
      filter.length
        ? `${labelOf(filter[0].parameter)}: ${sentence(filter[0].message)} Take the filter away, or put another in its place.`
        : "",
    );
    this.#drawChips(filter);
  }

  #drawRanges() {
    const { range } = this.#state;
    const preset = (one) =>
      h(
        "a",
        {
          href: link(this.#state, { range: { kind: "last", last: one.last } }),
          title: `Show ${one.label}`,
          "aria-current": range.kind === "last" && range.last === one.last ? "true" : null,
          data: { range: one.last },
        },
        one.short,
      );
    const custom = h(
      "button",
      {
        type: "button",
        title: "From one time to another",
        "aria-expanded": String(this.#formOpen === "time"),
        "aria-controls": "time-form",
        "aria-current": range.kind === "custom" ? "true" : null,
        data: { range: "custom" },
        on: { click: () => this.#toggle("time") },
      },
      "Custom",
    );
    const live = h(
      "a.live",
      {
        href: link(this.#state, { range: { kind: "live" } }),
        title: "Show what is metered now, every few seconds",
        "aria-current": range.kind === "live" ? "true" : null,
        data: { range: "live" },
      },
      h("i", { "aria-hidden": "true" }),
      "Live",
    );
    const known = RANGES.some((one) => range.kind === "last" && range.last === one.last);
    const other =
      range.kind === "last" && !known ? [{ last: range.last, short: range.last, label: `the last ${range.last}` }] : [];
    fill(
      this.ranges,
      h("div.segments", { role: "group", "aria-label": "Time range" }, [...RANGES, ...other].map(preset), custom, live),
      this.#steppers(),
    );
    this.customButton = custom;
  }

  /** Earlier, later, and twice as long. */
  #steppers() {
    const reach = this.#reach();
    if (this.#state.range.kind === "live") return null;
    const step = (name, label, from, to) => {
      const isPossible = reach && from < Date.now();
      const href = reach
        ? link(this.#state, { range: { kind: "custom", from: String(Math.round(from)), to: String(Math.round(to)) } })
        : "";
      return isPossible
        ? h("a", { href, title: label, data: { step: name } }, icon(name), spoken(label))
        : h(
            "a",
            { role: "link", "aria-disabled": "true", title: label, data: { step: name } },
            icon(name),
            spoken(label),
          );
    };
    const { from = 0, to = 0 } = reach ?? {};
    const length = to - from;
    return h(
      "div.segments.steppers",
      { role: "group", "aria-label": "Move the time range" },
      step("left", "Earlier", from - length / 2, to - length / 2),
      step("right", "Later", from + length / 2, to + length / 2),
      step("out", "Twice as long", from - length / 2, to + length / 2),
    );
  }

  /** From when to when the page is, as far as it is known yet. */
  #reach() {
    if (this.#covered) return this.#covered;
    const { range } = this.#state;
    if (range.kind !== "custom") return null;
    const [from, to] = [instant(range.from), range.to ? instant(range.to) : Date.now()];
    return Number.isFinite(from) && Number.isFinite(to) ? { from, to } : null;
  }

  #drawCovered() {
    const reach = this.#reach();
    const where = format.zoneName(reach?.to);
    fill(
      this.covered,
      reach && this.#state.range.kind !== "live"
        ? [
            h(
              "b",
              { title: `${format.fullMoment(reach.from)} – ${format.fullMoment(reach.to)}` },
              format.span(reach.from, reach.to),
            ),
            " ",
          ]
        : null,
      h("span", { title: "The time zone of this browser" }, where),
    );
    const steppers = this.ranges.querySelector(".steppers");
    const fresh = this.#steppers();
    if (steppers && fresh && !steppers.contains(document.activeElement)) steppers.replaceWith(fresh);
  }

  #drawChips(wrong) {
    const { filters } = this.#state;
    const hadFocus = this.chips.contains(document.activeElement);
    fill(
      this.chips,
      filters.map(([kind, value], at) => {
        const problem = wrong.find(
          (one) =>
            one.parameter === kind &&
            (one.message.includes(value) || filters.filter(([other]) => other === kind).length === 1),
        );
        const isAlternative = filters.findIndex(([other]) => other === kind) !== at;
        const shown = kind === "protocol" ? format.protocol(value) : value;
        const name = `${labelOf(kind)} ${shown}`;
        return h(
          `li.chip${problem ? ".wrong" : ""}`,
          {
            title: problem ? problem.message : isAlternative ? "One of the values of a kind has to fit" : null,
            data: { filter: kind, value },
          },
          h("span", {}, isAlternative ? `or ${labelOf(kind).toLowerCase()}` : labelOf(kind)),
          h("b", {}, shown),
          h(
            "a",
            { href: link(this.#state, { remove: [[kind, value]] }), title: `Take away: ${name}` },
            icon("close"),
            spoken(`Take away: ${name}`),
          ),
        );
      }),
      filters.length > 1 ? h("li", {}, h("a.quiet", { href: link(this.#state, { filters: [] }) }, "Clear all")) : null,
    );
    this.chips.hidden = filters.length === 0;
    if (hadFocus && filters.length === 0) this.adder.focus();
  }

  #toggle(which) {
    this.#open(this.#formOpen === which ? null : which);
  }

  #open(which) {
    this.#formOpen = which;
    this.filterForm.hidden = which !== "filter";
    this.timeForm.hidden = which !== "time";
    this.adder.setAttribute("aria-expanded", String(which === "filter"));
    this.customButton?.setAttribute("aria-expanded", String(which === "time"));
    if (which === "filter") this.filterForm.elements.value.focus();
    if (which === "time") this.#openTime();
  }

  #makeFilterForm() {
    const kind = h(
      "select",
      { name: "kind", id: "filter-kind" },
      FILTERS.map((one) => h("option", { value: one.kind }, one.label)),
    );
    const value = h("input", {
      name: "value",
      id: "filter-value",
      type: "text",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      "aria-describedby": "filter-error",
    });
    const problem = h("p.problem", { id: "filter-error", role: "alert", hidden: true });
    const hint = () => {
      value.placeholder = FILTERS.find((one) => one.kind === kind.value).hint;
      problem.hidden = true;
      value.removeAttribute("aria-invalid");
    };
    kind.addEventListener("change", hint);
    hint();
    const form = h(
      "form.box",
      {
        id: "filter-form",
        hidden: true,
        "aria-label": "Add a filter",
        on: {
          submit: (event) => this.#add(event, kind.value, value, problem),
          keydown: (event) => this.#escape(event),
        },
      },
      h("label", { for: "filter-kind" }, "Only"),
      kind,
      h("label.spoken", { for: "filter-value" }, "Value"),
      value,
      h("button.strong", { type: "submit" }, "Add"),
      h("button.quiet", { type: "button", on: { click: () => this.#close(this.adder) } }, "Cancel"),
      problem,
    );
    return form;
  }

  /** Adds a filter once the daemon has nothing against its value. */
  async #add(event, kind, input, problem) {
    event.preventDefault();
    const value = input.value.trim();
    const wrong = value === "" ? "A value is missing." : await refusal(kind, value);
    problem.hidden = !wrong;
    problem.textContent = wrong ?? "";
    input.toggleAttribute("aria-invalid", Boolean(wrong));
    if (wrong) return input.focus();
    input.value = "";
    go(link(this.#state, { add: [[kind, value]] }));
    this.adder.focus();
  }

  #makeTimeForm() {
    const input = (name, label) => [
      h("label", { for: `time-${name}` }, label),
      h("input", { id: `time-${name}`, name, type: "datetime-local", step: "1", required: true }),
    ];
    const problem = h("p.problem", { role: "alert", hidden: true });
    return h(
      "form.box",
      {
        id: "time-form",
        hidden: true,
        "aria-label": "Custom time range",
        novalidate: true,
        on: { submit: (event) => this.#setTime(event, problem), keydown: (event) => this.#escape(event) },
      },
      input("from", "From"),
      input("to", "to"),
      h("button.strong", { type: "submit" }, "Show"),
      h("button.quiet", { type: "button", on: { click: () => this.#close(this.customButton) } }, "Cancel"),
      h("p.aside", {}, `Times are of this browser's zone: ${format.zoneName()}.`),
      problem,
    );
  }

  #openTime() {
    const { from, to } = this.#reach() ?? { from: Date.now() - 3_600_000, to: Date.now() };
    this.timeForm.elements.from.value = local(from);
    this.timeForm.elements.to.value = local(to);
    this.timeForm.elements.from.focus();
  }

  #setTime(event, problem) {
    event.preventDefault();
    const [from, to] = ["from", "to"].map((name) => Date.parse(this.timeForm.elements[name].value));
    const wrong =
      !Number.isFinite(from) || !Number.isFinite(to)
        ? "Both times are needed, with day and time of day."
        : from >= to
          ? "The first time has to be before the second."
          : null;
    problem.hidden = !wrong;
    problem.textContent = wrong ?? "";
    if (wrong) return;
    go(link(this.#state, { range: { kind: "custom", from: String(from), to: String(to) } }));
    this.customButton.focus();
  }

  #escape(event) {
    if (event.key === "Escape") this.#close(this.#formOpen === "time" ? this.customButton : this.adder);
  }

  #close(opener) {
    this.#open(null);
    opener?.focus();
  }
}

/** What the daemon has against a value, or null. Whatever else goes wrong is for the page to say. */
async function refusal(kind, value) {
  const query = new URLSearchParams([
    ["last", "1m"],
    ["top", "1"],
    [kind, value],
  ]);
  try {
    await get(address("top/protocols", query), AbortSignal.timeout(10_000));
  } catch (error) {
    if (error instanceof ApiError && error.status === 400 && error.parameter === kind) return sentence(error.message);
  }
  return null;
}

function sentence(text) {
  return `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

/** A time as `datetime-local` has it. */
function local(ms) {
  const at = new Date(ms);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
