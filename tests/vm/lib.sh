# SPDX-License-Identifier: MIT
# Shared by the scripts of this directory: where the cache is, how packages come in, how a
# command runs inside the trixie root. Sourced, never run.

set -euo pipefail
export LC_ALL=C

VM_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP_DIR=$(cd "$VM_DIR/../.." && pwd)
CACHE_DIR=${HEARTH_CACHE:-/var/cache/hearth-vm}
ROOT_DIR=$CACHE_DIR/trixie-root
READY_DEBUG_KERNEL=${HEARTH_DEBUG_KERNEL:-$TOP_DIR/../shared/debug-kernel}
JOBS=${HEARTH_JOBS:-$(nproc)}

vm_say() {
	printf '# %s\n' "$*" >&2
}

vm_die() {
	printf 'tests/vm: %s\n' "$*" >&2
	exit 1
}

# Exit status 77 means "cannot run here"; the reason is printed as the whole result.
vm_skip() {
	printf '1..0 # SKIP %s\n' "$*"
	exit "${VM_SKIP_STATUS:-77}"
}

vm_need_root() {
	[ "$(id -u)" = 0 ] || vm_skip "needs root: it makes a chroot and mounts into it"
	mkdir -p "$CACHE_DIR"
}

# vm_need_packages COMMAND=PACKAGE...: installs the packages whose command is absent.
vm_need_packages() {
	local pair missing=()

	for pair in "$@"; do
		command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
	done
	[ ${#missing[@]} -eq 0 ] && return 0
	vm_say "installing ${missing[*]}"
	(
		flock 9
		export DEBIAN_FRONTEND=noninteractive
		apt-get -o DPkg::Lock::Timeout=300 update -qq
		apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
			"${missing[@]}" >/dev/null
	) 9>"$CACHE_DIR/.apt.lock" || vm_die "cannot install ${missing[*]}: install them by hand"
}

# The mirror this machine already uses for Debian itself, from deb822 or one-line sources.
vm_mirror() {
	local file uri

	for file in /etc/apt/sources.list.d/*.sources; do
		[ -e "$file" ] || continue
		uri=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' "$file" | grep -E '/debian/?$' | head -n 1 || true)
		[ -n "$uri" ] && { printf '%s\n' "$uri"; return; }
	done
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -e "$file" ] || continue
		uri=$(sed -n 's/^deb *\(\[[^]]*\]\)\{0,1\} *\([^ ]*\) .*/\2/p' "$file" |
			grep -E '/debian/?$' | head -n 1 || true)
		[ -n "$uri" ] && { printf '%s\n' "$uri"; return; }
	done
	vm_die "no Debian mirror in this machine's apt sources: a line for one is needed"
}

# vm_in_root [-b SRC:DST]... COMMAND...: runs a command in the trixie root, in mount and pid
# namespaces of its own, so that nothing stays mounted and runs side by side do not meet. Each
# -b makes a directory of this machine visible at DST in the root.
vm_in_root() {
	local binds=()

	while [ "${1:-}" = -b ]; do
		binds+=("$2")
		shift 2
	done
	unshare --mount --pid --fork --kill-child bash -euc '
		root=$1 count=$2
		shift 2
		mount --make-rprivate /
		mount --bind "$root" "$root"
		mount -t proc proc "$root/proc"
		mount -t tmpfs tmpfs "$root/tmp"
		mount --rbind /dev "$root/dev"
		while [ "$count" -gt 0 ]; do
			mkdir -p "$root${1#*:}"
			mount --bind "${1%%:*}" "$root${1#*:}"
			shift
			count=$((count - 1))
		done
		exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C \
			HOME=/root DEBIAN_FRONTEND=noninteractive "$@"
	' in-root "$ROOT_DIR" "${#binds[@]}" "${binds[@]}" "$@"
}

# vm_release KERNEL: the newest packaged release whose headers the root holds, as uname -r says it.
vm_release() {
	local dir newest

	newest=$(for dir in "$ROOT_DIR"/usr/src/linux-headers-"$1".*-amd64; do
		[ -d "$dir" ] && printf '%s\n' "${dir##*/linux-headers-}"
	done | sort -V | tail -n 1)
	[ -n "$newest" ] || vm_die "the trixie root has no headers for $1"
	printf '%s\n' "$newest"
}
