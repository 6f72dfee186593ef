"""What lies between a query and its hits, one step a module; `search.Searcher` puts them together."""
