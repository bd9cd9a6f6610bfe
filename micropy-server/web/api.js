// The API, as the page uses it. The session is a cookie that scripts cannot read.

/** What went wrong, in words for people (RFC 9457). Status 0: no answer at all. */
export class Problem extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  static async of(response) {
    return Problem.from(response.status, await response.text().catch(() => ""), response.headers.get("retry-after"));
  }

  static from(status, body, retryAfter) {
    let detail;
    try {
      const problem = JSON.parse(body);
      detail = problem.detail || problem.title;
    } catch {
      // An answer of something between us and the service.
    }
    const seconds = Number(retryAfter) || 0;
    if (status === 429 && seconds) {
      detail = `${detail} Please wait ${seconds < 90 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`}.`;
    }
    return new Problem(status, detail || `The service answered with status ${status}.`, seconds);
  }
}

export const UNREACHABLE = "Micropy cannot be reached.";

let sessionEnded = () => {};

/** Calls `handler` whenever the service no longer knows who is asking. */
export function onSessionEnd(handler) {
  sessionEnded = handler;
}

/** As `fetch`, but what is no success is a `Problem`. */
export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Problem(0, UNREACHABLE);
  }
  if (response.ok) return response;
  const problem = await Problem.of(response);
  if (response.status === 401 && !options.anonymous) sessionEnded();
  throw problem;
}

/** JSON there and back. */
export async function call(method, path, body, options = {}) {
  const init = { method, ...options };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "content-type": "application/json" };
  }
  const response = await request(path, init);
  // What has no content, or is yet to be done.
  return [202, 204].includes(response.status) ? null : response.json();
}
