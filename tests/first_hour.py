"""The quickstart with what is installed and nothing else, in the current folder, which should be empty.

`.ci/run` starts it with the Python of an environment that holds the wheel alone; it needs no test tools.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import flask_rollingslots

PAGE = Path(__file__).resolve().parent.parent / "docs" / "quickstart.md"


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def flask(*words: str) -> str:
    """Run ``flask --app app …``."""
    command = [sys.executable, "-m", "flask", "--app", "app", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Save the files of the page, run its commands, book as its visitors do."""
    say(str(flask_rollingslots.__file__))
    for text in re.findall(r"^```\w+\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        name = re.match(r"(?:#|<!--) ([\w./]+\.\w+)", text)
        if name:
            Path(name[1]).parent.mkdir(exist_ok=True)
            Path(name[1]).write_text(text, "utf-8")
    flask("add-offer")
    flask("slots", "generate")
    status = flask("slots", "status").splitlines()[0]
    say(status)
    sys.path.insert(0, "")
    from app import app  # type: ignore[import-not-found]

    client = app.test_client()
    page = client.get("/").text
    key = re.findall(r'action="(/book/[^"]+)"', page)[-1]
    answer = client.post(key, data={"name": "Ada"}, follow_redirects=True).text
    say(f"{page.count('<form')} slots on the page; {re.findall('Booked[^<]*', answer)}")
    if not status.startswith("ok") or page.count("<form") not in range(80, 90) or "Booked." not in answer:
        sys.exit("the quickstart does not work with this wheel")


if __name__ == "__main__":
    main()
