// Making and changing elements. Every name that a pod, a client or a file gave goes in as text, never as markup.

const byId = (id) => document.getElementById(id);

/** An element with a class and children, which are elements or text. */
function el(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** Sets the text where it differs: what stays the same costs no layout and keeps its selection. */
function say(node, text) {
  if (node.said === text) return;
  node.said = text;
  node.textContent = text;
}

/** Sets the class where it differs. */
function dress(node, className) {
  if (node.className !== className) node.className = className;
}

/** The shape that stands beside a word, so that colour is never alone in telling. */
function shape(kind) {
  const node = el("span", `shape ${kind}`);
  node.setAttribute("aria-hidden", "true");
  return node;
}

function withShape(kind, text) {
  return el("span", "with-shape", shape(kind), text);
}

/**
 * Makes the children of `parent` those of `items`, in their order. A child that stays is the same element as before,
 * so that focus, scroll position and selection stay with it.
 *
 * `make(item)` gives a new child: an element, or an object with the element as `node`. `update(child, item)` fills it.
 */
function sync(parent, items, keyOf, make, update = () => {}) {
  const before = parent.childrenByKey ?? new Map();
  const after = new Map();
  for (const item of items) {
    const key = keyOf(item);
    const child = before.get(key) ?? make(item);
    after.set(key, child);
    update(child, item);
  }
  for (const [key, child] of before) if (!after.has(key)) (child.node ?? child).remove();
  let place = parent.firstElementChild;
  for (const child of after.values()) {
    const node = child.node ?? child;
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  parent.childrenByKey = after;
}

/** A `dl` of pairs: [word, value]. */
function syncPairs(list, pairs) {
  sync(list, pairs, ([word]) => word,
    ([word]) => {
      const value = el("dd");
      return { node: el("div", "", el("dt", "", word), value), value };
    },
    (child, [, value]) => say(child.value, value));
}

/** Rows of plain text: `cellsOf(item)` gives [class, text] for each cell, of which only the first time's class counts. */
function syncRows(body, items, keyOf, cellsOf) {
  sync(body, items, keyOf,
    (item) => {
      const cells = cellsOf(item).map(([className]) => el("td", className));
      return { node: el("tr", "", ...cells), cells };
    },
    (row, item) => cellsOf(item).forEach(([className, text], index) => {
      dress(row.cells[index], className);
      say(row.cells[index], text);
    }));
  const empty = byId(`${body.id}-empty`);
  if (empty) empty.hidden = items.length > 0;
}
