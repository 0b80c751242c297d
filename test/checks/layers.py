#!/usr/bin/python3
"""A folder of src includes only what its row names, so that an include tells what a change can break."""
import os
import re
import sys

ROOT = os.path.abspath(f"{os.path.dirname(__file__)}/../..")
MAY_INCLUDE = {
    "util": "",
    "loop": "util",
    "model": "util",
    "plan": "model util",
    "store": "loop util",
    "net": "loop util",
    "engine": "net model loop util",
    "lock": "model loop util",
    "host": "model loop util",
    "keys": "store loop util",
    "logs": "engine model store loop util",
    "reconcile": "plan model store keys engine lock host loop util",
    "cloud": "model store keys logs net loop util",
    "api": "reconcile plan model lock keys logs net loop util",
    "cli": "net model loop util",
}
# What stays behind one door: header -> the only folders that may see it.
DOORS = {"yajl/": ["util"], "curl/": ["net"], "llhttp.h": ["net"], "uv.h": ["loop", "net", "lock", "host"]}


def problems(path):
    folder = os.path.relpath(path, f"{ROOT}/src").split("/")[0]
    with open(path) as f:
        for number, line in enumerate(f, 1):
            found = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
            if not found:
                continue
            kind, name = found.groups()
            where = f"{os.path.relpath(path, ROOT)}:{number}"
            if kind == '"' and folder in MAY_INCLUDE:
                if "/" not in name:
                    yield f'{where}: "{name}" is not a path from src'
                elif name.split("/")[0] not in [folder, *MAY_INCLUDE[folder].split()]:
                    yield f"{where}: {folder} may not include {name}; it may include: {MAY_INCLUDE[folder] or 'libc alone'}"
            for header, folders in DOORS.items():
                if kind == "<" and name.startswith(header) and folder in MAY_INCLUDE and folder not in folders:
                    yield f"{where}: <{name}> belongs to {', '.join(folders)}"
    if folder not in MAY_INCLUDE and not os.path.dirname(path) == f"{ROOT}/src":
        yield f"{os.path.relpath(path, ROOT)}: folder {folder} has no row in test/checks/layers.py"


def main():
    found, files = [], 0
    for base, _, names in os.walk(f"{ROOT}/src"):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                files += 1
                found += problems(f"{base}/{name}")
    print("\n".join(found))
    print(f"layers: {files} files, {len(found)} problems")
    return 1 if found or not files else 0


sys.exit(main())
