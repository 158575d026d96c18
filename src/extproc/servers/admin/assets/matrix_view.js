// What of the pool the matrix shows: columns, rows and groups, from a snapshot and what the reader chose. No elements.

const MOST_ROWS = 1000;
const MOST_COLUMNS = 60;
const FEW_ROWS = 60;
const FEW_COLUMNS = 5;

/** What the reader chose. `isGrouped` null: whatever suits the pool. `opened`: by group, where it was folded or unfolded. */
const choice = { endpoint: "", model: "", troubleOnly: false, isGrouped: null, opened: new Map() };

/** Whether the text holds every word of the filter. */
function holds(text, words) {
  return words.every((word) => text.includes(word));
}

function wordsOf(filter) {
  return filter.toLowerCase().split(/\s+/).filter(Boolean);
}

function describe(endpoint) {
  const { name, address, node, role, engine } = endpoint;
  return [name, address, node, role, engine, STATE_WORDS[stateOf(endpoint)], ...troublesOf(endpoint)].join(" ").toLowerCase();
}

/** Models as columns: those that the filter names, by their id or by a name that stands for them. */
function columnsOf(snapshot, words) {
  if (!words.length) return snapshot.models;
  const meant = new Set();
  for (const alias of snapshot.aliases) {
    if (holds(alias.name.toLowerCase(), words)) alias.targets.forEach((target) => meant.add(target.model));
  }
  return snapshot.models.filter((model) => meant.has(model.id) || holds(model.id.toLowerCase(), words));
}

function setOf(endpoint) {
  return [...endpoint.models].sort().join("\n");
}

/** Groups pay where there are few of them: adapters can make a set of its own of every endpoint. */
function isWorthGrouping(endpoints) {
  const sets = new Set(endpoints.map(setOf)).size;
  return endpoints.length > 12 && sets > 1 && sets <= endpoints.length / 3;
}

function groupsOf(endpoints) {
  const groups = new Map();
  for (const endpoint of endpoints) {
    const key = setOf(endpoint);
    if (!groups.has(key)) groups.set(key, { key, models: [...endpoint.models].sort(), endpoints: [] });
    groups.get(key).endpoints.push(endpoint);
  }
  return [...groups.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/**
 * The matrix: `columns` (models), `groups` of rows, and how much of both is left out.
 *
 * Of a large pool the groups begin folded, and a folded one still shows its endpoints with trouble.
 */
function arrange(snapshot) {
  const modelWords = wordsOf(choice.model);
  const endpointWords = wordsOf(choice.endpoint);
  const wanted = columnsOf(snapshot, modelWords);
  const ids = new Set(wanted.map((model) => model.id));
  const endpoints = snapshot.endpoints.filter((endpoint) =>
    (!modelWords.length || endpoint.models.some((id) => ids.has(id))) &&
    (!choice.troubleOnly || hasTrouble(endpoint)) &&
    (!endpointWords.length || holds(describe(endpoint), endpointWords)));
  const isGrouped = choice.isGrouped ?? isWorthGrouping(snapshot.endpoints);
  const beginsOpen = snapshot.endpoints.length <= FEW_ROWS || endpointWords.length > 0 || choice.troubleOnly;
  const groups = isGrouped ? groupsOf(endpoints) : [{ key: "", models: [], endpoints }];
  let room = MOST_ROWS;
  for (const group of groups) {
    group.isOpen = !isGrouped || (choice.opened.get(group.key) ?? beginsOpen);
    const rows = group.isOpen ? group.endpoints : group.endpoints.filter(hasTrouble);
    group.rows = rows.slice(0, room);
    group.leftOut = rows.length - group.rows.length;
    room -= group.rows.length;
  }
  return {
    columns: wanted.slice(0, MOST_COLUMNS),
    columnsLeftOut: Math.max(0, wanted.length - MOST_COLUMNS),
    rowsLeftOut: groups.reduce((sum, group) => sum + group.leftOut, 0),
    isGrouped,
    groups,
    matching: endpoints.length,
  };
}

/** The sums that stand in a group's own row. */
function sumUp(endpoints) {
  const known = (key) => endpoints.map((each) => each.load?.[key]).filter((value) => value !== null && value !== undefined);
  const sum = (values) => (values.length ? values.reduce((a, b) => a + b, 0) : null);
  const kv = known("kv_used_ratio");
  const ages = endpoints.map((each) => each.probe_age_s).filter((value) => value !== null && value !== undefined);
  const flights = endpoints.map((each) => each.in_flight).filter((value) => value !== null && value !== undefined);
  return {
    probe_age_s: ages.length ? Math.max(...ages) : null,
    waiting: sum(known("waiting")),
    running: sum(known("running")),
    kv_used_ratio: kv.length ? sum(kv) / kv.length : null,
    in_flight: sum(flights),
  };
}
