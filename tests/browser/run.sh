#!/usr/bin/env bash
# The browser test: tests/browser/run.sh BASE_URL SITE BENCH. Called by scripts/test on a running site.
# Ends with `N passed, N failed`.
set -euo pipefail
cd "$(dirname "$0")"
# What an interrupted install left, or another version, is not good enough.
npm ls >/dev/null 2>&1 || npm install --no-package-lock --no-audit --no-fund --loglevel=error
exec node test.mjs "$@"
