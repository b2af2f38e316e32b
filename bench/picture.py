"""Draw docs/table.png, the picture in the README: the table of table.html, as headless Chromium shows it.

python bench/picture.py [table.html] [docs/table.png]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def main() -> None:
    """Take the picture."""
    page_file = Path(sys.argv[1] if len(sys.argv) > 1 else "table.html").resolve()
    picture = Path(sys.argv[2] if len(sys.argv) > 2 else "docs/table.png")
    browser_file = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser_file is None or not page_file.exists():
        sys.exit("needs Chromium, and table.html: run `make table` first")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_file, args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 900}, color_scheme="light", device_scale_factor=1.5)
        page.goto(page_file.as_uri())
        page.locator("table").first.screenshot(path=str(picture))
        browser.close()
    print(f"written: {picture}")


if __name__ == "__main__":
    main()
