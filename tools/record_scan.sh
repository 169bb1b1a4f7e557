#!/bin/sh
# Records docs/scan.svg: a scan by both engines, in a network of its own where only four servers listen. Needs root.
set -eu
cd "$(dirname "$0")/.."
[ "${1:-}" = inside ] || exec unshare --net "$0" inside
ip link set lo up
PATH=$PWD/.venv/bin:$PATH
pids=
for server in "echo --port 7" "upper --port 5432" "chat --port 6667" "upper --port 8080"; do
  oxisock serve $server >/dev/null 2>&1 &
  pids="$pids $!"
done
oxisock wait localhost:7 localhost:5432 localhost:6667 localhost:8080 >/dev/null
python tools/terminal_picture.py docs/scan.svg 80 oxisock scan localhost -p - --impl both
kill $pids
wait
