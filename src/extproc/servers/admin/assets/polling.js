// Asks the picker every two seconds while somebody looks, and says so when it does not answer.

const EVERY_S = 2;
const TIMEOUT_MS = 5000;
const LONGEST_WAIT_S = 15;
const FRESH_S = 6;

const polling = { goodAt: null, goodClock: "", failures: 0, why: "", nextAt: 0, timer: 0, isAsking: false, uptime: 0, firstVersion: "" };

const now = () => performance.now() / 1000;

class NoAnswer extends Error {}

/** The JSON that the picker answers. Throws NoAnswer, in words for the reader. */
async function ask(path, options = {}) {
  // Not relative to the document: its address may hold a password, which `fetch` takes amiss.
  const url = location.origin + location.pathname.replace(/[^/]*$/, "") + path;
  try {
    const response = await fetch(url, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (response.status === 401) throw new NoAnswer("the token is not taken any more: reload the page");
    if (!response.ok) throw new NoAnswer((await response.text()).trim().slice(0, 300) || `it answers ${response.status}`);
    return await response.json();
  } catch (error) {
    if (error instanceof NoAnswer) throw error;
    throw new NoAnswer(error.name === "TimeoutError" ? `none within ${TIMEOUT_MS / 1000} s` : "cannot be reached");
  }
}

async function poll() {
  if (polling.isAsking) return;
  polling.isAsking = true;
  clearTimeout(polling.timer);
  try {
    const askedAt = now();
    const snapshot = await ask("api/snapshot");
    const hasRestarted = isOther(snapshot, askedAt);
    const decisions = await ask(`api/decisions?after=${hasRestarted ? 0 : journal.seen}`);
    takeIn(snapshot, decisions, hasRestarted);
  } catch (error) {
    polling.failures += 1;
    polling.why = error instanceof NoAnswer ? `No answer from the picker (${error.message})` : `This page cannot show what the picker answers (${error.message})`;
    if (!(error instanceof NoAnswer)) console.error(error);
  }
  polling.isAsking = false;
  const wait = polling.failures ? Math.min(LONGEST_WAIT_S, 2 ** (polling.failures - 1)) : EVERY_S;
  polling.nextAt = now() + wait;
  showFreshness();
  if (document.visibilityState === "visible") polling.timer = setTimeout(poll, wait * 1000);
}

/** Whether another process answers than the one before, which would be up for longer. Clocks differ by a little. */
function isOther(snapshot, askedAt) {
  if (polling.goodAt === null) return false;
  const passed = askedAt - polling.goodAt;
  return snapshot.uptime_s < polling.uptime + passed * 0.999 - 0.5;
}

function takeIn(snapshot, decisions, hasRestarted) {
  polling.uptime = snapshot.uptime_s;
  polling.firstVersion ||= snapshot.extproc_version;
  noteDecisions(decisions, hasRestarted);
  noteCounts(snapshot, hasRestarted);
  render(snapshot);
  Object.assign(polling, { failures: 0, goodAt: now(), goodClock: clock(Date.now() / 1000) });
}

function render(snapshot) {
  const began = performance.now();
  showIdentity(snapshot);
  showNotices(noticesOf(snapshot, polling.firstVersion));
  showFigures(snapshot);
  showMatrix(snapshot);
  showDecisions();
  showOutcomes(snapshot);
  showChanges(snapshot.changes);
  showSources(snapshot);
  showCallers(snapshot.callers);
  showKnownModels(snapshot);
  polling.isReady = snapshot.is_ready;
  polling.pool = snapshot.pool;
  document.body.dataset.renderMs = (performance.now() - began).toFixed(0);
}

/** How old what stands here is. It is never shown as fresh when it is not. */
function showFreshness() {
  const sinceGood = polling.goodAt === null ? null : now() - polling.goodAt;
  const isStale = polling.failures > 0 || (sinceGood !== null && sinceGood > FRESH_S);
  const kind = isStale ? "stale" : sinceGood === null ? "waiting" : "fresh";
  document.body.dataset.freshness = kind;
  byId("retry").hidden = !isStale;
  dress(byId("freshness-shape"), `shape ${{ stale: "refused", waiting: "other", fresh: "serving" }[kind]}`);
  if (kind === "waiting") return;
  const text = kind === "fresh" ? `As of ${polling.goodClock}, ${Math.floor(sinceGood)} s ago` : tellStale(sinceGood);
  say(byId("freshness-text"), text);
  if (isStale) showReadiness("other", polling.goodAt === null ? "not known" : "no answer");
  else showReadiness(polling.isReady ? "serving" : "unready", polling.isReady ? "ready" : "not ready");
  announce(isStale);
}

function tellStale(sinceGood) {
  const what = polling.failures ? polling.why : "Asking the picker again";
  const since = sinceGood === null ? "" : `; what stands here is of ${polling.goodClock}, ${age(sinceGood)} ago`;
  const next = polling.failures && !polling.isAsking ? `. Next try in ${Math.max(0, Math.ceil(polling.nextAt - now()))} s` : "";
  return `${what}${since}${next}.`;
}

/** Tells a screen reader, and the tab's title, what changed: not every two seconds that nothing did. */
function announce(isStale) {
  const word = isStale ? (polling.failures ? "no answer" : "asking") : polling.isReady ? "ready" : "not ready";
  document.title = `${word} · ${polling.pool ?? "?"} · extproc`;
  if (word === "asking") return;
  say(byId("status"), word === "no answer" ? "The picker does not answer. What the page shows is old." : `The picker is ${word}.`);
}

function listenToTab() {
  document.addEventListener("visibilitychange", () => {
    clearTimeout(polling.timer);
    if (document.visibilityState !== "visible") return;
    showFreshness();
    poll();
  });
  byId("retry").addEventListener("click", poll);
  setInterval(() => document.visibilityState === "visible" && showFreshness(), 1000);
}

listenToMatrix();
listenToDecisions();
listenToExplain();
listenToTab();
poll();
