// The samples of the last minutes, and what follows from them.

export const KEPT = 600; // seconds

export class Samples {
  constructor() {
    this.all = [];
  }

  get last() {
    return this.all.at(-1) ?? null;
  }

  /** All that the service still knows, in place of what was there. */
  begin(samples) {
    this.all = [];
    samples.forEach((sample) => this.add(sample));
  }

  add(sample) {
    if (this.last && sample.at <= this.last.at) {
      return;
    }
    this.all.push(sample);
    while (this.all[0].at < sample.at - KEPT) {
      this.all.shift();
    }
  }

  /** The times, in seconds. */
  times() {
    return this.all.map((sample) => sample.at);
  }

  /** A value as it was at each time. */
  values(field) {
    return this.all.map((sample) => sample[field] ?? 0);
  }

  /** How much a count has grown each second before each time; null where nothing is known before it. */
  rates(counter) {
    return this.all.map((sample, at) => (at ? growth(this.all[at - 1], sample, counter) : null));
  }

  /** How much a count grows each second now. @param seconds: over how long */
  rate(counter, seconds = 5) {
    const { last } = this;
    const first = this.all.find((sample) => last && sample.at >= last.at - seconds - 0.5);
    return first && first !== last ? growth(first, last, counter) : 0;
  }

  /** How much a count has grown in each part of the time that is kept. */
  parts(counter, number) {
    const grown = new Array(number).fill(0);
    const start = (this.last?.at ?? 0) - KEPT;
    for (let at = 1; at < this.all.length; at += 1) {
      const part = Math.floor(((this.all[at].at - start) / KEPT) * number);
      grown[Math.min(Math.max(part, 0), number - 1)] += difference(this.all[at - 1], this.all[at], counter);
    }
    return grown;
  }
}

/** A count never goes down, but where a process has begun again. */
function difference(before, after, counter) {
  return Math.max(0, counter(after) - counter(before));
}

function growth(before, after, counter) {
  return difference(before, after, counter) / (after.at - before.at);
}
