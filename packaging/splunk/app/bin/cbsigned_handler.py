"""The persistent REST handler as splunkd starts it; everything that it does is in `handler.py`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from splunk.persistconn.application import PersistentServerConnectionApplication

from cbsigned_connectors.splunk.handler import start


class CbsignedHandler(PersistentServerConnectionApplication):
    def __init__(self, command_line, command_arg):
        super().__init__()
        self.handler = start()

    def handle(self, in_string):
        return self.handler.handle(in_string)
