// A run takes what the page shows: Python may not have been told of the last change yet.
(yaml, groupBy, gallery, where) => [
  yaml, groupBy, gallery, where, {table: window.labelTable(), filters: window.labelFilters?.() ?? {}},
]
