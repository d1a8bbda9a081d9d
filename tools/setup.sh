# Sourced by ./demo and ./test. Defines:
#   set_up [test]   make $root/.venv hold the pinned dependencies (with those of the tests), if it does not yet
# This part only finds a Python; tools/set_up.py does the work. Plain sh: nothing else may be there yet.

find_python() {
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.14 python; do
        [ -n "$candidate" ] || continue
        # A launcher that is on PATH may still find no interpreter behind it, so ask instead of looking.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

set_up() {
    # A variable that points to another interpreter's libraries must not reach the environment's own.
    unset PYTHONHOME PYTHONPATH
    if ! python=$(find_python); then
        echo "error: no Python 3.11 or newer was found" >&2
        echo "  fix: install one (https://www.python.org/downloads/), or say where it is: PYTHON=/path/to/python3 $0" >&2
        exit 69
    fi
    "$python" "$root/tools/set_up.py" "$@"
}
