//! Where the data of one credential comes from: its seed, names and identifiers.
//!
//! The random numbers come from the `wyrand` generator of the crate `fastrand`, which gives the same numbers on
//! every platform. Each kind of data has its own generator, seeded with a hash, so a change to one kind leaves
//! the others as they are. Identifiers are hashes too: they stay the same on another day.
//!
//! No name, identifier or address can belong to a real person or product. `XX` is no country, `00` are
//! impossible check digits of an IBAN, `+999` is no telephone prefix, and `.invalid` is no domain.

use aws_lc_rs::digest;
use fastrand::Rng;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::decimal::{Money, Precise};

/// How far transactions reach back.
const HISTORY_MONTHS: i32 = 24;

const GIVEN_NAMES: [&str; 12] = [
    "Aldera", "Brunela", "Cintor", "Delmira", "Eskarne", "Fabrion", "Galvia", "Hermel", "Isandra", "Jolmar", "Kerane",
    "Lorzo",
];
const SURNAMES: [&str; 12] = [
    "Ejemplez",
    "Muestral",
    "Pruebano",
    "Fictorio",
    "Ensayalde",
    "Modelino",
    "Supuestes",
    "Teoriz",
    "Bosquejo",
    "Patronal",
    "Inventes",
    "Simulano",
];

/// What the data of one credential depends on.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) seed: u64,
    pub(super) credentials_token: &'a str,
    pub(super) external_id: Option<&'a str>,
    /// The id of the bank.
    pub(super) bank: &'a str,
    pub(super) today: Date,
}

/// The two identifiers of a product or transaction.
pub(super) struct Ids {
    pub(super) id: String,
    pub(super) external_id: Option<String>,
}

impl Origin<'_> {
    pub(super) fn rng(&self, kind: &str) -> Rng {
        let hash = hash(&[&self.seed.to_string(), self.credentials_token, kind]);
        Rng::with_seed(hash.as_ref().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte)))
    }

    /// The identifiers of the thing of this kind and number.
    pub(super) fn ids(&self, kind: &str, number: usize) -> Ids {
        let id = |owner: &str| {
            let hash = hash(&[&self.seed.to_string(), owner, self.bank, kind, &number.to_string()]);
            hash.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        Ids { id: id(self.credentials_token), external_id: self.external_id.map(id) }
    }

    /// The first day of the data.
    pub(super) fn first_day(&self) -> Date {
        self.today.saturating_sub(HISTORY_MONTHS.months())
    }

    /// One date in each month: `day` returns the day of the month. Dates outside the history are left out.
    pub(super) fn monthly(&self, mut day: impl FnMut() -> i8) -> Vec<Date> {
        let first = self.first_day();
        (0..=HISTORY_MONTHS)
            .map(|months| {
                let month = first.first_of_month().saturating_add(months.months());
                month.saturating_add(i32::from(day() - 1).days())
            })
            .filter(|date| (first..=self.today).contains(date))
            .collect()
    }

    /// A moment in the night before today's data, in seconds.
    pub(super) fn updated_at(&self) -> i64 {
        seconds(self.today)
    }
}

/// The start of a day in UTC, in seconds.
pub(super) fn seconds(day: Date) -> i64 {
    TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).map_or(0, Timestamp::as_second)
}

/// An IBAN that cannot exist.
pub(super) fn iban(rng: &mut Rng) -> String {
    format!("XX00{}", digits(rng, 20))
}

/// An ISIN that cannot exist.
pub(super) fn isin(rng: &mut Rng) -> String {
    format!("XX{}", digits(rng, 10))
}

/// A VAT number that cannot exist.
pub(super) fn vat_number(rng: &mut Rng) -> String {
    format!("X{}", digits(rng, 8))
}

pub(super) fn digits(rng: &mut Rng, count: usize) -> String {
    (0..count).map(|_| rng.digit(10)).collect()
}

pub(super) fn given_name(rng: &mut Rng) -> &'static str {
    pick(rng, &GIVEN_NAMES)
}

pub(super) fn surname(rng: &mut Rng) -> &'static str {
    pick(rng, &SURNAMES)
}

pub(super) fn full_name(rng: &mut Rng) -> String {
    format!("{} {} {}", given_name(rng), surname(rng), surname(rng))
}

/// One of `choices`, or an empty text if there is none.
pub(super) fn pick(rng: &mut Rng, choices: &[&'static str]) -> &'static str {
    rng.choice(choices).copied().unwrap_or_default()
}

/// An amount between two numbers of cents, both included.
pub(super) fn money(rng: &mut Rng, least: i64, most: i64) -> Money {
    Money::from_units(rng.i64(least..=most))
}

/// A number between two numbers of ten-thousandths, both included.
pub(super) fn precise(rng: &mut Rng, least: i64, most: i64) -> Precise {
    Precise::from_units(rng.i64(least..=most))
}

/// SHA-256 of the parts. A separator keeps `ab`, `c` apart from `a`, `bc`.
fn hash(parts: &[&str]) -> digest::Digest {
    digest::digest(&digest::SHA256, parts.join("\u{1f}").as_bytes())
}
