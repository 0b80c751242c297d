#!/usr/bin/python3
"""Functions that invite mistakes, and habits that make tests lie."""
import os
import re
import sys

ROOT = os.path.abspath(f"{os.path.dirname(__file__)}/../..")
FUNCTIONS = {
    "strcpy": "util/str.h or util/buf.h", "strcat": "util/buf.h", "sprintf": "snprintf or buf_printf", "vsprintf": "vsnprintf",
    "gets": "getline", "strncpy": "util/str.h", "strtok": "strsep or util/str.h", "system": "loop/child.h",
    "popen": "loop/child.h", "alloca": "the heap", "rand": "getrandom", "tmpnam": "mkstemp",
}
CALL = re.compile(r"(?<![\w.>])(" + "|".join(FUNCTIONS) + r")\s*\(")
IN_TESTS = [
    (re.compile(r"\b(time\.sleep|usleep|nanosleep)\s*\(|(?<![\w.])sleep\s*\("), "wait for the event, not for time"),
    (re.compile(r"pytest\.(skip|importorskip|xfail|mark\.(skip|skipif|xfail))"), "every test runs everywhere"),
]


def without_text(line):
    """C code without its strings and comments (of one line; our comments begin with * or /)."""
    line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
    return re.sub(r"/\*.*?(\*/|$)|//.*|^\s*\*.*", "", line)


def main():
    found = []
    for top in ("src", "test"):
        for base, _, names in os.walk(f"{ROOT}/{top}"):
            if base.startswith(os.path.dirname(__file__)):
                continue
            for name in sorted(names):
                path = os.path.relpath(f"{base}/{name}", ROOT)
                if not name.endswith((".c", ".h", ".py")):
                    continue
                with open(f"{ROOT}/{path}", errors="replace") as f:
                    for number, line in enumerate(f, 1):
                        code = without_text(line) if not name.endswith(".py") else re.sub(r'(["\']).*?\1', "", line)
                        if top == "src":
                            found += [f"{path}:{number}: {m}() is banned: use {FUNCTIONS[m]}" for m in CALL.findall(code)]
                        if top == "test" and not path.startswith("test/bench/"):
                            found += [f"{path}:{number}: {why}" for what, why in IN_TESTS if what.search(code)]
    print("\n".join(found))
    print(f"banned: {len(found)} problems")
    return 1 if found else 0


sys.exit(main())
