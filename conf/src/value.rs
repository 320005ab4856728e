//! Numbers, durations and sizes as Hadoop writes them in configurations.

/// The unit of a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

impl TimeUnit {
    const fn nanos(self) -> i128 {
        match self {
            TimeUnit::Millis => 1_000_000,
            TimeUnit::Seconds => 1_000_000_000,
            TimeUnit::Minutes => 60_000_000_000,
            TimeUnit::Hours => 3_600_000_000_000,
        }
    }
}

/// Suffixes and their length in ns; longer ones first, so that `ms` is not read as `s`.
const TIME_SUFFIXES: [(&str, i128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

pub(super) fn parse_i64(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let number = match hex {
        // A sign stands before the prefix only.
        Some(hex) if hex.starts_with(['-', '+']) => None,
        Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16).ok(),
        None => text.parse().ok(),
    };
    number.ok_or_else(|| "not an integer".to_owned())
}

pub(super) fn parse_f64(text: &str) -> Result<f64, String> {
    let digits = text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text);
    match digits.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("not a number".to_owned()),
    }
}

pub(super) fn parse_duration_nanos(text: &str, unit: TimeUnit) -> Result<i128, String> {
    let text = text.to_ascii_lowercase();
    let (digits, nanos) = TIME_SUFFIXES
        .iter()
        .find_map(|(suffix, nanos)| Some((text.strip_suffix(suffix)?, *nanos)))
        .unwrap_or((&text, unit.nanos()));
    let number: i64 = digits
        .trim()
        .parse()
        .map_err(|_| "not a duration such as 500ms, 10s, 5m".to_owned())?;
    Ok(i128::from(number).saturating_mul(nanos))
}

pub(super) fn parse_bytes(text: &str) -> Result<i64, String> {
    let problem = || "not a size such as 4096, 64k, 128m".to_owned();
    let lower = text.to_ascii_lowercase();
    let shift = match lower.bytes().last() {
        Some(b'k') => 10,
        Some(b'm') => 20,
        Some(b'g') => 30,
        Some(b't') => 40,
        Some(b'p') => 50,
        Some(b'e') => 60,
        _ => 0,
    };
    let digits = match shift {
        0 => &*lower,
        _ => lower.get(..lower.len().saturating_sub(1)).unwrap_or_default(),
    };
    let number: i64 = digits.trim().parse().map_err(|_| problem())?;
    number.checked_mul(1 << shift).ok_or_else(|| "is too large".to_owned())
}
