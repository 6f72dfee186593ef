"""One process to use: the REST API, and what it shares with the browser pages.

    request -> gate (who, from where, how often) -> operation (may they, audit) -> search, labels, explanation

Routes and pages are thin: both call the same operations with the same `Caller`, so that neither can do what
the other must not. `running` puts a process together; `core` has what requests share.
"""
