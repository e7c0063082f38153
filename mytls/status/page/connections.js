// The connections that are open: found, sorted, closed.

import { element, found, write } from "./elements.js";
import { asked } from "./service.js";
import { Table } from "./table.js";
import { count, duration, orDash, size, visible } from "./text.js";

const TOLD = 5_000; // connections that the service is asked for, the oldest ones
const DRAWN = 200; // rows
const EVERY = 2_000; // milliseconds
const SLOWER = 2; // milliseconds more for each connection: a long list is asked for less often

const tls = (row) =>
  orDash([row.version, row.cipher, row.group, row.alpn, row.resumed ? "resumed" : ""].filter(Boolean).join(" "));

const columns = (close) => [
  {
    label: "Client",
    text: (row) => (row.via ? `${row.address} via ${row.via}` : row.address),
    value: (row) => row.address,
  },
  { label: "For", text: (row) => duration(row.seconds), value: (row) => row.seconds, number: true },
  { label: "In", text: (row) => size(row.bytes_in), value: (row) => row.bytes_in, number: true },
  { label: "Out", text: (row) => size(row.bytes_out), value: (row) => row.bytes_out, number: true },
  { label: "State", text: (row) => row.state, value: (row) => row.state },
  { label: "Identity", text: (row) => orDash(row.identity), value: (row) => row.identity ?? "" },
  { label: "Asks for", text: (row) => orDash(row.server_name), value: (row) => row.server_name ?? "" },
  { label: "Handler", text: (row) => orDash(row.handler), value: (row) => row.handler ?? "" },
  { label: "TLS", text: (row) => orDash([row.version, row.group, row.alpn].filter(Boolean).join(" ")) },
  { label: "Listener", text: (row) => orDash(row.listener), value: (row) => row.listener ?? "" },
  { label: "Host", text: (row) => orDash(row.host), value: (row) => row.host ?? "" },
  { label: "Close", make: (row) => closing(row, close) },
];

function closing(row, close) {
  const button = element("button", { type: "button", "aria-label": `Close ${visible(row.address)}` }, "Close");
  button.addEventListener("click", () => close(row));
  return button;
}

/** All that can be found in a row, as it is shown. */
function words(row) {
  const of = [
    row.id,
    row.address,
    row.via,
    row.identity,
    row.server_name,
    row.handler,
    row.state,
    row.listener,
    row.host,
    tls(row),
  ];
  return visible(of.filter((word) => word !== null && word !== undefined).join(" ")).toLowerCase();
}

export class Connections {
  /** @param close: called with the row whose button was pressed */
  constructor(close) {
    this.table = new Table(found("connection-table"), {
      caption: "Open connections",
      columns: columns(close),
      key: (row) => row.id,
      empty: "no connection",
      most: DRAWN,
    });
    this.rows = [];
    this.total = 0;
    this.search = found("search");
    this.search.addEventListener("input", () => this.draw());
    this.search.addEventListener("keydown", (event) => this.#clear(event));
    this.#offerSorting();
    document.addEventListener("keydown", (event) => this.#slash(event));
    this.again = setTimeout(() => this.load(), 0);
  }

  /** Ask for them, and once more after a while. */
  async load() {
    clearTimeout(this.again);
    try {
      if (!document.hidden) {
        const { value, total } = await asked(`connections?limit=${TOLD}`);
        this.rows = value;
        this.total = Number.isNaN(total) ? value.length : total;
        this.draw();
      }
    } catch {
      // the stream tells that the service is gone; the rows stay
    }
    clearTimeout(this.again);
    this.again = setTimeout(() => this.load(), EVERY + SLOWER * this.rows.length);
  }

  draw() {
    const wanted = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = wanted.length ? this.rows.filter((row) => matches(row, wanted)) : this.rows;
    const drawn = this.table.show(matching);
    write(found("count"), this.#told(matching.length, drawn, wanted.length > 0));
  }

  #told(matching, drawn, searched) {
    const parts = [searched ? `${count(matching)} of ${count(this.rows.length)} match` : `${count(this.total)} open`];
    if (drawn < matching) {
      parts.push(`the first ${count(drawn)} are shown`);
    }
    if (this.rows.length < this.total) {
      parts.push(`the service has told of the oldest ${count(this.rows.length)} of ${count(this.total)}`);
    }
    return parts.join("; ");
  }

  /** Where the table is cards, there are no heads to press. */
  #offerSorting() {
    const place = found("sort");
    place.append(element("option", { value: "" }, "age, oldest first"));
    this.table.columns.forEach((column, at) => {
      if (column.value) {
        place.append(
          element("option", { value: `${at}` }, column.label),
          element("option", { value: `${at} down` }, `${column.label}, down`),
        );
      }
    });
    place.addEventListener("change", () => {
      const [at, down] = place.value.split(" ");
      this.table.sortBy(null);
      if (at !== "") {
        this.table.sortBy(Number(at));
      }
      if (down) {
        this.table.sortBy(Number(at));
      }
    });
  }

  #slash(event) {
    const typing = event.target.closest("input, select, textarea, dialog");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.search.focus();
      this.search.select();
    }
  }

  #clear(event) {
    if (event.key === "Escape") {
      this.search.value = "";
      this.draw();
    }
  }
}

function matches(row, wanted) {
  const text = words(row);
  return wanted.every((word) => text.includes(word));
}
