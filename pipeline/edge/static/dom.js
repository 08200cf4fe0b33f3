/**
 * Building and updating elements, as text only.
 *
 * Everything a scan says is hostile. There is no way here to turn a string into markup: content
 * becomes text nodes, and attribute names are written by us.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {Object<string, string | number | boolean | null | undefined>} attributes `testid` stands for `data-testid`;
 *   null, undefined and false leave the attribute out, true makes it empty
 * @param {...(Node | string | null)} children strings become text; null is left out
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Make an SVG element: as `h`, in the SVG namespace. @returns {SVGElement} */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name === "testid" ? "data-testid" : name, value === true ? "" : String(value));
  }
}

/** Set the text, only if it changed: an unchanged row costs no layout. */
export function setText(element, text) {
  const node = element.firstChild;
  if (node === null || node !== element.lastChild || node.nodeType !== Node.TEXT_NODE) {
    if (element.textContent !== text) element.textContent = text;
  } else if (node.data !== text) {
    node.data = text; // cheaper than a new node
  }
}

/** Set an attribute, only if it changed; null removes it. */
export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/**
 * A progress bar that reserves its place and says its value to a screen reader.
 *
 * @param {string} label what progresses
 * @returns {{element: HTMLElement, set: (percent: number | null, state: string) => void}} `percent` null: not known
 */
export function progressBar(label) {
  const fill = h("div", { class: "bar-fill" });
  const element = h(
    "div",
    { class: "bar", testid: "progress", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 },
    fill,
  );
  return {
    element,
    set(percent, state) {
      const whole = percent === null ? null : Math.floor(percent);
      setAttribute(element, "aria-valuenow", whole);
      setAttribute(element, "data-state", state);
      fill.style.width = `${percent ?? 0}%`;
    },
  };
}
