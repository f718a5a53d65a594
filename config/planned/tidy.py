"""A transform without a plugin: a function from record to record, or to None, which drops it."""

from router_core.edits import attributes_of, event_name, with_attributes, without_attributes
from router_core.records import Record


def tidy(record: Record) -> Record | None:
    """No test events; lower-case search terms; long articles are marked."""
    attributes = attributes_of(record)
    if attributes.get("test"):
        return None
    if event_name(record) == "Search" and "term" in attributes:
        return with_attributes(record, term=attributes["term"].strip().lower())
    if attributes.get("words", 0) > 1000:
        return with_attributes(without_attributes(record, "words"), long=True)
    return record
