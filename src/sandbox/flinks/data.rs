//! The data behind all operations of Flinks: one institution, three logins, their accounts and transactions.
//!
//! Names, numbers and amounts depend on the seed, dates on the day of the start. The identifiers that people write
//! into tests do not: [`FlinksData::logins`] lists them. The balances of an account add up, and money that leaves one
//! account of a login for another reaches it on the same day.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use uuid::Builder;

/// Long enough for several pages.
const MONTHS: i64 = 24;

const FIRST_NAMES: [&str; 8] = ["Alex", "Blair", "Casey", "Devon", "Emery", "Frankie", "Gray", "Harper"];
const LAST_NAMES: [&str; 8] = ["Archer", "Baker", "Carter", "Dyer", "Fisher", "Glover", "Mason", "Weaver"];
const CITIES: [(&str, &str, &str); 3] =
    [("Toronto", "ON", "M1A 1A1"), ("Montreal", "QC", "H1A 1A1"), ("Calgary", "AB", "T1A 1A1")];
const SHOPS: [&str; 6] = ["GROCER", "BAKERY", "PHARMACY", "BOOKSHOP", "PETROL STATION", "HARDWARE STORE"];

pub(super) struct FlinksData {
    pub(super) institution: Institution,
    pub(super) logins: Vec<Login>,
    pub(super) today: Date,
}

pub(super) struct Institution {
    pub(super) id: u32,
    pub(super) name: &'static str,
    pub(super) routing_numbers: [&'static str; 2],
}

/// One user's connection to the institution.
pub(super) struct Login {
    pub(super) id: &'static str,
    pub(super) username: &'static str,
    pub(super) kind: &'static str,
    pub(super) is_refreshed_at_night: bool,
    /// The questions of the institution at each connection. The nightly refresh cannot answer them.
    pub(super) questions: &'static [&'static str],
    pub(super) last_refresh: Date,
    pub(super) holder: Holder,
    pub(super) accounts: Vec<Account>,
}

pub(super) struct Holder {
    pub(super) first_name: &'static str,
    pub(super) last_name: &'static str,
    pub(super) street: String,
    pub(super) city: &'static str,
    pub(super) province: &'static str,
    pub(super) postal_code: &'static str,
    pub(super) phone: String,
    pub(super) date_of_birth: Date,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccountKind {
    Chequing,
    Savings,
    CreditCard,
}

pub(super) struct Account {
    pub(super) id: String,
    /// The identifier in FDX operations.
    pub(super) fdx_id: String,
    pub(super) kind: AccountKind,
    pub(super) number: String,
    /// Newest first.
    pub(super) transactions: Vec<Transaction>,
}

pub(super) struct Transaction {
    pub(super) id: String,
    pub(super) date: Date,
    pub(super) description: String,
    /// Positive if the money reached the account.
    pub(super) cents: i64,
    /// After the transaction.
    pub(super) balance_cents: i64,
}

impl FlinksData {
    pub(super) fn seeded(seed: u64, now: Timestamp) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let today = now.to_zoned(TimeZone::UTC).date();
        let institution = Institution { id: 9000, name: "SandboxBank", routing_numbers: ["000000018", "000000026"] };
        use AccountKind::{Chequing, CreditCard, Savings};
        let mut login =
            |number: u32, id, username, kind, is_refreshed_at_night, questions, kinds: &[AccountKind]| Login {
                id,
                username,
                kind,
                is_refreshed_at_night,
                questions,
                last_refresh: today.saturating_sub(1.day()),
                holder: Holder::random(&mut rng),
                accounts: accounts(&mut rng, today, number, kinds),
            };
        let asked: &[&str] = &["Which word opens every door here?", "Which material fills a playground's corner?"];
        let logins = vec![
            login(
                1,
                "00000000-0000-4000-8000-000000000001",
                "sandbox-user-1",
                "Personal",
                true,
                &[],
                &[Chequing, Savings, CreditCard],
            ),
            login(
                2,
                "00000000-0000-4000-8000-000000000002",
                "sandbox-user-2",
                "Personal",
                false,
                asked,
                &[Chequing, CreditCard],
            ),
            login(3, "00000000-0000-4000-8000-000000000003", "sandbox-user-3", "Business", true, asked, &[Chequing]),
        ];
        Self { institution, logins, today }
    }

    /// Returns the login with its index.
    pub(super) fn login(&self, id: &str) -> Option<(usize, &Login)> {
        self.logins.iter().enumerate().find(|(_, login)| login.id == id)
    }

    /// The user of the FDX operations: the one who gave the consent for which the token stands.
    pub(super) fn customer(&self) -> Option<&Login> {
        self.logins.first()
    }
}

impl Login {
    pub(super) fn document(&self) -> Value {
        json!({
            "Username": self.username,
            "IsScheduledRefresh": self.is_refreshed_at_night,
            "LastRefresh": format!("{}T03:00:00.0000000", self.last_refresh),
            "Type": self.kind,
            "Id": self.id,
        })
    }
}

impl Holder {
    fn random(rng: &mut fastrand::Rng) -> Self {
        let (city, province, postal_code) = CITIES[rng.usize(..CITIES.len())];
        Self {
            first_name: FIRST_NAMES[rng.usize(..FIRST_NAMES.len())],
            last_name: LAST_NAMES[rng.usize(..LAST_NAMES.len())],
            street: format!("{} Example Street", rng.u32(1..200)),
            city,
            province,
            postal_code,
            phone: format!("555555{:04}", rng.u32(..10_000)),
            date_of_birth: Date::constant(1970, 1, 1).saturating_add(rng.i64(0..10_000).days()),
        }
    }
}

impl Account {
    pub(super) fn balance_cents(&self) -> i64 {
        self.transactions.first().map_or(0, |newest| newest.balance_cents)
    }
}

/// An amount in cents as the API writes it.
pub(super) fn money(cents: i64) -> Value {
    json!(cents as f64 / 100.0)
}

/// A transaction without its account's balance.
struct Movement {
    account: usize,
    date: Date,
    description: String,
    cents: i64,
}

fn accounts(rng: &mut fastrand::Rng, today: Date, login: u32, kinds: &[AccountKind]) -> Vec<Account> {
    let mut movements = movements(rng, today, kinds);
    movements.sort_by_key(|movement| movement.date);
    let account = |(index, kind): (usize, &AccountKind)| {
        let mut balance_cents = rng.i64(50_000..500_000);
        let mut transactions = Vec::new();
        for movement in movements.iter().filter(|movement| movement.account == index) {
            balance_cents += movement.cents;
            transactions.push(Transaction {
                id: random_id(rng),
                date: movement.date,
                description: movement.description.clone(),
                cents: movement.cents,
                balance_cents,
            });
        }
        transactions.reverse();
        Account {
            id: random_id(rng),
            fdx_id: format!("{login}{}", index + 1),
            kind: *kind,
            number: format!("{:07}", rng.u32(1_000_000..10_000_000)),
            transactions,
        }
    };
    kinds.iter().enumerate().map(account).collect()
}

fn movements(rng: &mut fastrand::Rng, today: Date, kinds: &[AccountKind]) -> Vec<Movement> {
    let of_kind = |wanted| kinds.iter().position(|kind| *kind == wanted);
    let salary = rng.i64(150_000..300_000);
    let rent = rng.i64(90_000..180_000);
    let mut movements = Vec::new();
    for months_ago in (0..MONTHS).rev() {
        let first = today.first_of_month().saturating_sub(months_ago.months());
        let mut add = |account: Option<usize>, day: i64, description: &str, cents: i64| {
            let date = first.saturating_add((day - 1).days());
            if let Some(account) = account.filter(|_| date <= today) {
                movements.push(Movement { account, date, description: description.to_owned(), cents });
            }
        };
        let chequing = of_kind(AccountKind::Chequing);
        add(chequing, 1, "RENT", -rent);
        add(chequing, 14, "PAYROLL", salary);
        add(chequing, 28, "PAYROLL", salary);
        let saved = rng.i64(5_000..40_000);
        if let Some(savings) = of_kind(AccountKind::Savings) {
            add(chequing, 15, "TRANSFER TO SAVINGS", -saved);
            add(Some(savings), 15, "TRANSFER FROM CHEQUING", saved);
        }
        let shopping = of_kind(AccountKind::CreditCard).or(chequing);
        let mut spent = 0;
        for _ in 0..4 {
            let cents = rng.i64(500..25_000);
            add(shopping, rng.i64(2..24), SHOPS[rng.usize(..SHOPS.len())], -cents);
            spent += cents;
        }
        if let Some(card) = of_kind(AccountKind::CreditCard) {
            add(chequing, 25, "CARD PAYMENT", -spent);
            add(Some(card), 25, "PAYMENT RECEIVED", spent);
        }
    }
    movements
}

fn random_id(rng: &mut fastrand::Rng) -> String {
    Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Timestamp {
        "2026-03-10T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_balances_of_each_account_add_up_over_24_months() {
        for seed in 1..4 {
            let data = FlinksData::seeded(seed, day());
            for account in data.logins.iter().flat_map(|login| &login.accounts) {
                for pair in account.transactions.windows(2) {
                    assert_eq!(pair[1].balance_cents + pair[0].cents, pair[0].balance_cents);
                    assert!(pair[1].date <= pair[0].date && pair[0].date <= data.today);
                }
                let oldest = account.transactions.last().unwrap().date;
                assert_eq!(oldest.first_of_month(), jiff::civil::date(2024, 4, 1));
            }
        }
    }

    #[test]
    fn money_that_leaves_an_account_for_another_reaches_it_on_the_same_day() {
        let data = FlinksData::seeded(1, day());
        let [chequing, savings, card] = &data.logins[0].accounts[..] else { panic!("three accounts") };
        let named = |account: &Account, name: &str| -> Vec<_> {
            let transactions = account.transactions.iter().filter(|transaction| transaction.description == name);
            transactions.map(|transaction| (transaction.date, transaction.cents.abs())).collect()
        };
        assert_eq!(named(chequing, "TRANSFER TO SAVINGS"), named(savings, "TRANSFER FROM CHEQUING"));
        assert_eq!(named(chequing, "CARD PAYMENT"), named(card, "PAYMENT RECEIVED"));
        assert!(!named(chequing, "CARD PAYMENT").is_empty());
    }

    #[test]
    fn the_same_seed_and_day_give_the_same_data_and_another_seed_other_data() {
        let description = |seed| {
            let data = FlinksData::seeded(seed, day());
            let account = &data.logins[0].accounts[0];
            (data.logins[0].holder.street.clone(), account.id.clone(), account.number.clone(), account.balance_cents())
        };
        assert_eq!(description(1), description(1));
        assert_ne!(description(1), description(2));
    }
}
