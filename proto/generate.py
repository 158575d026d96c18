"""Generates `src/extproc/_gen/` (or the folder given as argument) from the .proto files beside this script.

protoc's Python imports start at the proto root (`from envoy.config.core.v3 import …`), which would claim the top-level
package name `envoy`; they are rewritten to live below `extproc._gen`. Of our own services the gRPC stubs are generated
too; Envoy's one is served without.
"""

import re
import shutil
import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
DEFAULT_TARGET = ROOT.parent / "src" / "extproc" / "_gen"
ABSOLUTE_IMPORT = re.compile(r"^from ((?:envoy|extproc)(?:\.\w+)*) import ", re.MULTILINE)


def generate(target: Path) -> None:
    """Writes the message modules and their type stubs below `target`, replacing what is there.

    Errors: SystemExit with protoc's exit status; its messages go to standard error.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    well_known = resources.files("grpc_tools") / "_proto"
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    arguments = ["protoc", f"-I{ROOT}", f"-I{well_known}", f"--python_out={target}", f"--pyi_out={target}", *files]
    ours = [file for file in files if file.startswith("extproc/")]
    stubs = ["protoc", f"-I{ROOT}", f"-I{well_known}", f"--grpc_python_out={target}", *ours]
    if status := protoc.main(arguments) or protoc.main(stubs):
        raise SystemExit(status)
    for module in [*target.rglob("*.py"), *target.rglob("*.pyi")]:
        module.write_text(ABSOLUTE_IMPORT.sub(r"from extproc._gen.\1 import ", module.read_text()))
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").write_text("")
    (target / "__init__.py").write_text('"""Generated from proto/ by `make proto`. Do not edit."""\n')


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_TARGET)
