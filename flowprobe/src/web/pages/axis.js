// The ticks of axes: round numbers, and round times of the browser's zone.

import * as format from "./format.js";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const TIMES = [1, 2, 5, 10, 15, 30]
  .map((n) => n * SECOND)
  .concat(
    [1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
    [1, 2, 3, 6, 12].map((n) => n * HOUR),
    [1, 2, 7, 14, 28].map((n) => n * DAY),
  );

/**
 * Round numbers between two, 0 among them.
 * @param {number} least 0, or below
 * @param {number} most above 0
 * @param {number} wanted about how many
 * @returns {number[]}
 */
export function numbers(least, most, wanted = 5) {
  const raw = (most - least) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw * 0.999);
  const result = [];
  for (let at = Math.ceil(least / step); at * step <= most; at += 1) result.push(Number((at * step).toPrecision(12)));
  return result;
}

/**
 * Round times between two, with their labels: the day is said at the first and wherever it changes.
 * @param {number} from
 * @param {number} to milliseconds
 * @param {number} width of the axis, in pixels
 * @returns {{values: number[], texts: string[]}}
 */
export function times(from, to, width) {
  const wanted = Math.max(2, Math.floor(width / 72));
  const step = TIMES.find((one) => (to - from) / one <= wanted) ?? 28 * DAY;
  const values = [];
  for (let at = firstBefore(from, step); at <= to; at = after(at, step)) if (at >= from) values.push(at);
  let shownDay = "";
  const texts = values.map((value) => {
    const dayOfValue = format.date(value);
    if (step >= DAY) return dayOfValue;
    const isNew = dayOfValue !== shownDay;
    shownDay = dayOfValue;
    const clock = format.time(value, step < MINUTE);
    return isNew ? `${clock}<br>${dayOfValue}` : clock;
  });
  return { values, texts };
}

function firstBefore(from, step) {
  const midnight = new Date(from).setHours(0, 0, 0, 0);
  return step >= DAY ? midnight : midnight + Math.floor((from - midnight) / step) * step;
}

/** Days are steps of the calendar: two of a year have not 24 hours. */
function after(at, step) {
  if (step < DAY) return at + step;
  const next = new Date(at);
  next.setDate(next.getDate() + step / DAY);
  return next.getTime();
}
