//! A window in which nothing is promoted: each week, or once.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MINUTES_OF_DAY: i64 = 24 * 60;

/// Text form `Fri 16:00-Mon 08:00 Europe/Berlin`, or once `2026-12-24 00:00-2027-01-02 08:00 Europe/Berlin`. The end is
/// no part of it. Clocks are those of the place, so that a window moves with its summer time.
#[derive(Debug, Clone)]
pub struct Lockout {
    text: String,
    window: Window,
    zone: TimeZone,
}

#[derive(Debug, Clone, Copy)]
enum Window {
    /// Minutes since Monday's midnight; the end may lie before the beginning, in the next week.
    Weekly {
        from: i64,
        to: i64,
    },
    Once {
        from: DateTime,
        to: DateTime,
    },
}

/// Why a text is no lockout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLockout {
    #[error(
        "lockout \"{0}\" should read FROM-TO ZONE, e.g. \"Fri 16:00-Mon 08:00 Europe/Berlin\" or \"2026-12-24 \
         00:00-2027-01-02 08:00 UTC\""
    )]
    Form(String),
    #[error("lockout \"{0}\" ends when it begins, or before")]
    Empty(String),
    #[error("lockout \"{text}\": this machine knows no time zone \"{zone}\"")]
    Zone { text: String, zone: String },
}

impl Lockout {
    pub fn contains(&self, at: Timestamp) -> bool {
        let there = self.zone.to_datetime(at);
        match self.window {
            Window::Once { from, to } => from <= there && there < to,
            Window::Weekly { from, to } => {
                let now = minute_of_week(there.weekday(), there.time());
                if from < to { from <= now && now < to } else { from <= now || now < to }
            }
        }
    }
}

fn minute_of_week(day: Weekday, time: Time) -> i64 {
    i64::from(day.to_monday_zero_offset()) * MINUTES_OF_DAY + i64::from(time.hour()) * 60 + i64::from(time.minute())
}

fn weekday(text: &str) -> Option<Weekday> {
    let days = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    days.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, day)| day)
}

impl Window {
    /// None if the words are no window.
    fn read(from: (&str, &str), to: (&str, &str)) -> Option<Self> {
        let (start, end): (Time, Time) = (from.1.parse().ok()?, to.1.parse().ok()?);
        if let (Some(first), Some(last)) = (weekday(from.0), weekday(to.0)) {
            return Some(Self::Weekly { from: minute_of_week(first, start), to: minute_of_week(last, end) });
        }
        let (first, last): (Date, Date) = (from.0.parse().ok()?, to.0.parse().ok()?);
        Some(Self::Once { from: first.to_datetime(start), to: last.to_datetime(end) })
    }

    fn is_empty(self) -> bool {
        match self {
            Self::Weekly { from, to } => from == to,
            Self::Once { from, to } => from >= to,
        }
    }
}

impl FromStr for Lockout {
    type Err = InvalidLockout;

    fn from_str(given: &str) -> Result<Self, InvalidLockout> {
        let words: Vec<&str> = given.split_whitespace().collect();
        let text = words.join(" ");
        let form = || InvalidLockout::Form(text.clone());
        let [first_day, middle, end, zone] = words[..] else { return Err(form()) };
        let (start, last_day) = middle.split_once('-').ok_or_else(form)?;
        let window = Window::read((first_day, start), (last_day, end)).ok_or_else(form)?;
        if window.is_empty() {
            return Err(InvalidLockout::Empty(text));
        }
        match TimeZone::get(zone) {
            Ok(zone) => Ok(Self { text, window, zone }),
            Err(_) => Err(InvalidLockout::Zone { zone: zone.to_owned(), text }),
        }
    }
}

/// Said alike is alike.
impl PartialEq for Lockout {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Lockout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Serialize for Lockout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lockout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_locked(lockout: &str, at: &str) -> bool {
        lockout.parse::<Lockout>().unwrap().contains(at.parse().unwrap())
    }

    #[test]
    fn a_weekend_is_locked_by_the_clocks_of_the_place_and_over_the_weeks_end() {
        let weekend = "Fri 16:00-Mon 08:00 Europe/Berlin";
        for (at, expected) in [
            // Winter: one hour ahead.
            ("2026-11-27T14:59:59Z", false),
            ("2026-11-27T15:00:00Z", true),
            ("2026-11-29T23:59:00Z", true),
            ("2026-11-30T06:59:59Z", true),
            ("2026-11-30T07:00:00Z", false),
            // Summer: two.
            ("2026-07-03T13:59:00Z", false),
            ("2026-07-03T14:00:00Z", true),
        ] {
            assert_eq!(is_locked(weekend, at), expected, "{at}");
        }
        assert!(is_locked("mon 09:00-mon 17:00 UTC", "2026-11-30T12:00:00Z"));
        assert!(!is_locked("mon 09:00-mon 17:00 UTC", "2026-12-01T12:00:00Z"));
    }

    #[test]
    fn a_holiday_is_locked_once() {
        let holiday = "2026-12-24 00:00-2027-01-02 08:00 UTC";
        for (at, expected) in [
            ("2026-12-23T23:59:59Z", false),
            ("2026-12-31T12:00:00Z", true),
            ("2027-01-02T08:00:00Z", false),
            ("2027-12-31T12:00:00Z", false),
        ] {
            assert_eq!(is_locked(holiday, at), expected, "{at}");
        }
    }

    #[test]
    fn what_is_no_lockout_is_refused_by_name_and_one_survives_being_written() {
        for (bad, hint) in [
            ("Fri 16:00-Mon 08:00", "should read FROM-TO ZONE"),
            ("Fry 16:00-Mon 08:00 UTC", "should read FROM-TO ZONE"),
            ("Fri 16:00-2026-12-24 08:00 UTC", "should read FROM-TO ZONE"),
            ("Fri 25:00-Mon 08:00 UTC", "should read FROM-TO ZONE"),
            ("Fri 16:00-Fri 16:00 UTC", "ends when it begins"),
            ("2026-12-24 00:00-2026-12-23 00:00 UTC", "ends when it begins, or before"),
            ("Fri 16:00-Mon 08:00 Europe/Atlantis", "no time zone \"Europe/Atlantis\""),
        ] {
            let error = bad.parse::<Lockout>().unwrap_err().to_string();
            assert!(error.contains(hint), "{bad}: {error}");
        }
        let lockout: Lockout = " Fri  16:00-Mon 08:00 UTC".parse().unwrap();
        let written = serde_json::to_string(&lockout).unwrap();
        assert_eq!(written, "\"Fri 16:00-Mon 08:00 UTC\"");
        assert_eq!(serde_json::from_str::<Lockout>(&written).unwrap(), lockout);
    }
}
