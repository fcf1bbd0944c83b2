"""What the stores of a result of `tempica unmix` hold: rows of a table, their latents and their sources."""

from __future__ import annotations

from tempica.stores.variable import Variable

_ROWS = {
    "row": Variable(("row",), "int64", "1", "number of the row in the input, from 0"),
    "used": Variable(("row",), "uint8", "1", "1 where the row was used, 0 where it was left out"),
    "table_row": Variable(("row",), "int64", "1", "row of the table of particles, from 0; -1 without"),
    "series": Variable(("row",), "int64", "1", "number of the series of rows in order of time; -1 without"),
    "time": Variable(("row",), "float64", "", "of the input's column of times, in its unit; NaN without"),
    "label": Variable(("row",), "string", "", "condition or delay, as text; empty without"),
}
TABLES: dict[str, dict[str, Variable]] = {
    "latent_table": {
        **_ROWS,
        "feature": Variable(("feature",), "string", "", "name of the latent"),
        "latent": Variable(("row", "feature"), "float64", "", "latents of another program; NaN in rows left out"),
        "latent_variance": Variable(("row", "feature"), "float64", "", "of each latent, where stated; NaN without"),
    },
    "source_table": {
        **_ROWS,
        "estimator": Variable(
            ("estimator",), "string", "", "name of the method; the last one is given out as sources.csv"
        ),
        "source": Variable(
            ("estimator", "row", "component"),
            "float64",
            "1",
            "sources; NaN in rows left out, and where a method has fewer components",
        ),
        "smoothed_source": Variable(
            ("row", "component"),
            "float64",
            "1",
            "those of the last estimator given all frames of their series; NaN where rows have no order in time",
        ),
    },
}
