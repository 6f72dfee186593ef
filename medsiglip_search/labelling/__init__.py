"""Labels over a whole gallery: its stored embeddings against a classifier, no image read again.

    gallery -> run (blocks of images) -> studies (blocks of groups) -> output (Parquet, CSV), summary, plot
                                      -> storing (columns of the gallery)

Modules: `run` and `studies` make blocks, `task` says which, `rows` makes tables of them, `parts` and `output`
files that a run goes on with after a kill.
"""
