//! The texts of centralized caching: durations, times and what pools and directives are, as Hadoop writes them.

use crate::fsimage::civil_from_days;
use crate::proto::hdfs::{CacheDirectiveInfoExpirationProto, CacheDirectiveInfoProto, CachePoolInfoProto};

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A duration in ms as days, hours, minutes, seconds and ms (`DFSUtilClient.durationToString`).
#[must_use]
pub fn duration_text(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let ms = millis.unsigned_abs();
    format!(
        "{sign}{:03}:{:02}:{:02}:{:02}.{:03}",
        ms / DAY_MS,
        ms / HOUR_MS % 24,
        ms / MINUTE_MS % 60,
        ms / SECOND_MS % 60,
        ms % SECOND_MS
    )
}

/// A time in ms since 1970 (`DFSUtilClient.dateToIso8601String`). Hadoop shows it in the zone of the machine; here it is
/// UTC, whatever the machine.
#[must_use]
pub fn time_text(millis: i64) -> String {
    let seconds = millis.div_euclid(1000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+0000")
}

/// When a directive expires (`CacheDirectiveInfo.Expiration.toString`).
#[must_use]
pub fn expiration_text(expiration: &CacheDirectiveInfoExpirationProto) -> String {
    match expiration.is_relative {
        true => duration_text(expiration.millis),
        false => time_text(expiration.millis),
    }
}

/// A time span like `30m`, in ms (`DFSUtil.parseRelativeTime`).
///
/// # Errors
/// Hadoop's message, for anything else.
pub fn parse_relative_time(text: &str) -> Result<i64, String> {
    let refused = |why: String| Err(format!("Unable to parse relative time value of {text}: {why}"));
    let unit = text.chars().last().filter(|_| text.chars().count() >= 2);
    let Some(unit) = unit else {
        return refused("too short".to_owned());
    };
    let number = text.strip_suffix(unit).unwrap_or_default();
    let Ok(count) = number.parse::<i64>() else {
        return refused(format!("{number} is not a number"));
    };
    let unit_ms = match unit {
        's' => SECOND_MS,
        'm' => MINUTE_MS,
        'h' => HOUR_MS,
        'd' => DAY_MS,
        _ => return refused(format!("unknown time unit {unit}")),
    };
    // Java multiplies without a check.
    Ok(count.wrapping_mul(unit_ms.cast_signed()))
}

/// `CacheDirectiveInfo.toString`
#[must_use]
pub fn directive_text(directive: &CacheDirectiveInfoProto) -> String {
    let mut fields = Vec::new();
    fields.extend(directive.id.map(|id| format!("id: {id}")));
    fields.extend(directive.path.as_ref().map(|path| format!("path: {path}")));
    fields.extend(directive.replication.map(|copies| format!("replication: {copies}")));
    fields.extend(directive.pool.as_ref().map(|pool| format!("pool: {pool}")));
    let expiration = directive.expiration.as_ref();
    fields.extend(expiration.map(|at| format!("expiration: {}", expiration_text(at))));
    format!("{{{}}}", fields.join(", "))
}

/// `CachePoolInfo.toString`
#[must_use]
pub fn pool_text(pool: &CachePoolInfoProto) -> String {
    let text = |text: Option<&String>| text.map_or("null", String::as_str).to_owned();
    let number = |number: Option<i64>| number.map_or_else(|| "null".to_owned(), |number| number.to_string());
    format!(
        "{{poolName:{}, ownerName:{}, groupName:{}, mode:{}, limit:{}, defaultReplication:{}, maxRelativeExpiryMs:{}}}",
        text(pool.pool_name.as_ref()),
        text(pool.owner_name.as_ref()),
        text(pool.group_name.as_ref()),
        pool.mode
            .map_or_else(|| "null".to_owned(), |mode| format!("0{mode:03o}")),
        number(pool.limit),
        number(pool.default_replication.map(i64::from)),
        number(pool.max_relative_expiry),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_hadoops() {
        for (millis, text) in [
            (0, "000:00:00:00.000"),
            (59_999, "000:00:00:59.999"),
            (172_800_000, "002:00:00:00.000"),
            (106_617_600_005, "1234:00:00:00.005"),
            (-5, "-000:00:00:00.005"),
        ] {
            assert_eq!(duration_text(millis), text);
        }
        assert_eq!(time_text(1_700_000_000_000), "2023-11-14T22:13:20+0000");
    }

    #[test]
    fn time_spans_have_one_unit() {
        assert_eq!(parse_relative_time("2d"), Ok(172_800_000));
        assert_eq!(parse_relative_time("-1s"), Ok(-1000));
        for (text, why) in [
            ("5", "too short"),
            ("", "too short"),
            ("1d2h", "1d2 is not a number"),
            ("2D", "unknown time unit D"),
        ] {
            let refused = format!("Unable to parse relative time value of {text}: {why}");
            assert_eq!(parse_relative_time(text), Err(refused));
        }
    }

    #[test]
    fn only_the_given_fields_of_a_directive_are_told() {
        let directive = CacheDirectiveInfoProto {
            id: Some(3),
            path: Some("/a".to_owned()),
            ..CacheDirectiveInfoProto::default()
        };
        assert_eq!(directive_text(&directive), "{id: 3, path: /a}");
        let pool = CachePoolInfoProto {
            pool_name: Some("p".to_owned()),
            mode: Some(0o755),
            ..CachePoolInfoProto::default()
        };
        assert_eq!(
            pool_text(&pool),
            "{poolName:p, ownerName:null, groupName:null, mode:0755, limit:null, defaultReplication:null, maxRelativeExpiryMs:null}"
        );
    }
}
