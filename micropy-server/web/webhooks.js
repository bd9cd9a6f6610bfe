// Webhooks in the dialog of the account: where programs are told of jobs, and what was sent there.

import { call } from "./api.js";
import { say, when } from "./words.js";

const byId = (id) => document.getElementById(id);
const fold = byId("deliveries-fold");

// A secret that was shown goes with the dialog.
byId("account").addEventListener("close", () => {
  byId("hook-new").hidden = true;
  byId("hook-secret").value = "";
});

/** Shows what there is. */
export function showWebhooks() {
  byId("hook-wrong").textContent = "";
  fold.open = false;
  list();
}

/** Does something, and says what went wrong. */
async function attempt(work) {
  byId("hook-wrong").textContent = "";
  try {
    await work();
  } catch (problem) {
    byId("hook-wrong").textContent = problem.message;
  }
}

function list() {
  return attempt(async () => {
    const { webhooks } = await call("GET", "/api/v1/auth/webhooks");
    byId("hooks").replaceChildren(...webhooks.map(hook));
    byId("hooks-none").hidden = webhooks.length > 0;
  });
}

function row(template, name, facts) {
  const item = byId(template).content.cloneNode(true).firstElementChild;
  item.querySelector(".token-name").textContent = name;
  item.querySelector(".token-facts").textContent = facts;
  return [item, item.querySelector("button")];
}

function hook({ id, url, created }) {
  const name = url ?? "secret for webhooks of single jobs";
  const [item, remove] = row("hook-template", name, when(created));
  remove.setAttribute("aria-label", `Remove the webhook ${name}`);
  remove.onclick = () => attempt(async () => {
    await call("DELETE", `/api/v1/auth/webhooks/${encodeURIComponent(id)}`);
    byId("hook-new").hidden = true;
    await list();
    byId("hook-url").focus();
    say("The webhook is removed.");
  });
  return item;
}

function add(wanted) {
  return attempt(async () => {
    const made = await call("POST", "/api/v1/auth/webhooks", wanted);
    byId("hook-url").value = "";
    byId("hook-secret").value = made.secret;
    byId("hook-new").hidden = false;
    await list();
    byId("hook-secret").select();
  });
}

byId("hook-form").onsubmit = (event) => {
  event.preventDefault();
  add({ url: byId("hook-url").value.trim() });
};

byId("hook-for-jobs").onclick = () => add({});

fold.ontoggle = () => {
  if (fold.open) listDeliveries();
};

function listDeliveries() {
  return attempt(async () => {
    const { deliveries } = await call("GET", "/api/v1/deliveries?limit=20");
    byId("deliveries").replaceChildren(...deliveries.map(delivery));
    byId("deliveries-none").hidden = deliveries.length > 0;
  });
}

function delivery({ id, url, event, state, answer, updated }) {
  const facts = [state, answer, when(updated)].filter(Boolean).join(" · ");
  const [item, resend] = row("delivery-template", `${event} to ${url}`, facts);
  resend.setAttribute("aria-label", `Send again: ${event} to ${url}`);
  resend.onclick = () => attempt(async () => {
    await call("POST", `/api/v1/deliveries/${encodeURIComponent(id)}/resend`);
    await listDeliveries();
    say("It is sent again.");
  });
  return item;
}
