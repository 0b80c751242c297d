"""The budget table: samples in, raw files and one markdown row out. A missed target is a word in the row, not a failure."""
import json
import math
import os


def percentile(values, p):
    """Nearest rank: always a value that was measured."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * p / 100) - 1)]


def text_of(value, unit):
    """Times are in nanoseconds, memory in KiB."""
    if value is None:
        return "–"
    if unit == "ns":
        for name, size in (("µs", 1e3), ("ms", 1e6), ("s", 1e9)):
            if abs(value) < size * 1000 or name == "s":
                v = value / size
                return f"{v:.0f} {name}" if abs(v) >= 100 else f"{v:.2g} {name}" if abs(v) < 10 else f"{v:.1f} {name}"
    if unit == "KiB":
        return f"{value / 1024:.2f} MB" if abs(value) >= 1024 else f"{value:.0f} KiB"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


class Row:
    def __init__(self, what, target, n, median, p99, worst, engine="", verdict=""):
        self.cells = (what, target, n, median, p99, worst, engine, verdict)


class Table:
    def __init__(self, out):
        self.rows, self.notes, self.details, self.broken = [], [], [], []
        self.raw = f"{out}/raw"
        os.makedirs(self.raw, exist_ok=True)

    def keep(self, name, samples):
        """Every sample, as JSON lines."""
        with open(f"{self.raw}/{name}.jsonl", "w") as f:
            for s in samples:
                f.write(json.dumps(s) + "\n")

    def add(self, what, target, values, unit, limits=(), worst=max, engine=None):
        """limits: ((statistic, limit), …), statistic: p50, p99, worst; all at most, or at least when worst is min."""
        found = {"p50": percentile(values, 50), "p99": percentile(values, 99 if worst is max else 1), "worst": worst(values)}
        bad = [name for name, limit in limits if (found[name] > limit if worst is max else found[name] < limit)]
        verdict = "" if not limits else "met" if not bad else f"missed: {', '.join(bad)}"
        shown = [text_of(found[k], unit) for k in ("p50", "p99", "worst")]
        self.rows.append(Row(what, target, f"{len(values):,}", *shown, text_of(engine, "ns") if engine else "", verdict))
        return found

    def add_figures(self, what, target, n, median, p99, worst, unit, limits=()):
        """For what another program counted."""
        found = {"p50": median, "p99": p99, "worst": worst}
        bad = [name for name, limit in limits if found[name] > limit]
        self.rows.append(Row(what, target, f"{n:,}", *(text_of(v, unit) for v in (median, p99, worst)), "",
                             "" if not limits else "met" if not bad else f"missed: {', '.join(bad)}"))

    def absent(self, what, target, why):
        self.rows.append(Row(what, target, "–", "–", "–", "–", "", f"not measured: {why}"))

    def failed(self, what, why):
        self.broken.append(what)
        self.rows.append(Row(what, "", "–", "–", "–", "–", "", f"FAILED: {why}"))

    def note(self, text):
        self.notes.append(text)

    def detail(self, title, head, rows):
        """A small table below the large one."""
        lines = [f"**{title}**", "", "| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
        self.details.append("\n".join(lines + ["| " + " | ".join(map(str, r)) + " |" for r in rows]))

    def markdown(self):
        head = ("what", "target", "n", "median", "p99", "worst", "engine's own", "")
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += ["| " + " | ".join(str(c) for c in r.cells) + " |" for r in self.rows]
        lines += [""] + [f"- {n}" for n in self.notes]
        return "\n".join(lines + ["\n" + d for d in self.details])
