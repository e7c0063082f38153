// The tables of what changes seldom: certificates, listeners, hosts, backends, workers; and failures by cause.

import { drawSparkline, sparkline } from "./charts.js";
import { found } from "./elements.js";
import { Table } from "./table.js";
import { count, counted, day, duration, orDash } from "./text.js";

const SOON = 14; // days

function certificateState(row) {
  const seconds = row.not_after - Date.now() / 1000;
  if (row.expired) {
    return ["bad", `expired ${duration(-seconds)} ago`];
  }
  const left = row.days_left < 1 ? duration(seconds) : counted(Math.floor(row.days_left), "day");
  return row.days_left < SOON ? ["warn", `${left}, renew now`] : ["good", left];
}

const CERTIFICATES = [
  {
    label: "Days left",
    text: (row) => certificateState(row)[1],
    tone: (row) => certificateState(row)[0],
    value: (row) => row.days_left,
  },
  { label: "Host", text: (row) => orDash(row.host), value: (row) => row.host ?? "" },
  { label: "Until", text: (row) => day(row.not_after) },
  { label: "Issuer", text: (row) => orDash(row.issuer) },
  { label: "Key", text: (row) => orDash(row.key) },
  { label: "Subject", text: (row) => orDash(row.subject) },
  { label: "Serial", text: (row) => orDash(row.serial) },
  { label: "Listener", text: (row) => orDash(row.listener) },
  { label: "File", text: (row) => orDash(row.file) },
];

const LISTENERS = [
  { label: "Address", text: (row) => orDash(row.address) },
  { label: "Handler", text: (row) => orDash(row.handler) },
  {
    label: "State",
    text: (row) => (row.listening ? "listening" : "not listening"),
    tone: (row) => (row.listening ? "good" : "bad"),
  },
  { label: "Open", text: (row) => count(row.open), number: true },
  { label: "Accepted", text: (row) => count(row.accepted), number: true },
  { label: "Refused", text: (row) => count(row.refused), number: true },
  { label: "Failed", text: (row) => count(row.failed), number: true },
];

const BACKENDS = [
  { label: "Backend", text: (row) => row.backend },
  {
    label: "State",
    text: (row) => row.state,
    tone: (row) => ({ up: "good", down: "bad", unhealthy: "warn" })[row.state],
  },
  { label: "For", text: (row) => (row.since ? duration(Date.now() / 1000 - row.since) : "-") },
  { label: "Open", text: (row) => count(row.open), number: true },
  { label: "Failures", text: (row) => count(row.failures), number: true },
  { label: "Handler", text: (row) => orDash(row.handler) },
];

const WORKERS = [
  { label: "Worker", text: (row) => row.worker },
  { label: "State", text: (row) => (row.up ? "up" : "down"), tone: (row) => (row.up ? "good" : "bad") },
  { label: "Process", text: (row) => orDash(row.pid) },
  { label: "For", text: (row) => (row.started ? duration(Date.now() / 1000 - row.started) : "-") },
];

const HOSTS = [
  { label: "Host", text: (row) => orDash(row.host) },
  { label: "Names", text: (row) => orDash((row.names ?? []).join(", ")) },
  { label: "Handler", text: (row) => orDash(row.handler) },
  { label: "Profile", text: (row) => orDash(row.profile) },
  { label: "Client certificates", text: (row) => orDash(row.client_auth) },
  { label: "ALPN", text: (row) => orDash((row.alpn ?? []).join(", ")) },
  { label: "Rules", text: (row) => orDash([row.rules ?? []].flat().join(", ")) },
  { label: "Listener", text: (row) => orDash(row.listener) },
];

const CAUSES = [
  { label: "Cause", text: (row) => row.cause },
  { label: "Last ten minutes", make: () => sparkline(), change: (drawn, row) => drawSparkline(drawn, row.parts) },
  { label: "Count", text: (row) => count(row.recent), number: true },
  { label: "Since the start", text: (row) => count(row.total), number: true },
  { label: "When", text: (row) => row.when },
];

/** The tables of `/status`. */
export class Panels {
  constructor() {
    const whole = (row) => JSON.stringify([row.listener, row.host, row.names, row.address, row.endpoint]);
    this.certificates = new Table(found("certificates"), {
      caption: "Certificates, the next to expire first",
      columns: CERTIFICATES,
      key: (row) => JSON.stringify([row.listener, row.host, row.file, row.serial]),
      sort: 0,
    });
    this.listeners = new Table(found("listeners"), { caption: "Listeners", columns: LISTENERS, key: whole });
    this.hosts = new Table(found("hosts"), { caption: "Hosts", columns: HOSTS, key: whole });
    const backend = (row) => JSON.stringify([row.handler, row.backend]);
    this.backends = new Table(found("backends"), { caption: "Backends", columns: BACKENDS, key: backend });
    this.workers = new Table(found("workers"), { caption: "Workers", columns: WORKERS, key: (row) => row.pid });
  }

  show(status) {
    for (const name of ["certificates", "listeners", "hosts", "backends", "workers"]) {
      this[name].show(status[name] ?? []);
    }
    found("backends-panel").hidden = !(status.backends ?? []).length;
    found("workers-panel").hidden = !(status.workers ?? []).length;
  }
}

const PARTS = 60;

/** Failures and refusals by cause, over the samples. */
export class Causes {
  constructor() {
    const key = (row) => `${row.when} ${row.cause}`;
    this.table = new Table(found("causes"), {
      caption: "Failures by cause",
      columns: CAUSES,
      key,
      empty: "none since the start",
    });
  }

  show(samples) {
    const rows = [
      ...this.#rows(samples, "failures", "in the handshake"),
      ...this.#rows(samples, "refusals", "before it"),
    ];
    this.table.show(rows.sort((one, other) => other.recent - one.recent || other.total - one.total));
  }

  #rows(samples, field, when) {
    return Object.entries(samples.last?.[field] ?? {}).map(([cause, total]) => {
      const parts = samples.parts((sample) => sample[field]?.[cause] ?? 0, PARTS);
      return { cause, when, total, parts, recent: parts.reduce((sum, part) => sum + part, 0) };
    });
  }
}
