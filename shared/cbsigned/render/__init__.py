"""What people and programs read: one document, and every output made from it.

`document` turns an enrichment into JSON types; `table`, `text`, `markdown`, `html`, `svg` and `csv` read nothing else.
Whatever comes from outside passes `clean` on its way to an eye, and each output's own escaping.
"""
