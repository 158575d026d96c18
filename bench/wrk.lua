-- POSTs the requests given as arguments in turn, each `name: value` lines, an empty line, the body; ends with one line
-- of JSON for bench/wrk.py. The first argument is the path.
local requests, sent = {}, 0

function init(args)
  for index = 2, #args do
    local head, body = args[index]:match("^(.-)\n\n(.*)$")
    local headers = {}
    for name, value in head:gmatch("([^\n]-): ([^\n]*)") do
      headers[name] = value
    end
    requests[index - 1] = wrk.format("POST", args[1], headers, body)
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
