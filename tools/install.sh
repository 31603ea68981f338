#!/bin/sh
# Makes the virtual environment that the Makefile's targets run in, and says in one sentence what is missing.
#
#   sh tools/install.sh python         print the Python that would be used
#   sh tools/install.sh venv           make $VENV with it, in the order that BasicSR's build needs
#   sh tools/install.sh check PYTHON   check that OpenCV finds its system libraries
#
# Read from the environment: PYTHON (default: the first of 3.12, 3.11, 3.10 that works), VENV (.venv), CONSTRAINTS (a
# file of exact versions; empty: whatever pip chooses), EXTRAS (dev), PIP_ARGS (more arguments for `pip install`), PAUSE
# (10: seconds before a step of pip that failed is tried again).
set -eu

PACKAGES='make python3-venv git libgl1 libglib2.0-0'
VENV=${VENV:-.venv}
EXTRAS=${EXTRAS:-dev}
PAUSE=${PAUSE:-10}
ATTEMPTS=3

fail() {
    printf 'basicsr_semantic: %s\n' "$*" >&2
    exit 2
}

# Sets `verdict` to what is wrong with the Python $1: absent, wrong-version, no-venv; or to usable.
judge() {
    verdict=absent
    # A pyenv shim exists and still fails when its version is not switched on, so being found is not enough.
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || return 0
    case $version in
        3.10 | 3.11 | 3.12) ;;
        *)
            verdict=wrong-version
            return 0
            ;;
    esac
    # Debian leaves ensurepip out of python3; without it `python -m venv` makes an environment without pip.
    verdict=no-venv
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 || return 0
    verdict=usable
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3.12 python3.11 python3.10 python3
    fi
    wrong='' without_venv=''
    for candidate; do
        judge "$candidate"
        case $verdict in
            usable)
                printf '%s\n' "$candidate"
                return 0
                ;;
            wrong-version) wrong="$candidate is Python $version" ;;
            no-venv) without_venv=${without_venv:-$candidate} ;;
        esac
    done
    if [ -n "$without_venv" ]; then
        fail "$without_venv has no venv and ensurepip modules; on Debian and Ubuntu: sudo apt-get install $PACKAGES" \
            "(for a Python that is not the system's own: $(basename "$without_venv")-venv)"
    elif [ -n "$wrong" ]; then
        fail "$wrong, and Python 3.10, 3.11 or 3.12 is needed: BasicSR cannot be built on Python 3.13 or newer." \
            "Install one of them, and name it if it is not on the PATH: make PYTHON=/path/to/python3.12 venv"
    elif [ -n "${PYTHON:-}" ]; then
        fail "PYTHON=$PYTHON does not run. Name a Python 3.10, 3.11 or 3.12: make PYTHON=/path/to/python3.12 venv"
    fi
    fail "no Python 3.10, 3.11 or 3.12 was found; on Debian and Ubuntu: sudo apt-get install $PACKAGES"
}

# OpenCV's wheels leave a few libraries to the system, and a bare server or container lacks them.
check_opencv() {
    message=$("$1" -c 'import cv2' 2>&1) && return 0
    case $message in
        *'cannot open shared object file'*)
            library=$(printf '%s\n' "$message" | sed -n 's/.*ImportError: \(.*\): cannot open shared object file.*/\1/p')
            fail "OpenCV needs the system library ${library:-it names}; on Debian and Ubuntu: sudo apt-get install $PACKAGES"
            ;;
    esac
    printf '%s\n' "$message" >&2
    fail "OpenCV (import cv2) does not work in $VENV; the message is above"
}

# pip takes up a download that broke off where it stopped; where a mirror keeps breaking it off at the same byte, only
# a download from the start helps, so the step is repeated.
install() {
    printf '%s\n' "-- $1"
    shift
    attempt=1
    # shellcheck disable=SC2086  # PIP_ARGS is a list of arguments
    until "$VENV/bin/python" -m pip install --disable-pip-version-check ${CONSTRAINTS:+-c "$CONSTRAINTS"} ${PIP_ARGS:-} "$@"; do
        [ "$attempt" -lt "$ATTEMPTS" ] ||
            fail "the installation in $VENV did not finish; pip's message is above. The next make starts it again"
        attempt=$((attempt + 1))
        printf '%s\n' "-- pip stopped; trying again in $PAUSE seconds ($attempt of $ATTEMPTS)"
        sleep "$PAUSE"
    done
}

# The wheels of the CUDA build are 2.7 GB, unpacked 6 GB. Other builds need less, so this is said and not refused.
say_room() {
    for folder in "$VENV" "${TMPDIR:-/tmp}"; do
        free=$(df -Pk "$folder" 2>/dev/null | sed -n '2s/.* \([0-9][0-9]*\)  *[0-9]*%.*/\1/p')
        [ "${free:-10000000}" -ge 10000000 ] ||
            printf '%s\n' "-- $folder has $((free / 1000)) MB free; PyTorch's CUDA build takes about 9000 MB while it is installed"
    done
}

make_venv() {
    # pip answers Ctrl-C with an exit status like any other, and some shells would then try again.
    trap 'exit 130' INT
    python=$(find_python)
    stamp=$VENV/.installed
    if [ ! -e "$stamp" ]; then
        # Without the stamp an earlier installation was interrupted, and pip may take a half-written package for a
        # whole one: start from nothing.
        printf '%s\n' "-- Making $VENV with $python"
        "$python" -m venv --clear "$VENV"
    fi
    rm -f "$stamp"
    install 'Installing pip and setuptools' -q --upgrade pip setuptools wheel
    install 'Installing NumPy and OpenCV' -q numpy opencv-python cython
    check_opencv "$VENV/bin/python" # before the large download, not after it
    say_room
    install 'Installing PyTorch (large: several minutes)' torch torchvision
    # BasicSR's setup.py asks for Cython, NumPy and torch; an isolated build would download torch a second time.
    install 'Installing BasicSR' -q --no-build-isolation basicsr
    install 'Installing basicsr_semantic and its tools' -q --no-build-isolation -e ".[$EXTRAS]"
    "$VENV/bin/python" -m pip check || fail "pip found versions in $VENV that do not fit together; its message is above"
    touch "$stamp"
}

case ${1:-} in
    python) find_python ;;
    venv) make_venv ;;
    check) check_opencv "$2" ;;
    *) fail "usage: sh tools/install.sh python | venv | check PYTHON" ;;
esac
