use super::*;
use crate::sandbox::bank_credentials::BankCredentials;
use crate::sandbox::world::Extraction;
use http::StatusCode;
use jiff::Timestamp;
use proptest::prelude::*;

const LISTS: [(&str, Kind); 12] = [
    ("credentials/account", Kind::Accounts),
    ("credentials/data", Kind::AccountTransactions),
    ("credentials/portfolio", Kind::Portfolios),
    ("credentials/investment", Kind::Investments),
    ("credentials/investment/transaction", Kind::InvestmentTransactions),
    ("credentials/investment/detail", Kind::InvestmentDetails),
    ("credentials/liability", Kind::Liabilities),
    ("credentials/liability/transaction", Kind::LiabilityTransactions),
    ("credentials/card", Kind::Cards),
    ("credentials/card/transaction", Kind::CardTransactions),
    ("credentials/holder", Kind::Holders),
    ("credentials/mifid/raw", Kind::Mifid),
];

fn now() -> Timestamp {
    "2026-11-30T10:00:00Z".parse().unwrap()
}

fn call(api: &ApiState, path: &str, body: &Value) -> ApiResponse {
    let uri: Uri = format!("/v0/bank/{path}").parse().unwrap();
    Kind::at(uri.path()).unwrap().respond(api, &uri, body)
}

fn ok(api: &ApiState, path: &str, body: &Value) -> Value {
    let response = call(api, path, body);
    assert_eq!(response.status, StatusCode::OK, "{path}: {}", response.body);
    response.body
}

/// The elements of the list for the first credentials.
fn all_of(api: &ApiState, path: &str, query: &Value) -> Vec<Value> {
    let body = json!({ "credentials_token": "sandbox-credentials-1", "query": query });
    ok(api, path, &body).as_array().unwrap().clone()
}

fn error(api: &ApiState, path: &str, body: &Value) -> String {
    let response = call(api, path, body);
    assert_eq!(response.status, StatusCode::BAD_REQUEST, "{path}");
    response.body["error"].as_str().unwrap().to_owned()
}

#[test]
fn every_endpoint_returns_data_for_known_credentials_only() {
    let api = ApiState::seeded(1, now());
    for token in ["sandbox-credentials-1", "sandbox-credentials-2"] {
        let known = json!({ "credentials_token": token });
        for (path, kind) in LISTS {
            assert!(!ok(&api, path, &known).as_array().unwrap().is_empty(), "{path}");
            assert_eq!(Kind::at(&format!("/v0/bank/{path}")), Some(kind));
        }
        assert_eq!(ok(&api, "credentials/auth", &known)["_id"], token);
        assert_eq!(ok(&api, "credencial/mifid/raw", &known), ok(&api, "credentials/mifid/raw", &known));
    }
    for path in LISTS.map(|(path, _)| path).into_iter().chain(["credentials/auth", "credentials/all"]) {
        for (body, text) in [
            (json!({}), "credentials_token is required"),
            (json!({ "credentials_token": null }), "credentials_token is required"),
            (json!({ "credentials_token": 7 }), "credentials_token must be a string"),
            (json!({ "credentials_token": "made-up" }), "You are not allowed to access to this credentials"),
            (json!({ "credentials_token": "sandbox-credentials-1", "query": 7 }), "query must be an object"),
        ] {
            assert!(error(&api, path, &body).starts_with(text), "{path} {body}");
        }
    }
}

#[test]
fn the_examples_of_the_quickstart_find_something_for_every_seed() {
    for seed in 0..20 {
        let api = ApiState::seeded(seed, now());
        let found = |query: Value| all_of(&api, "credentials/data", &query);
        let texts = ["^TRANSFERENCIA.*", "TRIVAGO", "^INGRESO CAJERO$"];
        let each = texts.map(|text| found(json!({ "description": [text] })));
        assert!(each.iter().all(|list| !list.is_empty()), "seed {seed}");
        let starts = |one: &Value| one["description"].as_str().unwrap().starts_with("TRANSFERENCIA");
        assert!(each[0].iter().all(starts));
        let union = found(json!({ "description": texts }));
        assert_eq!(union.len(), each.iter().map(Vec::len).sum::<usize>());

        let intervals = [json!({ "gte": 10, "lte": 20 }), json!({ "gte": 100 }), json!({ "lte": -5 })];
        let each = intervals.clone().map(|interval| found(json!({ "amount": [interval] })));
        assert!(each.iter().all(|list| !list.is_empty()), "seed {seed}");
        assert_eq!(found(json!({ "amount": intervals })).len(), each.iter().map(Vec::len).sum::<usize>());
        assert!(each[0].iter().all(|one| (10.0..=20.0).contains(&one["amount"].as_f64().unwrap())));

        let both = found(json!({ "description": ["CAJERO"], "amount": [{ "gte": 100 }] }));
        let expected = found(json!({ "description": ["CAJERO"] }));
        let expected: Vec<_> = expected.into_iter().filter(|one| one["amount"].as_f64().unwrap() >= 100.0).collect();
        assert_eq!(both, expected);
    }
}

#[test]
fn the_transactions_of_one_product_are_found_by_its_identifier() {
    let api = ApiState::seeded(1, now());
    for (products, transactions, field) in [
        ("credentials/account", "credentials/data", "account_id"),
        ("credentials/card", "credentials/card/transaction", "card_id"),
        ("credentials/investment", "credentials/investment/transaction", "investment_id"),
        ("credentials/liability", "credentials/liability/transaction", "liability_id"),
        ("credentials/portfolio", "credentials/investment", "portfolio_id"),
    ] {
        let all = all_of(&api, transactions, &Value::Null);
        let mut found = 0;
        for product in all_of(&api, products, &Value::Null) {
            let own = all_of(&api, transactions, &json!({ field: [product["_id"]] }));
            assert!(own.iter().all(|one| one[field] == product["_id"]));
            found += own.len();
        }
        assert_eq!(found, all.len(), "{transactions}");
    }
}

#[test]
fn pages_of_account_transactions_add_up_to_the_whole_list() {
    let api = ApiState::seeded(1, now());
    let body = json!({ "credentials_token": "sandbox-credentials-1", "query": { "amount": [{ "lte": 0 }] } });
    let whole = ok(&api, "credentials/data", &body);
    let mut pages = Vec::new();
    for page in 1.. {
        let part = ok(&api, &format!("credentials/data?page={page}&page_size=40"), &body);
        let part = part.as_array().unwrap();
        pages.extend(part.clone());
        if part.len() < 40 {
            break;
        }
    }
    assert_eq!(whole, json!(pages));
    assert!(pages.len() > 80);
    assert!(error(&api, "credentials/data?page=0", &body).starts_with("page must be"));
    assert!(error(&api, "credentials/data?page_size=many", &body).starts_with("page_size must be"));
    // Other endpoints document no pages.
    assert_eq!(ok(&api, "credentials/account?page=7", &body).as_array().unwrap().len(), 0);
}

#[test]
fn parts_that_were_not_extracted_or_failed_are_empty() {
    let mut api = ApiState::seeded(1, now());
    let token = json!({ "credentials_token": "sandbox-credentials-1" });
    let change = |api: &mut ApiState, change: fn(&mut BankCredential)| change(&mut api.credentials.all[0]);
    change(&mut api, |one| one.created = Extraction::of(false));
    for (path, _) in LISTS {
        assert_eq!(ok(&api, path, &token), json!([]), "{path}");
    }
    assert_eq!(ok(&api, "credentials/auth", &token)["fullName"], Value::Null);
    let lists = ok(&api, "credentials/all", &token);
    assert!(lists.as_object().unwrap().values().all(|list| *list == json!([])));

    change(&mut api, |one| {
        one.created = Extraction::of(true);
        one.errored.product.card = true;
        one.errored.transactions.investmentincome = true;
    });
    assert_eq!(ok(&api, "credentials/card", &token), json!([]));
    assert_ne!(ok(&api, "credentials/account", &token), json!([]));
    let transactions = ok(&api, "credentials/investment/transaction", &token);
    assert!(transactions.as_array().unwrap().iter().all(|one| one["retention"].is_null()));
    assert_eq!(ok(&api, "credentials/all", &token)["cards"], json!([]));
}

#[test]
fn a_short_history_shows_90_days_until_it_is_extended() {
    let mut api = ApiState::seeded(1, now());
    let oldest =
        |api: &ApiState| all_of(api, "credentials/data", &Value::Null)[0]["operationDate"].as_str().unwrap().to_owned();
    assert!(oldest(&api).starts_with("2024-1"), "{}", oldest(&api));
    api.credentials.all[0].products.shorten_account_history(now());
    assert!(oldest(&api).as_str() >= "2026-09-01");
    assert!(oldest(&api).as_str() < "2026-09-10");
    api.credentials.all[0].products.extend_account_history();
    assert!(oldest(&api).starts_with("2024-1"));
}

/// What `all` must return, computed from the other endpoints.
fn union(api: &ApiState, tokens: &[&str], query: &Value) -> Value {
    let mut union = json!({
        "cards": [], "accounts": [], "portfolios": [], "fixedIncome": [], "funds": [], "liabilities": [],
        "pensionPlans": [], "stocks": [], "etfs": [], "deposits": [], "others": [], "identity": [], "liquidity": [],
        "cryptoCurrencies": [], "contractForDifferences": [], "derivatives": [], "bankProducts": [],
        "alternativeEmergingProducts": [],
    });
    for token in tokens {
        let get = |path: &str, query: &Value| {
            let body = json!({ "credentials_token": token, "query": query });
            ok(api, path, &body).as_array().unwrap().clone()
        };
        let holders = get("credentials/holder", &Value::Null);
        let with = |mut product: Value, transactions: Option<(&str, &str)>, owned: bool| {
            let id = product["_id"].clone();
            if let Some((path, reference)) = transactions {
                let all = get(path, query);
                product["transaction"] = all.into_iter().filter(|one| one[reference] == id).collect();
            }
            if owned {
                let own = holders.iter().filter(|holder| holder["product_id"] == id);
                product["owners"] = own.map(|one| json!({ "name": one["name"], "rel": one["rel"] })).collect();
            }
            product
        };
        let mut add = |name: &str, product| union[name].as_array_mut().unwrap().push(product);
        for (name, path, transactions) in [
            ("accounts", "credentials/account", Some(("credentials/data", "account_id"))),
            ("cards", "credentials/card", Some(("credentials/card/transaction", "card_id"))),
            ("liabilities", "credentials/liability", Some(("credentials/liability/transaction", "liability_id"))),
            ("portfolios", "credentials/portfolio", None),
        ] {
            for product in get(path, query) {
                add(name, with(product, transactions, true));
            }
        }
        for investment in get("credentials/investment", query) {
            let name = match investment["type"].as_str().unwrap() {
                "VI" => "stocks",
                "FI" => "fixedIncome",
                "F" => "funds",
                "PP" => "pensionPlans",
                "ETF" => "etfs",
                "L" => "liquidity",
                "O" => "others",
                "DV" => "derivatives",
                "BP" => "bankProducts",
                "AEP" => "alternativeEmergingProducts",
                "C" => "cryptoCurrencies",
                "CFD" => "contractForDifferences",
                other => panic!("{other}"),
            };
            add(name, with(investment, Some(("credentials/investment/transaction", "investment_id")), false));
        }
        if query.is_null() {
            add("identity", ok(api, "credentials/auth", &json!({ "credentials_token": token })));
        }
    }
    union
}

#[test]
fn all_takes_several_tokens_and_returns_each_credential_once() {
    let api = ApiState::seeded(1, now());
    let all = |tokens: Value| ok(&api, "credentials/all", &json!({ "credentials_token": tokens }));
    let one = all(json!("sandbox-credentials-1"));
    assert_eq!(all(json!(["sandbox-credentials-1"])), one);
    assert_eq!(all(json!(["sandbox-credentials-1", "sandbox-credentials-1"])), one);
    assert_eq!(all(json!(["sandbox-credentials-2", "sandbox-credentials-1"]))["accounts"].as_array().unwrap().len(), 4);
    assert_eq!(one["deposits"], json!([]));
    let text = error(&api, "credentials/all", &json!({ "credentials_token": ["sandbox-credentials-1", "made-up"] }));
    assert_eq!(text, "You are not allowed to access to this credentials");
    for tokens in [json!([]), json!([1]), json!([null]), json!({})] {
        let text = error(&api, "credentials/all", &json!({ "credentials_token": tokens }));
        assert_eq!(text, "credentials_token must be a string or a non-empty list of strings");
    }
    let list = json!({ "credentials_token": ["sandbox-credentials-1"] });
    assert_eq!(error(&api, "credentials/account", &list), "credentials_token must be a string");
}

/// Queries of which most are wrong.
fn bodies() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-zA-Z.*+?(){}|^$\\\\\\[\\]0-9]{0,24}".prop_map(Value::from),
        Just(json!("(a*)*b")),
        Just(json!("(?:\\w{100}){100}")),
        Just(json!("(?=a)\\1")),
        Just(json!("2024-01-15")),
        Just(json!({ "gte": 10 })),
        Just(json!({ "lte": "2026-01-01" })),
    ];
    let field = prop::sample::select(vec!["_id", "description", "amount", "operationDate", "currency", "made_up"]);
    let filters = prop_oneof![3 => prop::collection::vec(leaf.clone(), 0..5).prop_map(Value::from), 1 => leaf.clone()];
    let query = prop::collection::hash_map(field, filters, 0..4).prop_map(|query| json!(query));
    let query = prop_oneof![8 => query, 1 => leaf.clone()];
    let token = prop_oneof![8 => Just(json!("sandbox-credentials-1")), 1 => leaf];
    (token, query).prop_map(|(token, query)| json!({ "credentials_token": token, "query": query }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_body_gets_200_or_400_and_a_sentence(
        body in bodies(),
        (path, _) in prop::sample::select(LISTS.to_vec()),
        page in prop::option::of("[0-9x-]{0,3}"),
    ) {
        let api = API.get_or_init(|| ApiState::seeded(3, now()));
        let target = page.map_or_else(|| path.to_owned(), |page| format!("{path}?page={page}"));
        for target in [target.as_str(), "credentials/all", "credentials/auth"] {
            let response = call(api, target, &body);
            match response.status.as_u16() {
                200 => {}
                400 => prop_assert!(!response.body["error"].as_str().unwrap().contains('\n')),
                other => prop_assert!(false, "{other}"),
            }
        }
    }
}

static API: std::sync::OnceLock<ApiState> = std::sync::OnceLock::new();

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn all_is_the_union_of_the_other_endpoints(seed in any::<u64>(), filtered in any::<bool>()) {
        let api = ApiState { credentials: BankCredentials::seeded(seed, now()), ..ApiState::seeded(1, now()) };
        let query = if filtered { json!({ "currency": ["EUR"] }) } else { Value::Null };
        let tokens = ["sandbox-credentials-2", "sandbox-credentials-1"];
        let all = ok(&api, "credentials/all", &json!({ "credentials_token": tokens, "query": query }));
        prop_assert_eq!(&all, &union(&api, &tokens, &query));
        if !filtered {
            let names: Vec<_> = all.as_object().unwrap().iter().filter(|(_, list)| **list == json!([])).collect();
            prop_assert_eq!(names, [(&"deposits".to_owned(), &json!([]))]);
        }
    }
}
