// Work that follows the pointer: at most one at a time, always for what is newest.

/**
 * `latest(work)` is a function that calls `work` with its arguments, once the call before has
 * ended; of several calls in between the last alone counts.
 */
export function latest(work) {
  let next = null;
  let working = false;
  return async (...given) => {
    next = given;
    if (working) return;
    working = true;
    try {
      while (next !== null) {
        const now = next;
        next = null;
        await work(...now);
      }
    } finally {
      working = false;
    }
  };
}
