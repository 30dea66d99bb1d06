// The program: which page an address is, how one becomes another, and when what is shown is asked for again.

import { get, address } from "./api.js";
import { Controls } from "./controls.js";
import { fill, h, icon } from "./dom.js";
import { letChartsDraw, letChartsDrawSoon, recolour } from "./drawing.js";
import { setNavigation } from "./nav.js";
import { Run } from "./run.js";
import { Status } from "./status.js";
import { link, parse } from "./url.js";
import conversations from "./views/conversations.js";
import { finding, findings } from "./views/findings.js";
import host from "./views/host.js";
import hosts from "./views/hosts.js";
import interfaces from "./views/interfaces.js";
import live from "./views/live.js";
import missing from "./views/missing.js";
import overview from "./views/overview.js";
import places from "./views/places.js";
import ports from "./views/ports.js";
import records from "./views/records.js";

/** Pages that the navigation leads to. */
const PAGES = [
  { path: "/", name: "Overview", icon: "overview" },
  { path: "/hosts", name: "Hosts", icon: "hosts" },
  { path: "/ports", name: "Ports and protocols", icon: "ports" },
  { path: "/conversations", name: "Conversations", icon: "conversations" },
  { path: "/records", name: "Flow records", icon: "records" },
  { path: "/places", name: "Countries and AS", icon: "places" },
  { path: "/interfaces", name: "Interfaces and exporters", icon: "interfaces" },
  { path: "/findings", name: "Findings", icon: "findings" },
];

const VIEWS = new Map(
  Object.entries({
    "/hosts": hosts,
    "/ports": ports,
    "/conversations": conversations,
    "/records": records,
    "/places": places,
    "/interfaces": interfaces,
    "/findings": findings,
  }),
);

const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const controls = new Controls(byId("controls"));
const status = new Status(byId("status"), { pause: () => refresh.pause(), resume: () => refresh.resume() });

/** @type {import("./url.js").State} */
let state = parse(location);
let view = null;
let page = null;
let run = null;

/** The view of a state: overview has two, as live has other questions. */
function viewOf({ path, range }) {
  if (path === "/") return range.kind === "live" ? live : overview;
  if (/^\/hosts\/[^/]+$/.test(path)) return host;
  if (/^\/findings\/[^/]+$/.test(path)) return finding;
  return VIEWS.get(path) ?? missing;
}

/** How long what is shown stays new enough, in milliseconds; none where it does not change. */
function interval() {
  // What has its own pace does not depend on the time range.
  if (view.every) return view.every;
  if (view === missing || state.range.kind === "custom") return null;
  if (state.range.kind === "live") return view === live ? 2000 : 10_000;
  return 60_000;
}

/** Shows what the address says. @param {{moved: boolean}} how whether someone went there, and the focus goes along */
function show({ moved }) {
  const before = state;
  state = parse(location);
  const next = viewOf(state);
  root.dataset.state = "loading";
  const isElsewhere = state.path !== before.path;
  if (next !== view || isElsewhere || page === null) mount(next);
  drawHeading(moved && isElsewhere);
  controls.show(state);
  byId("controls").hidden = next === missing;
  drawNavigation();
  refresh.now(false);
}

function mount(next) {
  page?.destroy?.();
  view = next;
  const content = fill(byId("content"));
  page = view.mount(content, state);
}

/** Title and subtitle; whoever went there has the focus at the first. */
function drawHeading(isNew) {
  const title = typeof view.title === "function" ? view.title(state) : view.title;
  byId("title").textContent = title;
  fill(byId("subtitle"), typeof view.subtitle === "function" ? view.subtitle(state) : view.subtitle);
  document.title = `${title} – flowprobe`;
  if (!isNew) return;
  scrollTo(0, 0);
  byId("title").focus({ preventScroll: true });
}

/** Asks everything on the page; what is drawn already stays until there is something newer. */
async function load(isRefresh) {
  run?.stop();
  const mine = new Run(state, isRefresh);
  run = mine;
  letChartsDrawSoon();
  if (!isRefresh) root.dataset.state = "loading";
  await page.load(mine);
  if (mine.signal.aborted) return null;
  controls.found(mine);
  drawNotices(mine);
  if (!isRefresh) root.dataset.state = "tables";
  requestAnimationFrame(() => setTimeout(letChartsDraw));
  await mine.drawn();
  if (mine.signal.aborted) return null;
  root.dataset.state = "ready";
  root.dataset.refreshed = String(Date.now());
  return mine;
}

/** Asking again: after a while, not while nobody looks, and sooner when the daemon did not answer. */
const refresh = {
  timer: 0,
  misses: 0,
  isPaused: false,

  async now(isRefresh = true) {
    clearTimeout(this.timer);
    const started = performance.now();
    const done = await load(isRefresh);
    if (!done) return;
    const isAway = done.problems.some((problem) => problem.status === 0);
    this.misses = isAway ? this.misses + 1 : 0;
    const wait = isAway ? Math.min(10_000, 1000 * 2 ** this.misses) : interval();
    if (wait === null) return status.show({ kind: "still" });
    if (this.isPaused && !isAway) return status.show({ kind: "paused" });
    status.show(isAway ? { kind: "away", wait } : { kind: state.range.kind === "live" ? "live" : "fresh", wait });
    if (!document.hidden)
      this.timer = setTimeout(() => this.now(), Math.max(isAway ? wait : 250, wait - (performance.now() - started)));
  },

  pause() {
    this.isPaused = true;
    clearTimeout(this.timer);
    status.show({ kind: "paused" });
  },

  resume() {
    this.isPaused = false;
    this.now();
  },
};

document.addEventListener("visibilitychange", () => {
  if (refresh.isPaused || interval() === null) return;
  if (document.hidden) {
    clearTimeout(refresh.timer);
    status.show({ kind: "hidden" });
  } else refresh.now();
});

function drawNotices(done) {
  const none = done.problems.some((problem) => problem.hasNoHistory);
  fill(
    byId("notices"),
    none
      ? h(
          "p.notice",
          { data: { notice: "no-history" } },
          icon("warn"),
          h(
            "span",
            {},
            "This daemon keeps no history (",
            h("code", {}, "--store none"),
            "), so there is nothing to ask it about the past. ",
            h("a", { href: link(state, { path: "/", range: { kind: "live" } }) }, "Live shows what it meters now"),
            ".",
          ),
        )
      : null,
  );
}

function drawNavigation() {
  const isHere = (path) => state.path === path || (path !== "/" && state.path.startsWith(`${path}/`));
  fill(
    byId("pages"),
    PAGES.map((one) =>
      h(
        "li",
        {},
        h(
          "a",
          {
            href: link(state, { path: one.path, options: {} }),
            "aria-current": isHere(one.path) ? "page" : null,
            data: { page: one.path },
          },
          icon(one.icon),
          one.name,
        ),
      ),
    ),
  );
  document.querySelector(".brand").setAttribute("href", link(state, { path: "/", options: {} }));
  openMenu(false);
}

function openMenu(isOpen) {
  byId("menu").setAttribute("aria-expanded", String(isOpen));
}

function go(href) {
  const isSame = new URL(href, location).href === location.href;
  if (!isSame) history.pushState(null, "", href);
  show({ moved: true });
}

/** Links of ours change the page without loading it; a click on a row goes where the row leads. */
function clicked(event) {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
    return;
  const target = event.target instanceof Element ? event.target : null;
  const copy = target?.closest("[data-copy]");
  if (copy) return copyText(copy);
  const anchor = target?.closest("a[href]");
  if (anchor) {
    const url = new URL(anchor.href);
    const isOurs =
      url.origin === location.origin &&
      !anchor.hasAttribute("download") &&
      !/^\/(api|metrics|assets|healthz|readyz)(\/|$)/.test(url.pathname);
    if (!isOurs || (url.hash && url.pathname === location.pathname && url.search === location.search)) return;
    event.preventDefault();
    return go(url.pathname + url.search);
  }
  const row = target?.closest("tr[data-href]");
  if (row && !target.closest("button") && getSelection().isCollapsed) go(row.dataset.href);
}

async function copyText(button) {
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied ${text}`);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  } catch {
    say("The browser does not allow copying.");
  }
}

function say(text) {
  byId("announcer").textContent = text;
}

function drawTheme() {
  for (const button of byId("theme").children)
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === window.flowprobeTheme.choice));
}

async function showVersion() {
  try {
    const daemon = await get(address("status"), AbortSignal.timeout(20_000));
    byId("version").textContent = `flowprobe ${daemon.version}`;
  } catch {
    // The pages say themselves that nobody answers.
  }
}

byId("theme").addEventListener("click", (event) => {
  const choice = event.target.closest("button")?.dataset.themeChoice;
  if (choice) window.flowprobeTheme.choose(choice);
  drawTheme();
});
byId("menu").addEventListener("click", () => openMenu(byId("menu").getAttribute("aria-expanded") !== "true"));
window.flowprobeTheme.onChange(recolour);
document.addEventListener("click", clicked);
addEventListener("popstate", () => show({ moved: true }));
if (location.pathname === "/live") history.replaceState(null, "", "/?range=live");
setNavigation(go, () => refresh.now());
drawTheme();
show({ moved: false });
showVersion();
