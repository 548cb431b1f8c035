//! Decimal numbers that add up exactly.
//!
//! The API spells amounts as JSON numbers. Here they are integers in the smallest unit, so sums have no
//! rounding errors, and only the JSON form is a floating-point number.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number with `PLACES` decimal places, in units of the last place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sandbox) struct Decimal<const PLACES: u32>(i64);

/// An amount of money in cents.
pub(in crate::sandbox) type Money = Decimal<2>;

/// A number of shares, a price per share, or a ratio.
pub(in crate::sandbox) type Precise = Decimal<4>;

/// The largest number of units in a document. A JSON number is exact up to 2^53.
const MAX_UNITS: f64 = 1e15;

impl<const PLACES: u32> Decimal<PLACES> {
    pub(in crate::sandbox) const ZERO: Self = Self(0);

    /// The units of a whole number.
    const ONE: i64 = 10_i64.pow(PLACES);

    pub(super) const fn whole(number: i64) -> Self {
        Self(number.saturating_mul(Self::ONE))
    }

    pub(super) const fn from_units(units: i64) -> Self {
        Self(units)
    }

    pub(super) const fn units(self) -> i64 {
        self.0
    }

    pub(super) const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// This part per thousand of the number, rounded towards zero.
    pub(super) const fn per_mille(self, part: i64) -> Self {
        Self(self.0.saturating_mul(part) / 1000)
    }
}

impl Precise {
    /// The value of this many shares at `price`, rounded towards zero.
    pub(super) fn value_at(self, price: Self) -> Money {
        let product = i128::from(self.0) * i128::from(price.0) / 1_000_000;
        Decimal(i64::try_from(product).unwrap_or(i64::MAX))
    }

    /// `part` per one of `whole`, or zero.
    pub(super) fn ratio(part: Money, whole: Money) -> Self {
        let units = i128::from(part.0) * i128::from(Self::ONE) / i128::from(whole.0).max(1);
        Self(i64::try_from(units).unwrap_or(i64::MAX))
    }
}

// A document from outside can hold numbers up to `MAX_UNITS`, and long lists of them.
impl<const PLACES: u32> Add for Decimal<PLACES> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl<const PLACES: u32> Sub for Decimal<PLACES> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl<const PLACES: u32> Neg for Decimal<PLACES> {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl<const PLACES: u32> AddAssign for Decimal<PLACES> {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<const PLACES: u32> SubAssign for Decimal<PLACES> {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl<const PLACES: u32> Sum for Decimal<PLACES> {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, Add::add)
    }
}

impl<const PLACES: u32> fmt::Display for Decimal<PLACES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (one, units) = (Self::ONE.unsigned_abs(), self.0.unsigned_abs());
        write!(f, "{sign}{}.{:0places$}", units / one, units % one, places = PLACES as usize)
    }
}

impl<const PLACES: u32> Serialize for Decimal<PLACES> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / Self::ONE as f64)
    }
}

impl<'de, const PLACES: u32> Deserialize<'de> for Decimal<PLACES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<const PLACES: u32>;

        impl<const PLACES: u32> Visitor<'_> for Number<PLACES> {
            type Value = Decimal<PLACES>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number with at most {PLACES} decimal places")
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                let exact = number * Decimal::<PLACES>::ONE as f64;
                let units = exact.round();
                // Most decimal fractions have no exact binary form.
                let tolerance = 1e-6_f64.max(units.abs() * 1e-12);
                if units.abs() <= MAX_UNITS && (exact - units).abs() <= tolerance {
                    Ok(Decimal(units as i64))
                } else {
                    Err(E::custom(format_args!(
                        "{number} is not a number below 1e12 with at most {PLACES} decimal places"
                    )))
                }
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                self.visit_f64(number as f64)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_f64(number as f64)
            }
        }

        deserializer.deserialize_f64(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_amount_is_the_same_after_a_round_trip_through_json(units in -1_000_000_000_000_000..=1_000_000_000_000_000_i64) {
            let money = Money::from_units(units);
            let text = serde_json::to_string(&money).unwrap();
            prop_assert_eq!(serde_json::from_str::<Money>(&text).unwrap(), money);
        }
    }

    #[test]
    fn a_number_with_too_many_decimal_places_or_digits_is_refused() {
        for text in ["0.001", "12.345", "1e300", "-1e16", "\"1\"", "null"] {
            assert!(serde_json::from_str::<Money>(text).is_err(), "{text}");
        }
        assert_eq!(serde_json::from_str::<Money>("12").unwrap(), Money::whole(12));
        assert_eq!(serde_json::from_str::<Money>("-0.1").unwrap().to_string(), "-0.10");
    }

    #[test]
    fn a_value_is_computed_in_integers() {
        let shares = Precise::from_units(12_500);
        assert_eq!(shares.value_at(Precise::whole(10)).to_string(), "12.50");
    }
}
