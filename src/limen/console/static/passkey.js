/* Passkeys. Every page works without scripts, except where a passkey is used.
 *
 * A form with data-passkey="get" or "create" says where to ask for options (data-options-url) and where
 * to bring the credential (data-finish-url). Both are JSON: {csrf, flow, …} in, and for the second
 * {"next": url} or {"error": sentence} out. data-conditional also offers passkeys in the username field.
 */
"use strict";
(() => {
  const REARM_MS = 4 * 60 * 1000; // a challenge offered in the username field is renewed after this
  const DID_NOT_WORK = "That did not work. Try again, or use another way.";
  const SAID = {
    NotAllowedError: "The passkey was not used. Try again, or use another way.",
    InvalidStateError: "This device already holds a passkey of yours.",
    NotSupportedError: "This device cannot make such a passkey.",
    SecurityError: "Passkeys do not work at this address. Open the page by its proper name.",
  };

  class Said extends Error {}

  const show = (selector, shown) => {
    for (const element of document.querySelectorAll(selector)) element.hidden = !shown;
  };

  // --- WebAuthn JSON, for browsers that do not bring it themselves -------------------------------

  const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const withIds = (list) => (list || []).map((item) => ({ ...item, id: bytes(item.id) }));

  const parseRequest = (json) =>
    PublicKeyCredential.parseRequestOptionsFromJSON
      ? PublicKeyCredential.parseRequestOptionsFromJSON(json)
      : { ...json, challenge: bytes(json.challenge), allowCredentials: withIds(json.allowCredentials) };

  const parseCreation = (json) =>
    PublicKeyCredential.parseCreationOptionsFromJSON
      ? PublicKeyCredential.parseCreationOptionsFromJSON(json)
      : {
          ...json,
          challenge: bytes(json.challenge),
          user: { ...json.user, id: bytes(json.user.id) },
          excludeCredentials: withIds(json.excludeCredentials),
        };

  const toJSON = (credential) => {
    if (typeof credential.toJSON === "function") return credential.toJSON();
    const { response } = credential;
    const sent = { clientDataJSON: text(response.clientDataJSON) };
    for (const part of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (response[part]) sent[part] = text(response[part]);
    }
    if (response.getTransports) sent.transports = response.getTransports();
    return {
      id: credential.id,
      rawId: text(credential.rawId),
      type: credential.type,
      authenticatorAttachment: credential.authenticatorAttachment || undefined,
      clientExtensionResults: credential.getClientExtensionResults(),
      response: sent,
    };
  };

  // --- talking with the server --------------------------------------------------------------------

  const fieldsOf = (form) => {
    const fields = {};
    for (const name of ["csrf", "flow", "name"]) {
      const field = form.elements.namedItem(name);
      if (field) fields[name] = field.value;
    }
    return fields;
  };

  const ask = async (url, body) => {
    const answer = await fetch(url, {
      method: "POST",
      credentials: "same-origin",
      headers: {
        accept: "application/json",
        "content-type": "application/json",
        "x-csrf-token": body.csrf || "",
      },
      body: JSON.stringify(body),
    });
    const value = await answer.json().catch(() => ({}));
    if (!answer.ok || value.error) {
      const said = new Said(value.error || value.detail || DID_NOT_WORK);
      if (answer.status === 403) said.next = value.next; // a fresh sign-in must come first
      throw said;
    }
    return value;
  };

  const leaveFor = (next) => {
    const url = new URL(next, document.baseURI);
    if (url.protocol !== "https:" && url.protocol !== "http:") throw new Said(DID_NOT_WORK);
    const reload = url.href.split("#")[0] === location.href.split("#")[0];
    if (reload) location.reload();
    else location.assign(url.href);
  };

  // --- one ceremony at a time ----------------------------------------------------------------------

  let waiting = null; // AbortController of the ceremony that is open

  const perform = async (form, extra) => {
    if (waiting) waiting.abort();
    const mine = (waiting = new AbortController());
    const fields = fieldsOf(form);
    const options = await ask(form.dataset.optionsUrl, fields);
    const publicKey = form.dataset.passkey === "create" ? parseCreation(options) : parseRequest(options);
    if (mine.signal.aborted) throw new DOMException("", "AbortError");
    const asked = { publicKey, signal: mine.signal, ...extra };
    const credential = await (form.dataset.passkey === "create"
      ? navigator.credentials.create(asked)
      : navigator.credentials.get(asked));
    const shown = { ...fieldsOf(form), credential: toJSON(credential) };
    const answer = await ask(form.dataset.finishUrl, shown).catch((error) => {
      error.afterChoice = true;
      throw error;
    });
    leaveFor(answer.next);
  };

  const tell = (form, words) => {
    const place = form.querySelector("[data-passkey-said]");
    if (place) place.textContent = words;
  };

  const explain = (form, error) => {
    if (error.name === "AbortError") return;
    tell(form, error instanceof Said ? error.message : SAID[error.name] || DID_NOT_WORK);
    if (error.next) leaveFor(error.next);
  };

  const onPress = async (form, button) => {
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    tell(form, "");
    try {
      await perform(form, {});
    } catch (error) {
      explain(form, error);
      if (form.dataset.conditional !== undefined) void offer(form);
    } finally {
      button.removeAttribute("aria-busy");
    }
  };

  // --- passkeys in the username field ---------------------------------------------------------------

  let offeredAt = 0;

  const offer = async (form) => {
    const able = PublicKeyCredential.isConditionalMediationAvailable;
    if (!able || !(await PublicKeyCredential.isConditionalMediationAvailable())) return;
    offeredAt = Date.now();
    try {
      await perform(form, { mediation: "conditional" });
    } catch (error) {
      // Nobody pressed a button: only what became of a passkey that was chosen is worth telling.
      if (error.afterChoice) explain(form, error);
    }
  };

  const keepOffering = (form) => {
    void offer(form);
    document.addEventListener("visibilitychange", () => {
      const busy = form.querySelector("[aria-busy=true]");
      if (!document.hidden && !busy && offeredAt + REARM_MS < Date.now()) void offer(form);
    });
  };

  // --- copying and printing --------------------------------------------------------------------------

  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copy);
    const items = [...source.querySelectorAll("li")].map((item) => item.textContent.trim());
    const words = items.length ? items.join("\n") : source.textContent.trim();
    const said = button.parentElement.querySelector("[data-copy-said]");
    try {
      await navigator.clipboard.writeText(words);
      said.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(source);
      said.textContent = "Selected; copy it with the keyboard.";
    }
  };

  // --- start ------------------------------------------------------------------------------------------

  const able = window.isSecureContext && "PublicKeyCredential" in window && "credentials" in navigator;
  show("[data-needs-js]", true);
  show("[data-needs-passkey]", able);
  show("[data-without-passkey]", !able);
  for (const button of document.querySelectorAll("[data-print]")) {
    button.addEventListener("click", () => window.print());
  }
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => void copy(button));
  }
  if (!able) return;
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    for (const button of form.querySelectorAll("[data-passkey-start]")) {
      button.addEventListener("click", () => void onPress(form, button));
    }
    // Enter in a form that only makes a passkey would post it; it means the button instead.
    if (form.dataset.passkey === "create") {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        void onPress(form, form.querySelector("[data-passkey-start]"));
      });
    }
    if (form.dataset.conditional !== undefined) keepOffering(form);
  }
})();
