// A table whose rows have keys: what changes is written into the cells that are there, so that focus, selection and
// scroll stay where they are.

import { element, mark, write } from "./elements.js";
import { shortened, visible } from "./text.js";

/**
 * A column is
 *   label   its head
 *   text    row -> what is shown; whoever's it is
 *   tone    row -> good, warn, bad or nothing: said by a word in the text too, never by colour alone
 *   value   row -> what it sorts by; without it there is no sorting by this column
 *   number  whether it stands to the right
 *   make    in place of text: row -> an element, once for each row
 *   change  element, row: what is new in that element
 */
export class Table {
  /**
   * @param key: row -> what tells it from the others
   * @param empty: what is said where there are no rows
   * @param most: how many rows are drawn at most
   */
  constructor(place, { caption, columns, key, empty = "none", most = 200, sort = null, down = false }) {
    this.columns = columns;
    this.key = key;
    this.most = most;
    this.sort = sort;
    this.down = down;
    this.given = [];
    this.rows = new Map();
    this.heads = columns.map((column, at) => this.#head(column, at));
    this.body = element("tbody");
    this.nothing = element("p", { class: "quiet" }, empty);
    this.element = element(
      "table",
      {},
      element("caption", { class: "unseen" }, caption),
      element("thead", {}, element("tr", {}, ...this.heads)),
      this.body,
    );
    place.replaceChildren(this.element, this.nothing);
    const sizes = new ResizeObserver(() => scrollable(place));
    sizes.observe(place);
    sizes.observe(this.element);
  }

  /** Show these rows. @return: how many are drawn */
  show(given) {
    this.given = given;
    const drawn = this.#sorted().slice(0, this.most);
    const focus = this.#focus();
    this.#drop(new Set(drawn.map(this.key)));
    let at = this.body.firstElementChild;
    for (const row of drawn) {
      const line = this.#line(row);
      if (line === at) {
        at = at.nextElementSibling;
      } else {
        this.body.insertBefore(line, at);
      }
    }
    this.#refocus(focus);
    this.element.hidden = drawn.length === 0;
    this.nothing.hidden = drawn.length !== 0;
    return drawn.length;
  }

  /** Sort by a column, or by none; by the same once more: the other way around. */
  sortBy(at) {
    this.down = at !== null && this.sort === at && !this.down;
    this.sort = at;
    this.#markHeads();
    this.show(this.given);
  }

  #head(column, at) {
    if (!column.value) {
      return element("th", { scope: "col", class: column.number ? "number" : "" }, column.label);
    }
    const button = element("button", { type: "button" }, column.label);
    button.addEventListener("click", () => this.sortBy(at));
    const head = element("th", { scope: "col", class: column.number ? "number" : "" }, button);
    mark(head, "aria-sort", this.#direction(at));
    return head;
  }

  #direction(at) {
    return this.sort === at ? (this.down ? "descending" : "ascending") : null;
  }

  #markHeads() {
    this.heads.forEach((head, at) => mark(head, "aria-sort", this.#direction(at)));
  }

  #sorted() {
    if (this.sort === null) {
      return this.given;
    }
    const { value } = this.columns[this.sort];
    const way = this.down ? -1 : 1;
    return this.given
      .map((row) => [value(row), row])
      .sort(([one], [other]) => way * compared(one, other))
      .map(([, row]) => row);
  }

  #line(row) {
    const key = this.key(row);
    let line = this.rows.get(key);
    if (!line) {
      line = element("tr", {}, ...this.columns.map((column) => this.#cell(column, row)));
      this.rows.set(key, line);
    }
    this.columns.forEach((column, at) => change(line.children[at], column, row));
    return line;
  }

  #cell(column, row) {
    const made = column.make ? column.make(row) : element("span", { class: "text" });
    return element("td", { "data-label": column.label, class: column.number ? "number" : "" }, made);
  }

  #drop(wanted) {
    for (const [key, line] of this.rows) {
      if (!wanted.has(key)) {
        line.remove();
        this.rows.delete(key);
      }
    }
  }

  #focus() {
    const focused = document.activeElement;
    const line = focused?.closest("tr");
    return line?.parentElement === this.body ? { focused, at: line.rowIndex - 1 } : null;
  }

  /** A row that was moved has lost the focus; for one that is gone, the row in its place has it. */
  #refocus(focus) {
    if (!focus || document.activeElement === focus.focused) {
      return;
    }
    const instead = this.body.rows[Math.min(focus.at, this.body.rows.length - 1)];
    const target = focus.focused.isConnected ? focus.focused : instead?.querySelector("button");
    target?.focus({ preventScroll: true });
  }
}

/** A box whose table is larger than itself scrolls by the keyboard too. */
function scrollable(place) {
  const larger = place.scrollWidth > place.clientWidth || place.scrollHeight > place.clientHeight;
  mark(place, "tabindex", larger ? "0" : null);
  mark(place, "role", larger ? "group" : null);
}

function change(cell, column, row) {
  if (column.make) {
    column.change?.(cell.firstElementChild, row);
    return;
  }
  const text = visible(column.text(row));
  const shown = shortened(text);
  write(cell.firstElementChild, shown);
  mark(cell, "title", shown === text ? null : text);
  mark(cell, "data-tone", column.tone?.(row));
}

function compared(one, other) {
  if (typeof one === "number" && typeof other === "number") {
    return one - other;
  }
  return String(one ?? "").localeCompare(String(other ?? ""), "en", { numeric: true });
}
