// The page of a service: what has come from it goes to where it is shown.

import { closeConnection, drain, reload } from "./actions.js";
import { Chart } from "./charts.js";
import { Connections } from "./connections.js";
import { found, list, mark, write } from "./elements.js";
import { Causes, Panels } from "./panels.js";
import { Samples } from "./samples.js";
import { asked, Stream } from "./service.js";
import { clock, count, counted, day, duration, moment, rate, size, visible } from "./text.js";

/* global THEMES, setTheme */

const STATUS_EVERY = 5_000; // milliseconds

const samples = new Samples();
const panels = new Panels();
const causes = new Causes();
const connections = new Connections((row) => closeConnection(row, () => connections.load()));
const charts = {
  open: new Chart(found("chart-open"), {
    title: "Open connections",
    series: [
      { label: "open", line: "line-1", text: count },
      { label: "in the handshake", line: "line-2", dash: [5, 4], text: count },
    ],
  }),
  handshakes: new Chart(found("chart-handshakes"), {
    title: "Connections and handshakes a second",
    series: [
      { label: "accepted", line: "line-5", dash: [1, 3], text: rate },
      { label: "done", line: "line-3", text: rate },
      { label: "failed", line: "line-4", dash: [5, 4], text: rate },
    ],
  }),
};

let status = null; // as last told
let loading = null; // the timer of the next time
let most = 0; // connections, when the drain began

const accepted = (sample) => sample.accepted;
const established = (sample) => sample.established;
const failing = (sample) => sample.failed + sample.refused;

function showSamples() {
  const { last } = samples;
  if (!last) {
    return;
  }
  const times = samples.times();
  charts.open.show(times, samples.values("open"), samples.values("handshaking"));
  charts.handshakes.show(times, samples.rates(accepted), samples.rates(established), samples.rates(failing));
  causes.show(samples);
  write(found("open"), count(last.open));
  write(found("handshaking"), last.handshaking ? `${count(last.handshaking)} in the handshake` : "");
  write(found("handshakes"), rate(samples.rate(established)));
  write(found("failing"), rate(samples.rate(failing)));
  mark(found("failing"), "data-tone", samples.rate(failing) > 0 ? "warn" : null);
  write(found("bytes-in"), size(samples.rate((sample) => sample.bytes_in)));
  write(found("bytes-out"), size(samples.rate((sample) => sample.bytes_out)));
  showDrain(last);
}

function showDrain(sample) {
  found("draining").hidden = !sample.draining;
  found("drain").disabled = sample.draining;
  if (!sample.draining) {
    return;
  }
  most = Math.max(most, sample.left);
  const until = status?.drain?.until;
  found("drain-progress").max = Math.max(most, 1);
  found("drain-progress").value = most - sample.left;
  const cut = until ? `; who is left is cut at ${clock(until)}` : "";
  write(
    found("drain-text"),
    `${count(most - sample.left)} of ${counted(most, "connection")} finished, ${count(sample.left)} left${cut}`,
  );
}

function showStatus() {
  write(found("version"), visible(status.version));
  write(found("uptime"), duration(status.uptime));
  write(found("started"), `since ${status.uptime < 86400 ? clock(status.started) : day(status.started)}`);
  const troubles = (status.troubles ?? []).map(visible);
  write(found("readiness"), troubles.length ? "not ready" : "ready");
  mark(found("readiness"), "data-tone", troubles.length ? "bad" : "good");
  found("troubles").hidden = troubles.length === 0;
  list(found("troubles").querySelector("ul"), troubles);
  panels.show(status);
  showReload(status.reload);
}

function showReload(reloads) {
  const last = reloads?.last;
  const result = last
    ? `${moment(last.at)}: ${last.served ? "served" : "failed, the old stays"}`
    : "none since the start";
  const attempts = reloads?.attempts
    ? `; ${counted(reloads.attempts, "attempt")}, ${count(reloads.failures)} failed`
    : "";
  write(found("reload-result"), result + attempts);
  mark(found("reload-result"), "data-tone", last && !last.served ? "bad" : null);
  list(found("reload-lines"), (last?.lines ?? []).map(visible));
}

async function loadStatus() {
  clearTimeout(loading);
  try {
    status = (await asked("status")).value;
    showStatus();
  } catch {
    // the stream tells that the service is gone; what is shown stays
  }
  clearTimeout(loading);
  loading = setTimeout(loadStatus, STATUS_EVERY);
}

function hear(sample) {
  const before = samples.last;
  samples.add(sample);
  showSamples();
  if (before && (before.reloads !== sample.reloads || before.draining !== sample.draining)) {
    loadStatus();
  }
}

function showStream({ lost, seconds }) {
  const known = samples.last !== null;
  write(found("stream"), lost ? "lost" : "live");
  mark(found("stream"), "data-tone", lost ? "bad" : "good");
  const hidden = !lost || (!known && seconds < 3);
  found("lost").hidden = hidden;
  document.body.classList.toggle("stale", !hidden);
  if (!hidden) {
    const gone = "The service was draining and does not answer any more; trying again";
    write(found("lost-text"), samples.last?.draining ? gone : "The connection to the service is lost, trying again");
    write(found("lost-age"), known ? `; what is shown is ${duration(seconds)} old.` : ".");
  }
}

function showTheme() {
  write(found("theme"), `Colours: ${THEMES[document.documentElement.dataset.theme]}`);
  Object.values(charts).forEach((chart) => chart.recolour());
}

function nextTheme() {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
  showTheme();
}

found("place").textContent = location.host;
document.title = `mytls at ${location.host}`;
found("theme").addEventListener("click", nextTheme);
found("reload").addEventListener("click", () => reload(loadStatus));
found("drain").addEventListener("click", () => drain(counted(samples.last?.open ?? 0, "connection"), loadStatus));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
document.addEventListener("visibilitychange", () => document.hidden || connections.load());

showTheme();
loadStatus();
new Stream({
  history: (all) => {
    samples.begin(all);
    showSamples();
  },
  sample: hear,
  state: showStream,
});
