// What this browser keeps. One that keeps nothing, or has no room, is no reason to stop.

const PREFIX = "chainkit.";

export function read(name, otherwise = null) {
  try {
    const kept = localStorage.getItem(PREFIX + name);
    return kept === null ? otherwise : JSON.parse(kept);
  } catch {
    return otherwise;
  }
}

/** Whether it is kept now. */
export function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function forget(name) {
  try { localStorage.removeItem(PREFIX + name); } catch { /* nothing was kept */ }
}

/** The names that begin so, without that beginning. */
export function names(beginning) {
  try {
    return Object.keys(localStorage)
      .filter((name) => name.startsWith(PREFIX + beginning))
      .map((name) => name.slice(PREFIX.length + beginning.length));
  } catch {
    return [];
  }
}
