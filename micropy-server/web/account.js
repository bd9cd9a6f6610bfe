// What people do with their account: a forgotten password, an address to confirm, tokens for programs, webhooks,
// an export.

import { call } from "./api.js";
import { showWebhooks } from "./webhooks.js";
import { complain, say, when } from "./words.js";

const byId = (id) => document.getElementById(id);
const wants = { anonymous: true };

/** Shows what a mail's link asks for; resolves when that is done. */
export async function arrive() {
  const [, purpose, code] = location.hash.match(/^#(reset|confirm)-([\w.-]+)$/) ?? [];
  if (!purpose) return;
  // The code is not to stay in the history.
  history.replaceState(null, "", location.pathname);
  if (purpose === "confirm") await confirm(code);
  else await reset(code);
}

async function confirm(code) {
  try {
    await call("POST", "/api/v1/auth/address/confirm", { code }, wants);
    note("Your address is confirmed.");
  } catch (problem) {
    note(problem.message);
  }
}

/** A sentence above everything, until the page is left. */
function note(text) {
  byId("note").textContent = text;
  byId("note").hidden = false;
  say(text);
}

function reset(code) {
  const [dialog, form, password, wrong] = ["reset", "reset-form", "reset-password", "reset-wrong"].map(byId);
  dialog.showModal();
  password.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", resolve, { once: true });
    byId("reset-leave").onclick = () => dialog.close();
    form.onsubmit = async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      try {
        await call("POST", "/api/v1/auth/password/reset", { code, new: password.value }, wants);
        password.value = "";
        note("Your new password is set. Please sign in with it.");
        dialog.close();
      } catch (problem) {
        wrong.textContent = problem.message;
        password.focus();
      }
    };
  });
}

/** Asks for a mail to whom has forgotten the password. */
export async function forgotten(email) {
  await call("POST", "/api/v1/auth/password/forgotten", { email }, wants);
}

/** Says that the address is to be confirmed, as long as it is. */
export async function remind(about) {
  const me = await call("GET", "/api/v1/auth/me");
  const reminder = byId("unconfirmed");
  reminder.hidden = !about.confirmation || me.confirmed;
  byId("unconfirmed-again").onclick = async () => {
    try {
      await call("POST", "/api/v1/auth/address/mail");
      note("If no mail comes within a few minutes, look among those that are unwanted.");
    } catch (problem) {
      complain(problem);
    }
  };
}

/** The dialog of the account. */
export function openAccount(email) {
  byId("account-email").textContent = email;
  byId("token-new").hidden = true;
  byId("token-wrong").textContent = "";
  byId("account").showModal();
  showWebhooks();
  list();
}

byId("account-close").onclick = () => byId("account").close();

async function list() {
  const rows = byId("tokens");
  try {
    const { tokens } = await call("GET", "/api/v1/auth/tokens");
    rows.replaceChildren(...tokens.map(row));
    byId("tokens-none").hidden = tokens.length > 0;
  } catch (problem) {
    byId("token-wrong").textContent = problem.message;
  }
}

function row(token) {
  const item = byId("token-template").content.cloneNode(true).firstElementChild;
  item.querySelector(".token-name").textContent = token.name;
  item.querySelector(".token-facts").textContent = `${token.scopes.join(", ")} · ${when(token.created)}`;
  const end = item.querySelector("button");
  end.setAttribute("aria-label", `End the token ${token.name}`);
  end.onclick = async () => {
    try {
      await call("DELETE", `/api/v1/auth/tokens/${encodeURIComponent(token.id)}`);
      byId("token-new").hidden = true;
      await list();
      byId("token-name").focus();
      say(`The token ${token.name} has ended.`);
    } catch (problem) {
      byId("token-wrong").textContent = problem.message;
    }
  };
  return item;
}

byId("token-form").onsubmit = async (event) => {
  event.preventDefault();
  const [name, wrong] = ["token-name", "token-wrong"].map(byId);
  const scopes = ["convert", "read"].filter((scope) => byId(`token-${scope}`).checked);
  wrong.textContent = "";
  try {
    const made = await call("POST", "/api/v1/auth/tokens", { name: name.value.trim(), scopes });
    name.value = "";
    byId("token-text").value = made.token;
    byId("token-new").hidden = false;
    await list();
    byId("token-text").select();
  } catch (problem) {
    wrong.textContent = problem.message;
  }
};
