#!/bin/sh
# Installs the programs that tests need and only the distribution has. As root on Debian or Ubuntu only; elsewhere it
# does nothing, and a test that lacks a program is skipped and says what to install. LOOPKIT_NO_APT=1 turns it off.
set -u

[ "$(id -u)" = 0 ] && [ -z "${LOOPKIT_NO_APT:-}" ] && command -v apt-get >/dev/null 2>&1 || exit 0
PATH=$PATH:/usr/sbin:/sbin

# program:package, as in tests/tool_helpers.py (tests/test_tool_helpers.py compares the two)
TOOLS="
chromium:chromium
strace:strace
pgbouncer:pgbouncer
ip:iproute2
nft:nftables
ps:procps
faketime:faketime
"

missing=""
for pair in $TOOLS; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0

echo "==> Installing for the tests:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# do not start the services of these packages
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    trap 'rm -f "$policy" "$log"' EXIT INT TERM
else
    trap 'rm -f "$log"' EXIT INT TERM
fi
apt() { timeout 600 apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1; }
# shellcheck disable=SC2086 # a list of packages
if apt update && apt install --no-install-recommends $missing; then
    exit 0
fi
echo "==> The installation failed; tests that need these programs will be skipped. The last lines were:" >&2
tail -n 5 "$log" >&2
exit 0
