"""What the kernel tells about one process."""
import glob
import os

# What a mapping is for, by its name and rights; the first that fits.
CLASSES = (("libcrypto, libssl", lambda name, rights: "libcrypto" in name or "libssl" in name),
           ("libc and the dynamic linker", lambda name, rights: "/libc.so" in name or "/ld-linux" in name or "/libc-2" in name),
           ("libcurl and what it needs", lambda name, rights: ".so" in name),
           ("the program: code and constants", lambda name, rights: "lockkeeper" in name and "w" not in rights),
           ("the program: variables", lambda name, rights: "lockkeeper" in name),
           ("heap", lambda name, rights: name == "[heap]"),
           ("stack", lambda name, rights: name == "[stack]"),
           ("kernel pages", lambda name, rights: name in ("[vdso]", "[vvar]", "[vsyscall]") or name.startswith("[vvar")),
           ("threads' stacks and heaps, variables of libraries", lambda name, rights: not name))
COLUMNS = ("Rss", "Pss", "Anonymous")


def memory(pid):
    """{Pss, Rss, Anonymous in KiB; minor, major: page faults so far, of all its threads}"""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        rows = (line.split() for line in f)
        found = {r[0][:-1]: int(r[1]) for r in rows if r[0][:-1] in COLUMNS}
    found["minor"], found["major"] = faults(pid)
    return found


def faults(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[7]), int(fields[9])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def mappings(pid):
    """[{class, Rss, Pss, Anonymous}] in KiB: where the memory of a process goes"""
    sums, row = {}, None
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            words = line.split(maxsplit=5)
            if not words[0].endswith(":"):  # address rights offset device inode name
                name = words[5].strip() if len(words) > 5 else ""
                kind = next((what for what, fits in CLASSES if fits(name, words[1])), "other files")
                row = sums.setdefault(kind, dict.fromkeys(COLUMNS, 0))
            elif words[0][:-1] in COLUMNS:
                row[words[0][:-1]] += int(words[1])
    return [{"class": k, **v} for k, v in sorted(sums.items(), key=lambda kv: -kv[1]["Pss"])]


def sharers(pid, library):
    """How many other processes map a library: they carry their part of its PSS."""
    n = 0
    for path in glob.glob("/proc/[0-9]*/maps"):
        try:
            with open(path) as f:
                n += path != f"/proc/{pid}/maps" and any(library in line for line in f)
        except OSError:
            pass  # it ended
    return n


def switches(pid):
    """Context switches of all its threads, wanted and not."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(path) as f:
            total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return total


def cpu_ns(pid):
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path) as f:
            total += int(f.read().split()[0])
    return total
