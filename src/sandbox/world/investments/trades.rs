//! What happened to one investment, before it becomes transactions.

use fastrand::Rng;
use jiff::ToSpan;
use jiff::civil::Date;

use super::Investment;
use super::kinds::Kind;
use super::transaction::{InvestmentTransaction, TransactionKind};
use crate::sandbox::world::decimal::{Decimal, Money, Precise};
use crate::sandbox::world::origin::{Origin, money, precise, seconds};
use crate::sandbox::world::portfolios::Portfolio;

/// The number of purchases and sales after the first purchase.
const LATER_TRADES: usize = 3;

/// Transfers between funds happen in the last days, after all other trades.
const QUIET_DAYS: i32 = 60;

pub(super) struct Trades {
    pub(super) first_price: Precise,
    pub(super) last_price: Precise,
    trades: Vec<Trade>,
}

/// One purchase, sale, income, or half of a transfer.
pub(super) struct Trade {
    pub(super) date: Date,
    pub(super) kind: TransactionKind,
    /// Negative if the number of shares decreases.
    pub(super) shares: Precise,
    pub(super) price: Precise,
    /// The value without commission and taxes.
    pub(super) value: Money,
    /// The other half: shares and price.
    pub(super) counterpart: Option<(Precise, Precise)>,
}

impl Trades {
    pub(super) fn seeded(origin: &Origin<'_>, rng: &mut Rng, kind: &Kind) -> Self {
        let first_price = precise(rng, kind.price.0, kind.price.1);
        let start = origin.first_day().saturating_add(rng.i32(0..60).days());
        let end = origin.today.saturating_sub(QUIET_DAYS.days());
        let span = ((seconds(end) - seconds(start)) / 86_400).max(1);
        let mut trades = Self { first_price, last_price: first_price, trades: Vec::new() };
        trades.trade(start, TransactionKind::Buy, precise(rng, kind.shares.0, kind.shares.1), first_price);

        let mut dates: Vec<_> =
            (0..LATER_TRADES).map(|_| start.saturating_add(rng.i64(1..=span).days()).min(end)).collect();
        dates.sort_unstable();
        for (number, date) in dates.into_iter().enumerate() {
            let price = moved(rng, kind, first_price);
            if number > 0 && rng.bool() {
                let sold = trades.held().per_mille(rng.i64(100..400));
                trades.trade(date, TransactionKind::Sell, -sold, price);
            } else {
                let bought = precise(rng, kind.shares.0, kind.shares.1).per_mille(400);
                trades.trade(date, TransactionKind::Buy, bought, price);
            }
        }
        if kind.income {
            let value = money(rng, 1_200, 16_000);
            let price = moved(rng, kind, first_price);
            let (kind, shares) = (TransactionKind::Income, Precise::ZERO);
            trades.trades.push(Trade { date: end, kind, shares, price, value, counterpart: None });
        }
        trades.last_price = moved(rng, kind, first_price);
        trades
    }

    /// Moves a part of the shares to another fund.
    pub(super) fn transfer_to(&mut self, other: &mut Self, origin: &Origin<'_>, rng: &mut Rng) {
        let date = origin.today.saturating_sub(rng.i32(5..QUIET_DAYS - 10).days());
        let moved = self.held().per_mille(500);
        let value = moved.value_at(self.last_price);
        let received = Decimal::from_units(value.units().saturating_mul(1_000_000) / other.last_price.units().max(1));
        self.trades.push(Trade {
            date,
            kind: TransactionKind::Transfer,
            shares: -moved,
            price: self.last_price,
            value,
            counterpart: Some((received, other.last_price)),
        });
        let (kind, price) = (TransactionKind::Transfer, other.last_price);
        other.trades.push(Trade { date, kind, shares: received, price, value, counterpart: None });
    }

    pub(super) fn held(&self) -> Precise {
        self.trades.iter().map(|trade| trade.shares).sum()
    }

    pub(super) fn first_date(&self) -> Option<Date> {
        self.trades.first().map(|trade| trade.date)
    }

    /// The transactions, without identifiers.
    pub(super) fn transactions(
        &self,
        origin: &Origin<'_>,
        rng: &mut Rng,
        kind: &Kind,
        investment: &Investment,
        portfolio: &Portfolio,
        transfer_isin: &str,
    ) -> Vec<InvestmentTransaction> {
        let mut held = Precise::ZERO;
        let transaction = |trade: &Trade| {
            held += trade.shares;
            let mut one = InvestmentTransaction::new(origin, rng, kind, investment, portfolio, trade, held);
            one.set_origin_gain(
                self.first_date().unwrap_or(trade.date),
                trade.shares.abs().value_at(trade.price) - trade.shares.abs().value_at(self.first_price),
            );
            if let Some(counterpart) = trade.counterpart {
                one.set_counterpart(portfolio, transfer_isin, counterpart);
            }
            one
        };
        self.trades.iter().map(transaction).collect()
    }

    fn trade(&mut self, date: Date, kind: TransactionKind, shares: Precise, price: Precise) {
        let value = shares.abs().value_at(price);
        self.trades.push(Trade { date, kind, shares, price, value, counterpart: None });
    }
}

/// Another price. Cash and deposits always cost the same.
fn moved(rng: &mut Rng, kind: &Kind, price: Precise) -> Precise {
    if kind.price.0 == kind.price.1 { price } else { price.per_mille(rng.i64(850..=1200)) }
}
