# SPDX-License-Identifier: MIT
"""Prometheus' text exposition format, version 0.0.4, checked as promtool would: names, help and type before
samples, families in one piece, no sample twice, histograms that add up."""
import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(r"(%s)(?:\{(%s(?:,%s)*)?,?\})? (\S+)$" % (NAME, LABEL, LABEL))


def family_of(name, types):
    for end in ("_bucket", "_sum", "_count"):
        if name.endswith(end) and types.get(name[:-len(end)]) == "histogram":
            return name[:-len(end)]
    return name


def check_histogram(name, samples):
    series = {}
    for (sample, labels), value in samples.items():
        rest = tuple(l for l in labels if not l.startswith("le="))
        s = series.setdefault(rest, {"buckets": []})
        if sample.endswith("_bucket"):
            le = [l for l in labels if l.startswith("le=")]
            assert len(le) == 1, "%s: a bucket without le" % name
            s["buckets"].append((float(le[0][4:-1].replace("+Inf", "inf")), value))
        else:
            s[sample[len(name) + 1:]] = value
    for s in series.values():
        bounds, counts = zip(*s["buckets"])
        assert list(bounds) == sorted(bounds) and list(counts) == sorted(counts), "%s: bounds or counts go down" % name
        assert math.isinf(s["buckets"][-1][0]), "%s: no bucket +Inf" % name
        assert s["buckets"][-1][1] == s["count"], "%s: +Inf is not the count" % name
        assert "sum" in s, "%s: no sum" % name


def parse(text):
    """{family: {(name, labels): value}}; AssertionError names what is wrong."""
    assert text.endswith("\n"), "the last line does not end"
    types, helps, families, current = {}, set(), {}, None
    for n, line in enumerate(text.splitlines(), 1):
        m = re.match(r"# (HELP|TYPE) (%s) (.+)$" % NAME, line)
        if m and m[1] == "HELP":
            assert m[2] not in helps, "line %d: second HELP of %s" % (n, m[2])
            helps.add(m[2])
        elif m:
            assert m[2] not in types, "line %d: second TYPE of %s" % (n, m[2])
            assert m[3] in ("counter", "gauge", "histogram", "summary", "untyped"), "line %d: %s" % (n, line)
            assert (m[3] == "counter") == m[2].endswith("_total"), "line %d: only counters, and all, end in _total" % n
            types[m[2]] = m[3]
            current = m[2]
            families[current] = {}
        else:
            m = SAMPLE.match(line)
            assert m, "line %d is no sample: %r" % (n, line)
            assert family_of(m[1], types) == current, "line %d: %s stands apart from its TYPE" % (n, m[1])
            assert current in helps, "line %d: %s has no HELP" % (n, current)
            key = m[1], tuple(re.findall(LABEL, m[2] or ""))
            assert key not in families[current], "line %d: a second time %s" % (n, key)
            families[current][key] = float(m[3])
            if types[current] in ("counter", "histogram"):
                assert float(m[3]) >= 0, "line %d: below 0" % n
    for name, samples in families.items():
        if types[name] == "histogram":
            check_histogram(name, samples)
    return families
