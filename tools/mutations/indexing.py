"""Deliberate errors in the rules of operators that read and write at places."""

TESTS = ["tests/ops/test_indexing.py"]

MUTANTS = [
    ("triangle", "x[-2:]", "x[-1:]"),
    ("triangle", "x[-2:]", "x[-2:-1]"),
    ("triangle", "silent=n.tensor(0).silent", "silent=False"),
    ("reverse", 'x[int(n.attr("batch_axis", 1))], ', ""),
    ("reverse", ', x[int(n.attr("time_axis", 0))])', ",)"),
    ("reverse", "silent=n.tensor(0).silent", "silent=False"),
    ("compress", "n.keep(x, BY_INDEX)", "pass"),
    ("compress", "n.keep(x[at], BY_INDEX)", "pass"),
    ("compress", "silent=n.tensor(0).silent", "silent=False"),
    ("_beside", "n.keep(column, BY_INDEX)", "pass"),
    ("_beside", 'n.keep(column, "longer than the indices")', "pass"),
    ("_beside", "n.tie(column[0], other)", "pass"),
    ("gather_elements", "silent=n.tensor(0).silent", "silent=False"),
    ("gather_elements", "n.out(indices", "n.out(x"),
    ("scatter_elements", "_beside(n, at, indices, updates)", "pass"),
    ("scatter_elements", "_beside(n, at, x, indices)", "pass"),
    ("scatter_elements", " and n.tensor(2).silent", ""),
    ("gather_nd", 'int(n.attr("batch_dims", 0)) + ', ""),
    ("gather_nd", "n.keep((*x[:told], *indices), BY_INDEX)", "pass"),
    ("gather_nd", "silent=n.tensor(0).silent", "silent=False"),
    ("scatter_nd", "*x[:told], ", ""),
    ("scatter_nd", "n.tie(one, other)", "pass"),
    ("scatter_nd", " and n.tensor(2).silent", ""),
    ("grid_sample", "*grid), ", "), "),
    ("grid_sample", "silent=n.tensor(0).silent", "silent=False"),
    ("roi_align", "silent=n.tensor(0).silent", "silent=False"),
    ("roi_align", '("output_height", "output_width")', '("output_width", "output_height")'),
]
