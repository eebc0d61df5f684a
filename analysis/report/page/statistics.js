// ---- statistics of paired differences; the rules are those of scipy.stats

const MOST_EXACT = 50, MOST_EXACT_WITH_TIES = 13, RESAMPLES = 4000;

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
function deviation(values) {
  const center = mean(values);
  return values.length < 2 ? null : Math.sqrt(values.reduce((sum, value) => sum + (value - center) ** 2, 0) / (values.length - 1));
}

// Mulberry32: the same numbers in every browser.
function randomStream(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

// The percentile bootstrap interval of the mean; null with fewer than two values.
function bootstrapInterval(values, level = 0.95) {
  const count = values.length;
  if (count < 2) return null;
  const random = randomStream(0);
  const means = Float64Array.from({ length: RESAMPLES }, () => {
    let sum = 0;
    for (let draw = 0; draw < count; draw++) sum += values[Math.floor(random() * count)];
    return sum / count;
  }).sort();
  const quantile = (share) => {
    const place = share * (RESAMPLES - 1), below = Math.floor(place);
    return means[below] + (place - below) * ((means[below + 1] ?? means[below]) - means[below]);
  };
  return [quantile((1 - level) / 2), quantile((1 + level) / 2)];
}

// Twice the average ranks, which are whole numbers also of tied values; and the sizes of the groups of equal values.
function doubledRanks(values) {
  const order = values.map((_, index) => index).sort((a, b) => values[a] - values[b]);
  const ranks = [], sizes = [];
  for (let start = 0, end; start < order.length; start = end) {
    for (end = start; end < order.length && values[order[end]] === values[order[start]]; end++);
    for (let place = start; place < end; place++) ranks[order[place]] = start + 1 + end;
    sizes.push(end - start);
  }
  return { ranks, sizes };
}

// Wilcoxon's signed-rank test, two-sided, zeros left out: {p, method}. Exact (over all signs) for up to 50 pairs, or 13
// with ties or zeros; else by the normal approximation with correction for ties and none for continuity.
function wilcoxon(differences) {
  const kept = differences.filter((value) => value !== 0);
  if (differences.length < 2) return { p: null, method: "" };
  if (!kept.length) return { p: 1, method: "all equal" };
  const { ranks, sizes } = doubledRanks(kept.map(Math.abs));
  const statistic = ranks.reduce((sum, rank, index) => sum + (kept[index] > 0 ? rank : 0), 0);
  const tied = kept.length < differences.length || sizes.some((size) => size > 1);
  return differences.length <= (tied ? MOST_EXACT_WITH_TIES : MOST_EXACT)
    ? { p: exactP(ranks, statistic), method: "exact" }
    : { p: normalP(kept.length, sizes, statistic / 2), method: "normal" };
}
function exactP(ranks, statistic) {
  const total = ranks.reduce((sum, rank) => sum + rank, 0), ways = new Float64Array(total + 1);
  ways[0] = 1;
  for (const rank of ranks) for (let sum = total; sum >= rank; sum--) ways[sum] += ways[sum - rank];
  const among = (from, to) => ways.subarray(from, to).reduce((sum, count) => sum + count, 0) / 2 ** ranks.length;
  return Math.min(1, 2 * Math.min(among(0, statistic + 1), among(statistic, total + 1)));
}
function normalP(count, sizes, statistic) {
  const ties = sizes.reduce((sum, size) => sum + size ** 3 - size, 0);
  const variance = (count * (count + 1) * (2 * count + 1) - ties / 2) / 24;
  return erfc(Math.abs(statistic - (count * (count + 1)) / 4) / Math.sqrt(2 * variance));
}

// The complementary error function for x ≥ 0: the series of erf, or the continued fraction in the tail.
function erfc(x) {
  const scale = Math.exp(-x * x) / Math.sqrt(Math.PI);
  if (x < 2.5) {
    let sum = 0;
    for (let index = 0, term = 2 * x; index < 60; index++, term *= (2 * x * x) / (2 * index + 1)) sum += term;
    return 1 - scale * sum;
  }
  let fraction = x;
  for (let index = 60; index > 0; index--) fraction = x + index / 2 / fraction;
  return scale / fraction;
}

// p-values adjusted for their number by Holm's method; null is no test and stays.
function holm(values) {
  const order = values.map((_, index) => index).filter((index) => values[index] !== null).sort((a, b) => values[a] - values[b]);
  const adjusted = values.map(() => null);
  let least = 0;
  order.forEach((index, place) => {
    least = Math.min(1, Math.max(least, values[index] * (order.length - place)));
    adjusted[index] = least;
  });
  return adjusted;
}
