"""Deliberate errors in the rules of reading and writing at places."""

MUTANTS = [
    ("triangle", 'n.keep(x[-2:], "cut along a diagonal")', "pass"),
    ("reverse", 'x[int(n.attr("time_axis", 0))]', "x[-1]"),
    ("one_hot", 'int(n.attr("axis", -1)) % (len(x) + 1)', "len(x)"),
    ("compress", "x[at] = late", "pass"),
    ("compress", "n.keep(x[at], BY_INDEX)", "pass"),
    ("_beside", "n.keep(column, BY_INDEX)", "pass"),
    ("_beside", "n.tie(column[0], other)", "pass"),
    ("gather_elements", 'n.axis_attr("axis", len(x), 0)', "0"),
    ("scatter_elements", "_beside(n, at, x, indices)", "pass"),
    ("scatter_elements", "and n.tensor(2).silent", ""),
    ("gather_nd", 'int(n.attr("batch_dims", 0)) +', ""),
    ("scatter_nd", "n.tie(one, other)", "pass"),
    ("scatter_nd", "and n.tensor(2).silent", ""),
    ("grid_sample", "(x[0], *x[2:], *grid)", "(x[0],)"),
    ("roi_align", "(x[0], *x[2:], *boxes, *n.axes(2))", "(x[0],)"),
    ("one_hot", "dtype=n.tensor(2).dtype", "silent=True, dtype=n.tensor(2).dtype"),
    ("one_hot", "% (len(x) + 1)", "% len(x)"),
]
