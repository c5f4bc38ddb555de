# SPDX-License-Identifier: MIT
# Reads what a guest wrote to ttyS1, writes TAP and a last line with the counts. Exits 1 unless
# everything passed. Variables: kernel, iommu, suite, complaints (a file of console lines).

function label(name) {
	return kernel (iommu == "none" ? "" : "+" iommu) "/" program "/" name
}

function failed_because(why) {
	printf "not ok %d %s\n", ++number, label(why)
	failed++
}

BEGIN {
	program = "guest"
}

/^@@ begin / { program = $3; in_program = 1; next }
/^@@ end / {
	in_program = 0
	# 0: all passed, 4: all skipped, 1: some failed, which its own lines already say.
	if ($4 == "timeout")
		failed_because("ends in time")
	else if ($4 == "signal")
		failed_because("ends by itself, not by signal " $5)
	else if ($5 == 1 && !failed_here)
		failed_because("exit status 1 without a failed test")
	else if ($5 != 0 && $5 != 1 && $5 != 4)
		failed_because("exit status " $5)
	failed_here = 0
	program = "guest"
	next
}
/^@@ booted/ { booted = 1; next }
/^@@ done/ { done = 1; next }
/^@@ unload ok/ { unloaded = 1; printf "ok %d %s\n", ++number, label("module unloads"); passed++; next }
/^@@ unload / { unloaded = 1; failed_because("module unloads: " substr($0, 11)); next }
/^@@ kmemleak absent/ { next }
/^@@ kmemleak 0$/ { printf "ok %d %s\n", ++number, label("kmemleak is silent"); passed++; next }
/^@@ kmemleak / { failed_because("kmemleak is silent: " $3 " objects"); next }
/^@@ / { failed_because(substr($0, 4)); next }

# kselftest_harness writes "ok 1 global.name" and "ok 2 name # SKIP why", others "ok 1 - name".
/^ok .*# SKIP/ && suite == "daemon" { failed_because("is not skipped: " $0); next }
/^ok .*# SKIP/ { sub(/^ok +[0-9]+ /, ""); printf "ok %d %s\n", ++number, label($0); skipped++; next }
/^ok / { sub(/^ok +[0-9]+ (- )?/, ""); printf "ok %d %s\n", ++number, label($0); passed++; next }
/^not ok / {
	sub(/^not ok +[0-9]+ (- )?/, "")
	failed_because($0)
	failed_here = 1
	next
}
/^Bail out!/ { failed_because($0); next }
/^(TAP version|1\.\.)/ { next }
/^# ( RUN |      OK |Starting|PASSED|Totals)/ { next }
/^#? *$/ { next }
{ print (/^#/ ? "" : "# ") $0 }

END {
	if (!booted)
		failed_because("boots")
	else if (!done)
		failed_because(in_program ? "the guest ended inside this program" : "the guest ended early")
	while ((getline line < complaints) > 0) {
		program = "console"
		failed_because(line)
	}
	printf "1..%d\n%d passed, %d failed, %d skipped\n", number, passed, failed, skipped
	exit failed > 0 || passed == 0
}
