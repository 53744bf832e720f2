//! What one key has used and may still use. Pure: the time is an argument.
//!
//! ```text
//! reserve(what it may cost at most) -> request -> settle(what it did cost)
//! ```
//! A rate is a vessel that holds a minute's worth and fills steadily, so that a minute's worth may come at once and no more
//! than two of them in any minute. A budget is what was spent since its period began.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use spec::virtual_key::{Budget, Period, VirtualKey};

const MILLISECONDS_A_MINUTE: f64 = 60_000.0;
const MILLIONTHS: f64 = 1e6;
/// Of seconds: what sums of fractions may be off.
const ROUNDING: f64 = 1e-6;

/// What a request takes: of tokens and dollars the most beforehand, and what it was afterwards.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Use {
    pub tokens: u64,
    pub dollars: f64,
}

/// Which limit a request would break, and in how many seconds it would not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    #[error("the API key may send {limit} requests a minute")]
    Requests { limit: u64, wait: u64 },
    #[error("the API key may use {limit} tokens a minute, and this request may take {wanted}")]
    Tokens { limit: u64, wanted: u64, wait: u64 },
    #[error("the API key's budget of ${budget} is used up, or would be by this request")]
    Budget { budget: String, wait: u64 },
}

impl Exceeded {
    pub const fn wait(&self) -> u64 {
        match self {
            Self::Requests { wait, .. } | Self::Tokens { wait, .. } | Self::Budget { wait, .. } => *wait,
        }
    }

    /// The error's `code`, and the label `limit` of the metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Requests { .. } | Self::Tokens { .. } => "rate_limit_exceeded",
            Self::Budget { .. } => "insufficient_quota",
        }
    }

    pub const fn limit(&self) -> &'static str {
        match self {
            Self::Requests { .. } => "requests",
            Self::Tokens { .. } => "tokens",
            Self::Budget { .. } => "budget",
        }
    }
}

/// What was spent in a period; kept over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spending {
    /// The period's first day.
    pub since: Date,
    pub millionths: u64,
}

/// How full a rate's vessel is.
#[derive(Debug, Clone, Copy)]
struct Vessel {
    level: f64,
    at: Timestamp,
}

#[derive(Debug, Default)]
pub struct Account {
    requests: Option<Vessel>,
    tokens: Option<Vessel>,
    pub spending: Option<Spending>,
    /// Dollars of requests under way.
    reserved: f64,
}

impl Account {
    pub fn that_spent(spending: Spending) -> Self {
        Self { spending: Some(spending), ..Self::default() }
    }

    pub fn reserve(&mut self, key: &VirtualKey, most: Use, now: Timestamp) -> Result<(), Exceeded> {
        let requests = key.requests_per_minute.map(|limit| (limit, filled(self.requests, limit, now)));
        let tokens = key.tokens_per_minute.map(|limit| (limit, filled(self.tokens, limit, now)));
        if let Some((limit, level)) = requests
            && level < 1.0
        {
            return Err(Exceeded::Requests { limit, wait: seconds_until(1.0 - level, limit) });
        }
        if let Some((limit, level)) = tokens {
            // What takes more than a minute's worth has to wait for a full vessel, and leaves a debt.
            let needed = (most.tokens as f64).min(limit as f64);
            if level < needed {
                let wait = seconds_until(needed - level, limit);
                return Err(Exceeded::Tokens { limit, wanted: most.tokens, wait });
            }
        }
        if let Some(budget) = key.budget {
            self.begin_period(budget, now);
            if self.spent() + self.reserved + most.dollars > budget.dollars.dollars() {
                let wait = until_next_period(budget.per, now);
                return Err(Exceeded::Budget { budget: budget.to_string(), wait });
            }
        }
        self.requests = requests.map(|(_, level)| Vessel { level: level - 1.0, at: now });
        self.tokens = tokens.map(|(_, level)| Vessel { level: level - most.tokens as f64, at: now });
        self.reserved += most.dollars;
        Ok(())
    }

    /// Gives back what was not used. True if money was spent.
    pub fn settle(&mut self, key: &VirtualKey, most: Use, used: Use, now: Timestamp) -> bool {
        self.reserved = (self.reserved - most.dollars).max(0.0);
        if let Some(vessel) = &mut self.tokens {
            vessel.level += most.tokens as f64 - used.tokens as f64;
        }
        let Some(budget) = key.budget else { return false };
        self.begin_period(budget, now);
        let millionths = (used.dollars * MILLIONTHS).ceil() as u64;
        if let Some(spending) = &mut self.spending {
            spending.millionths += millionths;
        }
        millionths > 0
    }

    fn begin_period(&mut self, budget: Budget, now: Timestamp) {
        let since = first_day(budget.per, now);
        if self.spending.is_none_or(|spending| spending.since != since) {
            self.spending = Some(Spending { since, millionths: 0 });
        }
    }

    fn spent(&self) -> f64 {
        self.spending.map_or(0.0, |spending| spending.millionths as f64 / MILLIONTHS)
    }
}

fn filled(vessel: Option<Vessel>, limit: u64, now: Timestamp) -> f64 {
    let full = limit as f64;
    let Some(Vessel { level, at }) = vessel else { return full };
    // A clock that was set back fills nothing.
    let passed = (now.as_millisecond() - at.as_millisecond()).max(0) as f64;
    (level + full * passed / MILLISECONDS_A_MINUTE).min(full)
}

/// At least one: a client that waits for nothing asks again at once.
fn seconds_until(missing: f64, limit: u64) -> u64 {
    (missing * 60.0 / (limit as f64).max(f64::MIN_POSITIVE) - ROUNDING).ceil().clamp(1.0, 3600.0) as u64
}

fn first_day(period: Period, now: Timestamp) -> Date {
    let today = TimeZone::UTC.to_datetime(now).date();
    match period {
        Period::Day => today,
        Period::Month => today.first_of_month(),
    }
}

fn until_next_period(period: Period, now: Timestamp) -> u64 {
    let first = first_day(period, now);
    let next = match period {
        Period::Day => first.tomorrow(),
        Period::Month => first.last_of_month().tomorrow(),
    };
    let next = next.ok().and_then(|day| TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok());
    next.map_or(1, |next| (next.as_second() - now.as_second()).max(1) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(requests: Option<u64>, tokens: Option<u64>, budget: Option<&str>) -> VirtualKey {
        VirtualKey {
            name: "k".to_owned(),
            made_at: Timestamp::UNIX_EPOCH,
            models: Vec::new(),
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            budget: budget.map(|text| text.parse().unwrap()),
            expires: None,
        }
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_790_000_000_000 + milliseconds).unwrap()
    }

    fn most(tokens: u64, dollars: f64) -> Use {
        Use { tokens, dollars }
    }

    #[test]
    fn requests_come_back_with_the_time_that_is_told() {
        let (key, mut account) = (key(Some(2), None, None), Account::default());
        assert_eq!(account.reserve(&key, most(0, 0.0), at(0)), Ok(()));
        assert_eq!(account.reserve(&key, most(0, 0.0), at(0)), Ok(()));
        let exceeded = account.reserve(&key, most(0, 0.0), at(10_000)).unwrap_err();
        assert_eq!(exceeded, Exceeded::Requests { limit: 2, wait: 20 });
        assert_eq!(account.reserve(&key, most(0, 0.0), at(30_000)), Ok(()));
    }

    #[test]
    fn tokens_that_were_not_used_come_back_at_once() {
        let (key, mut account) = (key(None, Some(100), None), Account::default());
        account.reserve(&key, most(90, 0.0), at(0)).unwrap();
        assert_eq!(account.reserve(&key, most(20, 0.0), at(0)).unwrap_err().wait(), 6);
        account.settle(&key, most(90, 0.0), most(10, 0.0), at(0));
        assert_eq!(account.reserve(&key, most(90, 0.0), at(0)), Ok(()));
        account.settle(&key, most(90, 0.0), most(90, 0.0), at(0));
        // More than a minute's worth: when the vessel is full, and then it takes two minutes to be so again.
        assert_eq!(account.reserve(&key, most(200, 0.0), at(60_000)), Ok(()));
        account.settle(&key, most(200, 0.0), most(200, 0.0), at(60_000));
        assert_eq!(account.reserve(&key, most(1, 0.0), at(119_000)).unwrap_err().wait(), 2);
    }

    #[test]
    fn a_budget_holds_what_is_under_way_and_begins_anew() {
        let (key, mut account) = (key(None, None, Some("1/day")), Account::default());
        account.reserve(&key, most(0, 0.6), at(0)).unwrap();
        let exceeded = account.reserve(&key, most(0, 0.6), at(0)).unwrap_err();
        assert_eq!((exceeded.code(), exceeded.limit()), ("insufficient_quota", "budget"));
        assert!(account.settle(&key, most(0, 0.6), most(0, 0.3), at(0)));
        account.reserve(&key, most(0, 0.6), at(0)).unwrap();
        account.settle(&key, most(0, 0.6), most(0, 0.6), at(0));
        let wait = account.reserve(&key, most(0, 0.2), at(0)).unwrap_err().wait();
        assert!((1..=86_400).contains(&wait), "{wait}");
        let tomorrow = at(i64::try_from(wait).unwrap() * 1000);
        assert_eq!(account.reserve(&key, most(0, 0.9), tomorrow), Ok(()));
    }

    proptest! {
        #[test]
        fn no_minute_sees_more_than_two_minutes_worth(steps in proptest::collection::vec((0_i64..5_000, 1_u64..40), 1..200)) {
            let (key, mut account) = (key(None, Some(60), None), Account::default());
            let (mut now, mut taken) = (0, Vec::new());
            for (pause, tokens) in steps {
                now += pause;
                if account.reserve(&key, most(tokens, 0.0), at(now)).is_ok() {
                    account.settle(&key, most(tokens, 0.0), most(tokens, 0.0), at(now));
                    taken.push((now, tokens));
                }
            }
            for (end, _) in &taken {
                let in_minute = taken.iter().filter(|(when, _)| when <= end && *when > end - 60_000);
                prop_assert!(in_minute.map(|(_, tokens)| tokens).sum::<u64>() <= 120);
            }
        }

        #[test]
        fn a_budget_is_never_passed_if_nothing_costs_more_than_it_reserved(
            costs in proptest::collection::vec((0.0_f64..0.5, 0.0_f64..1.0), 1..100),
        ) {
            let (key, mut account) = (key(None, None, Some("2/month")), Account::default());
            for (dollars, share) in costs {
                if account.reserve(&key, most(0, dollars), at(0)).is_ok() {
                    account.settle(&key, most(0, dollars), most(0, dollars * share), at(0));
                }
            }
            prop_assert!(account.spent() <= 2.0 + 1e-4);
        }
    }
}
