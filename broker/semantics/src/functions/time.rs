//! Dates, times and intervals (PostgreSQL 15, 9.9).

use super::{Library, boolean, number_format, time_format};
use crate::calendar::{
    Civil, DAY, HOUR, MINUTE, SECOND, Zone, add_months, checked_date, checked_days,
    checked_timestamp, civil_of, day_of_week, day_of_year, days_of, iso_week,
};
use crate::datum::{Datum, Span};
use crate::error::{Error, sqlstate};
use crate::numeric::{Numeric, division_by_zero};
use crate::types::PgType::{self, *};

fn timestamp_range() -> Error {
    Error::new("22008", "timestamp out of range")
}

fn interval_range() -> Error {
    Error::new("22008", "interval out of range")
}

fn is_infinite(value: &Datum) -> bool {
    match value {
        Datum::Date(days) => *days == i32::MAX || *days == i32::MIN,
        Datum::Timestamp(micros) => *micros == i64::MAX || *micros == i64::MIN,
        _ => false,
    }
}

fn timestamp(micros: i128) -> Result<Datum, Error> {
    checked_timestamp(micros).map(Datum::Timestamp).ok_or_else(timestamp_range)
}

fn date(days: i64) -> Result<Datum, Error> {
    checked_date(days).map(Datum::Date).ok_or_else(|| Error::new("22008", "date out of range"))
}

fn span(months: i128, days: i128, micros: i128) -> Result<Datum, Error> {
    Ok(Datum::Span(Span {
        months: i32::try_from(months).map_err(|_| interval_range())?,
        days: i32::try_from(days).map_err(|_| interval_range())?,
        micros: i64::try_from(micros).map_err(|_| interval_range())?,
    }))
}

/// Months first, then days, then the time. The session's zone is UTC.
pub(super) fn moved(micros: i64, by: Span, sign: i64) -> Result<Datum, Error> {
    if micros == i64::MAX || micros == i64::MIN {
        return Ok(Datum::Timestamp(micros));
    }
    let mut days = micros.div_euclid(DAY);
    if by.months != 0 {
        days = add_months(days, sign * i64::from(by.months));
    }
    days += sign * i64::from(by.days);
    let total = i128::from(days) * i128::from(DAY)
        + i128::from(micros.rem_euclid(DAY))
        + i128::from(sign) * i128::from(by.micros);
    timestamp(total)
}

fn date_as_timestamp(value: &Datum) -> Result<i64, Error> {
    match crate::casts::cast(value, Date, Timestamp)? {
        Datum::Timestamp(micros) => Ok(micros),
        _ => Err(timestamp_range()),
    }
}

pub(super) fn add(library: &mut Library) {
    add_operators(library);
    add_intervals(library);
    add_parts(library);
    add_makers(library);
    for (of, arguments) in
        [(Timestamp, &[Text, Timestamp] as &'static [PgType]), (Timestamptz, &[Text, Timestamptz])]
    {
        library.strict("date_trunc", arguments, of, |a, _| truncated(a[0].text(), &a[1]));
    }
    library.strict("date_trunc", &[Text, Interval], Interval, |a, _| {
        truncated_span(a[0].text(), a[1].span())
    });
    for (of, arguments) in [
        (Timestamp, &[Interval, Timestamp, Timestamp] as &'static [PgType]),
        (Timestamptz, &[Interval, Timestamptz, Timestamptz]),
    ] {
        library.strict("date_bin", arguments, of, |a, _| binned(a));
    }
    for (to, arguments) in
        [(Timestamptz, &[Text, Timestamp] as &'static [PgType]), (Timestamp, &[Text, Timestamptz])]
    {
        library.strict("timezone", arguments, to, |a, t| {
            if is_infinite(&a[1]) {
                return Ok(a[1].clone());
            }
            let zone = zone(a[0].text())?;
            let micros = a[1].ticks();
            let seconds = match t[1] {
                Timestamp => -zone.offset_of_local(micros),
                _ => zone.offset_of_utc(micros),
            };
            timestamp(i128::from(micros) + i128::from(seconds) * i128::from(SECOND))
        });
    }
    for arguments in [&[Date] as &'static [PgType], &[Timestamp], &[Timestamptz]] {
        library.strict("isfinite", arguments, Bool, |a, _| boolean(!is_infinite(&a[0])));
    }
    library.strict("isfinite", &[Interval], Bool, |_, _| boolean(true));
    library.strict("overlaps", &[Timestamp, Timestamp, Timestamp, Timestamp], Bool, |a, _| {
        let order = |x: i64, y: i64| if x <= y { (x, y) } else { (y, x) };
        let (from, to) = order(a[0].ticks(), a[1].ticks());
        let (begin, end) = order(a[2].ticks(), a[3].ticks());
        boolean(from == begin || (from < end && begin < to))
    });
    for arguments in [&[Timestamp, Text] as &'static [PgType], &[Timestamptz, Text]] {
        library.strict("to_char", arguments, Text, |a, t| {
            if is_infinite(&a[0]) {
                return Ok(Datum::Null);
            }
            time_format::timestamp(a[0].ticks(), t[0] == Timestamptz, a[1].text()).map(Datum::Text)
        });
    }
    library.strict("to_char", &[Interval, Text], Text, |a, _| {
        time_format::interval(a[0].span(), a[1].text()).map(Datum::Text)
    });
    library.strict("to_date", &[Text, Text], Date, |a, _| {
        let micros = time_format::parse(a[0].text(), a[1].text())?;
        date(micros.div_euclid(DAY))
    });
    library.strict("to_timestamp", &[Text, Text], Timestamptz, |a, _| {
        timestamp(time_format::parse(a[0].text(), a[1].text())?.into())
    });
    number_format::add(library);
}

fn zone(name: &str) -> Result<Zone, Error> {
    if let Some(zone) = Zone::parse(name) {
        return Ok(zone);
    }
    // POSIX: hours west of Greenwich.
    let digits = name.trim_start_matches(['+', '-']);
    if let Ok(hours) = digits.parse::<i64>()
        && hours <= 15
    {
        return Ok(Zone::Fixed(if name.starts_with('-') { hours } else { -hours } * 3_600));
    }
    Err(Error::new(sqlstate::INVALID_PARAMETER, format!("time zone \"{name}\" not recognized")))
}

fn add_operators(library: &mut Library) {
    library.strict("+", &[Date, Int4], Date, |a, _| {
        if is_infinite(&a[0]) { Ok(a[0].clone()) } else { date(a[0].ticks() + a[1].int()) }
    });
    library.strict("+", &[Int4, Date], Date, |a, _| {
        if is_infinite(&a[1]) { Ok(a[1].clone()) } else { date(a[1].ticks() + a[0].int()) }
    });
    library.strict("-", &[Date, Int4], Date, |a, _| {
        if is_infinite(&a[0]) { Ok(a[0].clone()) } else { date(a[0].ticks() - a[1].int()) }
    });
    library.strict("-", &[Date, Date], Int4, |a, _| {
        if is_infinite(&a[0]) || is_infinite(&a[1]) {
            return Err(Error::new("22008", "cannot subtract infinite dates"));
        }
        crate::casts::integer(a[0].ticks() - a[1].ticks(), Int4)
    });
    library.strict("+", &[Date, Interval], Timestamp, |a, _| {
        moved(date_as_timestamp(&a[0])?, a[1].span(), 1)
    });
    library.strict("-", &[Date, Interval], Timestamp, |a, _| {
        moved(date_as_timestamp(&a[0])?, a[1].span(), -1)
    });
    library.strict("+", &[Date, Time], Timestamp, |a, _| match date_as_timestamp(&a[0])? {
        infinite @ (i64::MAX | i64::MIN) => Ok(Datum::Timestamp(infinite)),
        micros => timestamp(i128::from(micros) + i128::from(a[1].ticks())),
    });
    library.strict("+", &[Time, Date], Timestamp, |a, _| match date_as_timestamp(&a[1])? {
        infinite @ (i64::MAX | i64::MIN) => Ok(Datum::Timestamp(infinite)),
        micros => timestamp(i128::from(micros) + i128::from(a[0].ticks())),
    });
    for (of, forward, backward) in [
        (
            Timestamp,
            &[Timestamp, Interval] as &'static [PgType],
            &[Interval, Timestamp] as &'static [PgType],
        ),
        (Timestamptz, &[Timestamptz, Interval], &[Interval, Timestamptz]),
    ] {
        library.strict("+", forward, of, |a, _| moved(a[0].ticks(), a[1].span(), 1));
        library.strict("+", backward, of, |a, _| moved(a[1].ticks(), a[0].span(), 1));
        library.strict("-", forward, of, |a, _| moved(a[0].ticks(), a[1].span(), -1));
    }
    library.strict("+", &[Interval, Date], Timestamp, |a, _| {
        moved(date_as_timestamp(&a[1])?, a[0].span(), 1)
    });
    for arguments in [&[Timestamp, Timestamp] as &'static [PgType], &[Timestamptz, Timestamptz]] {
        library.strict("-", arguments, Interval, |a, _| {
            if is_infinite(&a[0]) || is_infinite(&a[1]) {
                return Err(Error::new("22008", "cannot subtract infinite timestamps"));
            }
            let micros = i128::from(a[0].ticks()) - i128::from(a[1].ticks());
            span(0, micros / i128::from(DAY), micros % i128::from(DAY))
        });
        library.strict("age", arguments, Interval, |a, _| age(&a[0], &a[1]));
    }
    library.strict("+", &[Time, Interval], Time, |a, _| {
        Ok(Datum::Time((a[0].ticks() + a[1].span().micros % DAY).rem_euclid(DAY)))
    });
    library.strict("+", &[Interval, Time], Time, |a, _| {
        Ok(Datum::Time((a[1].ticks() + a[0].span().micros % DAY).rem_euclid(DAY)))
    });
    library.strict("-", &[Time, Interval], Time, |a, _| {
        Ok(Datum::Time((a[0].ticks() - a[1].span().micros % DAY).rem_euclid(DAY)))
    });
    library.strict("-", &[Time, Time], Interval, |a, _| {
        span(0, 0, i128::from(a[0].ticks() - a[1].ticks()))
    });
}

/// timestamp.c, `timestamp_age`: years, months and days as on a calendar.
fn age(later: &Datum, earlier: &Datum) -> Result<Datum, Error> {
    if is_infinite(later) || is_infinite(earlier) {
        return Err(timestamp_range());
    }
    let (a, b) = (later.ticks(), earlier.ticks());
    let negative = a < b;
    let parts = |micros: i64| (civil_of(micros.div_euclid(DAY)), micros.rem_euclid(DAY));
    let ((x, x_time), (y, y_time)) = (parts(a), parts(b));
    let sign = if negative { -1 } else { 1 };
    let mut months = sign * ((x.year * 12 + x.month) - (y.year * 12 + y.month));
    let mut days = sign * (x.day - y.day);
    let mut time = sign * (x_time - y_time);
    if time < 0 {
        time += DAY;
        days -= 1;
    }
    if days < 0 {
        // Days of the earlier one's month.
        let month = if negative { x } else { y };
        days += crate::calendar::days_in_month(month.year, month.month);
        months -= 1;
    }
    span(i128::from(sign * months), i128::from(sign * days), i128::from(sign * time))
}

fn add_intervals(library: &mut Library) {
    const II: &[PgType] = &[Interval, Interval];
    library.strict("+", II, Interval, |a, _| {
        let (x, y) = (a[0].span(), a[1].span());
        combined(x, y, 1)
    });
    library.strict("-", II, Interval, |a, _| combined(a[0].span(), a[1].span(), -1));
    library.strict("-", &[Interval], Interval, |a, _| combined(Span::default(), a[0].span(), -1));
    library.strict("+", &[Interval], Interval, |a, _| Ok(a[0].clone()));
    library.strict("*", &[Interval, Float8], Interval, |a, _| scaled(a[0].span(), a[1].float()));
    library.strict("*", &[Float8, Interval], Interval, |a, _| scaled(a[1].span(), a[0].float()));
    library.strict("/", &[Interval, Float8], Interval, |a, _| {
        let by = a[1].float();
        if by == 0.0 {
            return Err(division_by_zero());
        }
        divided(a[0].span(), by)
    });
    library.strict("justify_hours", &[Interval], Interval, |a, _| {
        let it = a[0].span();
        let (days, micros) = justified(it.days.into(), it.micros.into(), DAY);
        span(it.months.into(), days, micros)
    });
    library.strict("justify_days", &[Interval], Interval, |a, _| {
        let it = a[0].span();
        let (months, days) = justified(it.months.into(), it.days.into(), 30);
        span(months, days, it.micros.into())
    });
    library.strict("justify_interval", &[Interval], Interval, |a, _| {
        let it = a[0].span();
        let total = i128::from(it.days) * i128::from(DAY) + i128::from(it.micros);
        let (mut days, mut micros) = (total / i128::from(DAY), total % i128::from(DAY));
        let mut months = i128::from(it.months) + days / 30;
        days %= 30;
        if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
            days += 30;
            months -= 1;
        } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
            days -= 30;
            months += 1;
        }
        if days > 0 && micros < 0 {
            micros += i128::from(DAY);
            days -= 1;
        } else if days < 0 && micros > 0 {
            micros -= i128::from(DAY);
            days += 1;
        }
        span(months, days, micros)
    });
}

fn justified(whole: i128, part: i128, unit: i64) -> (i128, i128) {
    let unit = i128::from(unit);
    let mut whole = whole + part / unit;
    let mut part = part % unit;
    if whole > 0 && part < 0 {
        part += unit;
        whole -= 1;
    } else if whole < 0 && part > 0 {
        part -= unit;
        whole += 1;
    }
    (whole, part)
}

fn combined(x: Span, y: Span, sign: i128) -> Result<Datum, Error> {
    span(
        i128::from(x.months) + sign * i128::from(y.months),
        i128::from(x.days) + sign * i128::from(y.days),
        i128::from(x.micros) + sign * i128::from(y.micros),
    )
}

/// timestamp.c, `interval_mul`: what months and days leave over goes down.
fn scaled(it: Span, by: f64) -> Result<Datum, Error> {
    spread(it, |part| part * by)
}

/// timestamp.c, `interval_div`.
pub(crate) fn divided(it: Span, by: f64) -> Result<Datum, Error> {
    spread(it, |part| part / by)
}

fn spread(it: Span, times: impl Fn(f64) -> f64) -> Result<Datum, Error> {
    let months = times(f64::from(it.months));
    let days = times(f64::from(it.days));
    if !months.is_finite() || !days.is_finite() {
        return Err(interval_range());
    }
    let rounded = |seconds: f64| (seconds * 1e6).round_ties_even() / 1e6;
    let mut month_days = rounded((months - months.trunc()) * 30.0);
    let mut seconds = rounded((days - days.trunc() + month_days - month_days.trunc()) * 86_400.0);
    if seconds.abs() >= 86_400.0 {
        month_days += (seconds / 86_400.0).trunc();
        seconds -= (seconds / 86_400.0).trunc() * 86_400.0;
    }
    let micros = (times(it.micros as f64) + seconds * 1e6).round_ties_even();
    if !micros.is_finite() {
        return Err(interval_range());
    }
    span(months.trunc() as i128, days.trunc() as i128 + month_days.trunc() as i128, micros as i128)
}

/// Units that times are cut to, and that can be taken out of them.
const UNITS: [&str; 13] = [
    "microsecond",
    "millisecond",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "decade",
    "century",
    "millennium",
];

/// What else `extract` takes out.
const PARTS: [&str; 11] = [
    "dow",
    "isodow",
    "doy",
    "epoch",
    "isoyear",
    "julian",
    "timezone",
    "timezone_hour",
    "timezone_minute",
    "timezone_h",
    "timezone_m",
];

/// The field that a word names; `None` for the words that only `extract` knows.
fn normal_field(field: &str) -> &str {
    match field.strip_suffix('s').unwrap_or(field) {
        "centurie" => "century",
        "millennia" => "millennium",
        "msec" => "millisecond",
        "usec" => "microsecond",
        "sec" => "second",
        "min" => "minute",
        "hr" => "hour",
        "mon" => "month",
        "yr" => "year",
        other => other,
    }
}

fn unrecognized(field: &str, of: PgType) -> Error {
    Error::new(
        sqlstate::INVALID_PARAMETER,
        format!("unit \"{field}\" not recognized for type {}", of.name()),
    )
}

fn truncated(field: &str, value: &Datum) -> Result<Datum, Error> {
    let lower = field.to_ascii_lowercase();
    let unit = normal_field(&lower);
    let micros = value.ticks();
    if !UNITS.contains(&unit) {
        return Err(unrecognized(&lower, Timestamp));
    }
    if is_infinite(value) {
        return Ok(value.clone());
    }
    let days = micros.div_euclid(DAY);
    let civil = civil_of(days);
    let first = |year: i64, month: i64| days_of(Civil { year, month, day: 1 });
    let from_year = |size: i64| match size {
        10 => civil.year.div_euclid(10) * 10,
        size if civil.year > 0 => (civil.year - 1).div_euclid(size) * size + 1,
        size => -((size - 1 - (civil.year - 1)) / size) * size + 1,
    };
    let down = |unit: i64| micros - micros.rem_euclid(unit);
    let days = match unit {
        "microsecond" => return Ok(value.clone()),
        "millisecond" => return timestamp(down(1_000).into()),
        "second" => return timestamp(down(SECOND).into()),
        "minute" => return timestamp(down(MINUTE).into()),
        "hour" => return timestamp(down(HOUR).into()),
        "day" => days,
        "week" => days - (day_of_week(days) + 6) % 7,
        "month" => first(civil.year, civil.month),
        "quarter" => first(civil.year, (civil.month - 1) / 3 * 3 + 1),
        "year" => first(civil.year, 1),
        "decade" => first(from_year(10), 1),
        "century" => first(from_year(100), 1),
        _ => first(from_year(1_000), 1),
    };
    timestamp(i128::from(days) * i128::from(DAY))
}

fn truncated_span(field: &str, it: Span) -> Result<Datum, Error> {
    let lower = field.to_ascii_lowercase();
    let down = |unit: i64| i128::from(it.micros / unit * unit);
    let (months, days) = (i128::from(it.months), i128::from(it.days));
    match normal_field(&lower) {
        "microsecond" => span(months, days, it.micros.into()),
        "millisecond" => span(months, days, down(1_000)),
        "second" => span(months, days, down(SECOND)),
        "minute" => span(months, days, down(MINUTE)),
        "hour" => span(months, days, down(HOUR)),
        "day" => span(months, days, 0),
        "month" => span(months, 0, 0),
        "quarter" => span(months / 3 * 3, 0, 0),
        "year" => span(months / 12 * 12, 0, 0),
        "decade" => span(months / 120 * 120, 0, 0),
        "century" => span(months / 1_200 * 1_200, 0, 0),
        "millennium" => span(months / 12_000 * 12_000, 0, 0),
        "week" => Err(Error::unsupported(
            "unit \"week\" not supported for type interval: months usually have fractional weeks",
        )),
        _ => Err(unrecognized(&lower, Interval)),
    }
}

fn binned(a: &[Datum]) -> Result<Datum, Error> {
    if is_infinite(&a[1]) {
        return Ok(a[1].clone());
    }
    let stride = a[0].span();
    if stride.months != 0 {
        return Err(Error::unsupported(
            "timestamps cannot be binned into intervals containing months or years",
        ));
    }
    let width = i128::from(stride.days) * i128::from(DAY) + i128::from(stride.micros);
    if width <= 0 {
        return Err(Error::new("22008", "stride must be greater than zero"));
    }
    if is_infinite(&a[2]) {
        return Err(Error::new("22008", "origin out of range"));
    }
    let origin = i128::from(a[2].ticks());
    timestamp(origin + (i128::from(a[1].ticks()) - origin).div_euclid(width) * width)
}

fn add_parts(library: &mut Library) {
    for arguments in [
        &[Text, Date] as &'static [PgType],
        &[Text, Timestamp],
        &[Text, Timestamptz],
        &[Text, Interval],
        &[Text, Time],
    ] {
        library.strict("extract", arguments, Numeric, extracted);
        if arguments[1] != Date {
            library.strict("date_part", arguments, Float8, |a, t| {
                Ok(match extracted(a, t)? {
                    Datum::Numeric(value) => Datum::Float(value.to_f64()),
                    other => other,
                })
            });
        }
    }
    library.strict("date_part", &[Text, Date], Float8, |a, t| {
        let value = if is_infinite(&a[1]) {
            Datum::Timestamp(if a[1].ticks() > 0 { i64::MAX } else { i64::MIN })
        } else {
            Datum::Timestamp(date_as_timestamp(&a[1])?)
        };
        Ok(match extracted(&[a[0].clone(), value], &[t[0], Timestamp])? {
            Datum::Numeric(value) => Datum::Float(value.to_f64()),
            other => other,
        })
    });
}

fn extracted(a: &[Datum], types: &[PgType]) -> Result<Datum, Error> {
    let lower = a[0].text().to_ascii_lowercase();
    let unit = match lower.as_str() {
        "dow" | "isodow" | "doy" | "epoch" | "isoyear" | "julian" | "timezone" => lower.as_str(),
        _ => normal_field(&lower),
    };
    let whole = |value: i64| Ok(Datum::Numeric(Numeric::from(value)));
    let of = types[1];
    let unsupported =
        || Error::unsupported(format!("unit \"{lower}\" not supported for type {}", of.name()));
    let in_day = |micros: i64| match unit {
        "microsecond" => Some(Numeric::from(micros % MINUTE)),
        "millisecond" => Some(Numeric::new(micros % MINUTE, 3)),
        "second" => Some(Numeric::new(micros % MINUTE, 6)),
        "minute" => Some(Numeric::from(micros / MINUTE % 60)),
        "hour" => Some(Numeric::from(micros / HOUR)),
        _ => None,
    };
    if !UNITS.contains(&unit) && !PARTS.contains(&unit) {
        return Err(unrecognized(&lower, of));
    }
    match &a[1] {
        Datum::Span(it) => {
            if let Some(found) = in_day(it.micros) {
                return Ok(Datum::Numeric(found));
            }
            let years = i64::from(it.months / 12);
            match unit {
                "day" => whole(it.days.into()),
                "month" => whole((it.months % 12).into()),
                "quarter" => whole((it.months % 12 / 3 + 1).into()),
                "year" => whole(years),
                "decade" => whole(years / 10),
                "century" => whole(years / 100),
                "millennium" => whole(years / 1_000),
                "epoch" => {
                    // A year has 365.25 days, a month thirty.
                    let days = i128::from(it.months / 12) * 1_461 * 6
                        + i128::from(it.months % 12) * 30 * 24
                        + i128::from(it.days) * 24;
                    let micros = days * i128::from(HOUR) + i128::from(it.micros);
                    Ok(Datum::Numeric(Numeric::new(micros, 6)))
                }
                _ => Err(unsupported()),
            }
        }
        Datum::Time(micros) => match (in_day(*micros), unit) {
            (Some(found), _) => Ok(Datum::Numeric(found)),
            (None, "epoch") => Ok(Datum::Numeric(Numeric::new(*micros, 6))),
            _ => Err(unsupported()),
        },
        value => {
            let is_date = of == Date;
            if is_infinite(value) {
                return infinite_part(unit, value.ticks() > 0, is_date).ok_or_else(unsupported);
            }
            let micros = if is_date { value.ticks() * DAY } else { value.ticks() };
            if is_date && value.ticks().abs() > 100_000_000 && unit == "epoch" {
                return whole(value.ticks() * 86_400);
            }
            let days = if is_date { value.ticks() } else { micros.div_euclid(DAY) };
            if !is_date && let Some(found) = in_day(micros.rem_euclid(DAY)) {
                return Ok(Datum::Numeric(found));
            }
            let civil = civil_of(days);
            let shown_year = if civil.year > 0 { civil.year } else { civil.year - 1 };
            let of_years = |size: i64| match shown_year {
                year if year > 0 => (year + size - 1) / size,
                year => -((size - 1 - year) / size),
            };
            match unit {
                "day" => whole(civil.day),
                "month" => whole(civil.month),
                "year" => whole(shown_year),
                "quarter" => whole((civil.month - 1) / 3 + 1),
                "week" => whole(iso_week(days).1),
                "isoyear" => {
                    let year = iso_week(days).0;
                    whole(if year > 0 { year } else { year - 1 })
                }
                "dow" => whole(day_of_week(days)),
                "isodow" => whole((day_of_week(days) + 6) % 7 + 1),
                "doy" => whole(day_of_year(days)),
                "decade" => whole(civil.year.div_euclid(10)),
                "century" => whole(of_years(100)),
                "millennium" => whole(of_years(1_000)),
                "julian" if is_date => whole(days + 2_440_588),
                "julian" => {
                    let day = Numeric::from(days + 2_440_588);
                    let part = Numeric::from(micros.rem_euclid(DAY)).divide(&Numeric::from(DAY))?;
                    Ok(Datum::Numeric(day.add(&part)?))
                }
                "epoch" if is_date => whole(days * 86_400),
                "epoch" => Ok(Datum::Numeric(Numeric::new(micros, 6))),
                "timezone" | "timezone_hour" | "timezone_minute" if of == Timestamptz => whole(0),
                _ => Err(unsupported()),
            }
        }
    }
}

/// Fields that only grow are infinite, others null.
fn infinite_part(unit: &str, is_positive: bool, is_date: bool) -> Option<Datum> {
    match unit {
        "year" | "decade" | "century" | "millennium" | "julian" | "isoyear" | "epoch" => {
            Some(Datum::Numeric(if is_positive {
                Numeric::Infinity
            } else {
                Numeric::NegativeInfinity
            }))
        }
        "microsecond" | "millisecond" | "second" | "minute" | "hour" if is_date => None,
        _ => Some(Datum::Null),
    }
}

fn add_makers(library: &mut Library) {
    library.strict("make_date", &[Int4, Int4, Int4], Date, |a, _| made_date(a).map(Datum::Date));
    library.strict("make_time", &[Int4, Int4, Float8], Time, |a, _| made_time(a).map(Datum::Time));
    library.strict("make_timestamp", &[Int4, Int4, Int4, Int4, Int4, Float8], Timestamp, |a, _| {
        let days = made_date(a)?;
        timestamp(i128::from(days) * i128::from(DAY) + i128::from(made_time(&a[3..])?))
    });
    library.strict(
        "make_interval",
        &[Int4, Int4, Int4, Int4, Int4, Int4, Float8],
        Interval,
        |a, _| {
            let number = |at: usize| i128::from(a[at].int());
            let seconds = a[6].float() * 1e6;
            if !seconds.is_finite() {
                return Err(interval_range());
            }
            span(
                number(0) * 12 + number(1),
                number(2) * 7 + number(3),
                number(4) * i128::from(HOUR)
                    + number(5) * i128::from(MINUTE)
                    + seconds.round_ties_even() as i128,
            )
        },
    );
    library.strict("to_timestamp", &[Float8], Timestamptz, |a, _| {
        let seconds = a[0].float();
        if seconds.is_infinite() {
            return Ok(Datum::Timestamp(if seconds > 0.0 { i64::MAX } else { i64::MIN }));
        }
        if seconds.is_nan() {
            return Err(Error::new("22008", "timestamp cannot be NaN"));
        }
        // Counted from 2000, as PostgreSQL rounds it.
        let from_2000 = seconds - 946_684_800.0;
        let micros = (from_2000 * 1e6).round_ties_even();
        timestamp(micros as i128 + 946_684_800_000_000)
    });
    for name in ["clock_timestamp", "statement_timestamp", "transaction_timestamp"] {
        let overload =
            library.strict(name, &[], Timestamptz, |_, _| crate::input::parse("now", Timestamptz));
        overload.volatility = datafusion::logical_expr::Volatility::Volatile;
    }
}

fn made_date(a: &[Datum]) -> Result<i32, Error> {
    let (year, month, day) = (a[0].int(), a[1].int(), a[2].int());
    let astronomical = if year < 0 { year + 1 } else { year };
    let found = (year != 0).then(|| checked_days(astronomical, month, day)).flatten();
    found.ok_or_else(|| {
        Error::new("22008", format!("date field value out of range: {year}-{month:02}-{day:02}"))
    })
}

fn made_time(a: &[Datum]) -> Result<i64, Error> {
    let (hour, minute, seconds) = (a[0].int(), a[1].int(), a[2].float());
    let micros = (seconds * 1e6).round_ties_even();
    let fits =
        (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60e6).contains(&micros);
    let total = if fits { hour * HOUR + minute * MINUTE + micros as i64 } else { i64::MAX };
    if total > DAY {
        return Err(Error::new(
            "22008",
            format!("time field value out of range: {hour}:{minute:02}:{seconds}"),
        ));
    }
    Ok(total)
}
