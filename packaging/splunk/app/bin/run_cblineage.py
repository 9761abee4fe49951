"""`| cblineage` as splunkd starts it."""

from cbsigned_connectors.splunk.lineage_command import main

if __name__ == "__main__":
    main()
