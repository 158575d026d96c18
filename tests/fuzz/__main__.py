"""`make fuzz`: coverage-guided, for a given time. Ends with an error when anything escapes, and says what did.

`python -m tests.fuzz FILE` runs one input again; `.fuzz/` keeps what was learned, and the inputs that failed.
"""

import argparse
import logging
import sys
import traceback
from pathlib import Path

import atheris

ROOT = Path(".fuzz")
MOST_INPUT_BYTES = 512
INPUT_TIMEOUT_S = 20
"""For what never returns: `targets.MOST_CPU_S` is for what is slow, and can only be told at the end."""


def fuzz(seconds: int) -> None:
    """Runs for `seconds`; leaves the process, with 0 where nothing was found."""
    with atheris.instrument_imports(include=["extproc", "python_multipart", "tests.fuzz"]):
        from tests.fuzz.seeds import SEEDS
        from tests.fuzz.targets import run

    def run_or_tell(data: bytes) -> None:
        try:
            run(data)
        except BaseException:
            traceback.print_exc()
            print(f"failing input, {len(data)} bytes in hex: {data.hex()}", flush=True)
            raise

    corpus = ROOT / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for name, seed in SEEDS.items():
        (corpus / f"seed {name}").write_bytes(seed)
    options = {
        "max_total_time": seconds,
        "max_len": MOST_INPUT_BYTES,
        "len_control": 0,  # long inputs from the start: a stream has many steps, and there is no time for patience
        "timeout": INPUT_TIMEOUT_S,
        "artifact_prefix": f"{ROOT}/",
        "print_final_stats": 1,
    }
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    atheris.Setup([sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus)], run_or_tell)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("file", nargs="?", type=Path)
    arguments = parser.parse_args()
    if arguments.file is None:
        fuzz(arguments.seconds)
    else:
        from tests.fuzz.targets import run

        run(arguments.file.read_bytes())


if __name__ == "__main__":
    main()
