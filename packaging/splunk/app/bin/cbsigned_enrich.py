"""The alert action as splunkd starts it."""

from cbsigned_connectors.splunk.alert_action import main

if __name__ == "__main__":
    main()
