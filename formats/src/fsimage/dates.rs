//! Dates of the viewer's XML, in the Gregorian calendar.

/// `yyyy-MM-dd'T'HH:mm:ss.SSS` in UTC.
pub(super) fn iso_date(millis: i64) -> String {
    let (days, ms) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}",
        ms / 1000 % 60,
        ms % 1000
    )
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "days of a time in ms: all numbers here are below 2^63 / 86,400,000 in size"
)]
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // Years are counted from March, so that the leap day comes last.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// What [`iso_date`] printed, in ms since 1970. `None` for what is no date.
pub(super) fn parse_iso_date(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.rsplitn(3, '-');
    let (day, month, year) = (number(date.next()?)?, number(date.next()?)?, date.next()?.parse().ok()?);
    let (clock, millis) = time.split_once('.')?;
    let mut clock = clock.split(':');
    let (hour, minute, second) = (number(clock.next()?)?, number(clock.next()?)?, number(clock.next()?)?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !in_range || clock.next().is_some() || millis.len() != 3 {
        return None;
    }
    let in_day = hour
        .checked_mul(3600)?
        .checked_add(minute.checked_mul(60)?)?
        .checked_add(second)?
        .checked_mul(1000)?
        .checked_add(number(millis)?)?;
    days_from_civil(year, month, day)?
        .checked_mul(86_400_000)?
        .checked_add(in_day)
}

/// A number of digits alone.
fn number(text: &str) -> Option<i64> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| text.parse().ok()).flatten()
}

/// The day from 1970-01-01 on of a date in the Gregorian calendar; see [`civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month = month.checked_add(if month > 2 { -3 } else { 9 })?;
    let day_of_year = month
        .checked_mul(153)?
        .checked_add(2)?
        .checked_div(5)?
        .checked_add(day)?
        .checked_sub(1)?;
    let leaps = year_of_era.checked_div(4)?.checked_sub(year_of_era.checked_div(100)?)?;
    let day_of_era = year_of_era
        .checked_mul(365)?
        .checked_add(leaps)?
        .checked_add(day_of_year)?;
    era.checked_mul(146_097)?.checked_add(day_of_era)?.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000"),
            (951_782_400_123, "2000-02-29T00:00:00.123"),
            (1_763_694_253_007, "2025-11-21T03:04:13.007"),
            (-1, "1969-12-31T23:59:59.999"),
        ] {
            assert_eq!(iso_date(millis), text);
            assert_eq!(parse_iso_date(text), Some(millis));
        }
        for millis in [i64::MAX, 253_402_300_800_000, -62_135_596_800_000] {
            assert_eq!(parse_iso_date(&iso_date(millis)), Some(millis));
        }
        for bad in [
            "",
            "2000-02-29",
            "2000-13-29T00:00:00.123",
            "2000-02-29T00:00:00.12",
            "x-02-29T00:00:00.123",
        ] {
            assert_eq!(parse_iso_date(bad), None, "{bad}");
        }
    }
}
