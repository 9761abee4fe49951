"""`| cbsigned` as splunkd starts it."""

from cbsigned_connectors.splunk.command import main

if __name__ == "__main__":
    main()
