// Asking the daemon: a few questions at a time, again after a while where it says so, and errors that say what was wrong.

const AT_A_TIME = 6;
const TRIES = 6;
const PATIENCE_MS = 60_000;

let running = 0;
const waiting = [];

/** What the daemon, or the way to it, had against a question. Status 0: it did not answer. */
export class ApiError extends Error {
  /** @param {number} status @param {string} message @param {string | undefined} parameter */
  constructor(status, message, parameter) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.parameter = parameter;
  }

  /** Whether the daemon keeps no history: that is how it is, and not worth trying again. */
  get hasNoHistory() {
    return this.status === 404 && /no history/.test(this.message);
  }
}

/**
 * The address of a question.
 * @param {string} path behind /api/v1/
 * @param {URLSearchParams | string} [query]
 */
export function address(path, query = "") {
  const text = query.toString();
  return `/api/v1/${path}${text ? `?${text}` : ""}`;
}

/**
 * Asks, and gives what was answered.
 * @param {string} url
 * @param {AbortSignal} signal
 * @param {(seconds: number) => void} [onBusy] called before it waits in order to ask again
 * @returns {Promise<any>}
 */
export async function get(url, signal, onBusy = () => {}) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await inTurn(signal, () => request(url, signal));
    if (response.ok) return response.value;
    const isBusy = response.status === 429 || response.status === 503;
    if (!isBusy || attempt === TRIES) throw new ApiError(response.status, response.error, response.parameter);
    onBusy(response.retrySeconds);
    await pause(response.retrySeconds * 1000, signal);
  }
}

async function inTurn(signal, ask) {
  while (running >= AT_A_TIME) await new Promise((resolve) => waiting.push(resolve));
  running += 1;
  try {
    signal.throwIfAborted();
    return await ask();
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

async function request(url, signal) {
  const patience = new AbortController();
  const giveUp = () => patience.abort(signal.reason);
  const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
  signal.addEventListener("abort", giveUp, { once: true });
  try {
    const response = await fetch(url, { signal: patience.signal, headers: { accept: "application/json" } });
    if (response.ok) return { ok: true, value: await response.json() };
    return await refusal(response);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SyntaxError)
      throw new ApiError(502, "the answer is not the JSON that was expected", undefined);
    throw new ApiError(
      0,
      patience.signal.aborted ? `no answer within ${PATIENCE_MS / 1000} s` : "the daemon does not answer",
      undefined,
    );
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", giveUp);
  }
}

async function refusal(response) {
  let said = {};
  try {
    said = await response.json();
  } catch {
    // A refusal need not be JSON: its status says enough.
  }
  const retryAfter = Number(response.headers.get("retry-after"));
  return {
    ok: false,
    status: response.status,
    error: typeof said.error === "string" ? said.error : `HTTP status ${response.status}`,
    parameter: typeof said.parameter === "string" ? said.parameter : undefined,
    retrySeconds: Math.min(30, Math.max(1, Number.isFinite(retryAfter) ? retryAfter : 2)),
  };
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}
