// Who is signed in: registering, signing in and out, and a session that ends in the middle of work.

import { forgotten } from "./account.js";
import { call, onSessionEnd } from "./api.js";
import { complain, say } from "./words.js";

const KNOWN = "micropy.session";
/** How often to see whether the session needs renewing. */
const LOOK = 5 * 60 * 1000;

const byId = (id) => document.getElementById(id);

/** What is kept of a session beside its cookie: whose it is and when it ends. */
function recall() {
  try {
    return JSON.parse(localStorage.getItem(KNOWN));
  } catch {
    return null;
  }
}

function remember(signedIn) {
  const lifetime = signedIn.expires_in * 1000;
  const session = { email: signedIn.email, lifetime, ends: Date.now() + lifetime };
  try {
    localStorage.setItem(KNOWN, JSON.stringify(session));
  } catch {
    // Without it, the page asks again after a reload.
  }
  return session;
}

function forget() {
  try {
    localStorage.removeItem(KNOWN);
  } catch {
    // Then there is nothing to forget.
  }
}

let session = null;
let waiting = [];

/** Opens the door: resolves to the e-mail address of who came in. */
export async function open(about) {
  session = recall();
  if (session?.email) {
    // No question while the cookie has surely gone: it would only be refused.
    if (session.ends > Date.now()) {
      try {
        await call("GET", "/api/v1/auth/me", undefined, { anonymous: true });
        keep();
        return session.email;
      } catch (problem) {
        if (problem.status !== 401) throw problem;
      }
    }
    byId("email").value = session.email;
  }
  session = remember(await door(about));
  keep();
  return session.email;
}

function door(about) {
  const form = byId("sign-in");
  const [email, password, wrong, go] = ["email", "password", "sign-in-wrong", "sign-in-go"].map(byId);
  let registering = false;

  const show = () => {
    byId("door-title").textContent = registering ? "Create an account" : "Sign in";
    go.textContent = registering ? "Register" : "Sign in";
    byId("swap-text").textContent = registering ? "Have an account?" : "No account yet?";
    byId("swap-go").textContent = registering ? "Sign in" : "Register";
    byId("password-hint").hidden = !registering;
    byId("forgot").hidden = registering;
    password.autocomplete = registering ? "new-password" : "current-password";
    password.minLength = registering ? 8 : 0;
    wrong.textContent = "";
  };
  byId("swap").hidden = !about.registration;
  byId("swap-go").onclick = () => {
    registering = !registering;
    show();
    email.focus();
  };
  byId("forgot-go").onclick = async () => {
    wrong.textContent = "";
    if (!email.reportValidity()) return;
    try {
      await forgotten(email.value.trim());
      byId("forgot").textContent = "If there is such an account, a mail with a link is on its way.";
      say(byId("forgot").textContent);
    } catch (problem) {
      wrong.textContent = problem.message;
    }
  };
  byId("reveal").onclick = (event) => {
    const shown = password.type === "password";
    password.type = shown ? "text" : "password";
    event.currentTarget.setAttribute("aria-pressed", String(shown));
    event.currentTarget.firstChild.data = shown ? "Hide" : "Show";
  };
  show();
  byId("door").hidden = false;
  (email.value ? password : email).focus();

  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      if (form.ariaBusy === "true") return;
      form.ariaBusy = "true";
      wrong.textContent = "";
      try {
        const path = `/api/v1/auth/${registering ? "register" : "login"}`;
        const account = { email: email.value.trim(), password: password.value };
        const signedIn = await call("POST", path, account, { anonymous: true });
        password.value = "";
        byId("door").hidden = true;
        resolve(signedIn);
      } catch (problem) {
        wrong.textContent = problem.message;
        (problem.status === 409 ? email : password).focus();
      } finally {
        form.ariaBusy = "false";
      }
    };
  });
}

/** Renews the session while the page is looked at, as soon as half of it is over. */
function keep() {
  const renew = async () => {
    const over = session.ends - Date.now() < session.lifetime / 2;
    if (!over || document.hidden || byId("expired").open) return;
    try {
      session = remember(await call("POST", "/api/v1/auth/refresh"));
    } catch {
      // Either the session has ended, and the dialog is open, or the next look will do.
    }
  };
  renew();
  setInterval(renew, LOOK);
  document.addEventListener("visibilitychange", renew);
}

/** Resolves when somebody whose session has ended is back. */
export function back() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    expire();
  });
}

function expire() {
  const dialog = byId("expired");
  if (dialog.open || !session) return;
  byId("expired-email").value = session.email;
  dialog.showModal();
  byId("expired-password").focus();
}

onSessionEnd(expire);

byId("expired").addEventListener("cancel", (event) => event.preventDefault());

byId("expired-form").onsubmit = async (event) => {
  event.preventDefault();
  const password = byId("expired-password");
  byId("expired-wrong").textContent = "";
  try {
    const account = { email: session.email, password: password.value };
    session = remember(await call("POST", "/api/v1/auth/login", account, { anonymous: true }));
    password.value = "";
    byId("expired").close();
    const resumed = waiting;
    waiting = [];
    for (const resume of resumed) resume();
    document.dispatchEvent(new Event("micropy:back"));
  } catch (problem) {
    byId("expired-wrong").textContent = problem.message;
    password.focus();
  }
};

byId("expired-leave").onclick = () => leave();

/** Signs out. */
export async function leave() {
  try {
    await call("POST", "/api/v1/auth/logout", undefined, { anonymous: true });
  } catch (problem) {
    complain(problem);
    return;
  }
  forget();
  location.reload();
}
