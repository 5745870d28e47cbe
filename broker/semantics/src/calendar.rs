//! Dates and times as numbers, and back.

use chrono::{NaiveDate, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// 4713-11-24 BC, where PostgreSQL's dates begin.
const DATE_MIN: i64 = -2_440_588;
/// 5874897-12-31.
const DATE_MAX: i64 = 2_145_042_905;
/// 294277-01-01, where timestamps have ended.
const TIMESTAMP_END: i128 = 9_224_318_016_000_000_000;

/// A day: year (0 is 1 BC), month and day from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
}

/// Days since 1970 of a day of the Gregorian calendar.
pub(crate) fn days_of(civil: Civil) -> i64 {
    let year = civil.year - i64::from(civil.month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((civil.month + 9) % 12) + 2) / 5 + civil.day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The day that is `days` after 1970-01-01.
pub(crate) fn civil_of(days: i64) -> Civil {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    Civil { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
}

pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970, if there is such a day and PostgreSQL has it.
pub(crate) fn checked_days(year: i64, month: i64, day: i64) -> Option<i32> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    checked_date(days_of(Civil { year, month, day }))
}

/// A date in PostgreSQL's range.
pub(crate) fn checked_date(days: i64) -> Option<i32> {
    (DATE_MIN..=DATE_MAX).contains(&days).then(|| i32::try_from(days).ok()).flatten()
}

/// A timestamp in PostgreSQL's range, from what may be beyond any.
pub(crate) fn checked_timestamp(micros: i128) -> Option<i64> {
    let from = i128::from(DATE_MIN) * i128::from(DAY);
    (from..TIMESTAMP_END).contains(&micros).then(|| i64::try_from(micros).ok()).flatten()
}

/// Adds months to a day; one that the month has not becomes its last.
pub(crate) fn add_months(days: i64, months: i64) -> i64 {
    let civil = civil_of(days);
    let total = civil.year * 12 + civil.month - 1 + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    days_of(Civil { year, month, day: civil.day.min(days_in_month(year, month)) })
}

/// 0 is Sunday.
pub(crate) fn day_of_week(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

pub(crate) fn day_of_year(days: i64) -> i64 {
    let civil = civil_of(days);
    days - days_of(Civil { month: 1, day: 1, ..civil }) + 1
}

/// Year and week as ISO 8601 counts them.
pub(crate) fn iso_week(days: i64) -> (i64, i64) {
    // The Thursday of the week says which year it is of.
    let weekday = (day_of_week(days) + 6) % 7;
    let thursday = days - weekday + 3;
    (civil_of(thursday).year, (day_of_year(thursday) - 1) / 7 + 1)
}

/// A time zone: a name of the IANA database, an abbreviation, or hours from UTC.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Zone {
    Named(Tz),
    /// Seconds east of UTC.
    Fixed(i64),
}

/// Abbreviations of PostgreSQL's default set that are common.
const ABBREVIATIONS: [(&str, i64); 22] = [
    ("UTC", 0),
    ("GMT", 0),
    ("Z", 0),
    ("ZULU", 0),
    ("WET", 0),
    ("WEST", 1),
    ("BST", 1),
    ("CET", 1),
    ("CEST", 2),
    ("EET", 2),
    ("EEST", 3),
    ("MSK", 3),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
    ("JST", 9),
    ("IST", 2),
];

impl Zone {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        if let Some((_, hours)) = ABBREVIATIONS.iter().find(|(name, _)| *name == upper) {
            return Some(Self::Fixed(hours * 3_600));
        }
        if let Some(zone) = text.parse().ok().or_else(|| {
            chrono_tz::TZ_VARIANTS
                .iter()
                .find(|zone| zone.name().eq_ignore_ascii_case(text))
                .copied()
        }) {
            return Some(Self::Named(zone));
        }
        None
    }

    /// Seconds east of UTC of a local time.
    pub(crate) fn offset_of_local(self, micros: i64) -> i64 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::Named(zone) => {
                let local = naive(micros);
                // A time that is twice is taken as the standard time, one that is not as the time before.
                match zone.offset_from_local_datetime(&local) {
                    chrono::LocalResult::Single(offset) => offset.fix().local_minus_utc().into(),
                    chrono::LocalResult::Ambiguous(_, later) => {
                        later.fix().local_minus_utc().into()
                    }
                    chrono::LocalResult::None => {
                        let before = local - chrono::TimeDelta::hours(3);
                        match zone.offset_from_local_datetime(&before).latest() {
                            Some(offset) => offset.fix().local_minus_utc().into(),
                            None => 0,
                        }
                    }
                }
            }
        }
    }

    /// Seconds east of UTC at a time.
    pub(crate) fn offset_of_utc(self, micros: i64) -> i64 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::Named(zone) => {
                zone.offset_from_utc_datetime(&naive(micros)).fix().local_minus_utc().into()
            }
        }
    }
}

fn naive(micros: i64) -> NaiveDateTime {
    chrono::DateTime::from_timestamp_micros(micros)
        .map_or_else(|| NaiveDate::default().into(), |time| time.naive_utc())
}
