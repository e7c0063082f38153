// What an operator can have done. Each asks first, and says what came of it.

import { found, write } from "./elements.js";
import { done } from "./service.js";
import { visible } from "./text.js";

/** Ask. @return: whether the answer was yes; the focus goes back to where it was */
function confirmed(title, text, verb) {
  const dialog = found("confirm");
  write(found("confirm-title"), title);
  write(found("confirm-text"), text);
  write(found("confirm-yes"), verb);
  return new Promise((resolve) => {
    found("confirm-yes").onclick = () => dialog.close("yes");
    found("confirm-no").onclick = () => dialog.close("no");
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.returnValue = "no"; // Escape leaves it
    dialog.showModal();
  });
}

const SAID_FOR = 15_000; // milliseconds
let over = null; // the timer of its end

/** Say what came of something, for a while. */
function tell(text, good) {
  const place = found("said");
  clearTimeout(over);
  over = setTimeout(() => (place.hidden = true), SAID_FOR);
  place.classList.toggle("bad", !good);
  place.hidden = false;
  write(place, text);
}

export async function closeConnection(row, after) {
  const who = visible(row.address);
  const text = `${who} is served by ${visible(row.handler ?? "no handler yet")}. It is told that the connection ends.`;
  if (!(await confirmed(`Close the connection of ${who}?`, text, "Close it"))) {
    return;
  }
  const { ok, status, lines } = await done(`connections/${encodeURIComponent(row.id)}/close`);
  const wrong = status === 404 ? "is not there any more" : `is not closed: ${visible(lines.join("; "))}`;
  tell(`The connection of ${who} ${ok ? "is closed" : wrong}.`, ok);
  await after();
}

export async function reload(after) {
  const button = found("reload");
  button.disabled = true;
  const { ok, lines } = await done("reload");
  button.disabled = false;
  const said = visible(lines.join("; "));
  tell(ok ? `Reloaded: ${said || "nothing has changed"}.` : `The old stays: ${said}`, ok);
  button.focus({ preventScroll: true });
  await after();
}

export async function drain(open, after) {
  const text = `Nobody is accepted any more, ${open} may finish, then the service ends. It cannot be taken back.`;
  if (!(await confirmed("Drain and stop the service?", text, "Drain"))) {
    return;
  }
  const { ok, lines } = await done("drain");
  tell(ok ? "The service drains." : `It does not drain: ${visible(lines.join("; "))}`, ok);
  await after();
}
