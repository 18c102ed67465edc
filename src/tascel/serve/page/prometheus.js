// Prometheus' text format, and the few sums the charts need.

// Series by name: a list of { labels, value } each. Comments and blank lines are passed over.
export function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    if (!match) continue;
    const [, name, inside, number] = match;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push({ labels: labelsOf(inside ?? ""), value: numberOf(number) });
  }
  return found;
}

function labelsOf(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(/([a-zA-Z_]\w*)="((?:\\.|[^"\\])*)"/g)) {
    labels[name] = value.replace(/\\(.)/g, (_, char) => (char === "n" ? "\n" : char));
  }
  return labels;
}

const numberOf = (text) =>
  ({ "+Inf": Infinity, "-Inf": -Infinity }[text] ?? Number.parseFloat(text));

// The sum of all series of a name; 0 if there are none yet.
export const total = (metrics, name) =>
  (metrics.get(name) ?? []).reduce((sum, one) => sum + one.value, 0);

// Sums by what `key` makes of the labels, a Map in the order they were met.
export function by(metrics, name, key) {
  const sums = new Map();
  for (const { labels, value } of metrics.get(name) ?? []) {
    const group = key(labels);
    sums.set(group, (sums.get(group) ?? 0) + value);
  }
  return sums;
}

// How a histogram grew since `before`: [upper bound, count up to it], ascending.
export function grown(metrics, before, name) {
  const bound = (labels) => numberOf(labels.le);
  const old = by(before, `${name}_bucket`, bound);
  return [...by(metrics, `${name}_bucket`, bound)]
    .map(([at, count]) => [at, count - (old.get(at) ?? 0)])
    .sort(([a], [b]) => a - b);
}

// The value that a share of what a histogram counted lies below, by its buckets' bounds and linear
// between them, as Prometheus' histogram_quantile; null if it counted nothing.
export function quantile(buckets, share) {
  const all = buckets.at(-1)?.[1] ?? 0;
  if (!all) return null;
  let [start, below] = [0, 0];
  for (const [end, count] of buckets) {
    if (count >= share * all && count > below) {
      if (end === Infinity) return start;
      return start + ((end - start) * (share * all - below)) / (count - below);
    }
    [start, below] = [end, count];
  }
  return start;
}
