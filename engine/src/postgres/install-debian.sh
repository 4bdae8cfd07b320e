#!/bin/sh
# Installs Debian packages, without starting the services that they bring.
# Usage, as root: install-debian.sh PACKAGE...
# It prints nothing but the end of what went wrong.
set -eu

log=$(mktemp)
ours=
trap 'rm -f "$log" $ours' EXIT
trap 'exit 130' HUP INT TERM

# Debian's maintainer scripts ask this file whether they may start a service. Where somebody has
# written one already, it decides; ours lives only as long as this script.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    ours=$policy
    printf '#!/bin/sh\n# Written by install-debian.sh for one installation.\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

install() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "$@" </dev/null >>"$log" 2>&1
}

# A fresh machine has no package lists, and old lists name packages that are gone.
install "$@" || { apt-get -q update </dev/null >>"$log" 2>&1 && install "$@"; } || {
    tail -n 20 "$log" >&2
    exit 1
}
