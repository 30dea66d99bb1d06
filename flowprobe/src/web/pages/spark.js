// Small curves beside numbers, drawn by ourselves: they are there with the numbers.

import { svg } from "./dom.js";

const WIDTH = 120;
const HEIGHT = 30;
const MOST = 60;

/** A curve of values, from 0 up. @param {number[]} all */
export function spark(all) {
  const values = thinned(all);
  const most = Math.max(...values, 0);
  const shape = svg("svg", {
    class: "spark",
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  if (!(most > 0) || values.length < 2) return shape;
  const points = values.map(
    (value, at) =>
      `${((at / (values.length - 1)) * WIDTH).toFixed(1)},${(HEIGHT - 1 - (value / most) * (HEIGHT - 3)).toFixed(1)}`,
  );
  shape.append(
    svg("polygon", { class: "under", points: `0,${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}` }),
    svg("polyline", { class: "line", points: points.join(" "), "vector-effect": "non-scaling-stroke" }),
  );
  return shape;
}

/** No more values than the curve has room for: averages of neighbours. */
function thinned(values) {
  const size = Math.ceil(values.length / MOST);
  if (size <= 1) return values;
  return Array.from(
    { length: Math.floor(values.length / size) },
    (_, at) => values.slice(at * size, (at + 1) * size).reduce((sum, value) => sum + value, 0) / size,
  );
}
