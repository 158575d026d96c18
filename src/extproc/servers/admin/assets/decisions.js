// Decisions as they are made, the newest at the top.

const MOST_SHOWN = 200;

const journal = { hasBegun: false, life: 0, seen: 0, kept: [], missed: 0, isPaused: false, refusalsOnly: false };

/** Takes in an answer of `/api/decisions`: its decisions are numbered from the start of the picker. */
function noteDecisions({ decided, decisions }, hasRestarted) {
  if (hasRestarted || decided < journal.seen) {
    Object.assign(journal, { hasBegun: false, life: journal.life + 1, seen: 0, kept: [], missed: 0 });
  }
  const numbered = decisions.map((decision, index) => ({ ...decision, number: decided - index, life: journal.life }));
  const fresh = numbered.filter((decision) => decision.number > journal.seen);
  if (journal.hasBegun) journal.missed += decided - journal.seen - fresh.length;
  journal.hasBegun = true;
  journal.kept = [...fresh, ...journal.kept].slice(0, MOST_SHOWN);
  journal.seen = decided;
}

function showDecisions() {
  if (journal.isPaused) return showPaused();
  const wanted = journal.kept.filter((each) => !journal.refusalsOnly || shapeOfOutcome(each.outcome) === "refused");
  sync(byId("decisions"), wanted, (each) => `${each.life} ${each.number}`, makeDecision);
  journal.shown = journal.seen;
  const missed = journal.missed ? `${count(journal.missed)} came too fast to be shown. ` : "";
  say(byId("decisions-note"), missed);
  const empty = byId("decisions-empty");
  empty.hidden = wanted.length > 0;
  say(empty, journal.kept.length ? "No request was refused, of those kept." : "No request has been decided yet.");
}

function showPaused() {
  const fresh = journal.seen - journal.shown;
  say(byId("decisions-note"), fresh > 0 ? `Paused, ${count(fresh)} since.` : "Paused.");
}

function makeDecision(decision) {
  const { named_model: named, model, outcome, status, reason, endpoint, destination, best } = decision;
  const name = named && model && named !== model ? `${named} → ${model}` : named || model || UNKNOWN;
  const where = el("td", "wide");
  if (endpoint) {
    where.append(el("span", "mono", endpoint));
    const next = best.filter((each) => each.endpoint !== endpoint).slice(0, 2);
    const own = best.find((each) => each.endpoint === endpoint);
    const scores = [...(own ? [own.total.toFixed(2)] : []), ...next.map((each) => `${each.endpoint} ${each.total.toFixed(2)}`)];
    if (next.length) where.append(el("span", "sub", `score ${scores.join(", ")}`));
    where.title = destination;
  } else {
    where.append(reason.replaceAll("_", " ") || decision.path);
  }
  const word = status && outcome !== "replied" ? `${status} ${outcome}` : outcome;
  const row = el("tr", "",
    el("td", "time", clock(decision.at_unix_s, { withMs: true })),
    el("td", "mono wide", name),
    el("td", "word", withShape(shapeOfOutcome(outcome), word)),
    where,
    el("td", "number", took(decision.seconds)));
  row.title = [decision.path, decision.request_id && `request ${decision.request_id}`].filter(Boolean).join(", ");
  return row;
}

function listenToDecisions() {
  const pause = byId("pause");
  pause.addEventListener("click", () => {
    journal.isPaused = !journal.isPaused;
    pause.setAttribute("aria-pressed", String(journal.isPaused));
    say(pause, journal.isPaused ? "Go on" : "Pause");
    showDecisions();
  });
  byId("refusals-only").addEventListener("change", (event) => {
    journal.refusalsOnly = event.target.checked;
    showDecisions();
  });
}
