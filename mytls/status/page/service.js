// What the service is asked, and how it tells of itself. All addresses are of the page's own origin.

const PATIENCE = 10_000; // milliseconds
const SILENCE = 5_000; // after so long without a sample, the connection counts as lost
const AGAIN = 3_000;

/** A document of the service. @return: its value, and how many there would be, where it has told only the first */
export async function asked(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) {
    throw new Error(`${path}: ${answer.status}`);
  }
  return { value: await answer.json(), total: Number(answer.headers.get("X-Total-Count") ?? NaN) };
}

/** Have something done. @return: whether it was, and the lines that the service says */
export async function done(path) {
  try {
    const answer = await fetch(path, { method: "POST", cache: "no-store" });
    return { ok: answer.ok, status: answer.status, lines: lines(await answer.text()) };
  } catch {
    return { ok: false, status: 0, lines: ["the service does not answer"] };
  }
}

/** JSON with `lines` or `error`, or plain text. */
function lines(text) {
  try {
    const said = JSON.parse(text);
    return (said.lines ?? [said.error ?? ""]).map(String).filter(Boolean);
  } catch {
    return text.split("\n").filter(Boolean);
  }
}

/** The samples, as they come; a stream that has ended or says nothing is opened again. */
export class Stream {
  /** @param told: called with `history` and a list, or `sample` and one @param state: called with the seconds since */
  constructor({ history, sample, state }) {
    this.hear = { history, sample };
    this.state = state;
    this.heard = performance.now();
    this.opened = this.heard;
    this.#open();
    setInterval(() => this.#look(), 1000);
  }

  #open() {
    this.opened = performance.now();
    this.source = new EventSource("events");
    for (const [name, hear] of Object.entries(this.hear)) {
      this.source.addEventListener(name, (event) => {
        this.heard = performance.now();
        hear(JSON.parse(event.data));
        this.#tell();
      });
    }
  }

  #look() {
    const now = performance.now();
    const quiet = now - this.heard > SILENCE && now - this.opened > SILENCE;
    const ended = this.source.readyState === EventSource.CLOSED && now - this.opened > AGAIN;
    if (quiet || ended) {
      this.source.close();
      this.#open();
    }
    this.#tell();
  }

  #tell() {
    const seconds = (performance.now() - this.heard) / 1000;
    this.state({ lost: seconds * 1000 > SILENCE || this.source.readyState !== EventSource.OPEN, seconds });
  }
}
