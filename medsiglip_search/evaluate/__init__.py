"""How good labels and search are, against a truth, with confidence intervals by patient.

truth, galleries, sources of labels (`comparison`) -> figures (`labels`, `retrieval`, put together by `run`)
-> rows and JSON (`report`), a printed table (`table`), a page (`page`, `plots`)

`metrics` and `ranking` are the definitions, `resampling` the intervals, `training_sets` what to be warned of.
"""
