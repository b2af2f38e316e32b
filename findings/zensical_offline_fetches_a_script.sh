#!/usr/bin/env bash
# The plug-in "offline" of Zensical makes pages load a script from a public server.
#
# Behavior: a site that is built with `plugins: [search, offline]`, which is there so that a site can be read without a
# server or a network, has on every page a script element for https://unpkg.com/iframe-worker/shim. Without the plug-in
# the page loads nothing from elsewhere. The build does not say so.
# Version: zensical 0.0.73.
# Source: zensical/config.py (the plug-in's setting adds the address to extra_javascript); what the script is for is told at
# https://github.com/squidfunk/iframe-worker .
# Why it matters: whoever reads a manual from a folder asks a third server for a script and runs what it answers, under
# the name of a plug-in that is for reading without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q zensical==0.0.73 2>/dev/null
"$folder/venv/bin/zensical" --version
mkdir -p "$folder/plain/docs" "$folder/offline/docs"
for kind in plain offline; do
  printf '# Hello\n\nA page.\n' > "$folder/$kind/docs/index.md"
  printf 'site_name: x\nuse_directory_urls: false\ntheme:\n  font: false\n' > "$folder/$kind/mkdocs.yml"
done
printf 'plugins:\n  - search\n  - offline\n' >> "$folder/offline/mkdocs.yml"
for kind in plain offline; do
  (cd "$folder/$kind" && ../venv/bin/zensical build -f mkdocs.yml > /dev/null)
  grep -oE '<script[^>]*src="https?://[^"]*"' "$folder/$kind/site/index.html" > "$folder/$kind/found" || true
  echo "$kind: scripts from elsewhere: $(tr '\n' ' ' < "$folder/$kind/found")"
done
test ! -s "$folder/plain/found"
grep -q 'https://unpkg.com/iframe-worker/shim' "$folder/offline/found"
