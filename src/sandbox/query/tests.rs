use super::*;
use serde_json::json;

fn parse(query: Value) -> Result<Query, String> {
    Query::parse(&json!({ "query": query }))
}

fn matches(query: Value, object: &Value) -> bool {
    parse(query).unwrap().matches(object)
}

#[test]
fn a_missing_query_and_an_empty_one_select_everything() {
    let object = json!({ "description": "x" });
    assert!(Query::parse(&json!({})).unwrap().matches(&object));
    assert!(Query::parse(&Value::Null).unwrap().matches(&object));
    assert!(matches(Value::Null, &object));
    assert!(matches(json!({}), &object));
}

#[test]
fn filters_of_a_field_are_alternatives_and_fields_are_conditions() {
    let object = json!({ "description": "TRANSFERENCIA A", "amount": -12.5, "operationDate": "2026-02-28" });
    for (query, expected) in [
        (json!({ "description": ["^TRANSFERENCIA", "x"] }), true),
        (json!({ "description": ["^A$"] }), false),
        (json!({ "description": ["FEREN"] }), true),
        (json!({ "description": [] }), false),
        (json!({ "amount": [{ "gte": 0 }, { "lte": -12.5, "gte": -12.5 }] }), true),
        (json!({ "amount": [{ "gte": 10, "lte": -20 }] }), false),
        (json!({ "operationDate": [{ "gte": "2026-02-28", "lte": "2026-02-28" }] }), true),
        (json!({ "operationDate": [{ "gte": "2026-03-01" }] }), false),
        (json!({ "operationDate": [{ "gte": "2026-03-01" }, "^2026-02-"] }), true),
        (json!({ "description": ["A"], "amount": [{ "lte": 0 }] }), true),
        (json!({ "description": ["A"], "amount": [{ "gte": 0 }] }), false),
        (json!({ "card_id": [".*"] }), false),
    ] {
        assert_eq!(matches(query.clone(), &object), expected, "{query}");
    }
    assert!(!matches(json!({ "description": [".*"] }), &json!({ "description": null })));
}

#[test]
fn a_wrong_query_is_refused_with_the_place_of_the_fault() {
    for (query, error) in [
        (json!(7), "query must be an object of fields with lists of filters"),
        (json!([]), "query must be an object of fields with lists of filters"),
        (json!({ "description": "x" }), "query.description must be a list of filters"),
        (json!({ "description": ["x", 7] }), "query.description[1] must be a regular expression"),
        (json!({ "description": [{ "gte": 1 }] }), "query.description[0] must be a regular expression"),
        (
            json!({ "description": ["fine", "("] }),
            "query.description[1] is not a valid regular expression: unclosed group",
        ),
        (json!({ "description": ["\\w{500}{500}"] }), "query.description[0] is too large a regular expression"),
        (
            json!({ "description": vec!["\\w+\\w+\\w+\\w+\\w+"; 100] }),
            "query.description has too large regular expressions",
        ),
        (json!({ "description": ["x".repeat(1001)] }), "query.description[0] is longer than 1000 bytes"),
        (json!({ "_id": vec!["x"; 101] }), "query._id has more than 100 filters"),
        (json!({ "amount": ["10"] }), "query.amount[0] must be an object with gte or lte"),
        (json!({ "amount": [{}] }), "query.amount[0] must have gte or lte"),
        (json!({ "amount": [{ "gte": "1" }] }), "query.amount[0] must have a number as gte"),
        (json!({ "amount": [{ "gt": 1 }] }), "query.amount[0] has the unknown member gt: it takes gte and lte"),
        (
            json!({ "operationDate": [{ "lte": "2026-02-30" }] }),
            "query.operationDate[0] must have a date like 2024-01-31 as lte",
        ),
        (json!({ "valueDate": [7] }), "query.valueDate[0] must be an object with gte or lte, or a regular expression"),
    ] {
        assert_eq!(parse(query.clone()).unwrap_err(), error, "{query}");
    }
    let unknown = parse(json!({ "balance": [] })).unwrap_err();
    assert!(unknown.starts_with("query.balance is not a known field: the fields are _id, description"), "{unknown}");
}

#[test]
fn look_around_and_back_references_are_refused() {
    for text in ["(?=x)", "(?<!x)y", "(x)\\1"] {
        let error = parse(json!({ "description": [text] })).unwrap_err();
        assert!(error.contains("supported"), "{error}");
    }
}

#[test]
fn an_expression_that_hangs_other_engines_gets_an_answer() {
    let object = json!({ "description": "a".repeat(5_000) });
    for text in ["(a*)*b", "(a|a)*$b", "^(([a-z])+.)+[A-Z]([a-z])+$", "(a?){200}a{200}b"] {
        assert!(!matches(json!({ "description": [text] }), &object));
    }
}
