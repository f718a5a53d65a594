"""Event names and keys."""

import pytest
from router_clevertap.names import (
    RESTRICTED_EVENT_NAMES,
    Remembered,
    clean_event_name,
    clean_key,
    clean_profile_key,
    cut,
)


@pytest.mark.parametrize(
    ("raw", "clean", "note"),
    [
        ("Added to cart", "Added to cart", ""),
        ("  Padded ", "Padded", "name_changed"),
        ("A & B", "A B", "name_changed"),
        ("50% off!", "50 off", "name_changed"),
        ("a.b:c;d$e'f\"g\\h|i<j>k", "abcdefghijk", "name_changed"),
        ("App Launched", "mP App Launched", "restricted_name"),
        ("APP  launched", "mP APP  launched", "restricted_name"),
        ("applaunched", "mP applaunched", "restricted_name"),
        ("App. Launched", "mP App Launched", "restricted_name"),
        ("Web Page Viewed", "mP Web Page Viewed", "restricted_name"),
        ("wzrk_anything", "mP wzrk_anything", "restricted_name"),
        ("Charged", "Charged", ""),
        ("charged", "Charged", "name_changed"),
        ("WZRK_x", "mP WZRK_x", "restricted_name"),
        ("!!!", "", "name_changed"),
        ("x" * 600, "x" * 512, "name_changed"),
        ("日本語", "日本語", ""),
    ],
)
def test_an_event_name_is_cleaned(raw: str, clean: str, note: str) -> None:
    name = clean_event_name(raw)
    assert (name.text, name.note) == (clean, note)


@pytest.mark.parametrize("name", RESTRICTED_EVENT_NAMES)
def test_no_restricted_name_is_sent(name: str) -> None:
    assert clean_event_name(name).text == f"mP {name}"


@pytest.mark.parametrize(
    ("raw", "clean", "note"),
    [
        ("plan", "plan", ""),
        ("a.b", "ab", "key_changed"),
        ("#tag", "#tag", ""),
        ("k" * 121, "k" * 120, "key_changed"),
        ("é" * 61, "é" * 60, "key_changed"),
        ("wzrk_id", "", "reserved_key"),
        ("CT Source", "", "reserved_key"),
        ("ct source", "", "reserved_key"),
        ("CTR", "CTR", ""),
        ("$$", "", "bad_key"),
        ("", "", "bad_key"),
    ],
)
def test_a_key_is_cleaned(raw: str, clean: str, note: str) -> None:
    key = clean_key(raw)
    assert (key.text, key.note) == (clean, note)


def test_profile_keys_lose_the_hash_sign_too() -> None:
    assert clean_profile_key("#tag").text == "tag"


@pytest.mark.parametrize(
    ("text", "size", "short"), [("abc", 3, "abc"), ("abcd", 3, "abc"), ("aé", 2, "a"), ("🙂x", 4, "🙂")]
)
def test_text_is_cut_between_characters(text: str, size: int, short: str) -> None:
    assert cut(text, size) == short


def test_remembered_names_stay_within_their_capacity() -> None:
    names = Remembered(clean_key, capacity=3)
    for number in range(10):
        assert names[f"key {number}"].text == f"key {number}"
        assert len(names) <= 3
    names["long" * 500]
    assert all(len(name) < 100 for name in names)
