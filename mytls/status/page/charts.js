// Lines over the last minutes, and small ones in tables. uPlot is a script of its own, which is there before this.

import { drawing, element, write } from "./elements.js";
import { KEPT } from "./samples.js";
import { clock } from "./text.js";

/* global uPlot */

const HEIGHT = 170;
const LEAST = 60; // seconds that are drawn, where there are no more yet

/** A chart in a figure, with its legend as the caption; the arrow keys move the time that is read. */
export class Chart {
  /** @param series: for each line `label`, `line` (the class that has its colour), `dash`, `text` (value -> text) */
  constructor(figure, { title, series }) {
    this.figure = figure;
    this.series = series;
    this.data = [[], ...series.map(() => [])];
    this.values = series.map(() => element("output", {}, "-"));
    this.reading = element("span", { class: "quiet" });
    this.told = element("span", { class: "unseen", role: "status" });
    this.area = element("div", { class: "area" });
    const legend = series.map((each, at) => {
      const line = element("span", { class: `line ${each.line}`, "aria-hidden": "true" });
      return element("span", { class: "series" }, line, `${each.label} `, this.values[at]);
    });
    figure.replaceChildren(
      element("figcaption", {}, element("h2", {}, title), ...legend, this.reading, this.told),
      this.area,
    );
    figure.tabIndex = 0;
    figure.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#resize()).observe(this.area);
    this.recolour();
  }

  show(times, ...columns) {
    this.data = [times, ...columns];
    this.plot.setData(this.data);
    this.#read();
  }

  /** Draw with the colours that hold now. */
  recolour() {
    this.plot?.destroy();
    this.plot = new uPlot(this.#options(), this.data, this.area);
  }

  #options() {
    const ink = getComputedStyle(this.reading).color;
    const grid = { stroke: getComputedStyle(this.area).outlineColor, width: 1 };
    const axis = { stroke: ink, font: "11px system-ui, sans-serif", grid, ticks: { show: false } };
    return {
      width: Math.max(this.area.clientWidth, 120),
      height: HEIGHT,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, y: false, sync: { key: "minutes" } },
      hooks: { setCursor: [() => this.#read()] },
      scales: {
        x: { range: (_, first, last) => [Math.max(last - KEPT, Math.min(first, last - LEAST)), last] },
        y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] },
      },
      axes: [
        {
          ...axis,
          size: 24,
          space: 72,
          values: (_, times) => times.map((time) => clock(time).slice(0, minutes(times) ? 5 : 8)),
        },
        { ...axis, size: 44, space: 32 },
      ],
      series: [{}, ...this.series.map((each) => this.#series(each))],
    };
  }

  #series(each) {
    const stroke = getComputedStyle(this.figure.querySelector(`.${each.line}`)).borderTopColor;
    return { label: each.label, stroke, width: 1.6, dash: each.dash, points: { show: false }, spanGaps: true };
  }

  #resize() {
    if (this.area.clientWidth) {
      this.plot.setSize({ width: this.area.clientWidth, height: HEIGHT });
    }
  }

  /** The values under the cursor; without one, those of now. */
  #read() {
    const [times] = this.data;
    const under = this.plot?.cursor.left >= 0 ? this.plot.cursor.idx : null;
    const at = under ?? times.length - 1;
    this.series.forEach((each, index) => {
      const value = this.data[index + 1][at];
      write(this.values[index], value === null || value === undefined ? "-" : each.text(value));
    });
    write(this.reading, under === null ? "now" : `at ${clock(times[under])}`);
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60 }[event.key];
    const [times] = this.data;
    if (event.key === "Escape") {
      this.plot.setCursor({ left: -10, top: -10 });
    } else if (step && times.length) {
      event.preventDefault();
      const from = this.plot.cursor.left >= 0 ? this.plot.cursor.idx : times.length - 1;
      const to = Math.min(Math.max(from + step, 0), times.length - 1);
      this.plot.setCursor({ left: this.plot.valToPos(times[to], "x"), top: 10 });
      write(this.told, `${this.reading.textContent}: ${this.#summary()}`);
    }
  }

  #summary() {
    return this.series.map((each, at) => `${each.label} ${this.values[at].textContent}`).join(", ");
  }
}

/** Whether the marks of an axis are whole minutes. */
function minutes(times) {
  return times.every((time) => time % 60 === 0);
}

const [WIDE, HIGH] = [120, 20];

/** A small line in a row; the numbers stand beside it. */
export function sparkline() {
  const line = drawing("polyline", { class: "spark" });
  return drawing("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, width: WIDE, height: HIGH, "aria-hidden": "true" }, line);
}

export function drawSparkline(drawn, values) {
  const most = Math.max(1, ...values);
  const points = values.map((value, at) => {
    const x = (at / (values.length - 1)) * WIDE;
    return `${x.toFixed(1)},${(HIGH - 1 - (value / most) * (HIGH - 2)).toFixed(1)}`;
  });
  drawn.firstElementChild.setAttribute("points", points.join(" "));
}
