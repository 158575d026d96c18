// Draws the matrix: a row for each endpoint, a column for each model.

const OLD_LOAD_S = 10;

const matrix = { columns: "", columnIds: [], snapshot: null };

function showMatrix(snapshot) {
  matrix.snapshot = snapshot;
  const view = arrange(snapshot);
  const table = byId("matrix-table");
  matrix.columnIds = view.columns.map((model) => model.id);
  matrix.columns = JSON.stringify(matrix.columnIds);
  table.style.setProperty("--models", view.columns.length);
  table.classList.toggle("is-wide", view.columns.length > FEW_COLUMNS);
  table.classList.toggle("has-in-flight", snapshot.endpoints.some((each) => each.in_flight !== null));
  showColumns(view.columns);
  const groups = view.groups.filter((group) => group.endpoints.length);
  sync(table, [null, ...groups], (group) => (group ? `group ${group.key}` : "head"),
    (group) => (group ? el("tbody") : table.tHead),
    (body, group) => group && showGroup(body, group, view));
  byId("grouped").checked = view.isGrouped;
  showUnfold(view);
  showNote(view, snapshot);
  showEmptyMatrix(view, snapshot);
}

function showColumns(models) {
  const shared = new Set();
  const seen = new Set();
  for (const { id } of models) (seen.has(shortName(id)) ? shared : seen).add(shortName(id));
  const head = byId("matrix-head");
  head.fixed ??= [...head.children];
  const fixed = head.fixed.map((cell, index) => ({ fixed: cell, index }));
  sync(head, [...fixed, ...models], (each) => (each.fixed ? `fixed ${each.index}` : `model ${each.id}`),
    (each) => each.fixed ?? makeColumn(each),
    (cell, each) => each.fixed || fillColumn(cell, each, shared));
}

function makeColumn(model) {
  // The maker's name, `meta-llama/`, is the first to go where there is little room.
  const short = shortName(model.id);
  const maker = model.id.slice(0, model.id.length - short.length);
  const name = el("b", "", el("span", "maker", maker), el("wbr"), short);
  const number = el("span", "sub");
  const node = el("th", "model", name);
  node.scope = "col";
  if (model.parent) node.append(el("span", "sub parent", `adapter of ${model.parent}`));
  node.append(number);
  return { node, number };
}

function shortName(id) {
  return id.slice(id.lastIndexOf("/") + 1);
}

function fillColumn(cell, model, shared) {
  dress(cell.node, shared.has(shortName(model.id)) ? "model shares-name" : "model");
  say(cell.number, count(model.endpoints.length));
  dress(cell.number, model.endpoints.length ? "sub" : "sub bad");
  const parent = model.parent ? `, adapter of ${model.parent}` : "";
  cell.node.title = `${model.id}${parent}: ${many(model.endpoints.length, "endpoint")} serving`;
}

function showGroup(body, group, view) {
  const items = [...(view.isGrouped ? [{ group }] : []), ...group.rows];
  sync(body, items, (item) => (item.group ? "group" : `endpoint ${item.id}`),
    (item) => (item.group ? makeGroupRow(item.group) : makeRow()),
    (row, item) => (item.group ? fillGroupRow(row, item.group) : fillRow(row, item)));
}

/** The cells that rows of endpoints and of groups have alike. */
function makeCells(first) {
  const cells = { probed: el("td", "number"), waiting: el("td", "number"), running: el("td", "number") };
  const kv = el("td", "kv");
  const state = el("td", "state");
  const flight = el("td", "number in-flight");
  const node = el("tr", "", first, state, cells.probed, cells.waiting, cells.running, kv, flight);
  return { node, ...cells, state, kv, flight, models: [], columns: "" };
}

function fillCells(row, { probe_age_s, waiting, running, kv_used_ratio, in_flight }) {
  say(row.probed, age(probe_age_s));
  say(row.waiting, count(waiting));
  say(row.running, count(running));
  say(row.kv, percent(kv_used_ratio));
  const share = Math.min(1, Math.max(0, kv_used_ratio ?? 0)).toFixed(2);
  if (row.share !== share) row.kv.style.setProperty("--share", share);
  row.share = share;
  dress(row.kv, share >= 0.9 ? "kv full" : "kv");
  say(row.flight, count(in_flight));
}

/** Lets a row have a cell for each column. Its first cells, one of which may have the focus, stay as they are. */
function fitModels(row) {
  if (row.columns === matrix.columns) return;
  row.columns = matrix.columns;
  row.models.forEach((cell) => cell.remove());
  row.models = matrix.columnIds.map(() => el("td", "model"));
  row.node.append(...row.models);
}

function makeRow() {
  const name = el("span", "mono");
  const place = el("span", "sub");
  const first = el("th", "name", name, place);
  first.scope = "row";
  const row = makeCells(first);
  row.shape = shape("serving");
  row.word = el("span");
  row.trouble = el("span", "sub");
  row.state.append(el("span", "with-shape", row.shape, row.word), row.trouble);
  return Object.assign(row, { name, place });
}

function fillRow(row, endpoint) {
  const state = stateOf(endpoint);
  const { load } = endpoint;
  const troubles = troublesOf(endpoint);
  if (load && load.age_s > OLD_LOAD_S) troubles.push(`load is ${age(load.age_s)} old`);
  say(row.name, endpoint.name);
  say(row.place, [endpoint.address, endpoint.node, endpoint.role, endpoint.engine].filter(Boolean).join(" · "));
  dress(row.shape, `shape ${state}`);
  say(row.word, STATE_WORDS[state]);
  say(row.trouble, troubles.join("; "));
  row.trouble.hidden = !troubles.length;
  fillCells(row, { ...(load ?? {}), probe_age_s: endpoint.probe_age_s, in_flight: endpoint.in_flight });
  fitModels(row);
  const listed = new Set(endpoint.models);
  const loaded = new Set(load?.adapters ?? []);
  matrix.columnIds.forEach((id, index) => fillModel(row.models[index], listed.has(id) ? state : "", loaded.has(id)));
}

function fillModel(cell, state, isLoaded) {
  const said = `${state}${isLoaded}`;
  if (cell.said === said) return;
  cell.said = said;
  cell.className = state ? `model drawn ${state}` : "model";
  cell.replaceChildren(STATE_WORDS[state] ?? "", ...(isLoaded ? [el("span", "sub", "loaded")] : []));
}

function makeGroupRow(group) {
  const title = el("span");
  const button = el("button", "", title);
  button.type = "button";
  button.addEventListener("click", () => {
    choice.opened.set(group.key, button.getAttribute("aria-expanded") !== "true");
    showMatrix(matrix.snapshot);
  });
  const first = el("th", "name", button);
  first.scope = "rowgroup";
  const row = makeCells(first);
  row.node.className = "group";
  return Object.assign(row, { button, title });
}

function fillGroupRow(row, group) {
  const names = group.models.slice(0, 3).join(", ") + (group.models.length > 3 ? ` and ${group.models.length - 3} more` : "");
  say(row.title, `${many(group.endpoints.length, "endpoint")}: ${names || "no models known"}`);
  row.button.setAttribute("aria-expanded", String(group.isOpen));
  const tally = new Map();
  for (const endpoint of group.endpoints) tally.set(stateOf(endpoint), (tally.get(stateOf(endpoint)) ?? 0) + 1);
  const states = Object.keys(STATE_WORDS).filter((state) => tally.has(state));
  say(row.state, states.map((state) => `${count(tally.get(state))} ${STATE_WORDS[state]}`).join(", "));
  fillCells(row, sumUp(group.endpoints));
  fitModels(row);
  const listed = new Set(group.models);
  const serving = (tally.get("serving") ?? 0) + (tally.get("suspect") ?? 0);
  matrix.columnIds.forEach((id, index) => say(row.models[index], listed.has(id) ? count(serving) : ""));
}

function showUnfold({ isGrouped, groups }) {
  const button = byId("unfold");
  button.hidden = !isGrouped;
  button.isToOpen = groups.some((group) => !group.isOpen);
  say(button, button.isToOpen ? "Unfold all" : "Fold all");
}

function showNote(view, snapshot) {
  const notes = [];
  if (view.matching < snapshot.endpoints.length) notes.push(`${count(view.matching)} of ${many(snapshot.endpoints.length, "endpoint")} match.`);
  const isFolded = view.isGrouped && view.groups.some((group) => !group.isOpen);
  if (isFolded) notes.push("Folded groups show their endpoints with trouble only.");
  if (view.rowsLeftOut) notes.push(`${count(view.rowsLeftOut)} more are left out: filter, or fold groups.`);
  if (view.columnsLeftOut) notes.push(`${many(view.columnsLeftOut, "more model is", "more models are")} left out: filter by model.`);
  const note = byId("matrix-note");
  say(note, notes.join(" "));
  note.hidden = !notes.length;
}

function showEmptyMatrix(view, snapshot) {
  const empty = byId("matrix-empty");
  const kind = !snapshot.is_synced && !snapshot.endpoints.length ? "unread" : !snapshot.endpoints.length ? "none" : !view.matching ? "filtered" : "";
  if (empty.kind === kind) return;
  empty.kind = kind;
  empty.hidden = !kind;
  const texts = {
    unread: ["The pool has not been read yet, so nothing is known of it. Requests are refused with 503 until it is."],
    none: [
      "The pool has no endpoints. Every request is refused with 503 no_ready_endpoints.",
      "In Kubernetes: does the pool's selector match the labels of your pods, in its own namespace, and do they run? From a file or DNS: is it the right one? `extproc doctor` looks and tells what to change.",
    ],
    filtered: ["No endpoint matches what you filter by."],
  };
  empty.replaceChildren(...(texts[kind] ?? []).map((text) => el("p", "", text)));
}

function listenToMatrix() {
  const again = () => matrix.snapshot && showMatrix(matrix.snapshot);
  const listen = (id, type, change) => byId(id).addEventListener(type, (event) => { change(event.target); again(); });
  // What is looked for is not to be hidden in a group that was folded before.
  listen("endpoint-filter", "input", (field) => { choice.endpoint = field.value; choice.opened.clear(); });
  listen("model-filter", "input", (field) => { choice.model = field.value; });
  listen("trouble-only", "change", (field) => { choice.troubleOnly = field.checked; });
  listen("grouped", "change", (field) => { choice.isGrouped = field.checked; });
  listen("unfold", "click", (button) => {
    const view = arrange(matrix.snapshot);
    for (const group of view.groups) choice.opened.set(group.key, button.isToOpen);
  });
}
