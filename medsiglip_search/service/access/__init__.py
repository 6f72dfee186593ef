"""Who may use the service: API keys, logins at an OpenID Connect provider, browser sessions, and how often.

`authenticating` puts them together; the gate asks nothing else. `keys` is also what the commands change.
"""
