"""Asks a gateway for each model and says what came back: exit code 0 only if a server of its model answered each time.

Environment: GATEWAY, its base URL; MODELS, separated by commas; REQUESTS, how often each is asked; PATIENCE, seconds
that the first good answer of each model may take, while pods become ready and names resolve. Needs only Python.
"""

# ruff: noqa: T201 - what it says goes to the Job's log

import json
import os
import sys
import time
import urllib.error
import urllib.request

GATEWAY = os.environ.get("GATEWAY", "http://gateway")
MODELS = os.environ.get("MODELS", "microsoft/Phi-3-mini-4k-instruct,google/gemma-2b-it").split(",")
REQUESTS = int(os.environ.get("REQUESTS", "20"))
PATIENCE_S = float(os.environ.get("PATIENCE", "90"))


def ask(model: str) -> tuple[int, str, str]:
    """Status, the model that the answer names, and who served it, or why nobody did."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}).encode()
    request = urllib.request.Request(  # noqa: S310 - http, by GATEWAY
        f"{GATEWAY}/v1/chat/completions", body, {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return response.status, json.load(response).get("model", ""), response.headers.get("x-served-by", "?")
    except urllib.error.HTTPError as exc:
        return exc.code, "", exc.headers.get("x-extproc-reason") or exc.read(200).decode(errors="replace")
    except (OSError, ValueError) as exc:
        return 0, "", str(exc)


def main() -> int:
    """Waits for the first good answer of each model, then counts."""
    failed = False
    for model in MODELS:
        began = time.monotonic()
        while (found := ask(model))[:2] != (200, model) and time.monotonic() < began + PATIENCE_S:
            time.sleep(0.5)
        if found[:2] != (200, model):
            print(f"{model}: not routed within {PATIENCE_S:g} s: {found}")
            failed = True
            continue
        waited_s = time.monotonic() - began
        answers = [ask(model) for _ in range(REQUESTS)]
        good = sum(answer[:2] == (200, model) for answer in answers)
        servers = ", ".join(sorted({served_by for _, _, served_by in answers}))
        print(f"{model}: {good} of {REQUESTS} at the first attempt, by {servers} (first answer after {waited_s:.1f} s)")
        for answer in answers:
            if answer[:2] != (200, model):
                print(f"  {answer}")
        failed = failed or good < REQUESTS
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
