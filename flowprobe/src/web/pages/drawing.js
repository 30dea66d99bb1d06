// plotly.js: loaded after numbers and tables are there, and put around one chart at a time.

const MOST_WAIT_MS = 1200;
const CONFIG = {
  displayModeBar: false,
  responsive: false,
  displaylogo: false,
  doubleClick: false,
  showTips: false,
  staticPlot: false,
};

let open;
const opened = new Promise((resolve) => {
  open = resolve;
});
let loading = null;
const plots = new Set();

/** Lets charts be drawn: what is more urgent is on the page, or takes too long to wait for. */
export function letChartsDraw() {
  open();
}

/** Lets charts be drawn in a moment, whatever else is under way. */
export function letChartsDrawSoon() {
  setTimeout(open, MOST_WAIT_MS);
}

function library() {
  loading ??= opened.then(
    () =>
      new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = "/assets/plotly.min.js";
        script.addEventListener("load", () => resolve(window.Plotly));
        script.addEventListener("error", () => {
          script.remove();
          loading = null;
          reject(new Error("the library that draws charts did not load"));
        });
        document.head.append(script);
      }),
  );
  return loading;
}

/** A colour of the theme. @param {string} name of the custom property, without its dashes */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The same colour, let through. @param {string} hex @param {number} opacity */
export function faded(hex, opacity) {
  const [r, g, b] = [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${r}, ${g}, ${b}, ${opacity})`;
}

/** The font of all text in charts. */
export function font(size = 11.5) {
  return { family: getComputedStyle(document.body).fontFamily, size, color: colour("quiet") };
}

/** Draws all charts anew, in the colours of now. */
export function recolour() {
  for (const plot of plots) plot.redraw();
}

/** A chart: what plotly draws into an element, drawn anew when the element's size or the theme changes. */
export class Plot {
  #make = null;
  #bind = null;
  #bound = false;
  #held = false;
  #size = "";
  #observer;

  /**
   * @param {(plot: HTMLElement) => void} bind called once plotly is there, to listen to its events
   */
  constructor(bind) {
    this.el = document.createElement("div");
    this.el.className = "plot";
    this.#bind = bind;
    this.#observer = new ResizeObserver(() => this.#resized());
    this.#observer.observe(this.el);
    this.el.addEventListener("pointerdown", () => this.#hold());
    plots.add(this);
  }

  /**
   * Draws.
   * @param {(width: number, height: number) => {data: object[], layout: object}} make
   * @returns {Promise<void>} until it is there
   */
  async show(make) {
    this.#make = make;
    await library();
    await new Promise((resolve) => setTimeout(resolve));
    await this.redraw();
  }

  /** Draws what was shown last once more. */
  async redraw() {
    if (!this.#make || !window.Plotly || this.#held || !this.el.isConnected || this.el.clientWidth === 0) return;
    const { clientWidth: width, clientHeight: height } = this.el;
    this.#size = `${width}x${height}`;
    const { data, layout } = this.#make(width, height);
    await window.Plotly.react(this.el, data, { width, height, ...layout }, CONFIG);
    if (!this.#bound) {
      this.#bound = true;
      this.#bind(this.el);
    }
  }

  /** Gives back what it holds. */
  destroy() {
    plots.delete(this);
    this.#observer.disconnect();
    this.#make = null;
    if (window.Plotly && this.#bound) window.Plotly.purge(this.el);
  }

  #resized() {
    if (this.#make && this.#size !== `${this.el.clientWidth}x${this.el.clientHeight}`) this.redraw();
  }

  /** While a range is being dragged, nothing is drawn below the pointer. */
  #hold() {
    this.#held = true;
    const release = () => {
      this.#held = false;
      removeEventListener("pointerup", release);
      removeEventListener("pointercancel", release);
    };
    addEventListener("pointerup", release);
    addEventListener("pointercancel", release);
  }
}
