"""`| cbhealth` as splunkd starts it."""

from cbsigned_connectors.splunk.generating import main

if __name__ == "__main__":
    main("cbhealth")
