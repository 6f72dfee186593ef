"""The REST API: each module a few routes that read a request, call one operation and write its answer."""
