// Values in, text for a person out.

const number = new Intl.NumberFormat("en");
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

// What would not be seen, or would have the rest seen wrongly: controls, bidi marks, what has no width.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** Text of anybody's, with what would not be seen written as the log writes it: `\u{202e}`. */
export function visible(text) {
  return String(text).replace(UNSEEN, (unseen) => {
    const code = unseen.codePointAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

/** What is not known is a dash. */
export function orDash(value) {
  return value === null || value === undefined || value === "" ? "-" : String(value);
}

export function shortened(text, most = 120) {
  const characters = [...text];
  return characters.length <= most ? text : `${characters.slice(0, most).join("")}…`;
}

export function count(value) {
  return number.format(value ?? 0);
}

/** `3 connections`, `1 connection`. */
export function counted(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** So many a second. */
export function rate(value) {
  return value < 100 ? tenth.format(value) : number.format(Math.round(value));
}

export function size(bytes) {
  let value = bytes ?? 0;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) {
      return `${value < 10 && unit !== "B" ? tenth.format(value) : Math.round(value)} ${unit}`;
    }
    value /= 1024;
  }
  return `${tenth.format(value)} TiB`;
}

/** Seconds, in the two units that matter. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds ?? 0));
  const [days, hours, minutes] = [
    Math.floor(whole / 86400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
  ];
  if (days) {
    return `${days} d ${hours} h`;
  }
  if (hours) {
    return `${hours} h ${minutes} min`;
  }
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

const two = (value) => String(value).padStart(2, "0");

/** The time of day of a time in seconds since 1970. */
export function clock(time) {
  const date = new Date(time * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function day(time) {
  const date = new Date(time * 1000);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

export function moment(time) {
  return `${day(time)} ${clock(time)}`;
}
