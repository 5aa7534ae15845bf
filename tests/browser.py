"""A real Chromium, driven over the DevTools protocol: choreographer comes with Kaleido."""

import asyncio
import base64
import logging
from typing import Any, NamedTuple

import pytest


class Visit(NamedTuple):
    """What became of a page: what scripts on it returned, and what it complained of."""

    values: list[Any]
    problems: list[str]


def visit(
    chromium, url, *scripts, ready, width=1024, height=900, dark=False, touch=False, png=None
):
    """Open a page, wait until ``ready`` is true there, and run the scripts on it.

    Args:
        chromium: Path of the browser.
        url: Of the page.
        scripts: JavaScript expressions; a promise is waited for.
        ready: JavaScript expression.
        width: Of the window, in CSS pixels.
        height: Of the window, in CSS pixels.
        dark: Whether the reader prefers dark pages.
        touch: Whether fingers point, as on a phone.
        png: Where to leave a picture of the whole page.
    """
    pytest.importorskip("choreographer", reason="pages need choreographer")
    for name in ("choreographer", "logistro", "browser_proc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    look = (width, height, dark, touch)
    return asyncio.run(_visit(chromium, str(url), scripts, ready, look, png))


async def _visit(chromium, url, scripts, ready, look, png):
    from choreographer import Browser
    from choreographer.browsers.chromium import Chromium

    class Quiet(Chromium):
        def get_cli(self):
            return [
                *super().get_cli(),
                *("--disable-quic", "--disable-background-networking"),
            ]

    problems = []

    async def on_log(event):
        entry = event["params"]["entry"]
        if entry["level"] in ("error", "warning"):
            problems.append(f"{entry['text']} {entry.get('url', '')}")

    async def on_throw(event):
        problems.append(str(event["params"]["exceptionDetails"]))

    async def on_console(event):
        if event["params"]["type"] in ("error", "warning", "assert"):
            problems.append(str(event["params"]["args"]))

    async with Browser(chromium, browser_cls=Quiet) as browser:
        tab = await browser.create_tab("about:blank")
        session = next(iter(tab.sessions.values()))
        session.subscribe("Log.entryAdded", on_log)
        session.subscribe("Runtime.exceptionThrown", on_throw)
        session.subscribe("Runtime.consoleAPICalled", on_console)
        send = tab.send_command
        for domain in ("Log", "Runtime", "Page"):
            await send(f"{domain}.enable")
        await _look(send, *look)
        await send("Page.navigate", {"url": url})
        await _until(send, f"document.readyState === 'complete' && Boolean({ready})")
        values = [await _evaluate(send, script) for script in scripts]
        if png:
            shot = await send("Page.captureScreenshot", {"captureBeyondViewport": True})
            png.write_bytes(base64.b64decode(shot["result"]["data"]))
        return Visit(values, problems)


async def _look(send, width, height, dark, touch):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
    await send("Emulation.setDeviceMetricsOverride", size)
    await send("Emulation.setTouchEmulationEnabled", {"enabled": touch})
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    await send("Emulation.setEmulatedMedia", {"features": [scheme]})


async def _evaluate(send, script):
    options = {"expression": script, "returnByValue": True, "awaitPromise": True}
    answer = (await send("Runtime.evaluate", options))["result"]
    assert "exceptionDetails" not in answer, answer
    return answer["result"].get("value")


async def _until(send, condition, seconds=60):
    for _ in range(10 * seconds):
        if await _evaluate(send, condition):
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(
        f"{condition} stayed false; {await _evaluate(send, 'document.body.innerText')}"
    )
