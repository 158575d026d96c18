// Numbers, times and states as words.

const UNKNOWN = "–";

/** Seconds as a person says them: never more than two units. */
function age(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 119.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long a decision took. */
function took(seconds) {
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  return seconds < 1 ? `${(seconds * 1000).toFixed(1)} ms` : `${seconds.toFixed(2)} s`;
}

function count(number) {
  return number === null || number === undefined ? UNKNOWN : number.toLocaleString("en", { maximumFractionDigits: 1 });
}

function percent(ratio) {
  return ratio === null || ratio === undefined ? UNKNOWN : `${Math.round(ratio * 100)} %`;
}

function many(number, one, more = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

/** Time of day, with the date where that is not today's. */
function clock(unixSeconds, { withMs = false } = {}) {
  const at = new Date(unixSeconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const ms = withMs ? `.${String(at.getMilliseconds()).padStart(3, "0")}` : "";
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? time + ms : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

const STATE_WORDS = {
  serving: "serving",
  suspect: "suspect",
  unconfirmed: "unconfirmed",
  unready: "not ready",
};

function stateOf(endpoint) {
  if (!endpoint.is_ready) return "unready";
  if (!endpoint.is_confirmed) return "unconfirmed";
  return endpoint.is_suspect ? "suspect" : "serving";
}

/** What is wrong with an endpoint, beside its state. */
function troublesOf(endpoint) {
  const troubles = [];
  if (endpoint.problem) troubles.push(`models: ${endpoint.problem}`);
  if (endpoint.load_problem) troubles.push(`load: ${endpoint.load_problem}`);
  if (stateOf(endpoint) === "serving" && !endpoint.models.length) troubles.push("lists no model");
  return troubles;
}

function hasTrouble(endpoint) {
  return stateOf(endpoint) !== "serving" || troublesOf(endpoint).length > 0;
}

const OUTCOME_WORDS = {
  routed: "sent to an endpoint",
  replied: "answered by the picker, such as GET /v1/models",
  answered_by_gateway: "the gateway answered by itself",
  watched: "only looked at",
  aborted: "the stream broke",
  cancelled: "the caller left before the decision",
  failed: "the picker failed",
  invalid_request: "no JSON object, or it names no model",
  request_too_large: "the body is over the limit",
  unsupported_encoding: "the body's encoding cannot be read",
  model_not_found: "no endpoint lists the model",
  model_unavailable: "the model is known, and nothing serves it now",
  no_ready_endpoints: "the pool has no ready endpoint",
  decision_timeout: "no decision in time",
  overloaded: "saturated, or too many bytes held",
  unsupported_mode: "the gateway's filter cannot work so",
};
const NO_REFUSALS = new Set(["routed", "replied", "answered_by_gateway", "watched", "cancelled"]);

function shapeOfOutcome(outcome) {
  if (outcome === "routed") return "serving";
  if (outcome === "replied") return "answered";
  return NO_REFUSALS.has(outcome) ? "other" : "refused";
}
