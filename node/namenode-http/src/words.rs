//! Figures and times as people read them. The page's `words.js` writes them alike.

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes.
#[must_use]
pub fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match UNITS.get(unit) {
        Some(name) if unit > 0 => format!("{value:.1} {name}"),
        _ => format!("{bytes} B"),
    }
}

/// A time in ms.
#[must_use]
pub fn duration(ms: u64) -> String {
    let minutes = ms / 60_000;
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ if minutes < 60 => format!("{minutes} min {} s", ms % 60_000 / 1000),
        _ if minutes < 48 * 60 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// A part of a whole.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".to_owned(),
        _ => format!("{:.1} %", part as f64 * 100.0 / whole as f64),
    }
}

/// A number and its noun.
#[must_use]
pub fn plural(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_times_read_well() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")];
        for (bytes, expected) in sizes {
            assert_eq!(size(bytes), expected);
        }
        for (ms, expected) in [
            (999, "999 ms"),
            (1500, "1.5 s"),
            (61_000, "1 min 1 s"),
            (2 * 3_600_000 + 60_000, "2 h 1 min"),
            (72 * 3_600_000, "3 days"),
        ] {
            assert_eq!(duration(ms), expected);
        }
        assert_eq!((percent(1, 3), percent(1, 0)), ("33.3 %".to_owned(), "–".to_owned()));
        assert_eq!(plural(1, "block is", "blocks are"), "1 block is");
    }
}
