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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
