#!/bin/sh
# Install Debian's Chromium, which tests/system/test_report.py opens the report in. As root, on Debian or Ubuntu.
set -u
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        echo "$name is there: $(command -v "$name")"
        exit 0
    fi
done
fail() {
    echo "============================================================================" >&2
    echo "NO CHROMIUM: $1" >&2
    echo "tests/system/test_report.py will be skipped: nobody looks at the report." >&2
    echo "============================================================================" >&2
    exit 1
}
command -v apt-get >/dev/null 2>&1 || fail "there is no apt-get here; install Chromium as this system does"
[ "$(id -u)" = 0 ] || fail "run this script as root: sudo sh scripts/install_chromium.sh"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || fail "apt-get update failed"
apt-get install -y -qq --no-install-recommends chromium >/dev/null || fail "apt-get install chromium failed"
chromium --version || fail "chromium was installed but does not start"
