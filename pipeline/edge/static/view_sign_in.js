/** Where the edge has accounts: asking for a token, and who is signed in. */

import { h, setText } from "./dom.js";
import { plain } from "./format.js";
import { isTokenText } from "./scanstream_token_rules.js";
import { session } from "./session.js";

const HINT = "pipeline token mint --secret-file FILE --subject NAME";
const PROBE = "api/scans/stats";

/** Shown in the place of every other view while a token is needed. */
export class SignInView {
  constructor() {
    this.title = "Sign in · scanstream";
    this.field = h("input", {
      class: "field", id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true,
      testid: "token", "aria-describedby": "token-about sign-in-problem",
    });
    this.button = h("button", { class: "button", type: "submit", testid: "sign-in" }, "Sign in");
    this.problem = h("p", { class: "sign-in-problem", id: "sign-in-problem", role: "alert", testid: "sign-in-problem" }, session.reason);
    this.form = h("form", { class: "sign-in", novalidate: true },
      h("label", { for: "token" }, "Token"),
      h("div", { class: "sign-in-line" }, this.field, this.button),
      this.problem);
    this.element = h("div", { class: "page" }, h("section", { class: "empty", testid: "sign-in-view" },
      h("h1", {}, "Sign in"),
      h("p", { id: "token-about" }, "This edge shows each scan to whom it belongs. Your token says who you are; it is kept in this tab only, until you close it or sign out."),
      this.form,
      h("p", {}, "Whoever runs the pipeline makes one:"),
      h("pre", { tabindex: 0, "aria-label": "Command that makes a token" }, h("code", {}, HINT))));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** Put the keyboard where the token goes. */
  focus() {
    this.field.focus();
  }

  close() {}

  async #submit() {
    const token = this.field.value.trim();
    if (!isTokenText(token)) {
      this.#refuse("That is no token: it has three parts with points between.");
      return;
    }
    this.button.disabled = true;
    try {
      const response = await fetch(PROBE, { headers: { authorization: `Bearer ${token}` }, cache: "no-store" });
      if (response.status === 401) {
        const { error } = await response.json().catch(() => ({}));
        this.#refuse(`The edge does not take it: ${plain(String(error ?? "refused"), 200)}`);
      } else if (response.ok) {
        session.signIn(token);
      } else {
        this.#refuse(`The edge answered with HTTP ${response.status}.`);
      }
    } catch {
      this.#refuse("The edge does not answer.");
    }
    this.button.disabled = false;
  }

  #refuse(text) {
    setText(this.problem, text);
    this.field.focus();
    this.field.select();
  }
}

/** In the row at the top: who is signed in, and the way out. */
export class AccountControl {
  /** @param {HTMLElement} place empty and hidden where there is nobody */
  constructor(place) {
    this.place = place;
    this.name = h("span", { class: "account-name", testid: "account" });
    const leave = h("button", { class: "button button-small", type: "button", testid: "sign-out" }, "Sign out");
    leave.addEventListener("click", () => session.signOut());
    place.append(this.name, leave);
    session.addEventListener("change", () => this.#show());
    this.#show();
  }

  #show() {
    this.place.hidden = session.token === null;
    const name = plain(session.subject ?? "somebody", 40);
    setText(this.name, name);
    this.name.title = `Signed in as ${name}`;
  }
}

/** See whether a token is needed: a WebSocket without one would wait for it first. */
export async function findOut(request) {
  if (session.token === null) await request(PROBE).catch(() => {}); // the views say that the edge does not answer
}
