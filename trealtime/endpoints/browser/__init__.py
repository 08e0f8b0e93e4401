"""A page in a browser, over a WebSocket of the app's own server."""

from trealtime.endpoints.browser.endpoint import BrowserEndpoint, BrowserStatistics, accept_browser_stream

__all__ = ["BrowserEndpoint", "BrowserStatistics", "accept_browser_stream"]
