//! Shares and spans of time as people write them: `10%`, `30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is not the amount it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is not {wanted}")]
pub struct InvalidAmount {
    pub given: String,
    pub wanted: &'static str,
}

/// A variant's share of the traffic, in steps of 0.01%: 0 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Weight(u16);

impl Weight {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(10_000);

    /// `None` if over 10,000.
    pub const fn from_basis_points(points: u16) -> Option<Self> {
        if points <= 10_000 { Some(Self(points)) } else { None }
    }

    /// Parts of 10,000.
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// What is left for the other variant.
    pub const fn rest(self) -> Self {
        Self(10_000 - self.0)
    }

    /// 0 to 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match (self.0 / 100, self.0 % 100) {
            (whole, 0) => format!("{whole}%"),
            (whole, part) if part % 10 == 0 => format!("{whole}.{}%", part / 10),
            (whole, part) => format!("{whole}.{part:02}%"),
        };
        f.pad(&text)
    }
}

impl FromStr for Weight {
    type Err = InvalidAmount;

    /// `10%`, `10` and `0.5%`; the sign may be left out.
    fn from_str(given: &str) -> Result<Self, InvalidAmount> {
        let invalid = || InvalidAmount { given: given.to_owned(), wanted: "a share from 0% to 100%" };
        let percent: f64 = given.trim().trim_end_matches('%').trim_end().parse().map_err(|_| invalid())?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(invalid());
        }
        let points = (percent * 100.0).round();
        if (points - percent * 100.0).abs() > 1e-6 {
            return Err(InvalidAmount { given: given.to_owned(), wanted: "a share in steps of 0.01%" });
        }
        Ok(Self(points as u16))
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_number(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A share of what there is, above 0 and at most 1, in steps of 0.0001.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utilization(u16);

impl Utilization {
    const WANTED: &'static str = "a share above 0 and at most 1";

    fn from_share(share: f64, given: &str) -> Result<Self, InvalidAmount> {
        let parts = (share * 10_000.0).round();
        if !(1.0..=10_000.0).contains(&parts) {
            return Err(InvalidAmount { given: given.to_owned(), wanted: Self::WANTED });
        }
        // Between 1 and 10,000, and whole.
        Ok(Self(parts as u16))
    }
}

impl fmt::Display for Utilization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&(f64::from(self.0) / 10_000.0).to_string())
    }
}

impl FromStr for Utilization {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let share = text.trim().parse().map_err(|_| InvalidAmount { given: text.to_owned(), wanted: Self::WANTED })?;
        Self::from_share(share, text)
    }
}

impl Serialize for Utilization {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 10_000.0)
    }
}

impl<'de> Deserialize<'de> for Utilization {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        Self::from_share(share, &share.to_string()).map_err(de::Error::custom)
    }
}

/// A span of time, written `30s`, `15m`, `1h 30m`, `250ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

impl Span {
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        if milliseconds == 0 {
            return f.pad("0s");
        }
        let parts = [
            (milliseconds / 3_600_000, "h"),
            (milliseconds / 60_000 % 60, "m"),
            (milliseconds / 1_000 % 60, "s"),
            (milliseconds % 1_000, "ms"),
        ];
        let text: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
        f.pad(&text.join(" "))
    }
}

impl FromStr for Span {
    type Err = InvalidAmount;

    fn from_str(given: &str) -> Result<Self, InvalidAmount> {
        let invalid = || InvalidAmount { given: given.to_owned(), wanted: "a span of time like 30s, 15m or 1h 30m" };
        if given.trim() == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let span: jiff::SignedDuration = given.trim().parse().map_err(|_| invalid())?;
        Duration::try_from(span).map(Self).map_err(|_| invalid())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// YAML gives `10` as a number and `10%` as a text: both are meant.
pub(crate) fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum TextOrNumber {
        Text(String),
        Number(serde_json::Number),
    }
    Ok(match TextOrNumber::deserialize(deserializer)? {
        TextOrNumber::Text(text) => text,
        TextOrNumber::Number(number) => number.to_string(),
    })
}

/// A count of bytes as people read it: `93.8 MiB`.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

/// An amount of US dollars, exact to a millionth: `12.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(u64);

impl Usd {
    /// Hours that a month is counted with, as the clouds' own calculators do.
    pub const HOURS_A_MONTH: u64 = 730;

    pub const fn from_millionths(millionths: u64) -> Self {
        Self(millionths)
    }

    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// What an hourly price comes to in a month.
    pub const fn a_month(self) -> Self {
        Self(self.0.saturating_mul(Self::HOURS_A_MONTH))
    }

    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Usd {
    /// At least two places, more only where they say something: `3.36`, `0.0464`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        let point = text.len() - 7;
        let kept = text.trim_end_matches('0').len().max(point + 3);
        f.pad(&text[..kept])
    }
}

impl FromStr for Usd {
    type Err = InvalidAmount;

    fn from_str(given: &str) -> Result<Self, InvalidAmount> {
        let invalid = || InvalidAmount { given: given.to_owned(), wanted: "an amount in US dollars, e.g. 12.5" };
        let text = given.trim();
        let text = text.strip_prefix('$').unwrap_or(text);
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(part) || part.len() > 6 || whole.len() + part.len() == 0 {
            return Err(invalid());
        }
        let number = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u64>() };
        let whole = number(whole).map_err(|_| invalid())?;
        let part = number(&format!("{part:0<6}")).map_err(|_| invalid())?;
        whole.checked_mul(1_000_000).and_then(|millionths| millionths.checked_add(part)).map(Self).ok_or_else(invalid)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Usd;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount in US dollars, e.g. 12.5")
            }

            fn visit_u64<E: de::Error>(self, dollars: u64) -> Result<Usd, E> {
                self.visit_str(&dollars.to_string())
            }

            fn visit_i64<E: de::Error>(self, dollars: i64) -> Result<Usd, E> {
                self.visit_str(&dollars.to_string())
            }

            fn visit_f64<E: de::Error>(self, dollars: f64) -> Result<Usd, E> {
                // What was written as 0.0464 comes as the nearest binary number; six places bring it back.
                self.visit_str(&format!("{dollars:.6}"))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Usd, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dollars_are_exact_and_read_back() {
        for (given, shown) in [("12.5", "12.50"), ("$0.0464", "0.0464"), ("3", "3.00"), (".5", "0.50")] {
            let usd: Usd = given.parse().unwrap();
            assert_eq!(usd.to_string(), shown);
            assert_eq!(serde_json::from_str::<Usd>(&serde_json::to_string(&usd).unwrap()).unwrap(), usd);
        }
        for bad in ["", ".", "-1", "1e3", "1.2345678", "12 USD", "99999999999999999999"] {
            assert!(bad.parse::<Usd>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Usd>("-0.5").is_err());
        assert_eq!("3.36312".parse::<Usd>().unwrap().a_month().to_string(), "2455.0776");
    }

    proptest! {
        #[test]
        fn a_weight_survives_being_written(points in 0u16..=10_000) {
            let weight = Weight::from_basis_points(points).unwrap();
            prop_assert_eq!(weight.to_string().parse::<Weight>().unwrap(), weight);
            prop_assert_eq!(weight.basis_points() + weight.rest().basis_points(), 10_000);
        }

        #[test]
        fn a_span_survives_being_written(milliseconds in 0u64..1_000_000_000) {
            let span = Span(Duration::from_millis(milliseconds));
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_by_name() {
        for bad in ["", "x", "-1%", "101%", "0.001%", "NaN"] {
            assert!(bad.parse::<Weight>().is_err(), "{bad:?}");
        }
        for bad in ["", "30", "soon", "-3s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
        assert_eq!(bytes_text(98_362_432), "93.8 MiB");
    }
}
