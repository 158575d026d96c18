-- POSTs the bodies given as arguments in turn; ends with one line of JSON for bench/wrk.py.
local requests, sent = {}, 0

function init(args)
  for index, body in ipairs(args) do
    requests[index] = wrk.format("POST", "/v1/chat/completions", { ["content-type"] = "application/json" }, body)
  end
end

function request()
  sent = sent + 1
  return requests[sent % #requests + 1]
end

function done(summary, latency, _)
  local failures = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration_us": %d, "non_2xx": %d, "broken": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, failures.status,
    failures.connect + failures.read + failures.write + failures.timeout,
    latency:percentile(50), latency:percentile(99)
  ))
end
