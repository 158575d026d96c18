// The form that asks where a request would go, and why.

const MOST_CANDIDATES = 50;

async function explain() {
  const region = byId("explanation");
  region.hidden = false;
  region.setAttribute("aria-busy", "true");
  const question = { model: byId("explain-model").value, prompt: byId("explain-prompt").value, path: byId("explain-path").value };
  try {
    showExplanation(await ask("api/explain", { method: "POST", body: JSON.stringify(question), headers: { "content-type": "application/json" } }));
  } catch (error) {
    say(byId("explain-verdict"), `No explanation: ${error.message}`);
    for (const id of ["explain-answer", "explain-region"]) byId(id).hidden = true;
    say(byId("explain-note"), "");
  }
  region.removeAttribute("aria-busy");
}

function showExplanation(explanation) {
  const { endpoint, destination, answer, why, outcome, candidates, scorers, picker } = explanation;
  const head = byId("explain-verdict");
  head.said = undefined;
  const verdict = endpoint ? `${outcome} to ${endpoint} (${destination})` : answer ? `${answer.status} ${outcome}` : outcome;
  head.replaceChildren(withShape(shapeOfOutcome(outcome), verdict), why ? el("span", "sub", why) : "");
  const pre = byId("explain-answer");
  pre.hidden = !answer;
  if (answer) say(pre, textOf(answer.body));
  const notes = [];
  if (explanation.named_model !== explanation.model) notes.push(`${explanation.named_model || "No name"} stands for ${explanation.model}.`);
  if (explanation.held_s) notes.push(`It would wait up to ${age(explanation.held_s)} for news before it is refused.`);
  if (picker) notes.push(`Picker ${picker}, ${many(explanation.compared, "candidate")} compared, about ${count(Math.round(explanation.prompt_tokens))} prompt tokens.`);
  if (candidates.length > MOST_CANDIDATES) notes.push(`${count(candidates.length - MOST_CANDIDATES)} more endpoints are left out.`);
  say(byId("explain-note"), notes.join(" "));
  byId("explain-region").hidden = !candidates.length;
  showCandidates(candidates.slice(0, MOST_CANDIDATES), scorers);
}

function showCandidates(candidates, scorers) {
  const words = ["Choice", "Endpoint", "Filters", ...scorers.map(({ name, weight }) => `${name} ×${count(weight)}`), "Sum", "Cached tokens"];
  byId("explain-head").replaceChildren(...words.map((word, index) => {
    const cell = el("th", index > 2 ? "number" : "", word);
    cell.scope = "col";
    return cell;
  }));
  byId("candidates").replaceChildren(...candidates.map((each) => {
    const refusal = each.verdicts.find((verdict) => !verdict.allows);
    const filters = refusal ? withShape("refused", `${refusal.filter}: ${refusal.why || "no"}`) : withShape("serving", "passes all");
    const numbers = [...scorers.map((_, index) => each.scores[index]?.toFixed(2) ?? UNKNOWN), each.total?.toFixed(2) ?? UNKNOWN, count(Math.round(each.cached_tokens))];
    const choice = each.choice === 1 ? "first" : each.choice ? `fallback ${each.choice - 1}` : UNKNOWN;
    return el("tr", "", el("td", "", choice), el("td", "", el("span", "mono", each.name), el("span", "sub", each.address)),
      el("td", "", filters), ...numbers.map((number) => el("td", "number", number)));
  }));
}

/** A body is sent as base64 of its bytes. */
function textOf(base64) {
  return new TextDecoder().decode(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)));
}

function showKnownModels(snapshot) {
  const names = [...snapshot.aliases.map((alias) => alias.name), ...snapshot.models.map((model) => model.id)].slice(0, 500);
  sync(byId("known-models"), [...new Set(names)], (name) => name, (name) => {
    const option = el("option");
    option.value = name;
    return option;
  });
}

function listenToExplain() {
  byId("explain-form").addEventListener("submit", (event) => {
    event.preventDefault();
    explain();
  });
}
