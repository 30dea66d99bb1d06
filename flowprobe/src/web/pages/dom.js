// Making elements. Text becomes text, never markup: what the network says is shown, not run.

const SVG = "http://www.w3.org/2000/svg";

/** Strokes of the icons, on a field of 16 by 16. */
const ICONS = {
  copy: "M5.5 5.5h7v8h-7zM3.5 10.5v-8h7",
  filter: "M2.5 3.5h11l-4.2 5v4l-2.6 1v-5z",
  host: "M2.5 3h11v7h-11zM6 13.5h4M8 10v3.5",
  check: "M3 8.5l3.2 3.2L13 4.8",
  warn: "M8 2.5l6 11h-12zM8 6.5v3.2M8 11.6v.2",
  close: "M4 4l8 8M12 4l-8 8",
  plus: "M8 3v10M3 8h10",
  left: "M10 3.5L5.5 8l4.5 4.5",
  right: "M6 3.5L10.5 8L6 12.5",
  out: "M7 2.5a4.5 4.5 0 1 0 .01 0M10.3 10.3L14 14M5 7h4",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.5v9l7-4.5z",
  download: "M8 2.5v7.5M4.8 7L8 10.2L11.2 7M3 13.5h10",
  overview: "M2.5 13.5h11M4 11V8M8 11V3M12 11V6",
  hosts: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01",
  ports: "M8 2.5v11M2.5 8h11M3.8 3.8l8.4 8.4M12.2 3.8l-8.4 8.4",
  conversations: "M2.5 5.5h9l-2.5-2.5M13.5 10.5h-9l2.5 2.5",
  records: "M3 3.5h10M3 6.5h10M3 9.5h10M3 12.5h6",
  places: "M8 2a6 6 0 1 0 .01 0M2 8h12M8 2c-4.5 4-4.5 8 0 12c4.5-4 4.5-8 0-12",
  interfaces: "M2.5 4.5h11v7h-11zM5 7v2M8 7v2M11 7v2",
  findings: "M8 2l5.5 2v4c0 3-2.3 5-5.5 6c-3.2-1-5.5-3-5.5-6v-4zM8 5.5v3M8 10.8v.1",
};

/**
 * An element.
 * @param {string} name tag, with classes after dots: "div.tile.wide"
 * @param {Record<string, unknown>} [attributes] `data` is for the dataset, `on` for listeners; null and false leave out
 * @param {...(Node | string | number | null | undefined | (Node | string | null)[])} children
 * @returns {HTMLElement}
 */
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "data") Object.assign(element.dataset, value);
    else if (key === "on")
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false)
      element.append(child instanceof Node ? child : String(child));
  }
}

/**
 * Puts these in the place of what an element holds. The focus stays where it was: at what is now in that place.
 * @param {Element} element
 */
export function fill(element, ...children) {
  const isThere = children.length === 1 && element.childNodes.length === 1 && element.firstChild === children[0];
  if (isThere) return element;
  const active = document.activeElement;
  const position = active && active !== element && element.contains(active) ? focusable(element).indexOf(active) : -1;
  element.replaceChildren();
  append(element, children);
  if (position >= 0) {
    const all = focusable(element);
    all[Math.min(position, all.length - 1)]?.focus({ preventScroll: true });
  }
  return element;
}

/** What can have the focus in here. @param {Element} element @returns {HTMLElement[]} */
export function focusable(element) {
  return [...element.querySelectorAll("a[href], button, input, select, summary")];
}

/**
 * An element of SVG.
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {...Node} children
 */
export function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** An icon that says nothing to those who do not see it. @param {keyof typeof ICONS} name */
export function icon(name) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: ICONS[name] }),
  );
}

/** Text for those who listen only. @param {string} text */
export function spoken(text) {
  return h("span.spoken", {}, text);
}

/**
 * Links of which one is where we are: a switch that lives in the address.
 * @param {string} label
 * @param {{name: string, href: string, current: boolean, title?: string, value?: string}[]} entries
 */
export function segments(label, entries) {
  return h(
    "div.segments",
    { role: "group", "aria-label": label },
    entries.map((entry) =>
      h(
        "a",
        {
          href: entry.href,
          title: entry.title,
          "aria-current": entry.current ? "true" : null,
          data: { value: entry.value ?? entry.name },
        },
        entry.name,
      ),
    ),
  );
}
