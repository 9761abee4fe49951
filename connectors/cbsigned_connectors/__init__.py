"""Adapters of cbsigned to the platforms that analysts use; one sub-package a platform."""
