// Which colour stands for what: the same thing keeps its colour from question to question.

const COLOURS = ["c0", "c1", "c2", "c3", "c4", "c6", "c7", "c8"];
const REST = "c5";
/** What is nearly everywhere has a colour of its own. */
const USUAL = { TCP: "c0", UDP: "c1", ICMP: "c2", ICMPv6: "c4" };
const MOST_REMEMBERED = 200;
const remembered = new Map();

/**
 * The colours of these, in this order: names of custom properties. "other" is always grey.
 * @param {string} kind of what they are the names: names of one kind share no colour
 * @param {string[]} names
 * @returns {string[]}
 */
export function colours(kind, names) {
  const taken = new Set();
  const result = names.map((name) => {
    const known = (kind === "protocol" && USUAL[name]) || remembered.get(`${kind} ${name}`);
    if (name === "other") return REST;
    if (!known || taken.has(known)) return null;
    taken.add(known);
    return known;
  });
  return result.map((known, position) => known ?? choose(`${kind} ${names[position]}`, taken));
}

function choose(key, taken) {
  const chosen = COLOURS.find((one) => !taken.has(one)) ?? REST;
  taken.add(chosen);
  if (remembered.size >= MOST_REMEMBERED) remembered.clear();
  remembered.set(key, chosen);
  return chosen;
}
