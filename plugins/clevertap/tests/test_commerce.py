"""Commerce events."""

from collections.abc import Callable
from typing import Any

import pytest
from router_clevertap.mapping import Mapped, RecordMapper, map_record
from router_clevertap.settings import ClevertapConnection

from router_core.records import Record

Make = Callable[..., Record]


def mapped(record: Record) -> Mapped:
    return map_record(record, ClevertapConnection())


def action(name: Any, products: Any = None, **rest: Any) -> dict[str, Any]:
    return {"product_action": {"action": name, "products": products, **rest}}


def test_a_purchase_is_charged(record: Make) -> None:
    shoe = {"id": "s1", "name": "Shoe", "price": "50", "quantity": 2, "total_product_amount": 100.0,
            "custom_attributes": {"size": "42", "Name": "mine", "nested": {"a": 1}}}  # fmt: skip
    event = record("commerce_event", {
        **action("purchase", [shoe, {}], transaction_id="tx", total_amount="112.75", tax_amount=5, affiliation="web"),
        "currency_code": "INR", "custom_attributes": {"channel": "app", "Amount": "mine", "Items": "mine"},
    })  # fmt: skip
    result = mapped(event)
    assert result.items == (
        {
            "type": "event",
            "identity": "cust-1",
            "ts": 1_700_000_000,
            "evtName": "Charged",
            "evtData": {
                "Amount": 112.75,
                "Charged ID": "tx",
                "Currency": "INR",
                "Transaction Id": "tx",
                "Affiliation": "web",
                "Total Amount": 112.75,
                "Tax Amount": 5,
                "Currency Code": "INR",
                "channel": "app",
                "Items": [
                    {"Name": "Shoe", "Id": "s1", "Item Price": 50, "Quantity": 2, "Total Product Amount": 100.0,
                     "size": "42", "nested": '{"a":1}'},
                ],
            },
        },
    )  # fmt: skip
    assert result.notes == (
        ("reserved_key", "Amount"),
        ("reserved_key", "Items"),
        ("key_collision", "Name"),
        ("nested_as_text", "nested"),
    )


@pytest.mark.parametrize(
    ("total", "products", "amount"),
    [
        (0, [{"price": 5}], 0),
        (None, [{"total_product_amount": 10}, {"price": "2.5", "quantity": 2}], 15),
        ("a lot", [{"price": 3}], 3),
        (None, [{"name": "Gift"}], None),
    ],
)
def test_the_amount_is_a_number(record: Make, total: Any, products: Any, amount: Any) -> None:
    data = mapped(record("commerce_event", action("purchase", products, total_amount=total))).items[0]["evtData"]
    assert data.get("Amount") == amount


@pytest.mark.parametrize(
    ("total", "products", "amount", "notes"),
    [
        ("12,50", [{"name": "Gift"}], None, ["invalid_field: total_amount"]),
        ("12,50", [{"price": 3}], 3, ["amount_summed: total_amount", "invalid_field: total_amount"]),
        (True, [{"price": 3}], 3, ["amount_summed: total_amount", "invalid_field: total_amount"]),
        (None, [{"price": 3}, {"price": "1,50"}], 3, ["amount_incomplete: total_amount", "invalid_field: price"]),
        (None, [{"price": 3}, {"name": "Gift"}], 3, ["amount_incomplete: total_amount"]),
        (None, [{"price": 3}, {"price": 2, "quantity": "two"}], 3,
         ["amount_incomplete: total_amount", "invalid_field: quantity"]),
        ("", [{"price": 3}], 3, ["amount_summed: total_amount"]),
        (10**400, [{"name": "Gift"}], None, ["invalid_field: total_amount"]),
    ],
)  # fmt: skip
def test_no_revenue_is_lost_in_silence(record: Make, total: Any, products: Any, amount: Any, notes: list[str]) -> None:
    result = mapped(record("commerce_event", action("purchase", products, total_amount=total)))
    data = result.items[0]["evtData"]
    assert data.get("Amount") == amount
    assert "Total Amount" not in data
    assert all(not isinstance(item.get(key), str) for item in data["Items"] for key in ("Item Price", "Quantity"))
    assert [f"{note.code}: {note.key}" for note in result.notes] == notes


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("refund", ["eCommerce - refund - Total"]),
        ("add_to_cart", ["eCommerce - add_to_cart - Item", "eCommerce - add_to_cart - Item"]),
    ],
)
def test_unreadable_amounts_are_noted_once_for_each_event_that_lacks_them(
    record: Make, said: str, names: list[str]
) -> None:
    result = mapped(record("commerce_event", action(said, [{"id": "a"}, {"id": "b"}], tax_amount="1,5")))
    assert all("Tax Amount" not in item["evtData"] for item in result.items)
    assert list(result.notes) == [("invalid_field", "tax_amount") for _ in names]


def test_a_purchase_without_products_stays_plain(record: Make) -> None:
    items = mapped(record("commerce_event", action("purchase", [], total_amount=5))).items
    assert [(item["evtName"], item["evtData"]) for item in items] == [
        ("eCommerce - purchase - Total", {"Total Amount": 5, "Product Count": 0})
    ]


def test_items_beyond_fifty_follow_as_events_and_the_amount_counts_once(record: Make) -> None:
    products = [{"id": str(n), "price": 2} for n in range(53)]
    result = mapped(record("commerce_event", action("purchase", products, total_amount=106, transaction_id="tx")))
    charged, *rest = result.items
    assert (charged["evtName"], charged["evtData"]["Amount"]) == ("Charged", 106)
    assert [item["Id"] for item in charged["evtData"]["Items"]] == [str(n) for n in range(50)]
    assert [(item["evtName"], item["evtData"]) for item in rest] == [
        ("eCommerce - purchase - Item", {"Transaction Id": "tx", "Id": str(n), "Item Price": 2}) for n in (50, 51, 52)
    ]
    assert result.notes == (("items_split", "Items"),)


@pytest.mark.parametrize(
    ("attributes", "data", "notes"),
    [
        ({"amount": "12.5", "charged id": "tx", "x": 1}, {"Amount": 12.5, "Charged ID": "tx", "x": 1},
         [("key_changed", "amount"), ("key_changed", "charged id")]),
        ({"Amount": "a lot", "x": 1}, {"x": 1}, [("invalid_field", "Amount")]),
        ({"Amount": 1, "AMOUNT": 2}, {"Amount": 1}, [("key_collision", "AMOUNT")]),
        ({"Items": [{"Name": "Shoe", "tags": ["a"]}]}, {"Items": [{"Name": "Shoe", "tags": '["a"]'}]},
         [("nested_as_text", "tags")]),
        ({"Items": "Shoe"}, {}, [("invalid_field", "Items")]),
        ({"Items": []}, {}, [("empty_value", "Items")]),
        ({"Items": ["Shoe"]}, {}, [("invalid_field", "Items")]),
        ({"Items": [{"Name": "Shoe"}, "Hat", None, {}, {"Name": "Bag"}]},
         {"Items": [{"Name": "Shoe"}, {"Name": "Bag"}]},
         [("invalid_field", "Items"), ("empty_value", "Items"), ("empty_value", "Items")]),
        (None, {}, []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["Charged", "charged", "CHARGED "])
def test_a_custom_event_may_be_charged(record: Make, name: str, attributes: Any, data: Any, notes: Any) -> None:
    result = mapped(record("custom_event", {"event_name": name, "custom_attributes": attributes}))
    renamed = [("name_changed", name)] if name != "Charged" else []
    assert [(item["evtName"], item["evtData"]) for item in result.items] == [("Charged", data)]
    assert list(result.notes) == renamed + notes


@pytest.mark.parametrize(
    ("total", "amount"), [("1e3", 1000.0), ("1_000", None), ("nan", None), ("inf", None), (2**70, float(2**70))]
)
def test_an_amount_is_a_number_that_json_can_carry(record: Make, total: Any, amount: Any) -> None:
    data = mapped(record("commerce_event", action("purchase", [{"name": "Gift"}], total_amount=total))).items[0]
    assert data["evtData"].get("Amount") == amount


def test_own_attributes_displace_nothing_and_say_so(record: Make) -> None:
    product = {"id": "s", "custom_attributes": {"Id": "mine", "size": 1}}
    event = record(
        "commerce_event",
        {**action("add_to_cart", [product]), "custom_attributes": {"size": 2, "channel": "app"}},
    )
    result = mapped(event)
    assert result.items[0]["evtData"] == {"Id": "s", "size": 1, "channel": "app"}
    assert result.notes == (("key_collision", "Id"), ("key_collision", "size"))


def test_charged_stays_within_a_hundred_properties(record: Make) -> None:
    custom = {f"k{n}": n for n in range(120)}
    event = record("commerce_event", {**action("purchase", [{"id": "s"}], total_amount=1), "custom_attributes": custom})
    data = mapped(event).items[0]["evtData"]
    assert len(data) == 100
    assert data["Items"] == [{"Id": "s"}]


def test_a_refund_is_a_total_and_an_item_for_each_product(record: Make) -> None:
    products = [{"id": "s1", "price": 0, "custom_attributes": {"size": 42}}, {"id": "s2"}]
    event = record("commerce_event", {
        **action("refund", products, transaction_id="tx", coupon_code="C"), "custom_attributes": {"channel": "app"},
    })  # fmt: skip
    assert [(item["evtName"], item["evtData"]) for item in mapped(event).items] == [
        ("eCommerce - refund - Total",
         {"Transaction Id": "tx", "Coupon Code": "C", "Product Count": 2, "channel": "app"}),
        ("eCommerce - refund - Item",
         {"Id": "s1", "Item Price": 0, "Transaction Id": "tx", "size": 42, "channel": "app"}),
        ("eCommerce - refund - Item", {"Id": "s2", "Transaction Id": "tx", "channel": "app"}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (action("add_to_cart", [{"id": "s"}]), ["eCommerce - add_to_cart - Item"]),
        (action("remove_from_wish_list", [{"id": "s"}]), ["eCommerce - remove_from_wishlist - Item"]),
        (action("checkout", None, checkout_step=2), ["eCommerce - checkout - Total"]),
        (action(None, [{"id": "s"}]), ["eCommerce - unknown - Item"]),
        ({"promotion_action": {"action": "view", "promotions": [{"id": "p"}, {"id": "q"}]}},
         ["eCommerce - view - Item"] * 2),
        ({"promotion_action": {"action": 2, "promotions": [{"id": "p"}]}}, ["eCommerce - click - Item"]),
        ({"product_impressions": [{"product_impression_list": "A", "products": [{"id": "s"}, {"id": "t"}]},
                                  {"product_impression_list": "B"}]},
         ["eCommerce - Impression - Item"] * 3),
    ],
)  # fmt: skip
def test_everything_else_is_expanded_into_plain_events(record: Make, data: dict[str, Any], names: list[str]) -> None:
    assert [item["evtName"] for item in mapped(record("commerce_event", data)).items] == names


def test_an_item_of_another_action_has_the_details_of_the_action(record: Make) -> None:
    data = action("checkout", [{"id": "s", "coupon_code": "own"}], checkout_step=2, coupon_code="all")
    item = mapped(record("commerce_event", {**data, "currency_code": "EUR"})).items[0]
    assert item["evtData"] == {"Id": "s", "Coupon Code": "own", "Checkout Step": 2, "Currency Code": "EUR"}


def test_a_commerce_event_without_commerce_is_skipped(record: Make) -> None:
    outcome = mapped(record("commerce_event", {"screen_name": "Checkout"})).outcome
    assert outcome is not None
    assert (outcome.disposition, outcome.code) == ("skipped", "nothing_to_say")


def test_ids_and_names_of_products_are_never_dates(record: Make) -> None:
    product = {"id": "2024-01-01", "name": "$D_x", "custom_attributes": {"made": "2024-01-01"}}
    data = mapped(record("commerce_event", action("purchase", [product], total_amount=1, transaction_id="2024-01-01")))
    sent = data.items[0]["evtData"]
    assert (sent["Charged ID"], sent["Transaction Id"]) == ("2024-01-01", "2024-01-01")
    assert sent["Items"] == [{"Id": "2024-01-01", "Name": "$D_x", "made": "$D_1704067200"}]


def test_an_action_that_cleverTap_cannot_name_is_cleaned_and_noted(record: Make) -> None:
    result = mapped(record("commerce_event", action("a:b", [{"id": "s"}])))
    assert result.items[0]["evtName"] == "eCommerce - ab - Item"
    assert result.notes == (("name_changed", "eCommerce - a:b - Item"),)


def test_charged_keeps_to_the_accounts_own_limit(record: Make) -> None:
    mapper = RecordMapper(ClevertapConnection(), 3)
    event = record("custom_event", {"event_name": "Charged", "custom_attributes": {"a": 1, "b": 2, "c": 3, "d": 4}})
    assert mapper.map(event).items[0]["evtData"] == {"a": 1, "b": 2, "c": 3}
    purchase = record("commerce_event", action("purchase", [{"id": "s"}], total_amount=1, affiliation="x"))
    result = mapper.map(purchase)
    assert result.items[0]["evtData"] == {"Amount": 1, "Affiliation": "x", "Items": [{"Id": "s"}]}
    assert result.notes == (("too_many_properties", "Total Amount"),)
