/** The part of the address that says what a view is set to: `#/VIEW?name=value`, so that it can be sent to somebody. */

/**
 * Show in the address what the view is set to now. No entry is added to the history, and no view is opened anew.
 *
 * @param {Object<string, string>} values those that are empty are left out
 */
export function rewriteQuery(values) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== ""));
  const [view] = location.hash.split("?");
  const hash = query.size ? `${view || "#/"}?${query}` : view;
  if (hash !== location.hash) history.replaceState(history.state, "", hash || "#/");
}
