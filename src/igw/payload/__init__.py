"""The body-based router: what a request's body says becomes headers, before its route is chosen. No endpoint is picked here."""
