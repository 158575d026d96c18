// The smaller tables: outcomes, changes, sources, names and callers.

function showOutcomes(snapshot) {
  const totals = totalsOf(snapshot);
  const before = minuteAgo().totals;
  const shapes = ["refused", "other", "answered", "serving"];
  const rank = (outcome) => -shapes.indexOf(shapeOfOutcome(outcome));
  const outcomes = [...totals.keys()].sort((a, b) => rank(a) - rank(b) || totals.get(b) - totals.get(a));
  const body = byId("outcomes");
  sync(body, outcomes, (outcome) => outcome,
    (outcome) => {
      const cells = ["number", "number", "number"].map((className) => el("td", className));
      const models = el("span", "sub mono");
      const first = el("td", "", withShape(shapeOfOutcome(outcome), outcome), el("span", "sub", OUTCOME_WORDS[outcome] ?? ""), models);
      return { node: el("tr", "", first, ...cells), cells, models };
    },
    (row, outcome) => {
      const is = (each) => each === outcome;
      say(row.cells[0], count(grown(before, totals, is)));
      say(row.cells[1], count(grown(history.opened, totals, is)));
      say(row.cells[2], count(totals.get(outcome)));
      say(row.models, modelsOf(snapshot, outcome));
    });
  byId("outcomes-empty").hidden = outcomes.length > 0;
}

/** The models that an outcome was counted for, the most frequent first. */
function modelsOf(snapshot, outcome) {
  const counted = snapshot.outcomes.filter((each) => each.outcome === outcome).sort((a, b) => b.requests - a.requests);
  const names = counted.slice(0, 3).map((each) => `${each.model} ${count(each.requests)}`);
  return names.join(", ") + (counted.length > 3 ? `, ${counted.length - 3} more` : "");
}

function showChanges(changes) {
  const seen = new Map();
  const numbered = changes.map((change) => {
    const key = JSON.stringify(change);
    seen.set(key, (seen.get(key) ?? 0) + 1);
    return { ...change, key: `${key} ${seen.get(key)}` };
  });
  syncRows(byId("changes"), numbered, (change) => change.key, (change) => [
    ["time", clock(change.at_unix_s)],
    ["word", change.what],
    ["mono wide", change.endpoint],
    ["muted wide", change.detail],
  ]);
}

function showSources(snapshot) {
  const rows = snapshot.sources.map(({ name, is_connected, age_s, problems }) => ({
    name,
    state: is_connected ? (problems.length ? "read, with problems" : "read") : "cannot be read",
    className: is_connected ? (problems.length ? "warn" : "good") : "bad",
    read: age(age_s),
  }));
  const file = snapshot.config_file;
  if (file) {
    const state = file.problems.length ? "wrong, the last good one is in effect" : "in effect";
    rows.push({ name: file.path, state, className: file.problems.length ? "bad" : "good", read: age(file.age_s) });
  } else {
    rows.push({ name: "config file", state: "none: flags and defaults", className: "muted", read: UNKNOWN });
  }
  syncRows(byId("sources"), rows, (row) => row.name, (row) => [
    ["mono", row.name], [row.className, row.state], ["number", row.read],
  ]);
  const aliases = snapshot.aliases.map(({ name, targets }) => {
    const all = targets.reduce((sum, target) => sum + target.weight, 0);
    return [name, targets.map(({ model, weight }) => (targets.length > 1 ? `${model} ${percent(weight / all)}` : model)).join(", ")];
  });
  const objectives = Object.entries(snapshot.objectives).map(([name, priority]) =>
    [name, `priority ${priority}${priority < 0 ? ", shed first" : ""}`]);
  byId("names-table").hidden = !aliases.length && !objectives.length;
  syncRows(byId("names"), [...aliases, ...objectives], JSON.stringify, ([name, what]) => [["mono", name], ["mono", what]]);
}

const ANSWER_WORDS = {
  detach: "ends with the decision",
  track: "stays until the response's end",
  observe: "stays, the response passes through",
  watch: "showed no request",
  refuse: "refused: the filter's mode cannot work",
};

function showCallers(callers) {
  syncRows(byId("callers"), callers, (each) => JSON.stringify([each.is_direct, each.request_body_mode, each.response_body_mode, each.answer, each.tells_modes]), (each) => {
    const isTold = each.tells_modes || each.answer === "watch" ? "" : " (from the settings)";
    const left = each.left_early ? `${count(each.left_early)}, the soonest after ${age(each.left_after_s)}` : "none";
    return [
      [each.is_direct ? "" : "warn", each.is_direct ? "Envoy, directly" : "through an HTTP hop, or not Envoy"],
      ["mono", each.request_body_mode ? each.request_body_mode + isTold : UNKNOWN],
      ["mono", each.response_body_mode || UNKNOWN],
      [each.answer === "refuse" ? "bad" : "", ANSWER_WORDS[each.answer] ?? each.answer],
      ["number", count(each.streams)],
      ["number", `${age(each.age_s)} ago`],
      [each.left_early ? "warn" : "", left],
    ];
  });
}
