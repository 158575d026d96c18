// The top of the page: whose pool, whether it is ready, what needs attention, and the figures of the whole.

const PLACES = 90;

/** Requests by outcome at the last looks, from which rates are told. */
const history = { looks: [], opened: null, began: 0 };

function totalsOf(snapshot) {
  const totals = new Map();
  for (const { outcome, requests } of snapshot.outcomes) totals.set(outcome, (totals.get(outcome) ?? 0) + requests);
  return totals;
}

/** Notes the counts of a look. A picker that was restarted counts from 0 again. */
function noteCounts(snapshot, hasRestarted) {
  const look = { at: performance.now() / 1000, totals: totalsOf(snapshot) };
  if (!history.opened || hasRestarted) {
    history.opened = hasRestarted ? new Map() : look.totals;
    history.looks = [];
  }
  history.looks = [...history.looks.slice(1 - PLACES), look];
}

/** Requests with this outcome, or those for which `isWanted` holds, between two looks. */
function grown(before, after, isWanted) {
  let sum = 0;
  for (const [outcome, number] of after) if (isWanted(outcome)) sum += number - (before.get(outcome) ?? 0);
  return sum;
}

/** Of the looks of the last minute, the oldest. */
function minuteAgo() {
  const last = history.looks.at(-1);
  return history.looks.find((look) => last.at - look.at <= 61) ?? last;
}

/** Requests a second between each two looks. */
function ratesOf(isWanted) {
  return history.looks.slice(1).map((look, index) => {
    const before = history.looks[index];
    return grown(before.totals, look.totals, isWanted) / Math.max(0.1, look.at - before.at);
  });
}

function showIdentity(snapshot) {
  say(byId("pool"), snapshot.pool);
  const [kind, word] = snapshot.is_ready ? ["serving", "ready"] : ["unready", "not ready"];
  showReadiness(kind, word);
  syncPairs(byId("facts"), [
    ["version", snapshot.extproc_version],
    ["up", age(snapshot.uptime_s)],
    ["snapshot", `v${snapshot.version}, ${age(snapshot.age_s)} old`],
    ["open streams", count(snapshot.open_streams)],
  ]);
}

function showReadiness(kind, word) {
  const chip = byId("readiness");
  if (chip.said === word) return;
  chip.said = word;
  chip.className = `chip ${{ serving: "good", unready: "bad" }[kind] ?? "muted"}`;
  chip.replaceChildren(shape(kind), word);
}

/** What needs attention: [severity, what, lines]. */
function noticesOf(snapshot, firstVersion) {
  const notices = [];
  for (const source of snapshot.sources) {
    if (!source.is_connected) {
      const since = source.age_s === null ? "It was never read." : `It was last read ${age(source.age_s)} ago; what was known then is kept.`;
      notices.push(["bad", `The source ${source.name} cannot be read. ${since}`, source.problems]);
    } else if (source.problems.length) {
      notices.push(["warn", `The source ${source.name} is read, with problems:`, source.problems]);
    }
  }
  if (!snapshot.is_synced && !notices.length) notices.push(["warn", "The pool has not been read yet.", []]);
  const file = snapshot.config_file;
  if (file?.problems.length) {
    notices.push(["bad", `The config file ${file.path} is wrong as it is now. What was read ${age(file.age_s)} ago is in effect.`, file.problems]);
  }
  if (file?.needs_restart.length) {
    notices.push(["warn", `Changes in ${file.path} that count at the next start only:`, file.needs_restart]);
  }
  if (snapshot.endpoints.length && !snapshot.endpoints.some((each) => each.is_ready && each.is_confirmed)) {
    notices.push(["bad", "No endpoint is ready and confirmed: every request is refused with 503.", []]);
  }
  const lost = snapshot.models.filter((model) => !model.endpoints.length).map((model) => model.id);
  if (lost.length) {
    const names = lost.slice(0, 10).join(", ") + (lost.length > 10 ? `, and ${lost.length - 10} more` : "");
    notices.push(["warn", `Known, but served by no endpoint now (503): ${names}`, []]);
  }
  if (snapshot.extproc_version !== firstVersion) {
    notices.push(["warn", `The picker is now version ${snapshot.extproc_version}, this page is of ${firstVersion}: reload it.`, []]);
  }
  return notices;
}

function showNotices(notices) {
  sync(byId("notices"), notices, ([severity, what, lines]) => JSON.stringify([severity, what.replace(/[\d.]+ (s|min|h|d)\b/g, ""), lines]),
    ([severity, , lines]) => {
      const text = el("p");
      const more = lines.map((line) => el("li", "", line));
      return { node: el("li", `notice ${severity}`, shape(severity === "bad" ? "refused" : "suspect"), el("div", "", text, el("ul", "", ...more))), text };
    },
    (child, [, what]) => say(child.text, what));
}

function showFigures(snapshot) {
  const tally = { serving: 0, suspect: 0, unconfirmed: 0, unready: 0 };
  for (const endpoint of snapshot.endpoints) tally[stateOf(endpoint)] += 1;
  const others = ["suspect", "unconfirmed", "unready"].filter((state) => tally[state]);
  const served = snapshot.models.filter((model) => model.endpoints.length).length;
  const unserved = snapshot.models.length - served;
  const isRefusal = (outcome) => !NO_REFUSALS.has(outcome);
  const rates = ratesOf(() => true);
  const refusals = ratesOf(isRefusal);
  const last = history.looks.at(-1);
  const refused = grown(history.opened, last.totals, isRefusal);
  const figures = [
    ["Endpoints serving", `${count(tally.serving)} of ${count(snapshot.endpoints.length)}`,
      others.map((state) => `${count(tally[state])} ${STATE_WORDS[state]}`).join(", ") || (tally.serving ? "all of them" : "the pool is empty"), others.length ? "warn" : ""],
    ["Models served", `${count(served)} of ${count(snapshot.models.length)}`,
      unserved ? `${count(unserved)} without an endpoint` : snapshot.models.length ? "each has an endpoint" : "none is known", unserved ? "warn" : ""],
    ["Requests a second", rates.length ? count(rates.at(-1)) : UNKNOWN, null, "", rates],
    ["Refusals a second", refusals.length ? count(refusals.at(-1)) : UNKNOWN, null, "", refusals],
    ["Refused since opened", count(refused), `${count(grown(new Map(), last.totals, isRefusal))} since the picker began`, ""],
  ];
  sync(byId("figures"), figures, ([word]) => word, makeFigure, fillFigure);
}

function makeFigure([word, , , , rates]) {
  const value = el("dd");
  const detail = el("dd", "detail");
  const span = el("span");
  detail.append(span);
  const node = el("div", "", el("dt", "", word), value, detail);
  if (!rates) return { node, value, span };
  const chart = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  chart.setAttribute("viewBox", `0 0 ${PLACES - 2} 20`);
  chart.setAttribute("preserveAspectRatio", "none");
  chart.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  chart.append(line);
  detail.append(chart);
  return { node, value, span, line };
}

function fillFigure(child, [, value, detail, className, rates]) {
  say(child.value, value);
  if (detail !== null) say(child.span, detail);
  dress(child.span, className);
  if (!rates) return;
  const most = Math.max(...rates, 1e-9);
  const from = PLACES - 1 - rates.length;
  const points = rates.map((rate, index) => `${from + index},${(19 - (18 * rate) / most).toFixed(1)}`);
  child.line.setAttribute("points", points.join(" "));
}
