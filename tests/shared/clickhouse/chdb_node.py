"""A ClickHouse server out of a library: `clickhouse local`'s entry point, told to listen; for tests alone.

    python chdb_node.py LIBRARY ARGUMENT…

It ends with whoever started it.
"""

import ctypes
import signal
import sys

_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG

ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
arguments = [b"clickhouse", *(argument.encode() for argument in sys.argv[2:])]
library = ctypes.CDLL(sys.argv[1])
library.query_stable_v2.restype = ctypes.c_void_p
library.query_stable_v2(len(arguments), (ctypes.c_char_p * (len(arguments) + 1))(*arguments, None))
